"""Run a model along continuous records: what comes in goes out, with its labels, gaps and headers.

The record is cut into overlapping windows on a grid that hangs on absolute time, each window is scaled by
itself and denoised, and the results are added up with weights that sum to one. So a sample's result depends
on nothing farther away than one window: not on the batch, not on how the record was cut into pieces, not on a
larger event elsewhere. (The room is called denoising because `geoae.denoise` is the function.)
"""

import functools
import os
from collections.abc import Sequence
from functools import singledispatch
from importlib.metadata import version
from typing import Any

import numpy as np
import obspy
import torch
import xarray as xr
from scipy import signal

from . import nn as net
from .arrays import sampling_rate, through_windows
from .io import ENZ
from .model import Model, load

RATE_TOLERANCE = 1e-4  # relative; a digitiser's clock is better, a different nominal rate is worse


def denoise(
    data: Any,
    model: Model | str | os.PathLike | None = None,
    *,
    return_noise: bool = False,
    hop: int | None = None,
    batch: int = 256,
    device: str | torch.device | None = None,
) -> Any:
    """Take the noise off a Stream, a Trace or a labelled record; returns the same type with the same labels.

    Parameters
    ----------
    data : Stream, Trace or DataArray
        At the model's sampling rate. A DataArray has dims ``time``, maybe ``channel``, and any others,
        each of
        which is a record of its own. Missing samples (NaN, masked, gaps) stay missing; those beside them have
        less to go by. A gap of a window or more ends a record, and its ends are mirrored.
    model : Model or path
        A trained model, or the file that holds one. A model of three components takes the three of an
        instrument together.
    return_noise : bool
        Return what was taken off as well: signal + noise is the input.
    hop : int, optional
        Samples between windows, half a window by default.
    batch : int
        Windows at a time; it changes memory and speed, and the result in its seventh digit at most.
    device : str or device, optional
        Where to compute; see `geoae.device`.

    Returns
    -------
    signal : type of `data`
        A Stream or Trace with all its headers and one more line in ``stats.processing``; a DataArray with
        one more line in ``attrs["history"]``. A dask array stays one.
    noise : type of `data`
        Only with `return_noise`.

    Raises
    ------
    ValueError
        If the rate or the components do not fit the model, or every sample is NaN.
    """
    model = _model(model).to(net.device(device)).eval()
    hop = _length(model) // 2 if hop is None else hop
    if not 1 <= hop <= _length(model):
        raise ValueError(
            f"hop is {hop}; the model sees {_length(model)} samples, so 1 to {_length(model)} will do"
        )
    out = _denoise(data, functools.partial(_run, model=model, hop=hop, batch=batch), model, hop)
    return (out, _difference(data, out)) if return_noise else out


def _model(model: Model | str | os.PathLike | None) -> Model:
    if model is None:
        raise ValueError(
            "which model? give one that geoae.fit has trained, or the path of a saved one "
            "('geoae train SIGNALS NOISE -o mine.safetensors' makes one)"
        )
    return model if isinstance(model, Model) else load(model)


def _length(model: Model) -> int:
    if "length" not in model.config:
        raise ValueError(
            "this model was put together by hand, so its window is unknown; set model.config['length']"
        )
    return model.config["length"]


# -------------------------------------------------------------------------------- values of one instrument


def _run(values: np.ndarray, phase: int, *, model: Model, hop: int, batch: int) -> np.ndarray:
    """Denoise (channel, n) values, the first of them at absolute sample `phase`.

    A gap of a window or more ends a piece, and what lies on either side is mirrored, as at the ends of
    a record.
    """

    @torch.no_grad()
    def windows(x: np.ndarray) -> np.ndarray:
        return _on_windows(x, model)

    out = np.full(values.shape, np.nan)
    for first, last in _pieces(~np.isnan(values).all(0), _length(model)):
        piece = values[:, first:last].astype(float)
        out[:, first:last] = through_windows(
            windows, piece, _length(model), hop, phase=phase + first, batch=batch
        )
    return out


def _pieces(present: np.ndarray, length: int) -> list[tuple[int, int]]:
    """First and last (exclusive) samples of what lies between gaps of `length` or more."""
    there = np.flatnonzero(present)
    if not len(there):
        return []
    breaks = np.flatnonzero(np.diff(there) > length)
    return list(zip(there[np.r_[0, breaks + 1]], there[np.r_[breaks, -1]] + 1, strict=True))


