"""Records and Streams to waveform files."""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import obspy
import xarray as xr

from ..files import whole
from .decode import plain_traces
from .segments import from_stream, to_stream

SUFFIXES = {
    ".mseed": "MSEED",
    ".miniseed": "MSEED",
    ".ms": "MSEED",
    ".sac": "SAC",
    ".sgy": "SEGY",
    ".segy": "SEGY",
    ".su": "SU",
    ".nc": "NETCDF",
    ".zarr": "ZARR",
}
ENCODINGS = {"i2": ("INT16",), "i4": ("STEIM2", "STEIM1", "INT32"), "f4": ("FLOAT32",), "f8": ("FLOAT64",)}
STEIM2_STEP = 2**29  # largest difference of neighbours that Steim-2 can hold


def write(
    data: xr.DataArray | obspy.Stream | obspy.Trace,
    path: str | os.PathLike,
    *,
    encoding: str | None = None,
    reclen: int | None = None,
) -> Path:
    """Write a record or Stream to a waveform file; the suffix says the format.

    MiniSEED (.mseed, .miniseed, .ms) takes any number of channels and gaps; integers are packed (Steim-2),
    floats kept as they are. SAC (.sac) takes one trace, SEG-Y (.sgy, .segy) and SU (.su) traces without
    gaps at one rate, all in single precision. NetCDF (.nc) and zarr (.zarr, a folder) take records with all
    their labels. The file is written under a temporary name and then renamed, so that nothing half-written
    is left behind.

    Parameters
    ----------
    data : record, gather, Stream or Trace
    path : path
    encoding : str, optional
        Of MiniSEED: "STEIM1", "STEIM2", "INT16", "INT32", "FLOAT32" or "FLOAT64", as far as it holds the
        samples exactly.
    reclen : int, optional [bytes]
        Of MiniSEED: length of a record, a power of two.

    Raises
    ------
    ValueError
        For an unknown suffix, no samples, several traces to a SAC file, or what the format cannot hold.
    FileNotFoundError
        When the folder does not exist.
    FileExistsError
        When there is a zarr folder of that name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write(obspy.read(), Path(folder) / "event.mseed")
    ...     print(path.name, len(obspy.read(path, format="MSEED")))
    event.mseed 3
    """
    path = Path(path).expanduser()
    form = SUFFIXES.get(path.suffix.lower())
    if form != "MSEED" and (encoding or reclen):
        raise ValueError(f"encoding= and reclen= are of MiniSEED, {path.name!r} is not; leave them out")
    if form in ("NETCDF", "ZARR"):
        record = data if isinstance(data, xr.DataArray) else from_stream(data)
        return _write_labelled(record, path, form)
    traces = plain_traces(to_stream(data) if isinstance(data, xr.DataArray) else data)
    form = written_format(path, len(traces))
    if not any(len(trace.data) for trace in traces):
        raise ValueError(f"nothing to write to {path.name}: there are no samples")
    options: dict[str, Any] = {"reclen": reclen} if reclen else {}
    if form == "MSEED":
        ready = [_for_mseed(trace, encoding) for trace in traces]
    else:
        ready = [_in_single(trace) for trace in traces]
    if form in ("SEGY", "SU"):
        options["byteorder"] = ">" if form == "SEGY" else "<"
    with whole(path) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="CREATING TRACE HEADER")  # which is what is wanted
        obspy.Stream(ready).write(str(part), format=form, **options)
    return path


@contextmanager
def growing(path: str | os.PathLike, form: str = "MSEED") -> Iterator[Callable[[obspy.Stream], None]]:
    """A file that is written piece by piece, and appears whole or not at all.

    Parameters
    ----------
    path : path
    form : str
        MSEED, or SAC for a file of one piece.

    Yields
    ------
    add : function
        Writes a Stream behind what is there. Pieces of a channel that follow each other read as one trace.
    """
    ready = _in_single if form == "SAC" else _for_mseed
    with whole(path) as part, part.open("wb") as file:

        def add(stream: obspy.Stream) -> None:
            obspy.Stream([ready(trace) for trace in stream]).write(file, format=form)

        yield add


def _write_labelled(record: xr.DataArray, path: Path, form: str) -> Path:
    """Write a record with all its labels: to a NetCDF file, or a zarr folder that appears when whole."""
    dataset = record.to_dataset(name="waveform").drop_encoding()
    if form == "NETCDF":
        with whole(path) as part:
            dataset.to_netcdf(part, engine="h5netcdf")
        return path
    if path.exists():
        raise FileExistsError(f"{path} exists; delete it, or give another name")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} into; make it with: mkdir -p")
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=path.parent) as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zarr has no final word yet on how text is stored
            dataset.to_zarr(f"{folder}/store", consolidated=False)
        os.rename(f"{folder}/store", path)
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


def _for_mseed(trace: obspy.Trace, wanted: str | None = None) -> obspy.Trace:
    """Copy of a trace with a dtype and an encoding that MiniSEED has."""
    data = trace.data
    if data.dtype.kind in "iu" and data.dtype.str[1:] not in ("i2", "i4"):
        fits = len(data) == 0 or (data.min() >= -(2**31) and data.max() < 2**31)
        data = data.astype(np.int32 if fits else np.float64)
    elif data.dtype == np.float16:
        data = data.astype(np.float32)
    if wanted is not None:
        kinds = {name: kind for kind, names in ENCODINGS.items() for name in names}
        if wanted not in kinds:
            raise ValueError(f"unknown encoding {wanted!r}; choose from {', '.join(sorted(kinds))}")
        kind = kinds[wanted]
        if not np.array_equal(data.astype(kind), data, equal_nan=True):
            raise ValueError(f"{trace.id}: {wanted!r} does not hold these {data.dtype} samples exactly")
        data = data.astype(kind)
    encoding = wanted or ENCODINGS[data.dtype.str[1:]][0]
    steps = np.abs(np.diff(data.astype(np.int64))) if encoding.startswith("STEIM") else np.zeros(0)
    if steps.size and steps.max() >= STEIM2_STEP:
        if wanted:
            raise ValueError(f"{trace.id} has steps that {wanted} cannot hold; leave encoding= out")
        encoding = "INT32"
    out = _with(trace, np.ascontiguousarray(data))
    kept = {k: v for k, v in trace.stats.get("mseed", {}).items() if k != "record_length"}
    out.stats.mseed = obspy.core.AttribDict({**kept, "encoding": encoding})
    return out


def _in_single(trace: obspy.Trace) -> obspy.Trace:
    """Copy of a trace in single precision, all that SAC and SU have."""
    return _with(trace, np.ascontiguousarray(trace.data, dtype=np.float32))


def _with(trace: obspy.Trace, data: np.ndarray) -> obspy.Trace:
    """Copy of a trace with other samples; ObsPy's writers crash where a header promises too many."""
    return obspy.Trace(data, header={**trace.stats, "npts": len(data)})
