"""Noise added to signals: at a stated ratio, or of a stated size."""

from typing import Any, TypeVar

import numpy as np
import xarray as xr

Array = TypeVar("Array", np.ndarray, xr.DataArray)

NOISE = 1  # the stream of random numbers that noise is drawn from


def mix(signal: Array, noise: Any, snr_db: Any) -> Array:
    r"""Add noise to signals at a stated signal-to-noise ratio.

    Returns signal + g (noise - its mean), with one gain g per trace, over all its channels and times, so
    that :math:`10\log_{10}(P_{signal} / g^2 P_{noise})` is `snr_db`. The power P is the mean square about
    each channel's mean in time: an offset, such as that of a digitiser, is neither signal nor noise. That of
    the signal stays, that of the noise does not come in. The ratios between the components of the noise are
    untouched, and so is its polarisation. Gaps (NaN) are not counted.

    Parameters
    ----------
    signal : array or DataArray
        Plain arrays are (trace, ..., time), or (time,) for a single trace. In labelled ones all dims but
        ``channel`` and ``time`` count traces: a record of dims ("channel", "time") gets one gain.
    noise : array or DataArray, of the shape of `signal`
    snr_db : float [dB], or one per trace

    Raises
    ------
    ValueError
        When the shapes differ, or a trace of signal or noise is silent (constant) and has no ratio.

    Examples
    --------
    >>> from geoae.noise import white
    >>> signal, noise = np.sin(np.arange(100.0))[None], white((1, 100))
    >>> added = mix(signal, noise, 6.0) - signal
    >>> (10 * np.log10(signal.var() / added.var())).round(9)
    np.float64(6.0)
    """
    if isinstance(signal, xr.DataArray):
        inner = [d for d in ("channel", "time") if d in signal.dims]
        outer = [d for d in signal.dims if d not in inner]
        ordered = signal.transpose(*outer, *inner)
        if isinstance(noise, xr.DataArray):
            if set(noise.dims) != set(signal.dims):
                raise ValueError(
                    f"noise has dims {noise.dims}, the signal {signal.dims}; they must be the same"
                )
            noise = noise.transpose(*ordered.dims).values
        values = _mixed(ordered.values, np.asarray(noise), snr_db, len(outer))
        out = ordered.copy(data=values).transpose(*signal.dims)
        out.attrs = noted(signal, f"mix: noise added at {_range(snr_db)} dB")
        return out
    signal = np.asarray(signal)
    return _mixed(signal, np.asarray(noise), snr_db, min(1, signal.ndim - 1))


def _mixed(signal: np.ndarray, noise: np.ndarray, snr_db: Any, outer: int) -> np.ndarray:
    if noise.shape != signal.shape:
        raise ValueError(f"noise has shape {noise.shape}, the signal {signal.shape}; they must be the same")
    dtype = signal.dtype if signal.dtype.kind == "f" else np.dtype(float)
    noise = swing(noise)
    powers = [power(x, outer) for x in (swing(signal), noise)]
    for name, size in zip(("signal", "noise"), powers, strict=True):
        if not np.all(size > 0):
            raise ValueError(f"trace {int(np.argmin(size > 0))} of the {name} is silent: it has no SNR")
    ratio = np.asarray(snr_db, float)
    if ratio.ndim and ratio.shape != signal.shape[:outer]:
        found = f"snr_db has shape {ratio.shape}, the signal {signal.shape[:outer]} traces"
        raise ValueError(f"{found}; give one number, or one for each trace")
    ratio = np.broadcast_to(ratio, signal.shape[:outer]).reshape(powers[0].shape)
    return (signal + np.sqrt(powers[0] / powers[1] * 10 ** (-ratio / 10)) * noise).astype(dtype)


def add_white(traces: xr.DataArray, sigma: Any, *, seed: int = 0) -> xr.DataArray:
    r"""Add white Gaussian noise of a stated size to labelled traces, and label them with it.

    Parameters
    ----------
    traces : DataArray with a ``time`` dim
        All dims but ``channel`` and ``time`` count traces.
    sigma : float or (low, high)
        Standard deviation, in the units of the traces; a range is drawn from evenly for each trace.
    seed : int

    Returns
    -------
    DataArray
        With the coordinates ``noise``, the standard deviation, and ``snr_db``, by the powers of `mix`, of
        each trace; minus infinity where a trace was silent, infinity where `sigma` is 0.

    Raises
    ------
    ValueError
        For a negative `sigma`, or a range that is none.

    Examples
    --------
    >>> x = xr.DataArray(np.tile(np.sin(np.arange(1000)), (3, 1)), dims=("trace", "time"))
    >>> y = add_white(x, sigma=0.1)
    >>> y.snr_db.values.round(), float((y - x).std().round(2))
    (array([17., 17., 17.]), 0.1)
    """
    low, high = sigma if np.shape(sigma) == (2,) else (sigma, sigma)
    if np.ndim(low) or not 0 <= low <= high:
        raise ValueError(f"sigma is {sigma}; it must be a number from 0 up or a range (low, high) of such")
    inner = [d for d in ("channel", "time") if d in traces.dims]
    outer = [d for d in traces.dims if d not in inner]
    ordered = traces.transpose(*outer, *inner)
    rng = np.random.default_rng((seed, NOISE))  # the traces may come from the same seed
    shape = tuple(ordered.sizes[d] for d in outer)
    level = rng.uniform(low, high, shape)
    column = level.reshape(shape + (1,) * len(inner))
    values = ordered.values + column * rng.standard_normal(ordered.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 10 * np.log10(power(swing(ordered.values), len(outer)).reshape(shape) / level**2)
    dtype = traces.dtype if traces.dtype.kind == "f" else float
    out = ordered.copy(data=values.astype(dtype)).transpose(*traces.dims)
    out.attrs = noted(traces, f"add_white: noise of standard deviation {_range((low, high))} added")
    units = {"units": traces.attrs["units"]} if "units" in traces.attrs else {}
    return out.assign_coords(
        noise=(outer, level, units | {"long_name": "standard deviation of the noise"}),
        snr_db=(outer, ratio, {"units": "dB", "long_name": "signal-to-noise ratio"}),
    )


def noted(da: xr.DataArray, line: str) -> dict:
    """Attributes of `da` with one more line of history."""
    old = da.attrs.get("history")
    return {**da.attrs, "history": f"{old}\n{line}" if old else line}


def swing(x: np.ndarray) -> np.ndarray:
    """Values about their mean in time, the last axis, in double precision; what is not finite is NaN.

    The largest value goes first, so that a constant row of whatever size gives zeros and not rounding.
    """
    known = np.isfinite(x)
    largest = np.where(known, x, -np.inf).max(-1, keepdims=True, initial=-np.inf)
    below = np.where(known, x, 0).astype(float) - np.where(np.isfinite(largest), largest, 0)
    below[~known] = 0
    mean = below.sum(-1, keepdims=True) / np.maximum(known.sum(-1, keepdims=True), 1)
    return np.where(known, below - mean, np.nan)


def power(x: np.ndarray, outer: int) -> np.ndarray:
    """Mean square over all axes but the first `outer` ones, leaving out NaN; 0 where nothing is left."""
    known = ~np.isnan(x)
    axes = tuple(range(outer, x.ndim))
    total = np.where(known, x, 0) ** 2
    return total.sum(axes, keepdims=True) / np.maximum(known.sum(axes, keepdims=True), 1)


def _range(values: Any) -> str:
    low, high = np.min(values), np.max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