def _on_windows(x: np.ndarray, model: Model) -> np.ndarray:
    """Model on float64 windows, their mean and size off before single precision loses the signal."""
    offset, gain = 0.0, 1.0
    if isinstance(model.scale, net.TraceScale) and model.scale.kind != "none":
        present = ~np.isnan(x)
        offset = np.where(present, x, 0).sum(-1, keepdims=True) / np.maximum(
            present.sum(-1, keepdims=True), 1
        )
        gain = np.where(present, np.abs(x - offset), 0).max((1, 2), keepdims=True)
        gain[gain == 0] = 1.0
    y = model(torch.from_numpy((x - offset) / gain).to(next(model.parameters())))
    return y.cpu().numpy() * gain + offset


def _check_rate(model: Model, rate: float) -> None:
    wanted = model.trained.get("rate")
    if wanted and abs(rate / wanted - 1) > RATE_TOLERANCE:
        raise ValueError(
            f"model expects {wanted:g} Hz, data has {rate:g} Hz; use denoise(data.resample({wanted:g}), "
            f"model) on a "
            f"Stream, or geoae.arrays.resample(data, {wanted:g})"
        )


def _instruments(ids: Sequence[str], model: Model) -> list[list[int]]:
    """Indices of the channels that go through the model together, in the model's order of components."""
    count = model.config.get("channels", 1)
    if count == 1:
        return [[i] for i in range(len(ids))]
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(ids):
        groups.setdefault(name[:-1], []).append(i)
    order = model.trained.get("channels", [])
    for name, members in groups.items():
        members.sort(key=lambda i: _rank(ids[i][-1:], order))
        if len(members) != count:
            found = ", ".join(ids[i] for i in members)
            raise ValueError(
                f"model takes {count} components together, instrument {name or 'of this record'}? has "
                f"{found}; "
                f"give all of them, or use a one-component model"
            )
    return list(groups.values())


def _rank(component: str, order: Sequence[str]) -> tuple[int, str]:
    """Where a component stands among the model's: by its name, or what that name stands for (1 is north)."""
    places = [ENZ.get(name[-1:], name) for name in order]
    place = ENZ.get(component, component)
    return (places.index(place) if place in places else len(places)), component


def _absolute_sample(start_ns: int, rate: float) -> int:
    return round(start_ns * rate / 1e9)


# ---------------------------------------------------------------------------------------- what came in


@singledispatch
def _denoise(data: Any, run, model: Model, hop: int) -> Any:
    raise TypeError(f"cannot denoise a {type(data).__name__}; give a Stream, a Trace or a DataArray")


@_denoise.register
def _(data: xr.DataArray, run, model: Model, hop: int) -> xr.DataArray:
    rate = _rate(data, model)
    labelled = data if "channel" in data.dims else data.expand_dims("channel")
    labelled = labelled.transpose(..., "channel", "time")
    ids = [str(c) for c in labelled["channel"].values] if "channel" in labelled.coords else []
    groups = _instruments(ids or [""] * labelled.sizes["channel"], model)
    first = data["time"].values[0]
    absolute = isinstance(first, np.datetime64)
    phase = (
        _absolute_sample(first.astype("datetime64[ns]").astype(int), rate)
        if absolute
        else round(first * rate)
    )

    def kernel(block: np.ndarray) -> np.ndarray:
        _refuse_infinite(block)
        out = np.empty(block.shape)
        for index in np.ndindex(block.shape[:-2]):
            for group in groups:
                out[(*index, group)] = run(block[(*index, group)], phase)
        return out

    values = (
        kernel(_present(labelled.values))
        if labelled.chunks is None
        else _lazily(kernel, labelled, model, hop)
    )
    out = labelled.copy(data=values.astype(_output_dtype(data.dtype)))
    out = (out if "channel" in data.dims else out.isel(channel=0, drop=True)).transpose(*data.dims)
    return out.assign_attrs(history=f"{data.attrs.get('history', '')}\n{_line(model, hop)}".strip())


def _rate(data: xr.DataArray, model: Model) -> float:
    """Sampling rate of the data, held against the model's; of one sample, the model's."""
    if data.sizes.get("time") == 1:
        return model.trained.get("rate") or 1.0
    rate = sampling_rate(data)
    _check_rate(model, rate)
    return model.trained.get("rate") or rate


def _present(values: np.ndarray) -> np.ndarray:
    if not values.size:
        raise ValueError("there are no samples to denoise")
    if np.isnan(values).all():
        raise ValueError("every sample is NaN; there is nothing to denoise")
    return values


