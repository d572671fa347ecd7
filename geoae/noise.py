"""Noise, mixing at a stated signal-to-noise ratio, and corruptions for training."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import xarray as xr

Array = TypeVar("Array", np.ndarray, xr.DataArray)


def white(shape: int | tuple[int, ...], *, seed: int = 0) -> np.ndarray:
    """Draw Gaussian white noise of unit variance.

    Examples
    --------
    >>> white((2, 3, 100)).shape
    (2, 3, 100)
    """
    return np.random.default_rng(seed).standard_normal(shape)


def coloured(
    shape: int | tuple[int, ...], *, exponent: float, rate: float = 100.0, seed: int = 0
) -> np.ndarray:
    r"""Draw Gaussian noise whose power falls off as :math:`f^{-\alpha}`, with unit rms on each row.

    White noise, shaped in the frequency domain (Timmer and Koenig 1995): exponent 0 is white, 1 pink,
    2 brown, -1 blue. Twice the length is made and half is kept, so that a row does not join its own end
    as it would on a circle; then its mean is taken away.

    Parameters
    ----------
    shape : int or tuple, time last
    exponent : float
    rate : float [Hz]
        A power law has no scale, so the numbers are the same at every rate.
    seed : int

    Raises
    ------
    ValueError
        With fewer than two samples, which cannot have a colour.

    Examples
    --------
    >>> x = coloured((3, 1000), exponent=1.0)
    >>> (x**2).mean(axis=-1).round(6)
    array([1., 1., 1.])
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if not shape or shape[-1] < 2:
        raise ValueError(f"shape is {shape}; coloured noise needs at least two samples, time last")
    n = shape[-1]
    frequency = np.fft.rfftfreq(2 * n, 1 / rate)
    gain = np.zeros_like(frequency)
    gain[1:] = (frequency[1:] / frequency[1]) ** (-exponent / 2)
    spectrum = np.fft.rfft(white((*shape[:-1], 2 * n), seed=seed)) * gain
    x = np.fft.irfft(spectrum, 2 * n)[..., :n]
    x -= x.mean(axis=-1, keepdims=True)
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True))


def mix(signal: Array, noise: Any, snr_db: Any) -> Array:
    r"""Add noise to signals at a stated signal-to-noise ratio.

    Returns signal + g noise, with one gain g per trace, over all its channels and times, so that
    :math:`10\log_{10}(\overline{signal^2} / \overline{(g\,noise)^2})` is `snr_db`. The ratios between the
    components of the noise are untouched, and so is its polarisation. Gaps (NaN) are not counted.

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
        When the shapes differ, or a trace of signal or noise is silent and has no ratio.

    Examples
    --------
    >>> signal, noise = np.sin(np.arange(100.0))[None], white((1, 100))
    >>> added = mix(signal, noise, 6.0) - signal
    >>> (10 * np.log10((signal**2).mean() / (added**2).mean())).round(9)
    np.float64(6.0)
    """
    if isinstance(signal, xr.DataArray):
        inner = [d for d in signal.dims if d in ("channel", "time")]
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
        old = signal.attrs.get("history")
        line = f"mix: noise added at {_range(snr_db)} dB"
        out.attrs["history"] = f"{old}\n{line}" if old else line
        return out
    signal = np.asarray(signal)
    return _mixed(signal, np.asarray(noise), snr_db, min(1, signal.ndim - 1))


def _mixed(signal: np.ndarray, noise: np.ndarray, snr_db: Any, outer: int) -> np.ndarray:
    if noise.shape != signal.shape:
        raise ValueError(f"noise has shape {noise.shape}, the signal {signal.shape}; they must be the same")
    dtype = signal.dtype if signal.dtype.kind == "f" else np.dtype(float)
    powers = [_power(x, outer) for x in (signal, noise)]
    for name, power in zip(("signal", "noise"), powers, strict=True):
        if not np.all(power > 0):
            raise ValueError(f"trace {int(np.argmin(power > 0))} of the {name} is silent: it has no SNR")
    ratio = np.broadcast_to(np.asarray(snr_db, float), signal.shape[:outer]).reshape(powers[0].shape)
    return (signal + np.sqrt(powers[0] / powers[1] * 10 ** (-ratio / 10)) * noise).astype(dtype)


def _power(x: np.ndarray, outer: int) -> np.ndarray:
    """Mean square over all axes but the first `outer` ones, leaving out NaN; 0 where nothing is left."""
    known = np.isfinite(x)
    axes = tuple(range(outer, x.ndim))
    total = np.where(known, x, 0).astype(float) ** 2
    return total.sum(axes, keepdims=True) / np.maximum(known.sum(axes, keepdims=True), 1)


def _range(values: Any) -> str:
    low, high = np.min(values), np.max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


