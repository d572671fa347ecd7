"""What spoils a batch on purpose, so that a model learns to mend it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from scipy.ndimage import convolve1d

from .mixing import power, swing


class Corruption(ABC):
    """What spoils a batch on purpose, so that a model learns to mend it; ``a | b`` does a, then b.

    A corruption is called with a batch (trace, channel, time) and a `numpy.random.Generator`, all of its
    chance, and returns a new batch of the same shape and dtype. What is missing (NaN) stays missing.
    """

    @abstractmethod
    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Spoil a batch."""

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
    """Zeros in place of a random fraction of the samples: masking with probability q.

    Each sample goes on its own with probability q = `fraction` (Vincent et al., 2008); those kept are not
    made larger. Over these draws a trace x of second moments C = E[xx'] has (1 - q)² C + q (1 - q) diag C.

    Examples
    --------
    >>> Mask(0.5)(np.ones((1, 1, 8)), np.random.default_rng(0))
    array([[[1., 0., 0., 0., 1., 1., 1., 1.]]])
    """

    fraction: float

    def __post_init__(self) -> None:
        _check_share(fraction=self.fraction)

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Set samples to zero."""
        return _silenced(x, rng.random(x.shape) < self.fraction)


@dataclass(frozen=True)
class DropChannels(Corruption):
    """Zeros in place of whole channels: a component that died.

    Each channel goes on its own with the same probability p. A trace that would lose all of its C channels
    keeps one, drawn at random, so that a channel goes with probability p - p**C / C: a single one never
    does, and at p = 1 exactly one is left.

    Examples
    --------
    >>> DropChannels(0.5)(np.ones((2, 3, 2)), np.random.default_rng(0))[..., 0]
    array([[1., 0., 0.],
           [0., 1., 1.]])
    """

    probability: float

    def __post_init__(self) -> None:
        _check_share(probability=self.probability)

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Silence channels."""
        dead = rng.random(x.shape[:2]) < self.probability
        spared = rng.integers(x.shape[1], size=len(x))
        lost = dead.all(axis=1)
        dead[lost, spared[lost]] = False
        return _silenced(x, dead[..., None])


@dataclass(frozen=True)
class Gaps(Corruption):
    """Stretches of missing samples (NaN), the same in all channels of a trace.

    A model counts NaN for nothing and sees zeros there, after the mean is off. Gaps lie wholly inside the
    trace, each place as likely as the next, and may run into each other.

    Parameters
    ----------
    count : (low, high)
        Gaps per trace, drawn evenly for each trace.
    length : (low, high) [samples]
        Drawn evenly for each gap.

    Raises
    ------
    ValueError
        For ranges that are none, and when called on traces that the gaps could swallow whole.

    Examples
    --------
    >>> Gaps(count=(1, 1), length=(2, 3))(np.ones((1, 1, 8)), np.random.default_rng(0))
    array([[[ 1.,  1.,  1., nan, nan, nan,  1.,  1.]]])
    """

    count: tuple[int, int] = (0, 2)
    length: tuple[int, int] = (1, 10)

    def __post_init__(self) -> None:
        _check_counts(count=(self.count, 0), length=(self.length, 1))

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Open the gaps."""
        time = x.shape[2]
        most = self.count[1] * self.length[1]
        if most >= time:
            found = f"{self.count[1]} gaps of {self.length[1]} samples"
            raise ValueError(f"{found} could swallow a trace of {time}; count times length must be less")
        count = rng.integers(*self.count, size=(len(x), 1), endpoint=True)
        length = rng.integers(*self.length, size=(len(x), self.count[1]), endpoint=True)
        start = rng.integers(time - length, endpoint=True)
        since = np.arange(time) - start[..., None]
        inside = (since >= 0) & (since < length[..., None])
        wanted = np.arange(self.count[1]) < count
        return np.where((inside & wanted[..., None]).any(axis=1)[:, None], np.nan, x).astype(x.dtype)


@dataclass(frozen=True)
class Spikes(Corruption):
    """Single samples that jump, in one channel at a time: a digitiser's errors.

    Parameters
    ----------
    count : (low, high)
        Spikes per trace, drawn evenly for each trace.
    size : (low, high)
        Height, in multiples of the trace's rms about its mean over all channels, drawn evenly; either sign.

    Examples
    --------
    >>> x = np.sin(np.arange(8.0)).reshape(1, 1, 8)
    >>> spoiled = Spikes(count=(1, 1), size=(10, 10))(x, np.random.default_rng(0))
    >>> ((spoiled - x) / x.std()).round(6)
    array([[[ 0.,  0., 10.,  0.,  0.,  0.,  0.,  0.]]])
    """

    count: tuple[int, int] = (0, 3)
    size: tuple[float, float] = (5.0, 50.0)

    def __post_init__(self) -> None:
        _check_counts(count=(self.count, 0))
        if np.shape(self.size) != (2,) or not 0 <= self.size[0] <= self.size[1]:
            raise ValueError(f"size is {self.size}; it must be a range (low, high) from 0 up")

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Add the spikes."""
        traces, channels, time = x.shape
        shape = (traces, self.count[1])
        wanted = np.arange(self.count[1]) < rng.integers(*self.count, size=(traces, 1), endpoint=True)
        rms = np.sqrt(power(swing(x), 1)).reshape(traces, 1)
        height = wanted * rng.uniform(*self.size, shape) * rng.choice([-1.0, 1.0], shape) * rms
        where = (
            np.arange(traces)[:, None],
            rng.integers(channels, size=shape),
            rng.integers(time, size=shape),
        )
        jumps = np.zeros(x.shape)
        np.add.at(jumps, where, height)
        return (x + jumps).astype(x.dtype)


