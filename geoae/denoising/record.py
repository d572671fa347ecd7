"""Streams, traces, labelled records and plain arrays through a model: what comes in goes out."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, singledispatch
from importlib.metadata import version
from typing import Any

import numpy as np
import obspy
import torch
import xarray as xr

from .. import dist, nn as net
from ..arrays import sampling_rate
from ..io import ENZ
from ..model import Model, load, pretrained
from .quality import quality
from .windows import OUTSIDE, Pass

BLOCK = 2**19  # samples per component that are worked on at a time
SAME_RATE = 1e-6  # relative; what single precision makes of a rate
BATCH = {"cpu": 4}  # windows that fit a core's cache
GPU_BATCH = 64


def denoise(
    data: Any,
    model: Model | str | os.PathLike | None = None,
    *,
    rate: float | None = None,
    return_noise: bool = False,
    return_std: bool = False,
    report: bool = False,
    partial: bool = False,
    outside: str = "follow",
    hop: int | None = None,
    batch: int | None = None,
    device: str | torch.device | None = None,
) -> Any:
    """Take the noise off a Stream, a Trace, a labelled record or an array; returns the same type and labels.

    Data of any sampling rate are brought to the model's (polyphase filters, no phase shift) and back.

    Parameters
    ----------
    data : Stream, Trace, DataArray or array
        A DataArray has dims ``time``, maybe ``channel``, and any others, each of which is a record of its
        own; an array has shape (time), (channel, time) or (trace, channel, time). Missing samples (NaN,
        masked, gaps) stay missing; those beside them have less to go by. A gap of a window or more ends a
        record, and its ends are mirrored. A dead component comes out dead.
    model : Model or path
        A trained model, or the file that holds one; if None, the one that comes with geoae. A model of three
        components takes the three of an instrument together.
    rate : float
        Samples per second, of an array.
    return_noise : bool
        Return what was taken off as well: signal + noise is the input, to within one rounding of the sum.
    return_std : bool
        Return the standard deviation of the error, too, sample by sample, as the model predicts it of itself.
    report : bool
        Return estimates of what was done, too: `geoae.denoising.quality`.
    partial : bool
        Take instruments that lack components, too; to the model those are missing. A Trace, or a record
        without a channel axis, needs no leave for that.
    outside : str
        What becomes of that which the model cannot see, because it lies above the model's Nyquist frequency
        or below the band that it was trained on: ``follow``, it goes with the share of the power, over one
        second, that the model left of the rest, but more than a factor of five below the band it is noise,
        drift and offset included; ``drop``, it counts as noise; ``keep``.
    hop : int, optional
        Samples between windows at the model's rate, three quarters of a window by default.
    batch : int, optional
        Windows at a time, 4 on a CPU and 64 on a GPU. It changes memory and speed, and the result in its
        seventh digit at most; with one number the bits are the same however a record is cut.
    device : str or device, optional
        Where to compute; see `geoae.device`.

    Returns
    -------
    signal : type of `data`
        A Stream or Trace with all its headers and one more line in ``stats.processing``; a DataArray with
        one more line in ``attrs["history"]``. A dask array stays one. Integers become floats that hold them.
    noise, std : type of `data`
        Only with `return_noise` and `return_std`.
    report : Dataset
        Only with `report`.

    Raises
    ------
    ValueError
        If the components do not fit the model, samples are infinite, or every sample is NaN.
    """
    job = job_for(model, hop, batch, outside, partial, device)
    signal, std = _result(data, rate, job), None
    if return_std or (report and job.predicts):
        std = _result(data, rate, replace(job, std=True))
    out = [signal, *([_difference(data, signal)] if return_noise else []), *([std] if return_std else [])]
    if report:
        out.append(quality(data, signal, std, rate=rate))
    return tuple(out) if len(out) > 1 else signal


def _result(data: Any, rate: float | None, job: "Job") -> Any:
    out = denoise_with(job, _labelled(data, rate, job))
    if isinstance(data, np.ndarray):
        return np.ma.masked_invalid(out.values) if np.ma.isMaskedArray(data) else out.values
    return out


@dataclass(frozen=True)
class Job:
    """A model and how it is to be run."""

    model: Model
    hop: int
    batch: int
    outside: str
    partial: bool
    std: bool = False

    def at(self, rate: float) -> Pass:
        """How the model passes along data of a sampling rate."""
        if self.std and not self.predicts:
            raise ValueError("this model predicts no error; train one with denoiser(..., sigma='predicted')")
        return Pass(self.model, rate, self.hop, self.batch, self.outside, self.std)

    @property
    def predicts(self) -> bool:
        """Whether the model says how far it may be off."""
        return isinstance(self.model.likelihood, dist.Heteroscedastic)

    @property
    def line(self) -> str:
        """What goes into the history of a result."""
        name = self.model.card.get("name") or self.model.config.get("builder", type(self.model).__name__)
        words = f"model={name}, length={self.model.config['length']}, hop={self.hop}"
        what = "standard deviation of " if self.std else ""
        return f"geoae {version('geoae')}: {what}denoise({words}, outside={self.outside})"


def job_for(model: Any, hop: int | None, batch: int | None, outside: str, partial: bool, device: Any) -> Job:
    """Put a job together from what the user said, and check it."""
    model = _model(model).to(net.device(device)).eval()
    length = model.config["length"]
    hop = 3 * length // 4 if hop is None else hop
    if not 1 <= hop <= length:
        raise ValueError(f"hop is {hop}; the model sees {length} samples, so 1 to {length} will do")
    if batch is None:
        batch = BATCH.get(next(model.parameters()).device.type, GPU_BATCH)
    return Job(
        model,
        hop,
        batch,
        net.choose({word: word for word in OUTSIDE}, outside, "word for what lies outside"),
        partial,
    )


def _model(model: Model | str | os.PathLike | None) -> Model:
    if model is None:
        return pretrained()
    model = model if isinstance(model, Model) else load(model)
    if "length" not in model.config:
        raise ValueError(
            "this model was put together by hand, so its window is unknown; set model.config['length']"
        )
    return model


def denoise_with(job: Job, data: Any) -> Any:
    """Denoise a Stream, a Trace or a labelled record."""
    return _denoise(data, job)


def check_components(traces: Sequence[obspy.Trace], job: Job) -> None:
    """Refuse instruments whose components do not fit the model."""
    for rate in {_nominal(trace.stats.sampling_rate) for trace in traces}:
        here = {trace.id for trace in traces if _nominal(trace.stats.sampling_rate) == rate}
        _instruments(sorted(here), job, job.partial)


def _instruments(ids: Sequence[str], job: Job, partial: bool) -> list[list[int | None]]:
    """Indices of the channels that go through the model together, in its order; None for a missing one."""
    count = job.model.config.get("channels", 1)
    if count == 1:
        return [[i] for i in range(len(ids))]
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(ids):
        groups.setdefault(name[:-1], []).append(i)
    order = job.model.trained.get("channels") or list("ENZ")
    for name, members in groups.items():
        members.sort(key=lambda i: _rank(ids[i][-1:], order))
        if len(members) > count or (len(members) < count and not partial):
            found = ", ".join(ids[i] for i in members if ids[i]) or f"{len(members)} without names"
            few = "give all of them, take what is there with partial=True"
            what = "leave out those that are none of them" if len(members) > count else few
            whose = f"instrument {name}?" if name else "this record"
            raise ValueError(
                f"model takes {count} components together, {whose} has {found}; {what}, or use a "
                f"one-component model"
            )
    return [
        _placed(members, [_rank(ids[i][-1:], order)[0] for i in members], count)
        for members in groups.values()
    ]


def _placed(members: list[int], ranks: list[int], count: int) -> list[int | None]:
    """Each component at its place among `count`; where places are contested or unknown, from the last on."""
    if len(members) == count:
        return list(members)
    places: list[int | None] = [None] * count
    for i, rank in zip(members, ranks, strict=True):
        free = [p for p in range(count) if places[p] is None]
        places[rank if rank in free else free[-1]] = i
    return places


def _rank(component: str, order: Sequence[str]) -> tuple[int, str]:
    """Where a component stands among the model's: by its name, or what that name stands for (1 is north)."""
    places = [ENZ.get(name[-1:], name) for name in order]
    place = ENZ.get(component, component)
    return (places.index(place) if place in places else len(places)), component


