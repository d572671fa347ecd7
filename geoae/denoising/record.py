"""Streams, traces, labelled records and plain arrays through a model: what comes in goes out."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
import obspy
import torch
import xarray as xr

from ..arrays import sampling_rate
from ..model import Model
from .job import (
    Job,
    absolute_sample,
    in_blocks,
    instruments,
    job_for,
    nominal,
    output_dtype,
    refuse_infinite,
    refuse_nothing,
)
from .quality import quality
from .runs import denoise_stream
from .windows import Pass


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
        Samples between windows at the model's rate, four fifths of a window by default.
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

    Warns
    -----
    UserWarning
        If the model was trained to repeat its traces and never saw noise to take off.
    """
    job = job_for(model, hop, batch, outside, partial, device)
    signal, std = _result(data, rate, job), None
    if return_std or (report and job.predicts):
        std = _result(data, rate, replace(job, std=True))
    out = [signal, *([_difference(data, signal)] if return_noise else []), *([std] if return_std else [])]
    if report:
        out.append(quality(data, signal, std, rate=rate))
    return tuple(out) if len(out) > 1 else signal


def _result(data: Any, rate: float | None, job: Job) -> Any:
    out = _denoise(_labelled(data, rate, job), job)
    if isinstance(data, np.ndarray):
        return np.ma.masked_invalid(out.values) if np.ma.isMaskedArray(data) else out.values
    return out


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
        values = np.ma.filled(values.astype(output_dtype(data.dtype)), np.nan)
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
    job = job if "channel" in data.dims else replace(job, partial=True)
    groups = instruments(ids or [""] * labelled.sizes["channel"], job)
    first = data["time"].values[0]
    absolute = isinstance(first, np.datetime64)
    start = first.astype("datetime64[ns]").astype(int) if absolute else first * 1e9
    run, phase = job.at(nominal(rate)), absolute_sample(start, rate)
    dtype = output_dtype(data.dtype)

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
        refuse_infinite(int(np.isinf(rows).sum()))
        return rows

    def write(begin: int, results: np.ndarray) -> None:
        for row, i in zip(results, group, strict=True):
            if i is not None:
                out[i, begin - phase : begin - phase + len(row)] = row

    in_blocks(run, phase, phase + values.shape[-1], read, write)


def _present(values: np.ndarray) -> np.ndarray:
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(0, bool)
    refuse_nothing(values.size, values.size - int(missing.sum()))
    return values


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


@_denoise.register
def _(data: obspy.Trace, job: Job) -> obspy.Trace:
    return denoise_stream(obspy.Stream([data]), replace(job, partial=True))[0]


@_denoise.register
def _(data: obspy.Stream, job: Job) -> obspy.Stream:
    return denoise_stream(data, job)


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
