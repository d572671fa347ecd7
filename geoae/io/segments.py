"""Segments of samples: ObsPy Streams to labelled records, and back with nothing lost.

The grid of a record is for people; beside it, as JSON in ``attrs["segments"]``, goes a table of the segments
it was laid out from, and that is what makes the way back exact.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from typing import Any

import numpy as np
import obspy
import xarray as xr

from ..arrays import period_ns, sample_times, sampling_rate

NS = 1_000_000_000
LIMIT = 2**26  # places on the grid (half a GiB); beyond it at least 1 % of them must be filled
REBUILT = {"sampling_rate", "delta", "starttime", "endtime", "npts", "response"}  # not kept in a header
SAME_RATE = 1e-6  # relative: what single precision makes of a rate, and no two nominal rates come closer


class ReadError(ValueError):
    """Data that is there but cannot be read as a record."""


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
    traces = [trace for trace in plain_traces(stream) if trace.stats.npts > 0]
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


def plain_traces(stream: Any) -> list[obspy.Trace]:
    """Plain traces of a Stream, a Trace or several; masked ones fall into the pieces between their gaps."""
    traces = [stream] if isinstance(stream, obspy.Trace) else list(stream)
    return [piece for t in traces for piece in (t.split() if np.ma.isMaskedArray(t.data) else [t])]


def by_rate(traces: list[obspy.Trace]) -> dict[float, list[str]]:
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
    rates = by_rate(traces)
    if not one_rate(rates):
        found = ", ".join(f"{rate:.12g} Hz ({', '.join(dict.fromkeys(ids))})" for rate, ids in rates.items())
        raise ReadError(f"several sampling rates: {found}; choose one with select=")
    samples = dict.fromkeys(rates, 0)
    for trace in traces:
        samples[float(trace.stats.sampling_rate)] += trace.stats.npts
    return max(samples, key=samples.__getitem__)


def one_rate(rates: Iterable[float]) -> bool:
    """Whether rates are one but for rounding."""
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