def _absolute_sample(start_ns: int, rate: float) -> int:
    return round(start_ns * rate / 1e9)


@lru_cache
def _nominal(rate: float) -> float:
    """The simple fraction that a rate stands for, or components would lie on different grids."""
    simple = Fraction(rate).limit_denominator(1000)
    return float(simple) if abs(simple / Fraction(rate) - 1) < SAME_RATE else rate


def _in_blocks(run: Pass, first: int, last: int, read: Callable, write: Callable) -> None:
    """Denoise absolute samples `first` to `last` piece by piece, so that memory does not grow with length.

    ``read(begin, end)`` gives (channel, n) values and ``write(begin, values)`` takes them; a piece comes with
    all that its results depend on.
    """
    for begin in range(first, last, BLOCK):
        end = min(begin + BLOCK, last)
        low, high = max(begin - run.reach, first), min(end + run.reach, last)
        write(begin, run(read(low, high), low)[:, begin - low : end - low])


# ------------------------------------------------------------------------------------- records and arrays


def _labelled(data: Any, rate: float | None, job: Job) -> Any:
    """A plain array as a record; everything else as it is."""
    if not isinstance(data, np.ndarray):
        if rate is not None:
            raise ValueError(f"rate= is for plain arrays; this {type(data).__name__} has its own")
        return data
    if rate is None or not 0 < rate < np.inf:
        raise ValueError(f"an array has no sampling rate of its own: rate is {rate}; give rate=100.0, say")
    dims = ("trace", "channel", "time")[-data.ndim :] if 1 <= data.ndim <= 3 else ()
    count = job.model.config.get("channels", 1)
    if not dims or (data.ndim > 1 and count > 1 and data.shape[-2] != count and not job.partial):
        raise ValueError(
            f"array has shape {data.shape}; wanted (time), (channel, time) or (trace, channel, time) with "
            f"{count} channels in the model's order, {', '.join(job.model.trained.get('channels') or 'ENZ')}"
        )
    values = data.filled(np.nan) if np.ma.isMaskedArray(data) and data.dtype.kind == "f" else data
    if np.ma.isMaskedArray(values):
        values = np.ma.filled(values.astype(_output_dtype(data.dtype)), np.nan)
    return xr.DataArray(values, {"time": np.arange(data.shape[-1]) / rate}, dims)