def _refuse_infinite(values: np.ndarray) -> None:
    if np.isinf(values).any():
        count = np.isinf(values).sum()
        raise ValueError(f"{count} samples are infinite; set them to NaN, and they count as missing")


def _lazily(kernel, labelled: xr.DataArray, model: Model, hop: int):
    """Run the kernel over dask chunks with two windows beside each: one to see, one to find gaps in."""
    axis = labelled.ndim - 1
    depth = -(-2 * _length(model) // hop) * hop
    chunks = _grid_chunks(labelled.sizes["time"], max(labelled.chunksizes["time"]), hop, depth)
    values = labelled.data.rechunk(dict.fromkeys(range(axis), -1) | {axis: chunks})
    meta = np.empty((0,) * (axis + 1))
    if len(chunks) == 1:
        return values.map_blocks(kernel, dtype=float, meta=meta)
    return values.map_overlap(
        kernel, depth={axis: depth}, boundary="none", dtype=float, allow_rechunk=False, meta=meta
    )


def _grid_chunks(n: int, wanted: int, hop: int, depth: int) -> tuple[int, ...]:
    """Chunk sizes that keep every edge on the window grid.

    Left alone, dask merges a last chunk shorter than the overlap by moving the other edges too, off the grid,
    and the pieces no longer equal the whole.
    """
    chunk = max(-(-wanted // hop) * hop, depth)
    sizes = [chunk] * (n // chunk)
    rest = n - sum(sizes)
    if rest and (rest >= depth or not sizes):
        sizes.append(rest)
    elif rest:
        sizes[-1] += rest
    return tuple(sizes)


@_denoise.register
def _(data: obspy.Trace, run, model: Model, hop: int) -> obspy.Trace:
    return _denoise(obspy.Stream([data]), run, model, hop)[0]


@_denoise.register
def _(data: obspy.Stream, run, model: Model, hop: int) -> obspy.Stream:
    if not data:
        raise ValueError("the stream holds no traces")
    for trace in data:
        if not trace.stats.sampling_rate > 0:
            raise ValueError(
                f"{trace.id} has a sampling rate of {trace.stats.sampling_rate:g} Hz; it must be above 0"
            )
        _check_rate(model, trace.stats.sampling_rate)
    # rates that differ in the ninth digit are one, or components would lie on different grids
    rate = model.trained.get("rate") or data[0].stats.sampling_rate
    samples = [_filled(trace) for trace in data]
    results: list[np.ndarray] = [np.empty(0)] * len(data)
    ids = sorted({trace.id for trace in data})
    for group in _instruments(ids, model):
        members = [[i for i, trace in enumerate(data) if trace.id == ids[j]] for j in group]
        for cluster in _clusters(data, members, _length(model), rate):
            _on_grid(data, samples, results, cluster, run, rate)
    return obspy.Stream([_like(trace, y, _line(model, hop)) for trace, y in zip(data, results, strict=True)])


def _filled(trace: obspy.Trace) -> np.ndarray:
    values = np.ma.filled(np.ma.asarray(trace.data).astype(float), np.nan)
    try:
        _refuse_infinite(values)
        return _present(values)
    except ValueError as error:
        raise ValueError(f"{trace.id} from {trace.stats.starttime}: {error}") from None


def _span(trace: obspy.Trace, rate: float) -> tuple[int, int]:
    """First absolute sample and the one after the last, at a rate that all traces share."""
    first = _absolute_sample(trace.stats.starttime.ns, rate)
    return first, first + trace.stats.npts


def _clusters(
    data: obspy.Stream, members: list[list[int]], length: int, rate: float
) -> list[list[list[int]]]:
    """Segments of an instrument's components that lie within one window of each other.

    Those farther apart share no window, and the time between them needs no memory.
    """
    owner = {i: c for c, indices in enumerate(members) for i in indices}
    clusters: list[list[list[int]]] = []
    end = None
    for i in sorted(owner, key=lambda i: _span(data[i], rate)):
        first, last = _span(data[i], rate)
        if end is None or first > end + length:
            clusters.append([[] for _ in members])
            end = last
        clusters[-1][owner[i]].append(i)
        end = max(end, last)
    return clusters


def _on_grid(data, samples, results, cluster: list[list[int]], run, rate: float) -> None:
    """Lay the segments of one instrument side by side in time, denoise, and hand each its own piece back."""
    indices = [i for channel in cluster for i in channel]
    begin = min(_span(data[i], rate)[0] for i in indices)
    grid = np.full((len(cluster), max(_span(data[i], rate)[1] for i in indices) - begin), np.nan)
    for row, channel in zip(grid, cluster, strict=True):
        for i in channel:
            first, last = _span(data[i], rate)
            piece = row[first - begin : last - begin]
            both = ~np.isnan(piece) & ~np.isnan(samples[i])
            if (piece[both] != samples[i][both]).any():
                raise ValueError(
                    f"{data[i].id} has two different traces at {data[i].stats.starttime}; decide which "
                    f"is right, "
                    f"for example with stream.merge(method=1)"
                )
            piece[~np.isnan(samples[i])] = samples[i][~np.isnan(samples[i])]
    out = run(grid, begin)
    for row, channel in zip(out, cluster, strict=True):
        for i in channel:
            first, last = _span(data[i], rate)
            results[i] = np.where(np.isnan(samples[i]), np.nan, row[first - begin : last - begin])


def _like(trace: obspy.Trace, values: np.ndarray, line: str) -> obspy.Trace:
    out = trace.copy()
    values = values.astype(_output_dtype(trace.data.dtype))
    out.data = np.ma.masked_invalid(values) if np.ma.isMaskedArray(trace.data) else values
    out.stats.setdefault("processing", []).append(line)
    return out


def _output_dtype(dtype: np.dtype) -> np.dtype:
    """The smallest float that holds every number of `dtype`."""
    return np.result_type(dtype, np.float32)


def _line(model: Model, hop: int) -> str:
    name = model.card.get("name") or model.config.get("builder", type(model).__name__)
    return f"geoae {version('geoae')}: denoise(model={name}, length={_length(model)}, hop={hop})"


def _difference(data: Any, out: Any) -> Any:
    """What was taken off, as the type that came in."""
    if isinstance(data, xr.DataArray):
        return (data.astype(out.dtype) - out).assign_attrs(data.attrs)
    if isinstance(data, obspy.Trace):
        noise = data.copy()
        noise.data = data.data.astype(out.data.dtype) - out.data
        return noise
    return obspy.Stream([_difference(before, after) for before, after in zip(data, out, strict=True)])


# ------------------------------------------------------------------------------- what to compare with


def bandpass(data: xr.DataArray, low: float, high: float, *, corners: int = 4) -> xr.DataArray:
    """Zero-phase Butterworth band-pass from `low` to `high` [Hz], the classical denoiser.

    Examples
    --------
    >>> import geoae
    >>> x = geoae.synth.seismograms(1, duration=20.0)
    >>> bandpass(x, 1.0, 20.0).shape == x.shape
    True
    """
    rate = sampling_rate(data)
    if not 0 < low < high < rate / 2:
        raise ValueError(
            f"band {low:g} to {high:g} Hz does not lie between 0 and half the rate, {rate / 2:g} Hz"
        )
    sos = signal.butter(corners, [low, high], "bandpass", fs=rate, output="sos")
    axis = data.get_axis_num("time")
    return data.copy(data=signal.sosfiltfilt(sos, data.values.astype(float), axis=axis))


def spectral_gate(data: xr.DataArray, *, seconds: float = 1.0, strength: float = 2.0) -> xr.DataArray:
    r"""Spectral gate: keep of each time-frequency cell what rises above the record's own noise floor.

    The floor :math:`N` is the median power over time of each frequency, the gain
    :math:`\max(1 - \beta N / P, 0)` (power spectral subtraction; Boll, 1979). Ten lines, and hard to beat.

    Parameters
    ----------
    data : DataArray with dim ``time``
    seconds : float
        Length of the windows.
    strength : float
        How much of the floor comes off, :math:`\beta`.
    """
    n = round(seconds * sampling_rate(data))
    options = {"nperseg": n, "noverlap": n * 3 // 4, "nfft": 2 * n}
    cells = signal.stft(data.transpose(..., "time").values.astype(float), **options)[2]
    power = np.abs(cells) ** 2
    floor = np.median(power, axis=-1, keepdims=True) / np.log(
        2
    )  # the median of an exponential is ln 2 of its mean
    gain = np.maximum(1 - strength * floor / np.maximum(power, np.finfo(float).tiny), 0)
    values = signal.istft(cells * gain, **options)[1][..., : data.sizes["time"]]
    return data.transpose(..., "time").copy(data=values).transpose(*data.dims)
