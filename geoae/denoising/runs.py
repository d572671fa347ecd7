"""Unbroken runs of samples, side by side in time: the traces of a Stream, or what still lies in files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import obspy

from .job import (
    BLOCK,
    Job,
    absolute_sample,
    in_blocks,
    instruments,
    nominal,
    output_dtype,
    refuse_infinite,
    refuse_nothing,
)
from .windows import Pass


class Run(Protocol):
    """Samples of one channel at one rate; `geoae.io` has segments in memory and spans in files."""

    @property
    def id(self) -> str:
        """Of the channel, as SEED has it."""

    @property
    def start(self) -> int:
        """Time of the first sample, in ns since 1970."""

    @property
    def rate(self) -> float:
        """Samples per second."""

    @property
    def npts(self) -> int:
        """Number of samples."""

    def read(self, a: int, b: int) -> np.ndarray:
        """Samples a to b."""


@dataclass(frozen=True)
class _OfTrace:
    trace: obspy.Trace

    id = property(lambda self: self.trace.id)
    start = property(lambda self: self.trace.stats.starttime.ns)
    rate = property(lambda self: self.trace.stats.sampling_rate)
    npts = property(lambda self: len(self.trace))

    def read(self, a: int, b: int) -> np.ndarray:
        return self.trace.data[a:b]


def denoise_stream(data: obspy.Stream, job: Job) -> obspy.Stream:
    """Denoise the traces of a Stream, which keep their headers."""
    if not data:
        raise ValueError("the stream holds no traces")
    runs = [_OfTrace(trace) for trace in data]
    for run in runs:
        check(run)
    results = [np.full(len(trace), np.nan, output_dtype(trace.data.dtype)) for trace in data]

    def keep(i: int, first: int, values: np.ndarray) -> None:
        results[i][first : first + len(values)] = values

    denoise_runs(runs, job, keep)
    return obspy.Stream([_like(trace, y, job.line) for trace, y in zip(data, results, strict=True)])


def check(run: Run) -> float:
    """Refuse a run that cannot be denoised; the largest sample, by its size, of one that can."""
    if not run.rate > 0:
        raise ValueError(f"{run.id} has a sampling rate of {run.rate:g} Hz; it must be above 0")
    samples = numbers = infinite = 0
    largest = 0.0
    for begin in range(0, run.npts, BLOCK):
        piece = run.read(begin, min(begin + BLOCK, run.npts))
        known = piece.compressed() if np.ma.isMaskedArray(piece) else piece
        samples += known.size
        if known.dtype.kind == "f":
            infinite += int(np.isinf(known).sum())
            known = known[~np.isnan(known)]
        numbers += known.size
        if known.size:
            largest = max(largest, -float(known.min()), float(known.max()))
    try:
        refuse_nothing(samples, numbers)
        refuse_infinite(infinite)
    except ValueError as error:
        raise ValueError(f"{run.id} from {obspy.UTCDateTime(ns=run.start)}: {error}") from None
    return largest


def check_components(runs: Sequence[Run], job: Job) -> None:
    """Refuse instruments whose components do not fit the model."""
    for rate in {nominal(run.rate) for run in runs}:
        instruments(sorted({run.id for run in runs if nominal(run.rate) == rate}), job)


def denoise_runs(
    runs: Sequence[Run],
    job: Job,
    keep: Callable[[int, int, np.ndarray], None],
    between: tuple[int, int] | None = None,
) -> None:
    """Denoise runs piece by piece in time; ``keep(i, first, values)`` takes results of the i-th one.

    `between` are times [ns] outside of which nothing is looked at.
    """
    rates = [nominal(run.rate) for run in runs]
    for rate in dict.fromkeys(rates):
        here = [i for i, other in enumerate(rates) if other == rate]
        ids = sorted({runs[i].id for i in here})
        ends = None if between is None else tuple(absolute_sample(time, rate) for time in between)
        for group in instruments(ids, job):
            row = {ids[j]: place for place, j in enumerate(group) if j is not None}
            placed = [_Placed(i, runs[i], row[runs[i].id], rate, ends) for i in here if runs[i].id in row]
            members = [run for run in placed if run.first < run.last]
            for cluster in _clusters(members, job.at(rate).span):
                _side_by_side(cluster, len(group), keep, job.at(rate))


class _Placed:
    """A run on the time axis of its instrument, or what of it lies between two ends."""

    def __init__(self, index: int, run: Run, row: int, rate: float, ends: Any = None):
        self.index, self.run, self.row = index, run, row
        self.zero = absolute_sample(run.start, rate)
        self.first, self.last = self.zero, self.zero + run.npts
        if ends is not None:
            self.first, self.last = max(self.first, ends[0]), min(self.last, ends[1] + 1)

    def values(self, begin: int, end: int) -> np.ndarray:
        """Samples `begin` to `end`, which lie within; NaN where they are missing."""
        piece = self.run.read(begin - self.zero, end - self.zero)
        return np.ma.filled(np.ma.asarray(piece).astype(float), np.nan)


def _clusters(members: list[_Placed], length: int) -> Iterator[list[_Placed]]:
    """Runs of an instrument's components that lie within one window of each other.

    Those farther apart share no window, and the time between them needs no memory.
    """
    cluster: list[_Placed] = []
    end = 0
    for run in sorted(members, key=lambda run: run.first):
        if cluster and run.first > end + length:
            yield cluster
            cluster = []
        end = max(end, run.last) if cluster else run.last
        cluster.append(run)
    if cluster:
        yield cluster


def _side_by_side(cluster: list[_Placed], rows: int, keep: Callable, run: Pass) -> None:
    """Lay the runs of one instrument side by side in time, denoise, and hand each its own piece on."""
    firsts, lasts = (np.array([getattr(s, end) for s in cluster]) for end in ("first", "last"))

    def within(begin: int, end: int) -> Iterator[tuple[_Placed, int, int]]:
        for i in np.flatnonzero((firsts < end) & (lasts > begin)).tolist():
            yield cluster[i], max(cluster[i].first, begin), min(cluster[i].last, end)

    def read(begin: int, end: int) -> np.ndarray:
        grid = np.full((rows, end - begin), np.nan)
        for placed, a, b in within(begin, end):
            piece, values = grid[placed.row, a - begin : b - begin], placed.values(a, b)
            known = ~np.isnan(values)
            both = known & ~np.isnan(piece)
            if (piece[both] != values[both]).any():
                when = obspy.UTCDateTime(ns=placed.run.start)
                raise ValueError(
                    f"{placed.run.id} has two different traces at {when}; decide "
                    "which is right, for example with stream.merge(method=1)"
                )
            piece[known] = values[known]
        return grid

    def write(begin: int, values: np.ndarray) -> None:
        for placed, a, b in within(begin, begin + values.shape[-1]):
            keep(placed.index, a - placed.zero, values[placed.row, a - begin : b - begin])

    in_blocks(run, int(firsts.min()), int(lasts.max()), read, write)


def _like(trace: obspy.Trace, values: np.ndarray, line: str) -> obspy.Trace:
    """A trace with the headers of another; what is missing there is missing here."""
    if np.ma.isMaskedArray(trace.data):
        values = np.ma.masked_array(values, np.ma.getmaskarray(trace.data) | np.isnan(values))
    elif trace.data.dtype.kind == "f":
        values[np.isnan(trace.data)] = np.nan
    out = obspy.Trace(values, trace.stats)
    out.stats.setdefault("processing", []).append(line)
    return out
