"""Waveform files and ObsPy Streams to labelled records, and back with nothing lost.

A record is a DataArray of dims ("channel", "time"): SEED ids, times in whole nanoseconds, NaN where there is
nothing. The grid is for people; beside it, as JSON in ``attrs["segments"]``, goes a table of the segments it
was laid out from, and that is what makes the way back exact.
"""

import json
import os
import warnings
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatchcase
from fractions import Fraction
from glob import escape, glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np
import obspy
import xarray as xr
from obspy.core.util.base import ENTRY_POINTS
from obspy.core.util.decorator import uncompress_file
from obspy.core.util.misc import buffered_load_entry_point

from .arrays import period_ns, sample_times, sampling_rate
from .files import whole

NS = 1_000_000_000
LIMIT = 2**26  # places on the grid (half a GiB); beyond it at least 1 % of them must be filled
SUFFIXES = {".mseed": "MSEED", ".miniseed": "MSEED", ".ms": "MSEED", ".sac": "SAC"}
REBUILT = {"sampling_rate", "delta", "starttime", "endtime", "npts", "response"}  # not kept in a header
ENZ = {"E": 0, "2": 0, "T": 0, "N": 1, "1": 1, "R": 1, "Z": 2, "3": 2}  # the order of components in a window
SAME_RATE = 1e-6  # relative: what single precision makes of a rate, and no two nominal rates come closer
STEIM2_STEP = 2**29  # largest difference of neighbours that Steim-2 can hold


class ReadError(ValueError):
    """Data that is there but cannot be read as a record."""


# ---------------------------------------------------------------- files


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
        return from_stream(_selected(_traces(source), select))
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
    _by_rate(traces)
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
    if not _one_rate(rates):
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
    traces = _traces(_parts(str(path), str(path)))
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


# ---------------------------------------------------------------- streams to records


def from_stream(stream: obspy.Stream | obspy.Trace | Iterable[obspy.Trace]) -> xr.DataArray:
    """Lay out ObsPy traces as one record; see `read` for what it looks like and what it refuses.

    The grid begins at the earliest sample; a segment that lies between grid points goes to the nearest ones,
    and its own time is kept for the way back. Segments that overlap with equal values merge.

    Examples
    --------
    >>> record = from_stream(obspy.read())
    >>> to_stream(record)[0].id, str(record.time.values[0])
    ('BW.RJOB..EHZ', '2009-08-24T00:20:03.000000000')
    """
    traces = [trace for trace in _traces(stream) if trace.stats.npts > 0]
    rate = _common_rate(traces)
    period = period_ns(rate)
    origin = min(trace.stats.starttime.ns for trace in traces)
    first = [round((trace.stats.starttime.ns - origin) / period) for trace in traces]
    size = max(i + trace.stats.npts for i, trace in zip(first, traces, strict=True))
    stats = {trace.id: trace.stats for trace in reversed(traces)}
    ids = list(dict.fromkeys(trace.id for trace in traces))
    held = sum(trace.stats.npts for trace in traces)
    if size * len(ids) > max(LIMIT, 100 * held):
        span = f"{held} samples lie on a grid of {len(ids)} x {size}"
        raise ReadError(f"{span}: is a date wrong? Read the pieces one by one, or choose with select=")
    # Values, labels, times and table are made from the same list of traces, in the same order.
    time = sample_times(np.datetime64(origin, "ns"), size, rate)
    values = _grid(traces, first, ids, time)
    coords = {
        "network": ("channel", [stats[seed_id].network for seed_id in ids]),
        "station": ("channel", [stats[seed_id].station for seed_id in ids]),
        "location": ("channel", [stats[seed_id].location for seed_id in ids]),
        "code": ("channel", [stats[seed_id].channel for seed_id in ids]),
        "component": ("channel", [stats[seed_id].channel[-1:] for seed_id in ids]),
    }
    return xr.DataArray(
        values,
        {"channel": ids, "time": time, **coords},
        ("channel", "time"),
        attrs={"segments": json.dumps([{**_segment(trace), "grid": rate} for trace in traces])},
    )


def _traces(stream: Any) -> list[obspy.Trace]:
    """Plain traces of a Stream, a Trace or several; masked ones fall into the pieces between their gaps."""
    traces = [stream] if isinstance(stream, obspy.Trace) else list(stream)
    return [piece for t in traces for piece in (t.split() if np.ma.isMaskedArray(t.data) else [t])]


