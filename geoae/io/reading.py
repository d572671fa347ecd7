"""Waveform files to labelled records."""

import os
import warnings
from contextlib import suppress
from fnmatch import fnmatchcase
from glob import escape, glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np
import obspy
import xarray as xr
from obspy.core.util.base import ENTRY_POINTS
from obspy.core.util.decorator import uncompress_file
from obspy.core.util.misc import buffered_load_entry_point

from ..arrays import sampling_rate
from .segments import ReadError, by_rate, from_stream, one_rate, plain_traces

ENZ = {"E": 0, "2": 0, "T": 0, "N": 1, "1": 1, "R": 1, "Z": 2, "3": 2}  # the order of components in a window


def read(source: Any, *, select: str | None = None) -> xr.DataArray:
    """Read waveforms of any format ObsPy knows, one file or many, as one labelled record.

    The format is found from the content, whatever the file's name. ObsPy's PICKLE format is never read nor
    even tried, because a pickle runs the code it contains. Compressed files are unpacked.

    Parameters
    ----------
    source : path, glob pattern ("archive/**/*.mseed"), list of these, obspy Stream or Trace
    select : str, optional
        Keep only the SEED ids (network.station.location.channel) that match a pattern such as
        "BW.RJOB..EH?"; one with fewer dots matches the end of the id: "*.HH?", "HHZ".

    Returns
    -------
    DataArray, dims ("channel", "time")
        Channels in the order of the files. Coordinates of ``channel``: its SEED id, network, station,
        location, code ("HHZ") and component ("Z"). ``time`` is datetime64[ns], start + round(i * 1e9 / rate).
        Rates that differ by no more than 1e-6 of themselves (one was kept in single precision) are one, that
        of most samples; the others come back on the way to a Stream.
        Integers stay integers where there are no gaps; otherwise they become float64 (float32 if 16 bits
        wide) with NaN in the gaps. What ObsPy warned of stands in ``attrs["warnings"]``.

    Raises
    ------
    FileNotFoundError
        When there is no such file, or none that matches.
    ReadError
        When a file is no waveform, is empty or damaged, or what was read makes no single record: several
        sampling rates, a rate of zero, or two different values for one channel and time.

    Examples
    --------
    >>> record = read(obspy.read(), select="EH[ZN]")
    >>> dict(record.sizes), record.channel.values
    ({'channel': 2, 'time': 3000}, array(['BW.RJOB..EHZ', 'BW.RJOB..EHN'], dtype='<U12'))
    """
    if isinstance(source, obspy.Stream | obspy.Trace):
        return from_stream(_selected(plain_traces(source), select))
    paths = _paths(source)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        traces = _selected([trace for path in paths for trace in _read_file(path)], select)
    record = from_stream(traces)
    names = paths[0].name if len(paths) == 1 else f"{len(paths)} files, {paths[0].name} to {paths[-1].name}"
    record.attrs["history"] = f"read: {names}"
    told = [w for w in caught if not issubclass(w.category, DeprecationWarning | PendingDeprecationWarning)]
    if told:
        record.attrs["warnings"] = "\n".join(dict.fromkeys(_line(w.message) for w in told))
    return record


def read_stream(source: Any) -> obspy.Stream:
    """Read waveforms as they are, as an ObsPy Stream: any rates, lengths and headers, but no empty traces.

    Parameters
    ----------
    source : path, glob pattern or list of these

    Raises
    ------
    FileNotFoundError, ReadError
        As `read`.
    """
    traces = [trace for path in _paths(source) for trace in _read_file(path) if trace.stats.npts > 0]
    if not traces:
        raise ReadError(f"{source} holds no samples, only headers")
    by_rate(traces)
    return obspy.Stream(traces)


def files(source: Any) -> list[Path]:
    """Files that a path, a glob pattern or a list of these stands for; a folder for every file in it.

    Raises
    ------
    FileNotFoundError
        When there is no such file, or none that matches.
    """
    path = Path(source).expanduser() if isinstance(source, str | os.PathLike) else None
    return sorted(p for p in path.rglob("*") if p.is_file()) if path and path.is_dir() else _paths(source)


def read_traces(source: Any, length: int, channels: int = 3) -> xr.DataArray:
    """Read records of one instrument each, cut into windows: what a denoiser is trained on.

    Parameters
    ----------
    source : path, glob pattern or list of these
        A folder stands for every file in it. Each file is a record of its own.
    length : int [samples]
        Of a window. Windows follow each other; what is left of a record and windows with gaps are left out.
    channels : int
        Components to expect, ordered E, N, Z (or 2, 1, Z; T, R, Z).

    Returns
    -------
    DataArray, dims ("trace", "channel", "time")
        ``time`` in seconds from a window's start; coordinates ``start`` and ``station`` of ``trace``. The
        mean of each channel of each window is off, before single precision could lose a signal beside it.

    Raises
    ------
    ReadError
        If a file has other components, rates differ, or nothing is left.
    """
    paths = files(source)
    windows = [w for w in (_windows(read(p), p, length, channels) for p in paths) if w.sizes["trace"]]
    if not windows:
        raise ReadError(f"{source}: {len(paths)} files hold no window of {length} samples without gaps")
    rates = {sampling_rate(w) for w in windows}
    if not one_rate(rates):
        found = ", ".join(f"{rate:.12g} Hz" for rate in sorted(rates))
        raise ReadError(
            f"{source}: {len(paths)} files hold several rates: {found}; resample them to one first"
        )
    # rates that count as one may still differ in the last digits of their times
    return xr.concat([w.assign_coords(time=windows[0]["time"]) for w in windows], "trace")


