"""What is done to traces before anything is asked of them: resampling, trends, tapers, sizes."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import scipy  # its signal package costs 60 MB once it is asked for
import xarray as xr

from .time import noted, sample_times, samples, sampling_rate


def resample(da: xr.DataArray, rate: float) -> xr.DataArray:
    """Bring data to another sampling rate [Hz], without phase shift.

    Polyphase filtering (`scipy.signal.resample_poly`, a linear-phase FIR low-pass at the lower of the two
    Nyquist frequencies, centred). The first sample keeps its time; the mean of each row is set aside
    meanwhile, so that the ends of a record with an offset do not ring. A gap (NaN) grows on either side by
    the filter's half length, ten samples of the slower rate. A lazy record stays lazy, and its result is the
    same however it is cut into chunks.

    Raises
    ------
    ValueError
        When the ratio of the rates is no fraction with numbers up to 10 000.

    Examples
    --------
    >>> da = xr.DataArray(np.ones(200), coords={"time": np.arange(200) / 100})
    >>> resample(da, 50).sizes["time"], sampling_rate(resample(da, 50))
    (100, 50.0)
    """
    old = sampling_rate(da)
    if rate == old:
        return da.copy()
    if not 0 < rate < math.inf:
        raise ValueError(f"rate is {rate}, it must be a positive number of samples per second")
    ratio = Fraction(rate / old).limit_denominator(10_000)
    if ratio.numerator > 10_000 or abs(float(ratio) * old / rate - 1) > 1e-9:
        raise ValueError(f"no small fraction leads from {old:g} Hz to {rate:.12g} Hz; choose a rounder rate")
    ordered = da.transpose(..., "time")
    values = ordered.data if ordered.dtype.kind == "f" else ordered.astype(float).data
    known = np.isfinite(values)
    count = np.maximum(known.sum(-1, keepdims=True), 1)
    mean = np.where(known, values, 0).sum(-1, keepdims=True) / count
    values = _polyphase(values - mean, ratio.numerator, ratio.denominator) + mean
    coords: dict[Any, Any] = {name: c for name, c in da.coords.items() if "time" not in c.dims}
    coords["time"] = ("time", sample_times(da["time"].values[0], values.shape[-1], rate), da["time"].attrs)
    history = noted(da, f"resample: {old:g} to {rate:g} Hz")
    return xr.DataArray(values, coords, ordered.dims, da.name, history).transpose(*da.dims)


def _polyphase(x: Any, up: int, down: int) -> Any:
    """Resample along the last axis; dask arrays block by block, with as much around as the filter reaches."""
    if not hasattr(x, "chunks"):
        return scipy.signal.resample_poly(x, up, down, axis=-1)
    import dask.array as da

    n = x.shape[-1]
    # Sample `down` of the old rate is sample `up` of the new one: blocks and halos are multiples of them.
    halo = (10 * max(up, down) // up // down + 2) * down
    size = max(x.chunksize[-1] // down, 1) * down
    blocks = []
    for start in range(0, n, size):
        low, high = max(start - halo, 0), min(start + size + halo, n)
        piece = x[..., low:high].rechunk({-1: -1})
        made = -(-(high - low) * up // down)  # samples of the new rate
        first = (start - low) // down * up
        last = first + size // down * up if start + size < n else made
        out = piece.map_blocks(
            scipy.signal.resample_poly, up, down, axis=-1, dtype=x.dtype, chunks=(*piece.chunks[:-1], (made,))
        )
        blocks.append(out[..., first:last])
    return da.concatenate(blocks, axis=-1)


TRENDS = ("linear", "constant")


def detrend(da: xr.DataArray, kind: str = "linear") -> xr.DataArray:
    """Take the straight line that fits best, or the mean, off each row in time.

    Gaps (NaN) count for nothing and stay. A lazy record stays lazy.

    Parameters
    ----------
    da : DataArray with a ``time`` dim
    kind : "linear" or "constant"

    Raises
    ------
    ValueError
        For another kind, or without a ``time`` dim.

    Examples
    --------
    >>> da = xr.DataArray([1.0, 3.0, np.nan, 8.0], dims="time")
    >>> detrend(da, "constant").values
    array([-3., -1., nan,  4.])
    """
    if kind not in TRENDS:
        raise ValueError(f"unknown kind {kind!r}; choose from {', '.join(TRENDS)}")
    _need_time(da)
    x = da.astype(float)
    known = np.isfinite(x)
    x = x.where(known)
    out = x - x.mean("time")
    if kind == "linear":
        # about the mean time of what is known in each row: then mean and slope do not disturb each other
        place = xr.DataArray(np.linspace(-1, 1, da.sizes["time"]), dims="time").where(known)
        place = place - place.mean("time")
        square = (place**2).sum("time")
        out = out - place * ((out * place).sum("time") / square.where(square > 0, 1))
    return _like(out, da, f"detrend: {kind}")


def taper(da: xr.DataArray, length: Any) -> xr.DataArray:
    r"""Fade both ends of each row in and out with half a cosine, :math:`\sin^2(\pi (i + \frac12) / 2L)`.

    Parameters
    ----------
    da : DataArray with a ``time`` dim
    length : int [samples] or a duration such as "2s"
        Of the fade at each end.

    Raises
    ------
    ValueError
        When the two fades would overlap.

    Examples
    --------
    >>> da = xr.DataArray(np.ones(6), coords={"time": np.arange(6.0)})
    >>> taper(da, 2).values.round(3)
    array([0.146, 0.854, 1.   , 1.   , 0.854, 0.146])
    """
    _need_time(da)
    n, size = samples(length, 1.0 if isinstance(length, int) else sampling_rate(da)), da.sizes["time"]
    if not 0 <= 2 * n <= size:
        raise ValueError(
            f"a taper of {n} samples at each end does not fit into {size}; use at most {size // 2}"
        )
    fade = np.sin(np.pi * (np.arange(n) + 0.5) / (2 * n)) ** 2 if n else np.ones(0)
    weight = xr.DataArray(np.concatenate([fade, np.ones(size - 2 * n), fade[::-1]]), dims="time")
    return _like(da.astype(float) * weight, da, f"taper: {n} samples at each end")


SIZES = ("peak", "rms")


def normalise(da: xr.DataArray, by: str = "peak") -> xr.DataArray:
    """Divide each trace by its size: one gain for all its channels, so that polarisation survives.

    Nothing is subtracted: take the mean off first, with `detrend`, where there is one. Gaps (NaN) count for
    nothing. A trace of zeros stays as it is. A lazy record stays lazy.

    Parameters
    ----------
    da : DataArray with a ``time`` dim
    by : "peak" or "rms"
        Largest absolute value, or root of the mean square over channels and time.

    Raises
    ------
    ValueError
        For another size, or without a ``time`` dim.

    Examples
    --------
    >>> da = xr.DataArray([[0.0, -4.0], [1.0, 2.0]], dims=("channel", "time"))
    >>> normalise(da).values
    array([[ 0.  , -1.  ],
           [ 0.25,  0.5 ]])
    """
    if by not in SIZES:
        raise ValueError(f"unknown size {by!r}; choose from {', '.join(SIZES)}")
    _need_time(da)
    over = [d for d in ("channel", "time") if d in da.dims]
    x = da.astype(float)
    size = abs(x).max(over) if by == "peak" else (x**2).mean(over) ** 0.5
    return _like(x / size.where(size > 0, 1), da, f"normalise: by {by}")


def _need_time(da: xr.DataArray) -> None:
    if "time" not in da.dims:
        raise ValueError(f"data needs a 'time' dimension, found {da.dims}; rename one: data.rename(x='time')")


def _like(out: xr.DataArray, da: xr.DataArray, line: str) -> xr.DataArray:
    """Result with dims, floating dtype and attributes of the data it comes from, and a line of history."""
    out = out.transpose(*da.dims).astype(da.dtype if da.dtype.kind == "f" else float)
    out.attrs, out.name = noted(da, line), da.name
    return out
