"""Records and Streams to waveform files."""

import os
from pathlib import Path

import numpy as np
import obspy
import xarray as xr

from ..files import whole
from .decode import plain_traces
from .segments import to_stream

SUFFIXES = {".mseed": "MSEED", ".miniseed": "MSEED", ".ms": "MSEED", ".sac": "SAC"}
STEIM2_STEP = 2**29  # largest difference of neighbours that Steim-2 can hold


def write(data: xr.DataArray | obspy.Stream | obspy.Trace, path: str | os.PathLike) -> Path:
    """Write a record or Stream to a waveform file; the suffix says the format.

    MiniSEED (.mseed, .miniseed, .ms) takes any number of channels and gaps; integers are packed (Steim-2),
    floats kept as they are. SAC (.sac) takes one trace, in single precision. The file is written under
    a temporary name and then renamed, so that nothing half-written is left behind.

    Raises
    ------
    ValueError
        For an unknown suffix, no samples, several traces to a SAC file, or what the format cannot hold.
    FileNotFoundError
        When the folder does not exist.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write(obspy.read(), Path(folder) / "event.mseed")
    ...     print(path.name, len(obspy.read(path, format="MSEED")))
    event.mseed 3
    """
    path = Path(path).expanduser()
    traces = plain_traces(to_stream(data) if isinstance(data, xr.DataArray) else data)
    form = written_format(path, len(traces))
    if not any(len(trace.data) for trace in traces):
        raise ValueError(f"nothing to write to {path.name}: there are no samples")
    ready = obspy.Stream([_for_mseed(trace) if form == "MSEED" else _for_sac(trace) for trace in traces])
    with whole(path) as part:
        ready.write(str(part), format=form)
    return path


def written_format(path: str | os.PathLike, traces: int = 1) -> str:
    """Format that `write` takes for a file's name and so many traces; asked before work, it saves the work.

    Raises
    ------
    ValueError
        For an unknown suffix, or several traces to a SAC file.

    Examples
    --------
    >>> written_format("clean.mseed", traces=3)
    'MSEED'
    """
    path = Path(path)
    form = SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise ValueError(f"cannot tell a format from {path.name!r}; end it with {', '.join(SUFFIXES)}")
    if form == "SAC" and traces > 1:
        raise ValueError(f"a SAC file holds one trace, found {traces}; write .mseed, or one file for each")
    return form


def _for_mseed(trace: obspy.Trace) -> obspy.Trace:
    """Copy of a trace with a dtype and an encoding that MiniSEED has."""
    data = trace.data
    if data.dtype.kind in "iu" and data.dtype.str[1:] not in ("i2", "i4"):
        fits = len(data) == 0 or (data.min() >= -(2**31) and data.max() < 2**31)
        data = data.astype(np.int32 if fits else np.float64)
    elif data.dtype == np.float16:
        data = data.astype(np.float32)
    encodings = {"i2": "INT16", "i4": "STEIM2", "f4": "FLOAT32", "f8": "FLOAT64"}
    encoding = encodings[data.dtype.str[1:]]
    if encoding == "STEIM2" and len(data) > 1 and np.abs(np.diff(data.astype(np.int64))).max() >= STEIM2_STEP:
        encoding = "INT32"
    out = obspy.Trace(np.ascontiguousarray(data), header=trace.stats.copy())
    out.stats.mseed = obspy.core.AttribDict({**trace.stats.get("mseed", {}), "encoding": encoding})
    return out


def _for_sac(trace: obspy.Trace) -> obspy.Trace:
    """Copy of a trace in single precision, all that SAC has."""
    return obspy.Trace(np.ascontiguousarray(trace.data, dtype=np.float32), header=trace.stats.copy())