@singledispatch
def _denoise(data: Any, job: Job) -> Any:
    read = f", such as geoae.read({str(data)!r})" if isinstance(data, str | os.PathLike) else ""
    raise TypeError(
        f"cannot denoise a {type(data).__name__}; give a Stream, a Trace, a DataArray or a NumPy array{read}"
    )


@_denoise.register
def _(data: xr.DataArray, job: Job) -> xr.DataArray:
    rate = sampling_rate(data) if data.sizes.get("time") != 1 else job.model.trained.get("rate") or 1.0
    labelled = data if "channel" in data.dims else data.expand_dims("channel")
    labelled = labelled.transpose(..., "channel", "time")
    ids = [str(c) for c in labelled["channel"].values] if "channel" in labelled.coords else []
    partial = job.partial or "channel" not in data.dims
    groups = _instruments(ids or [""] * labelled.sizes["channel"], job, partial)
    first = data["time"].values[0]
    absolute = isinstance(first, np.datetime64)
    start = first.astype("datetime64[ns]").astype(int) if absolute else first * 1e9
    run, phase = job.at(_nominal(rate)), _absolute_sample(start, rate)
    dtype = _output_dtype(data.dtype)

    def kernel(values: np.ndarray, phase: int = phase) -> np.ndarray:
        out = np.empty(values.shape, dtype)
        for index in np.ndindex(values.shape[:-2]):
            for group in groups:
                _rows(run, values[index], out[index], group, phase)
        return out

    if labelled.chunks is None:
        values = kernel(_present(labelled.values))
    else:
        values = _lazily(kernel, labelled, run.reach, phase, dtype)
    out = labelled.copy(deep=False, data=values)
    out = (out if "channel" in data.dims else out.isel(channel=0, drop=True)).transpose(*data.dims)
    return out.assign_attrs(history=f"{data.attrs.get('history', '')}\n{job.line}".strip())