def _by_rate(traces: list[obspy.Trace]) -> dict[float, list[str]]:
    """Ids by sampling rate, all of which make sense."""
    rates: dict[float, list[str]] = {}
    for trace in traces:
        rate = float(trace.stats.sampling_rate)
        if not (np.isfinite(rate) and rate > 0):
            raise ReadError(f"{trace.id} has a sampling rate of {rate:g} Hz; leave it out with select=")
        if trace.data.dtype.kind not in "iuf":
            raise ReadError(f"{trace.id} holds {trace.data.dtype}, not numbers; leave it out with select=")
        rates.setdefault(rate, []).append(trace.id)
    if not rates:
        raise ReadError("there are no samples")
    return rates


def _common_rate(traces: list[obspy.Trace]) -> float:
    """The rate of most samples, if the others are the same but for rounding."""
    rates = _by_rate(traces)
    if not _one_rate(rates):
        found = ", ".join(f"{rate:.12g} Hz ({', '.join(dict.fromkeys(ids))})" for rate, ids in rates.items())
        raise ReadError(f"several sampling rates: {found}; choose one with select=")
    samples = dict.fromkeys(rates, 0)
    for trace in traces:
        samples[float(trace.stats.sampling_rate)] += trace.stats.npts
    return max(samples, key=samples.__getitem__)


def _one_rate(rates: Iterable[float]) -> bool:
    rates = list(rates)
    return max(rates) <= min(rates) * (1 + SAME_RATE)


def _grid(traces: list[obspy.Trace], first: list[int], ids: list[str], time: np.ndarray) -> np.ndarray:
    """Values on the common grid, NaN where nothing is."""
    dtype = np.result_type(*(trace.data.dtype for trace in traces)).newbyteorder("=")
    values = np.zeros((len(ids), len(time)), dtype)
    known = np.zeros(values.shape, bool)
    for trace, start in zip(traces, first, strict=True):
        piece = (ids.index(trace.id), slice(start, start + trace.stats.npts))
        old, new = values[piece], trace.data
        differs = known[piece] & (old != new) & ((old == old) | (new == new))  # NaN equals NaN
        if differs.any():
            when = time[start + int(np.argmax(differs))]
            why = "recordings that contradict each other, or a gather of many traces under one id"
            raise ReadError(f"{trace.id} has two values at {when}: {why}")
        values[piece] = trace.data
        known[piece] = True
    if known.all():
        return values
    if dtype.kind != "f":
        values = values.astype(np.float32 if dtype.itemsize <= 2 else np.float64)
    values[~known] = np.nan
    return values


def _segment(trace: obspy.Trace) -> dict[str, Any]:
    """One line of the segment table."""
    stats = trace.stats
    header = {}
    for name in stats.keys() - REBUILT:
        with suppress(TypeError):  # no JSON for it: a parsed binary header
            header[name] = json.loads(json.dumps(stats[name], default=_to_json))
    return {
        "id": trace.id,
        "start": stats.starttime.ns,
        "npts": int(stats.npts),
        "rate": float(stats.sampling_rate),
        "dtype": trace.data.dtype.newbyteorder("=").str,
        "nan": bool(np.isnan(trace.data).any()),  # if so, NaN does not mean a gap here
        "header": header,
    }