class Corruption:
    """What spoils a batch on purpose, so that a model learns to mend it; ``a | b`` does a, then b.

    A corruption is called with a batch (trace, channel, time) and a `numpy.random.Generator`, all of its
    chance, and returns a new batch of the same shape and dtype.
    """

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Spoil a batch."""
        raise NotImplementedError

    def __or__(self, other: "Corruption") -> "Compose":
        return Compose((self, other))


@dataclass(frozen=True)
class Compose(Corruption):
    """Several corruptions, one after the other; written ``a | b``.

    Examples
    --------
    >>> GaussianNoise(0.1) | Mask(0.5)
    Compose(steps=(GaussianNoise(sigma=0.1), Mask(fraction=0.5)))
    """

    steps: tuple[Corruption, ...]

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Spoil a batch, step by step."""
        for step in self.steps:
            x = step(x, rng)
        return x

    def __or__(self, other: Corruption) -> "Compose":
        return Compose((*self.steps, other))


@dataclass(frozen=True)
class GaussianNoise(Corruption):
    """White Gaussian noise of a fixed standard deviation, in the units of the data.

    Examples
    --------
    >>> GaussianNoise(0.1)(np.zeros((1, 1, 3)), np.random.default_rng(0)).round(3)
    array([[[ 0.013, -0.013,  0.064]]])
    """

    sigma: float

    def __post_init__(self) -> None:
        if not self.sigma >= 0:
            raise ValueError(f"sigma is {self.sigma}; it must be at least 0")

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Add the noise."""
        return (x + self.sigma * rng.standard_normal(x.shape)).astype(x.dtype)


@dataclass(frozen=True)
class Mask(Corruption):
    """Zeros in place of a random fraction of the samples, each sample on its own.

    Examples
    --------
    >>> Mask(0.5)(np.ones((1, 1, 8)), np.random.default_rng(0))
    array([[[1., 0., 0., 0., 1., 1., 1., 1.]]])
    """

    fraction: float

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"fraction is {self.fraction}; it must be between 0 and 1")

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Set samples to zero."""
        return np.where(rng.random(x.shape) < self.fraction, 0, x).astype(x.dtype)


@dataclass(frozen=True, eq=False)
class AddNoise(Corruption):
    """Noise at a random signal-to-noise ratio, drawn evenly in dB for each trace.

    Each trace gets a piece of a random noise trace, from a random place, with a random sign, all its
    channels together, mixed in as by `mix`. A silent trace gets the noise as it is: there a model learns
    to answer noise with silence.

    Parameters
    ----------
    noise : array or DataArray, shape (trace, channel, time) or (trace, time), optional
        At least as long as the data. White noise if not given.
    snr_db : (low, high) [dB]

    Raises
    ------
    ValueError
        When the noise holds NaN, is shorter than the data or has another number of channels.

    Examples
    --------
    >>> x = np.ones((4, 3, 100), np.float32)
    >>> AddNoise(snr_db=(0, 10))(x, np.random.default_rng(0)).shape
    (4, 3, 100)
    """

    noise: Any = field(default=None, repr=False)
    snr_db: tuple[float, float] = (-10, 20)

    def __post_init__(self) -> None:
        if np.shape(self.snr_db) != (2,) or not self.snr_db[0] <= self.snr_db[1]:
            raise ValueError(f"snr_db is {self.snr_db}; it must be a range (low, high)")
        if self.noise is not None:
            object.__setattr__(self, "noise", _noise_batch(self.noise))

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Add noise to each trace."""
        noise = rng.standard_normal(x.shape) if self.noise is None else self._pieces(x.shape, rng)
        ratio = rng.uniform(*self.snr_db, (len(x), 1, 1))
        signal_power, noise_power = _power(x, 1), _power(noise, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = np.sqrt(signal_power / noise_power * 10 ** (-ratio / 10))
        gain = np.where((signal_power > 0) & (noise_power > 0), gain, 1.0)
        return (x + gain * noise).astype(x.dtype)

    def _pieces(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        traces, channels, length = shape
        if self.noise.shape[1] != channels or self.noise.shape[2] < length:
            found = f"{self.noise.shape[1]} channels and {self.noise.shape[2]} samples"
            raise ValueError(f"noise has {found}, the data {channels} and {length}; it must not be shorter")
        which = rng.integers(len(self.noise), size=traces)
        start = rng.integers(self.noise.shape[2] - length + 1, size=traces)
        sign = rng.choice([-1.0, 1.0], size=(traces, 1, 1))
        columns = start[:, None, None] + np.arange(length)
        return sign * self.noise[which[:, None, None], np.arange(channels)[:, None], columns]


def _noise_batch(noise: Any) -> np.ndarray:
    """Noise as (trace, channel, time), with or without labels."""
    if isinstance(noise, xr.DataArray):
        noise = noise.transpose("trace", "channel", "time", missing_dims="ignore").values
    noise = np.asarray(noise)
    noise = noise[:, None] if noise.ndim == 2 else noise
    if noise.ndim != 3 or noise.size == 0:
        raise ValueError(f"noise has shape {noise.shape}; it must be (trace, channel, time)")
    if not np.isfinite(noise).all():
        raise ValueError("noise holds NaN or infinity; leave those pieces out")
    return noise
