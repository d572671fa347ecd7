"""Records whose samples are read when they are looked at, and no more of them than that."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from ..arrays import period_ns
from .decode import decode
from .formats import detect
from .hearing import ReadError
from .records import Records, records
from .segment import Segment
from .segments import GRID_LIMIT, agree, common_rate, grid_dtype, holes, labels, positions, segment_table
from .times import time_axis

CHUNK = 3600  # s of a channel that dask takes at a time


@dataclass(frozen=True, eq=False)
class Span:
    """A segment that is still in its file: all of `Segment` but its samples."""

    id: str
    start: int  # ns since 1970
    rate: float
    npts: int
    dtype: np.dtype
    header: dict
    path: Path
    number: int  # of the segment in the file
    table: Records | None = None  # MiniSEED: which records hold it
    some: np.ndarray | None = None
    holds_nan: bool = False

    def read(self, a: int, b: int) -> np.ndarray:
        """Samples a to b."""
        if self.table is None or self.some is None:
            return _segments(self.path, self.path.stat().st_mtime_ns)[self.number].data[a:b]
        ends = np.cumsum(self.table.npts[self.some])
        first, last = np.searchsorted(ends, [a, b - 1], side="right")
        before = int(ends[first - 1]) if first else 0
        return self.table.data(self.some[first : last + 1])[a - before : b - before]


@lru_cache(maxsize=2)
def _segments(path: Path, _: int) -> list[Segment]:
    """All of a file in a format that has no way to read a part of it."""
    return [segment for segment in decode(path).segments if len(segment.data)]


def spans(path: Path) -> list[Span]:
    """What a file holds, without its samples where the format allows that."""
    found = _unread(path)
    if found is None:
        whole = _segments(path, path.stat().st_mtime_ns)
        return [
            Span(s.id, s.start, s.rate, s.npts, s.dtype, s.header, path, i, holds_nan=s.holds_nan)
            for i, s in enumerate(whole)
        ]
    return found


def held(path: Path, lazy: bool = True, told: list[str] | None = None) -> Sequence[Span | Segment]:
    """What a file holds, without its samples if `lazy` and where the format allows that, else with them.

    `told` gets what the reader of the samples warned of.
    """
    found = _unread(path) if lazy else None
    if found is not None:
        return found
    whole = decode(path)
    if told is not None:
        told += whole.warnings
    return [segment for segment in whole.segments if len(segment.data)]


def _unread(path: Path) -> list[Span] | None:
    """Spans of a file whose parts can be read by themselves; None if it is none."""
    table = records(path) if path.stat().st_size and detect(path) == "MSEED" else None
    if table is None:
        return None
    order, begins = table.runs()
    found = []
    for number, some in enumerate(np.split(order, begins[1:]) if len(order) else ()):
        i, first = int(table.id[some[0]]), some[0]
        npts, start, rate = int(table.npts[some].sum()), int(table.start[first]), float(table.rate[first])
        found.append(
            Span(table.ids[i], start, rate, npts, table.dtype, table.header[i], path, number, table, some)
        )
    return found


def lazy_record(found: Sequence[Span], places: Sequence[int] | None = None) -> xr.DataArray:
    """Lay out spans as one record, dims ("channel", "time"), in dask chunks if dask is there."""
    found = list(found)
    rate = common_rate(found)
    origin = min(span.start for span in found)
    first = positions([span.start - origin for span in found], rate)
    npts = np.array([span.npts for span in found])
    size, ids = int((first + npts).max()), list(dict.fromkeys(span.id for span in found))
    if size * len(ids) > max(GRID_LIMIT, 100 * int(npts.sum())):
        raise ReadError(f"{npts.sum()} samples lie on a grid of {len(ids)} x {size}: is a date wrong?")
    row_of = {name: i for i, name in enumerate(ids)}
    row = np.array([row_of[span.id] for span in found])
    order = np.lexsort((first, row))
    empty, _ = holes(row[order], first[order], (first + npts)[order], len(ids), size)
    dtype = grid_dtype({span.dtype for span in found}, empty.size > 0)
    grid = Grid(found, row, first, origin, rate, (len(ids), size), dtype)
    chunks = {"channel": 1, "time": max(1, min(size, int(CHUNK * rate)))}
    table = segment_table(found, np.zeros(len(found), int), places or range(len(found)), rate)
    variable = xr.Variable(
        ("channel", "time"), indexing.LazilyIndexedArray(grid), {"segments": json.dumps(table)}
    )
    variable.encoding["preferred_chunks"] = chunks
    coords = time_axis(origin, size, rate).assign(xr.Dataset(coords=labels(found, row)).coords)
    record = xr.Dataset({"waveform": variable}, coords)["waveform"]
    record.name = None
    return record


class Grid(BackendArray):
    """Samples on the grid, read span by span; where two overlap they must agree."""

    def __init__(
        self,
        found: Sequence[Span],
        row: np.ndarray,
        first: np.ndarray,
        origin: int,
        rate: float,
        shape: tuple[int, int],
        dtype: np.dtype,
    ) -> None:
        self.found, self.row, self.first, self.origin, self.rate = found, row, first, origin, rate
        self.shape, self.dtype = shape, dtype
        self.end = first + np.array([span.npts for span in found])

    def __getitem__(self, key: Any) -> np.ndarray:
        """Values at an index of xarray's."""
        basic = indexing.IndexingSupport.BASIC
        return indexing.explicit_indexing_adapter(key, self.shape, basic, self._values)

    def _values(self, key: tuple) -> np.ndarray:
        rows, columns = np.atleast_1d(np.arange(self.shape[0])[key[0]]), key[1]
        wanted = range(self.shape[1])[columns] if isinstance(columns, slice) else range(columns, columns + 1)
        if len(wanted) and len(rows):
            low, high = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1]) + 1
            out = np.stack([self._run(int(row), low, high) for row in rows])
            out = out[:, wanted.start - low :: wanted.step][:, : len(wanted)]
        else:
            out = np.empty((len(rows), len(wanted)), self.dtype)
        out = out if isinstance(columns, slice) else out[:, 0]
        return out if isinstance(key[0], slice) else out[0]

    def _run(self, row: int, low: int, high: int) -> np.ndarray:
        """Samples low to high of one row."""
        out = np.full(high - low, np.nan if self.dtype.kind == "f" else 0, self.dtype)
        known = np.zeros(high - low, bool)
        for i in np.flatnonzero((self.row == row) & (self.first < high) & (self.end > low)).tolist():
            span, first = self.found[i], int(self.first[i])
            a, b = max(first, low), min(int(self.end[i]), high)
            piece = span.read(a - first, b - first)
            place = slice(a - low, b - low)
            if known[place].any():
                agree(
                    span.id,
                    out[place],
                    piece,
                    known[place],
                    self.origin + a * period_ns(self.rate),
                    self.rate,
                )
            out[place] = piece
            known[place] = True
        return out


def in_chunks(record: xr.DataArray) -> xr.DataArray:
    """The record in dask chunks, as it is where dask is not installed."""
    return record.chunk(record.encoding["preferred_chunks"]) if find_spec("dask") else record