def _windows(record: xr.DataArray, path: Path, length: int, channels: int) -> xr.DataArray:
    """All whole windows (trace, channel, time) of a record that have no gap."""
    if record.sizes["channel"] != channels:
        raise ReadError(
            f"{path} holds {', '.join(record.channel.values)}; wanted {channels} components of one instrument"
        )
    record = record.isel(
        channel=np.argsort([ENZ.get(c, 3) for c in record["component"].values], kind="stable")
    )
    count = record.sizes["time"] // length
    rate, starts = sampling_rate(record), record["time"].values[: count * length : length]
    values = record.values[:, : count * length].reshape(channels, count, length).swapaxes(0, 1)
    kept = np.isfinite(values).all((1, 2))
    values = values[kept].astype(float)
    values -= values[..., :1].copy()  # first, so that a constant channel gives zeros and not rounding
    values -= values.mean(-1, keepdims=True)
    return xr.DataArray(
        values.astype(np.float32),
        {
            "channel": ["E", "N", "Z"] if channels == 3 else list(record["component"].values),
            "time": ("time", np.arange(length) / rate, {"units": "s"}),
            "start": ("trace", starts[kept]),
            "station": ("trace", np.repeat(record["station"].values[:1], kept.sum())),
        },
        ("trace", "channel", "time"),
    )


def _paths(source: Any) -> list[Path]:
    """Files that a path, a pattern or a list of them stands for."""
    if isinstance(source, list | tuple):
        if not source:
            raise ReadError("the list of files is empty")
        return [path for item in source for path in _paths(item)]
    if not isinstance(source, str | os.PathLike):
        kind = type(source).__name__
        raise TypeError(f"cannot read a {kind}; give a path, a glob pattern, a list, a Stream or a Trace")
    path = Path(source).expanduser()
    if path.is_dir():
        raise ReadError(f"{source} is a folder; name the files in it: {path / '**' / '*.mseed'}")
    if path.exists():
        return [path]
    if not has_magic(str(path)):
        raise FileNotFoundError(f"no such file: {source}")
    found = [Path(name) for name in sorted(glob(str(path), recursive=True)) if os.path.isfile(name)]
    if not found:
        raise FileNotFoundError(f"no file matches {source}")
    return found


def _read_file(path: Path) -> list[obspy.Trace]:
    """Traces of one file, in its order, checked against what the file could hold."""
    if path.stat().st_size == 0:
        raise ReadError(f"{path} is empty (0 bytes)")
    traces = plain_traces(_parts(str(path), str(path)))
    for trace in traces:
        stats = trace.stats
        if stats.npts != len(trace.data):
            raise ReadError(f"{path}: {trace.id} promises {stats.npts} samples and holds {len(trace.data)}")
        if not 1678 <= stats.starttime.year < 2262:
            raise ReadError(f"{path}: {trace.id} starts in the year {stats.starttime.year}; is it damaged?")
    return traces


@uncompress_file
def _parts(filename: str, name: str) -> obspy.Stream:
    """Read a file, or each file of an archive; `name` is what the user calls it."""
    form = _format(filename)
    if form is None:
        raise ReadError(f"{name} is in no waveform format that ObsPy can read (pickles are never read)")
    try:
        # The format is always passed, or ObsPy would go looking for it and unpickle what looks like a pickle.
        return obspy.read(escape(filename), format=form, check_compression=False)
    except Exception as error:  # ObsPy's readers raise 21 kinds
        raise ReadError(f"{name} looks like {form} but cannot be read: {_line(error)}") from error


def _format(filename: str) -> str | None:
    """Name of the first format, in ObsPy's order, whose detector recognises the file; never PICKLE."""
    for form, entry in ENTRY_POINTS["waveform"].items():
        if form == "PICKLE":
            continue
        is_format = buffered_load_entry_point(entry.dist.name, f"obspy.plugin.waveform.{form}", "isFormat")
        with suppress(Exception):  # a detector that stumbles has not recognised anything
            if is_format(filename):
                return form
    return None


def _selected(traces: list[obspy.Trace], pattern: str | None) -> list[obspy.Trace]:
    if pattern is None:
        return traces
    last = pattern.count(".") + 1
    kept = [t for t in traces if fnmatchcase(".".join(t.id.split(".")[-last:]), pattern)]
    if not kept:
        raise ReadError(
            f"select={pattern!r} matches none of {', '.join(dict.fromkeys(t.id for t in traces))}"
        )
    return kept


def _line(message: Any) -> str:
    """One line of what may be many, or none."""
    return " ".join(str(message).split()) or type(message).__name__
