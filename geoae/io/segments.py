"""Segments of samples: ObsPy Streams to labelled records, and back with nothing lost.

The grid of a record is for people; beside it, as JSON in ``attrs["segments"]``, goes a table of the segments
it was laid out from, column by column, and that is what makes the way back exact.
"""

import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import obspy
import xarray as xr

from ..arrays import period_ns, sampling_rate
from .decode import ReadError, plain_traces
from .segment import Segment, Segments
from .times import time_axis

NS = 1_000_000_000
GRID_LIMIT = 2**26  # places on the grid (half a GiB); beyond it at least 1 % of them must be filled
SAME_RATE = 1e-6  # relative: what single precision makes of a rate, and no two nominal rates come closer
OVERLAPS = ("first", "last", "mean", "layers")
CODES = ("network", "station", "location", "channel")


# ---------------------------------------------------------------- streams to records


def from_stream(
    stream: obspy.Stream | obspy.Trace | Iterable[obspy.Trace], *, overlap: str | None = None
) -> xr.DataArray:
    """Lay out ObsPy traces as one record; see `read` for what it looks like and what it refuses.

    The grid begins at the earliest sample; a segment that lies between grid points goes to the nearest ones,
    half a sample away at most, and its own time is kept for the way back. Segments that overlap with equal
    values merge; for others there is `overlap`, see `read`.

    Examples
    --------
    >>> record = from_stream(obspy.read())
    >>> to_stream(record)[0].id, str(record.time.values[0])
    ('BW.RJOB..EHZ', '2009-08-24T00:20:03.000000000')
    """
    return from_segments([Segment.of(trace) for trace in plain_traces(stream)], overlap=overlap)


def from_segments(
    segments: Iterable[Segment],
    *,
    overlap: str | None = None,
    places: Sequence[int] | None = None,
    own: bool = False,
) -> xr.DataArray:
    """Lay out segments as one record.

    `places` says where they stood among others, if there were others; `own` that nobody wants the segments
    any more, so that the record may take their memory.
    """
    if overlap is not None and overlap not in OVERLAPS:
        raise ValueError(f"overlap={overlap!r} is none of {', '.join(OVERLAPS)}")
    segments = Segments.of(segments)
    places = range(len(segments)) if places is None else places
    if 0 in segments.npts:
        kept = [(segment, place) for segment, place in zip(segments, places, strict=True) if segment.npts]
        segments, places = Segments.of([segment for segment, _ in kept]), [place for _, place in kept]
    rate = common_rate(segments)
    origin, npts = min(segments.start), np.array(segments.npts)
    first = positions([start - origin for start in segments.start], rate)
    size = int((first + npts).max())
    layers = _layers(segments, first, npts) if overlap == "layers" else np.zeros(len(segments), int)
    shelves = layers.tolist()
    rows = list(dict.fromkeys(zip(segments.id, shelves, strict=True)))
    if size * len(rows) > max(GRID_LIMIT, 100 * int(npts.sum())):
        span = f"{npts.sum()} samples lie on a grid of {len(rows)} x {size}"
        raise ReadError(f"{span}: is a date wrong? Read the pieces one by one, or choose with select=")
    # Values, labels, times and table are made from the same list of segments, in the same order.
    row_of = {key: row for row, key in enumerate(rows)}
    row = np.array([row_of[key] for key in zip(segments.id, shelves, strict=True)])
    values = _grid(segments, row, first, npts, origin, rate, (len(rows), size), overlap, own)
    record = xr.DataArray(
        values,
        time_axis(origin, size, rate),
        ("channel", "time"),
        attrs={"segments": json.dumps(segment_table(segments, layers, places, rate))},
    ).assign_coords(labels(segments, row))
    return record.assign_coords(layer=("channel", [layer for _, layer in rows])) if layers.any() else record