@dataclass(frozen=True)
class Shift(Corruption):
    """A random shift in time, all channels of a trace together.

    Whole samples, later or earlier, drawn evenly from -`samples` to `samples`. What runs over the end is
    lost, and what comes in is `fill`: zero, the silence before an event, or NaN for "not known".

    Raises
    ------
    ValueError
        When called on traces that a shift could empty.

    Examples
    --------
    >>> Shift(2)(np.arange(1.0, 6.0).reshape(1, 1, 5), np.random.default_rng(0))
    array([[[0., 0., 1., 2., 3.]]])
    """

    samples: int
    fill: float = 0.0

    def __post_init__(self) -> None:
        if not self.samples >= 0 or self.samples != int(self.samples):
            raise ValueError(f"samples is {self.samples}; it must be a whole number from 0 up")

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Shift each trace."""
        time = x.shape[2]
        if self.samples >= time:
            raise ValueError(f"a shift by {self.samples} samples would empty a trace of {time}; take fewer")
        later = rng.integers(-self.samples, self.samples, size=(len(x), 1, 1), endpoint=True)
        source = np.arange(time) - later
        moved = np.take_along_axis(x, np.clip(source, 0, time - 1), axis=2)
        return np.where((source >= 0) & (source < time), moved, self.fill).astype(x.dtype)


@dataclass(frozen=True, eq=False)
class Blur(Corruption):
    r"""Convolution in time with a wavelet of unit sum: a model trained on it learns to deblur.

    All channels of a trace get the same wavelet. The length stays, and a constant trace stays as it is: the
    wavelet sums to one, and the trace is mirrored at its ends (d c b a | a b c d). A sample that hangs on a
    missing one (NaN) is missing.

    Parameters
    ----------
    width : (low, high) [samples]
        Standard deviation of the wavelet in time, drawn evenly for each trace; 0 leaves the trace alone.
    shape : str
        ``gaussian``, of zero phase, cut at 4 widths; ``causal``, what a critically damped instrument makes
        of an impulse, :math:`w_n \propto (n + 1) a^n`, of minimum phase, where
        :math:`width^2 = 2a / (1 - a)^2`, cut at 10 widths.
    kernel : array, shape (time,), optional
        One wavelet for all traces instead. It is divided by its sum; time zero is its sample
        ``(len(kernel) - 1) // 2``, as in ``np.convolve(x, kernel, "same")``.

    Examples
    --------
    >>> spike = np.eye(9)[None, None, 4]
    >>> Blur(kernel=[1, 2, 1])(spike, np.random.default_rng(0))
    array([[[0.  , 0.  , 0.  , 0.25, 0.5 , 0.25, 0.  , 0.  , 0.  ]]])
    >>> Blur(width=(0.5, 0.5), shape="causal")(spike, np.random.default_rng(0)).round(2)
    array([[[0.  , 0.  , 0.  , 0.  , 0.81, 0.16, 0.02, 0.  , 0.  ]]])
    """

    width: tuple[float, float] = (0.0, 3.0)
    shape: str = "gaussian"
    kernel: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if np.shape(self.width) != (2,) or not 0 <= self.width[0] <= self.width[1] < np.inf:
            raise ValueError(f"width is {self.width}; it must be a range (low, high) from 0 up")
        if self.shape not in WAVELETS:
            raise ValueError(f"unknown shape {self.shape!r}; choose from {', '.join(WAVELETS)}")
        if self.kernel is not None:
            object.__setattr__(self, "kernel", _centred(self.kernel))

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Convolve each trace."""
        if self.kernel is not None:
            return convolve1d(x, self.kernel, axis=2, mode="reflect")
        kernels = map(WAVELETS[self.shape], rng.uniform(*self.width, size=len(x)))
        blurred = [convolve1d(t, w, axis=1, mode="reflect") for t, w in zip(x, kernels, strict=True)]
        return np.stack(blurred) if blurred else x.copy()