def _to_json(value: Any) -> Any:
    """Spell what JSON has no word for."""
    if isinstance(value, obspy.UTCDateTime):
        return {"__time__": value.ns}
    if isinstance(value, bytes):
        return {"__bytes__": value.decode("latin1")}
    if isinstance(value, complex):
        return {"__complex__": [value.real, value.imag]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"__array__": value.tolist(), "dtype": value.dtype.str}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, obspy.core.AttribDict):
        return dict(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def _from_json(value: Any) -> Any:
    """Undo `_to_json`."""
    if isinstance(value, list):
        return [_from_json(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "__time__" in value:
        return obspy.UTCDateTime(ns=value["__time__"])
    if "__bytes__" in value:
        return value["__bytes__"].encode("latin1")
    if "__complex__" in value:
        return complex(*value["__complex__"])
    if "__array__" in value:
        return np.array(value["__array__"], dtype=value["dtype"])
    return obspy.core.AttribDict({name: _from_json(v) for name, v in value.items()})


# ---------------------------------------------------------------- records to streams


def to_stream(record: xr.DataArray) -> obspy.Stream:
    """Turn a record into an ObsPy Stream.

    A record that was read comes back as it was: ids, start times to the nanosecond, lengths, dtypes, values
    and headers, segment by segment. After cropping, what is left of each segment comes back. Where values
    were changed to fractions, integers stay floats; where a segment now holds NaN it is split there.
    A record without a segment table gives one trace for each run without NaN, its time from the ``time``
    coordinate (numbers are seconds since 1970), its id from the coordinates of ``channel``.

    Examples
    --------
    >>> record = from_stream(obspy.read())
    >>> print(to_stream(record.isel(channel=[0], time=slice(100, 200))))
    1 Trace(s) in Stream:
    BW.RJOB..EHZ | 2009-08-24T00:20:04.000000Z - 2009-08-24T00:20:04.990000Z | 100.0 Hz, 100 samples
    """
    if not isinstance(record, xr.DataArray) or not {"time"} <= set(record.dims) <= {"channel", "time"}:
        found = getattr(record, "dims", type(record).__name__)
        raise ValueError(f"a record is a DataArray with dims ('channel', 'time'), found {found}")
    if "channel" not in record.dims:
        record = record.expand_dims("channel")
    record = record.transpose("channel", "time")
    if record.size == 0:
        raise ValueError("the record holds no samples")
    ids = [str(name) for name in record["channel"].values] if "channel" in record.coords else [""]
    table = json.loads(record.attrs.get("segments", "[]"))
    if not set(ids) <= {segment["id"] for segment in table}:
        table = [_bare_segment(record, row, seed_id) for row, seed_id in enumerate(ids)]
    values, headers = [], []
    for segment in table:
        if segment["id"] in ids:
            row = record.isel(channel=ids.index(segment["id"]))
            for start, rate, piece in _pieces(row, segment):
                values.append((piece, np.dtype(segment["dtype"])))
                headers.append({**segment["header"], "starttime": {"__time__": start}, "sampling_rate": rate})
    data = _in_own_dtype(values)
    traces = [obspy.Trace(x, header=_from_json(h)) for x, h in zip(data, headers, strict=True)]
    return obspy.Stream(traces)


def _bare_segment(record: xr.DataArray, row: int, seed_id: str) -> dict[str, Any]:
    """Describe a channel of a record that has no segment table, from its coordinates."""
    parts = seed_id.split(".")
    codes = parts if len(parts) == 4 else ["", "", "", seed_id]
    header = dict(zip(("network", "station", "location", "channel"), codes, strict=True))
    for name, coord in (("network",) * 2, ("station",) * 2, ("location",) * 2, ("channel", "code")):
        if coord in record.coords:
            header[name] = str(np.broadcast_to(record[coord].values, record.sizes["channel"])[row])
    rate = sampling_rate(record)
    start, npts = _ns(record["time"].values[0]), record.sizes["time"]
    return {
        "id": seed_id,
        "start": start,
        "npts": npts,
        "rate": rate,
        "dtype": record.dtype.str,
        "nan": False,
        "header": header,
    }


def _pieces(row: xr.DataArray, segment: dict) -> Iterable[tuple[int, float, np.ndarray]]:
    """Start [ns], rate and values of what a channel still holds of a segment."""
    time = row["time"].values
    rate, grid, origin = segment["rate"], segment.get("grid", segment["rate"]), _ns(time[0])
    npts = segment["npts"]
    if len(time) > 1 and abs((len(time) - 1) * period_ns(grid) - (_ns(time[-1]) - origin)) > 2:
        rate = grid = sampling_rate(row)  # resampled meanwhile
        npts = max(1, round(npts * Fraction(rate) / Fraction(segment["rate"])))
    period = period_ns(rate)
    first = round((segment["start"] - origin) / period_ns(grid))  # where it lies; its own period says when
    begin, end = max(first, 0), min(first + npts, len(time))
    values = row.values[begin:end]
    known = np.ones(len(values), bool) if segment["nan"] else ~np.isnan(values)
    for a, b in _runs(known):
        start = segment["start"] + round((begin + a - first) * period)
        yield start, rate, values[a:b].copy()


def _runs(known: np.ndarray) -> list[tuple[int, int]]:
    """Begin and end of each run of True."""
    edges = np.flatnonzero(np.diff(known, prepend=False, append=False)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _in_own_dtype(values: list[tuple[np.ndarray, np.dtype]]) -> list[np.ndarray]:
    """Values in the dtypes of their segments, if that changes none of them; else all as they are."""
    with np.errstate(invalid="ignore", over="ignore"):
        own = [x.astype(dtype) for x, dtype in values]
    same = all(((x == y) | (x != x)).all() for (x, _), y in zip(values, own, strict=True))
    return own if same else [x for x, _ in values]


def _ns(moment: Any) -> int:
    """Nanoseconds since 1970, of a datetime or of seconds since then."""
    if isinstance(moment, np.datetime64):
        return moment.astype("datetime64[ns]").astype(np.int64).item()
    return round(float(moment) * NS)


# ---------------------------------------------------------------- writing


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
    ...     print(path.name, read(path).sizes["channel"])
    event.mseed 3
    """
    path = Path(path).expanduser()
    traces = _traces(to_stream(data) if isinstance(data, xr.DataArray) else data)
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