def positions(offsets: Sequence[int], rate: float) -> np.ndarray:
    """Places on the grid nearest to offsets in ns from its first sample."""
    period = period_ns(rate)
    p, q = period.numerator, period.denominator
    if 2 * q * max(map(abs, offsets), default=0) + 2 * p < 2**62:
        return (2 * q * np.array(offsets, np.int64) + p) // (2 * p)
    return np.array([(2 * q * offset + p) // (2 * p) for offset in offsets])


def by_rate(segments: Iterable[Any]) -> dict[float, list[Any]]:
    """Segments by sampling rate, all of which make sense; rates that differ by rounding are one."""
    segments = list(segments)
    nominal = _nominal_rates(segments)
    groups: dict[float, list] = {rate: [] for rate in nominal.values()}
    for segment in segments:
        groups[nominal[segment.rate]].append(segment)
    return groups


def _nominal_rates(segments: Any) -> dict[float, float]:
    """Each rate that occurs, in ascending order, and the lowest that is the same but for rounding."""
    ids, rates, dtypes = (column(segments, name) for name in ("id", "rate", "dtype"))
    if not rates:
        raise ReadError("there are no samples")
    for rate in dict.fromkeys(rates):
        if not 0 < rate < np.inf:
            who = ids[rates.index(rate)]
            raise ReadError(f"{who} has a sampling rate of {rate:g} Hz; leave it out with select=")
    for dtype in dict.fromkeys(dtypes):
        if dtype.kind not in "iuf":
            who = ids[dtypes.index(dtype)]
            raise ReadError(f"{who} holds {dtype}, not numbers; leave it out with select=")
    nominal: dict[float, float] = {}
    last = 0.0
    for rate in sorted(set(rates)):
        last = rate if rate > last * (1 + SAME_RATE) else last
        nominal[rate] = last
    return nominal


def common_rate(segments: Any) -> float:
    """The rate of most samples, if the others are the same but for rounding."""
    nominal = _nominal_rates(segments)
    rates = column(segments, "rate")
    if len(set(nominal.values())) > 1:
        ids: dict[float, dict[str, None]] = {rate: {} for rate in dict.fromkeys(rates)}
        for seed_id, rate in zip(column(segments, "id"), rates, strict=True):
            ids[rate][seed_id] = None
        found = ", ".join(f"{rate:.12g} Hz ({', '.join(names)})" for rate, names in ids.items())
        raise ReadError(
            f"several sampling rates: {found}; choose one with select=, or read each with geoae.read_tree"
        )
    samples = dict.fromkeys(nominal, 0)
    if len(samples) > 1:
        for rate, npts in zip(rates, column(segments, "npts"), strict=True):
            samples[rate] += npts
    return max(samples, key=samples.__getitem__)


def column(segments: Any, name: str) -> list[Any]:
    """One field of all segments, whether these are columns or come one by one."""
    if isinstance(segments, Segments):
        return getattr(segments, name)
    return [getattr(segment, name) for segment in segments]


def one_rate(rates: Iterable[float]) -> bool:
    """Whether rates are one but for rounding."""
    rates = list(rates)
    return max(rates) <= min(rates) * (1 + SAME_RATE)


def _layers(segments: Segments, first: np.ndarray, npts: np.ndarray) -> np.ndarray:
    """Give each segment the first layer of its id in which it overlaps none that was laid before."""
    layers = np.zeros(len(segments), int)
    held: dict[str, list[list[tuple[int, int]]]] = {}
    for i, seed_id in enumerate(segments.id):
        a, b = int(first[i]), int(first[i] + npts[i])
        shelves = held.setdefault(seed_id, [])
        free = (n for n, shelf in enumerate(shelves) if all(b <= c or d <= a for c, d in shelf))
        layer = next(free, len(shelves))
        if layer == len(shelves):
            shelves.append([])
        shelves[layer].append((a, b))
        layers[i] = layer
    return layers


def _grid(
    segments: Segments,
    row: np.ndarray,
    first: np.ndarray,
    npts: np.ndarray,
    origin: int,
    rate: float,
    shape: tuple[int, int],
    overlap: str | None,
    own: bool,
) -> np.ndarray:
    """Values on the common grid, NaN where nothing is."""
    rows, size = shape
    end = first + npts
    order = np.lexsort((first, row))
    empty, clash = holes(row[order], first[order], end[order], rows, size)
    dtype = grid_dtype(set(segments.dtype), empty.size > 0)
    if overlap == "mean" and clash:
        return _mean(segments.data, row, first, shape)
    begin = row * size + first
    values = None
    if own and not clash and (np.diff(begin) > 0).all():
        values = _in_own_memory(segments.data, begin, npts, shape, dtype)
    if values is None:
        values = np.empty(shape, dtype)
        known = np.zeros(shape, bool) if clash and overlap is None else None
        turns = range(len(segments) - 1, -1, -1) if overlap == "first" else range(len(segments))
        for i in turns:
            piece, data = (row[i], slice(first[i], end[i])), segments.data[i]
            if known is not None:
                start = origin + int(first[i]) * period_ns(rate)
                agree(segments.id[i], values[piece], data, known[piece], start, rate)
                known[piece] = True
            values[piece] = data
    flat = values.reshape(-1)
    for a, b in zip(*(empty[0] * size + empty[1:]).tolist(), strict=True):
        flat[a:b] = np.nan
    return values


def _in_own_memory(
    pieces: list[np.ndarray], begin: np.ndarray, npts: np.ndarray, shape: tuple[int, int], dtype: np.dtype
) -> np.ndarray | None:
    """The grid in the memory that the pieces fill one after the other in its order; None if they do not.

    `begin` says where each begins on the grid, row by row. What is between them is left as it was.
    """
    block = pieces[0] if pieces[0].base is None else pieces[0].base
    need = shape[0] * shape[1] * dtype.itemsize
    if not isinstance(block, np.ndarray) or not need <= block.nbytes <= 4 * need:
        return None
    if block.ndim > 1 or not (block.flags.c_contiguous and block.flags.writeable and block.dtype.isnative):
        return None
    if pieces[0] is not block and any(data.base is not block for data in pieces):
        return None
    held = np.cumsum(npts) * block.itemsize
    for i in np.flatnonzero(np.diff(begin // shape[1], append=shape[0])).tolist():  # each row ends there
        data = pieces[i]
        if (data.dtype, data.strides) != (block.dtype, block.strides):
            return None
        if data.ctypes.data + data.nbytes != block.ctypes.data + held[i]:
            return None
    values = block.reshape(-1).view(np.uint8)[:need].view(dtype)
    # On the grid each begins no earlier than in the block, and needs no less memory. So none is written over
    # before it is read if the last comes first; NumPy does not see that some are written over themselves.
    to = begin * dtype.itemsize
    if to[-1] > held[-1] - pieces[-1].nbytes:
        columns = begin.tolist(), (begin + npts).tolist(), (to < held).tolist(), pieces
        for a, b, inside, data in zip(*map(reversed, columns), strict=True):
            values[a:b] = data.copy() if inside else data
    return values.reshape(shape)


def grid_dtype(dtypes: Iterable[np.dtype], gaps: bool) -> np.dtype:
    """Dtype that holds all values, and NaN where there are gaps."""
    dtype = np.result_type(*dtypes)
    return dtype if not gaps or dtype.kind == "f" else np.dtype("f4" if dtype.itemsize <= 2 else "f8")


def holes(
    row: np.ndarray, first: np.ndarray, end: np.ndarray, rows: int, size: int
) -> tuple[np.ndarray, bool]:
    """Rows, begins and ends of what no segment covers, and whether any two segments overlap; both sorted."""
    reach = np.maximum.accumulate(end + row * size) - row * size
    begins = np.flatnonzero(np.diff(row, prepend=-1))
    before = np.concatenate([[0], reach[:-1]])
    before[begins] = 0
    clash = bool((first < before).any())
    inside = first > before
    ends = np.append(begins[1:], len(row)) - 1
    short = ends[reach[ends] < size]
    found = (
        [row[inside], before[inside], first[inside]],
        [row[short], reach[short], np.full(len(short), size)],
    )
    return np.concatenate(found, axis=1), clash


def agree(
    seed_id: str, old: np.ndarray, new: np.ndarray, known: np.ndarray, start: Fraction, rate: float
) -> None:
    """Refuse values that contradict what is known; `start` [ns] is where they begin."""
    differs = known & (old != new) & ((old == old) | (new == new))  # NaN equals NaN
    if differs.any():
        when = np.datetime64(round(start + int(np.argmax(differs)) * period_ns(rate)), "ns")
        why = "recordings that contradict each other, or a gather of many traces under one id"
        raise ReadError(f"{seed_id} has two values at {when}: {why}; say which with overlap={OVERLAPS}")


def _mean(pieces: list[np.ndarray], row: np.ndarray, first: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    total, count = np.zeros(shape), np.zeros(shape, np.int32)
    for i, data in enumerate(pieces):
        piece = (row[i], slice(first[i], first[i] + len(data)))
        total[piece] += data
        count[piece] += 1
    with np.errstate(invalid="ignore"):
        return total / count


def labels(segments: Any, row: np.ndarray) -> dict[str, Any]:
    """Coordinates of the rows, from the first segment of each."""
    some = np.unique(row, return_index=True)[1].tolist()
    ids, headers = ([column(segments, name)[i] for i in some] for name in ("id", "header"))
    codes = [[str(header.get(name, "")) for header in headers] for name in CODES]
    return {
        "channel": ids,
        "network": ("channel", codes[0]),
        "station": ("channel", codes[1]),
        "location": ("channel", codes[2]),
        "code": ("channel", codes[3]),
        "component": ("channel", [code[-1:] for code in codes[3]]),
    }


# ---------------------------------------------------------------- the table


def segment_table(segments: Any, layers: np.ndarray, places: Sequence[int], rate: float) -> dict[str, Any]:
    """Describe the segments by columns; where all values of one are the same it stands there once."""
    own, dtypes = column(segments, "header"), column(segments, "dtype")
    # By identity first: thousands of segments of a file can share one header.
    shared = {id(header): header for header in own}
    words = {key: json.dumps(header) for key, header in shared.items()}
    headers = {word: shared[key] for key, word in words.items()}
    number = {word: i for i, word in enumerate(headers)}
    names = {dtype: dtype.str for dtype in set(dtypes)}
    columns = {
        "id": column(segments, "id"),
        "layer": layers.tolist(),
        "place": list(places),
        "start": column(segments, "start"),
        "npts": column(segments, "npts"),
        "rate": column(segments, "rate"),
        "dtype": [names[dtype] for dtype in dtypes],
        "nan": column(segments, "holds_nan"),  # if so, NaN does not mean a gap here
        "header": [number[words[id(header)]] for header in own],
    }
    short = {name: x[:1] if x.count(x[0]) == len(x) else x for name, x in columns.items()}
    return {"grid": rate, **short, "headers": list(headers.values())}


def table_rows(record: xr.DataArray) -> list[dict[str, Any]]:
    """Segments that a record was laid out from, one dict each; none if it was not."""
    table = json.loads(record.attrs.get("segments", "{}"))
    columns = {name: x for name, x in table.items() if isinstance(x, list) and name != "headers"}
    count = max(map(len, columns.values()), default=0)
    full = [x if len(x) == count else x * count for x in columns.values()]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*full, strict=True)]
    return [{**row, "grid": table["grid"], "header": table["headers"][row["header"]]} for row in rows]


# ---------------------------------------------------------------- records to streams


def to_stream(record: xr.DataArray | xr.DataTree) -> obspy.Stream:
    """Turn a record into an ObsPy Stream.

    A record that was read comes back as it was: ids, start times to the nanosecond, lengths, dtypes, values
    and headers, segment by segment. After cropping, what is left of each segment comes back. Where values
    were changed to fractions, integers stay floats; where a segment now holds NaN it is split there.
    A record without a segment table gives one trace for each run without NaN, its time from the ``time``
    coordinate (numbers are seconds since 1970), its id from the coordinates of ``channel``. A gather is a
    record along ``trace``; of a tree of records all come back, in the order of the file. What was done since,
    by ``attrs["history"]``, is added to ``stats.processing``.

    Examples
    --------
    >>> record = from_stream(obspy.read())
    >>> print(to_stream(record.isel(channel=[0], time=slice(100, 200))))
    1 Trace(s) in Stream:
    BW.RJOB..EHZ | 2009-08-24T00:20:04.000000Z - 2009-08-24T00:20:04.990000Z | 100.0 Hz, 100 samples
    """
    records = [record]
    if isinstance(record, xr.DataTree):
        records = [da for node in record.subtree for da in node.data_vars.values() if "time" in da.dims]
    pieces = [(place, segment, _done(one)) for one in records for place, segment in _segments(one)]
    stream = obspy.Stream()
    for _, segment, done in sorted(pieces, key=lambda piece: piece[0]):
        stream.append(segment.trace())
        if done:
            stream[-1].stats.processing = [*stream[-1].stats.get("processing", []), *done]
    return stream


def _done(record: Any) -> list[str]:
    """What was done with a record since it was read."""
    lines = str(record.attrs.get("history", "")).splitlines()
    return [line for line in lines if not line.startswith("read: ")]


def _segments(record: Any) -> list[tuple[int, Segment]]:
    """Place in the file and what is left of each segment of a record."""
    rows = next((d for d in ("channel", "trace") if d in getattr(record, "dims", ())), "channel")
    if not isinstance(record, xr.DataArray) or not {"time"} <= set(record.dims) <= {rows, "time"}:
        found = getattr(record, "dims", type(record).__name__)
        raise ValueError(f"a record is a DataArray with dims ('channel', 'time'), found {found}")
    record = (record if rows in record.dims else record.expand_dims(rows)).transpose(rows, "time")
    if record.size == 0:
        raise ValueError("the record holds no samples")
    count = record.sizes[rows]
    names = record["id"] if "id" in record.coords else record.coords.get(rows, np.repeat("", count))
    ids = [str(name) for name in np.broadcast_to(np.asarray(names), count)]
    layers = np.broadcast_to(record.coords.get("layer", np.zeros((), int)), count).tolist()
    keys = list(zip(ids, layers, strict=True))
    table = table_rows(record)
    if not set(keys) <= {(segment["id"], segment["layer"]) for segment in table}:
        table = [_bare_segment(record, row, seed_id, rows) for row, seed_id in enumerate(ids)]
        keys = [(seed_id, row) for row, seed_id in enumerate(ids)]
    found, own = [], []
    where = {key: row for row, key in enumerate(keys)}
    values, time = record.values, record["time"].values
    even = _even_rate(record, table[0]["grid"])
    for segment in table:
        key = segment["id"], segment["layer"]
        if key in where:
            for start, rate, piece in _pieces(values[where[key]], time, segment, even):
                found.append((segment["place"], segment["id"], start, rate, piece, segment["header"]))
                own.append((piece, np.dtype(segment["dtype"])))
    data = _in_own_dtype(own)
    return [(place, Segment(i, s, r, x, h)) for (place, i, s, r, _, h), x in zip(found, data, strict=True)]


def _bare_segment(record: xr.DataArray, row: int, seed_id: str, rows: str) -> dict[str, Any]:
    """Describe a row of a record that has no segment table, from its coordinates."""
    parts = seed_id.split(".")
    codes = parts if len(parts) == 4 else ["", "", "", seed_id]
    header = dict(zip(CODES, codes, strict=True))
    for name, coord in (("network",) * 2, ("station",) * 2, ("location",) * 2, ("channel", "code")):
        if coord in record.coords:
            header[name] = str(np.broadcast_to(record[coord].values, record.sizes[rows])[row])
    rate = sampling_rate(record)
    start, npts = _ns(record["time"].values[0]), record.sizes["time"]
    origin = 0
    if "start" in record.coords and record["time"].dtype.kind != "M":
        origin = _ns(np.broadcast_to(record["start"].values, record.sizes[rows])[row])
    return {
        "id": seed_id,
        "layer": row,
        "place": row,
        "origin": origin,
        "start": start + origin,
        "npts": npts,
        "rate": rate,
        "grid": rate,
        "dtype": record.dtype.str,
        "nan": False,
        "header": header,
    }


def _even_rate(record: xr.DataArray, grid: float) -> float | None:
    """The rate that a record has been resampled to, None if it still has that of its grid."""
    time = record["time"].values
    if len(time) > 1 and abs((len(time) - 1) * period_ns(grid) - (_ns(time[-1]) - _ns(time[0]))) > 2:
        return sampling_rate(record)
    return None


def _pieces(
    row: np.ndarray, time: np.ndarray, segment: dict, resampled: float | None
) -> Iterable[tuple[int, float, np.ndarray]]:
    """Start [ns], rate and values of what a row of a record still holds of a segment."""
    rate, grid, npts = segment["rate"], segment["grid"], segment["npts"]
    if resampled is not None:
        npts = max(1, round(npts * Fraction(resampled) / Fraction(rate)))
        rate = grid = resampled
    origin = segment.get("origin", 0) + _ns(time[0])  # of a gather, whose times count from each trace's own
    first = int(positions([segment["start"] - origin], grid)[0])  # where it lies; its own period says when
    begin, end = max(first, 0), min(first + npts, len(time))
    values = row[begin:end]
    period = period_ns(rate)
    known = np.ones(len(values), bool) if segment["nan"] else ~np.isnan(values)
    for a, b in _runs(known):
        yield segment["start"] + round((begin + a - first) * period), rate, values[a:b].copy()


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