def _gaussian(width: float) -> np.ndarray:
    n = np.arange(-np.ceil(4 * width), np.ceil(4 * width) + 1)
    w = np.exp(-0.5 * (n / max(width, np.finfo(float).tiny)) ** 2)
    return w / w.sum()


def _causal(width: float) -> np.ndarray:
    # the smaller root of width² (1 - a)² = 2a, written so that it is 0 at width 0
    a = width**2 / (width**2 + 1 + np.sqrt(2 * width**2 + 1))
    n = np.arange(np.ceil(10 * width) + 1)
    w = (n + 1) * a**n
    return np.concatenate([np.zeros(len(n) - 1), w / w.sum()])


WAVELETS = {"gaussian": _gaussian, "causal": _causal}  # each of odd length, time zero in the middle


def _centred(kernel: Any) -> np.ndarray:
    """Kernel of unit sum and odd length, time zero in the middle."""
    w = np.asarray(kernel, float)
    if w.ndim != 1 or w.size == 0 or not np.isfinite(w).all():
        raise ValueError(f"kernel has shape {w.shape}; it must be finite numbers along one axis, time")
    if abs(w.sum()) <= 1e-9 * np.abs(w).sum():
        raise ValueError("kernel sums to 0, so it cannot be scaled to a sum of 1; a blur keeps the mean")
    return np.concatenate([np.zeros(1 - len(w) % 2), w]) / w.sum()


def _silenced(x: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Zeros where told, but not in place of missing samples: those are not known to be silent."""
    return np.where(where & ~np.isnan(x), 0, x).astype(x.dtype)


def _check_counts(**ranges: tuple[tuple[int, int], int]) -> None:
    for name, (ends, least) in ranges.items():
        if np.shape(ends) != (2,) or not least <= ends[0] <= ends[1] or any(end % 1 for end in ends):
            wanted = f"a range (low, high) of whole numbers from {least} up"
            raise ValueError(f"{name} is {ends}; it must be {wanted}")


def _check_share(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} is {share}; it must be between 0 and 1")


@dataclass(frozen=True, eq=False)
class AddNoise(Corruption):
    """Noise at a random signal-to-noise ratio, drawn evenly in dB for each trace.

    Each trace gets a piece of a random noise trace, from a random place, with a random sign, all its
    channels together, mixed in as by `mix`: powers are about each channel's mean, the offset of the data
    stays, that of the piece of noise is taken off. A silent (constant) trace gets the noise at its own
    size: there a model learns to answer noise with silence.

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
        noise = swing(noise)
        signal_power, noise_power = power(swing(x), 1), power(noise, 1)
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