def _rows(run: Pass, values: np.ndarray, out: np.ndarray, group: list[int | None], phase: int) -> None:
    """Denoise rows of (channel, n) values that belong together, and put the results where they belong."""

    def read(begin: int, end: int) -> np.ndarray:
        rows = np.full((len(group), end - begin), np.nan)
        for row, i in zip(rows, group, strict=True):
            if i is not None:
                row[:] = values[i, begin - phase : end - phase]
        _refuse_infinite(rows)
        return rows

    def write(begin: int, results: np.ndarray) -> None:
        for row, i in zip(results, group, strict=True):
            if i is not None:
                out[i, begin - phase : begin - phase + len(row)] = row

    _in_blocks(run, phase, phase + values.shape[-1], read, write)


def _present(values: np.ndarray) -> np.ndarray:
    if not values.size:
        raise ValueError("there are no samples to denoise")
    if values.dtype.kind == "f" and np.isnan(values).all():
        raise ValueError("every sample is NaN; there is nothing to denoise")
    return values


def _refuse_infinite(values: np.ndarray) -> None:
    count = np.isinf(values).sum()
    if count:
        raise ValueError(f"{count} samples are infinite; set them to NaN, and they count as missing")


def _lazily(kernel: Callable, labelled: xr.DataArray, depth: int, phase: int, dtype: np.dtype) -> Any:
    """Run the kernel over dask chunks, each with all beside it that its results depend on."""
    axis = labelled.ndim - 1
    chunks = _chunks(labelled.sizes["time"], max(labelled.chunksizes["time"]), depth)
    starts = np.cumsum([0, *chunks])

    def at_its_place(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        # array-location would count the overlaps of all blocks before this one
        where = block_info[0]["chunk-location"][axis]
        return kernel(block, phase + int(starts[where]) - (depth if where else 0))

    values = labelled.data.rechunk(dict.fromkeys(range(axis), -1) | {axis: chunks})
    meta = np.empty((0,) * (axis + 1), dtype)
    if len(chunks) == 1:
        return values.map_blocks(kernel, dtype=dtype, meta=meta)
    return values.map_overlap(
        at_its_place, depth={axis: depth}, boundary="none", dtype=dtype, allow_rechunk=False, meta=meta
    )


def _chunks(n: int, wanted: int, depth: int) -> tuple[int, ...]:
    """Chunk sizes of at least the overlap; left alone, dask merges a shorter last one and says nothing."""
    chunk = max(wanted, depth)
    sizes = [chunk] * (n // chunk)
    rest = n - sum(sizes)
    if rest and (rest >= depth or not sizes):
        sizes.append(rest)
    elif rest:
        sizes[-1] += rest
    return tuple(sizes)


# --------------------------------------------------------------------------------------------- streams


@_denoise.register
def _(data: obspy.Trace, job: Job) -> obspy.Trace:
    return _streamed(obspy.Stream([data]), job, partial=True)[0]


@_denoise.register
def _(data: obspy.Stream, job: Job) -> obspy.Stream:
    return _streamed(data, job, job.partial)


def _streamed(data: obspy.Stream, job: Job, partial: bool) -> obspy.Stream:
    if not data:
        raise ValueError("the stream holds no traces")
    for trace in data:
        _check_trace(trace)
    results = [np.full(len(trace), np.nan, _output_dtype(trace.data.dtype)) for trace in data]
    names = [trace.id for trace in data]
    rates = [_nominal(trace.stats.sampling_rate) for trace in data]
    for rate in dict.fromkeys(rates):
        here = [i for i, other in enumerate(rates) if other == rate]
        ids = sorted({names[i] for i in here})
        for group in _instruments(ids, job, partial):
            row = {ids[j]: place for place, j in enumerate(group) if j is not None}
            members = [_Segment(i, data[i], row[names[i]], rate) for i in here if names[i] in row]
            for cluster in _clusters(members, job.at(rate).span):
                _side_by_side(cluster, len(group), results, job.at(rate))
    return obspy.Stream([_like(trace, y, job.line) for trace, y in zip(data, results, strict=True)])


def _check_trace(trace: obspy.Trace) -> None:
    if not trace.stats.sampling_rate > 0:
        raise ValueError(
            f"{trace.id} has a sampling rate of {trace.stats.sampling_rate:g} Hz; it must be above 0"
        )
    try:
        masked = np.ma.isMaskedArray(trace.data)
        values = _present(trace.data.compressed() if masked else trace.data)
        if values.dtype.kind == "f":
            _refuse_infinite(values)
    except ValueError as error:
        raise ValueError(f"{trace.id} from {trace.stats.starttime}: {error}") from None


class _Segment:
    """A trace on the time axis of its instrument."""

    def __init__(self, index: int, trace: obspy.Trace, row: int, rate: float):
        self.index, self.trace, self.row = index, trace, row
        self.first = _absolute_sample(trace.stats.starttime.ns, rate)
        self.last = self.first + len(trace)

    def values(self, begin: int, end: int) -> np.ndarray:
        """Samples `begin` to `end`, which lie within; NaN where they are missing."""
        piece = self.trace.data[begin - self.first : end - self.first]
        return np.ma.filled(np.ma.asarray(piece).astype(float), np.nan)


def _clusters(members: list[_Segment], length: int) -> Iterator[list[_Segment]]:
    """Segments of an instrument's components that lie within one window of each other.

    Those farther apart share no window, and the time between them needs no memory.
    """
    members = sorted(members, key=lambda segment: segment.first)
    cluster: list[_Segment] = []
    end = 0
    for segment in members:
        if cluster and segment.first > end + length:
            yield cluster
            cluster = []
        end = max(end, segment.last) if cluster else segment.last
        cluster.append(segment)
    if cluster:
        yield cluster


def _side_by_side(cluster: list[_Segment], rows: int, results: list[np.ndarray], run: Pass) -> None:
    """Lay the segments of one instrument side by side in time, denoise, and hand each its own piece back."""
    firsts, lasts = (np.array([getattr(s, end) for s in cluster]) for end in ("first", "last"))

    def within(begin: int, end: int) -> Iterator[tuple[_Segment, int, int]]:
        for i in np.flatnonzero((firsts < end) & (lasts > begin)).tolist():
            yield cluster[i], max(cluster[i].first, begin), min(cluster[i].last, end)

    def read(begin: int, end: int) -> np.ndarray:
        grid = np.full((rows, end - begin), np.nan)
        for segment, a, b in within(begin, end):
            piece, values = grid[segment.row, a - begin : b - begin], segment.values(a, b)
            known = ~np.isnan(values)
            both = known & ~np.isnan(piece)
            if (piece[both] != values[both]).any():
                raise ValueError(
                    f"{segment.trace.id} has two different traces at {segment.trace.stats.starttime}; decide "
                    "which is right, for example with stream.merge(method=1)"
                )
            piece[known] = values[known]
        return grid

    def write(begin: int, values: np.ndarray) -> None:
        for segment, a, b in within(begin, begin + values.shape[-1]):
            results[segment.index][a - segment.first : b - segment.first] = values[
                segment.row, a - begin : b - begin
            ]

    _in_blocks(run, int(firsts.min()), int(lasts.max()), read, write)


def _like(trace: obspy.Trace, values: np.ndarray, line: str) -> obspy.Trace:
    """A trace with the headers of another; what is missing there is missing here."""
    if np.ma.isMaskedArray(trace.data):
        values = np.ma.masked_array(values, np.ma.getmaskarray(trace.data) | np.isnan(values))
    elif trace.data.dtype.kind == "f":
        values[np.isnan(trace.data)] = np.nan
    out = obspy.Trace(values, trace.stats)
    out.stats.setdefault("processing", []).append(line)
    return out


def _output_dtype(dtype: np.dtype) -> np.dtype:
    """The smallest float that holds every number of `dtype`."""
    return np.result_type(dtype, np.float32)


def _difference(data: Any, out: Any) -> Any:
    """What was taken off, as the type that came in."""
    if isinstance(data, xr.DataArray):
        return (data.astype(out.dtype) - out).assign_attrs(data.attrs)
    if isinstance(data, np.ndarray):
        return data.astype(out.dtype) - out
    if isinstance(data, obspy.Trace):
        noise = data.copy()
        noise.data = data.data.astype(out.data.dtype) - out.data
        return noise
    return obspy.Stream([_difference(before, after) for before, after in zip(data, out, strict=True)])
