"""Noise of many colours: white, power laws, the Earth's own, machines, spikes, copies of real noise."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from .mixing import noted


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

    def gain(f: np.ndarray) -> np.ndarray:
        return np.where(f > 0, (np.where(f > 0, f, 1) / f[1]) ** (-exponent / 2), 0)

    x = _shaped(shape, gain, rate, seed)
    x -= x.mean(axis=-1, keepdims=True)
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True))


def _shaped(shape: int | tuple[int, ...], gain: Callable, rate: float, seed: int) -> np.ndarray:
    """White noise of unit variance times a gain (a function of frequency)."""
    shape = _as_tuple(shape)
    n = shape[-1]
    # Twice the length, of which half is kept: on a circle of its own length a row would join its own end.
    spectrum = np.fft.rfft(white((*shape[:-1], 2 * n), seed=seed)) * gain(np.fft.rfftfreq(2 * n, 1 / rate))
    return np.fft.irfft(spectrum, 2 * n)[..., :n]


def _as_tuple(shape: int | tuple[int, ...]) -> tuple[int, ...]:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if not shape or shape[-1] < 2:
        raise ValueError(f"shape is {shape}; coloured noise needs at least two samples, time last")
    return shape


# Peterson (1993), Observations and modeling of seismic background noise, USGS Open-File Report 93-322: from
# the period P [s] on, the power is A + B log10 P [dB relative to 1 (m/s²)²/Hz].
LOW_NOISE = (
    (0.1, -162.36, 5.64), (0.17, -166.7, 0.0), (0.4, -170.0, -8.3), (0.8, -166.4, 28.9),
    (1.24, -168.6, 52.48), (2.4, -159.98, 29.81), (4.3, -141.1, 0.0), (5.0, -71.36, -99.77),
    (6.0, -97.26, -66.49), (10.0, -132.18, -31.57), (12.0, -205.27, 36.16), (15.6, -37.65, -104.33),
    (21.9, -114.37, -47.1), (31.6, -160.58, -16.28), (45.0, -187.5, 0.0), (70.0, -216.47, 15.7),
    (101.0, -185.0, 0.0), (154.0, -168.34, -7.61), (328.0, -217.43, 11.9), (600.0, -258.28, 26.6),
    (10000.0, -346.88, 48.75),
)  # fmt: skip
HIGH_NOISE = (
    (0.1, -108.73, -17.23), (0.22, -150.34, -80.5), (0.32, -122.31, -23.87), (0.8, -116.85, 32.51),
    (3.8, -108.48, 18.08), (4.6, -74.66, -32.95), (6.3, 0.66, -127.18), (7.9, -93.37, -22.42),
    (15.4, 73.54, -162.98), (20.0, -151.52, 10.01), (354.8, -206.66, 31.63),
)  # fmt: skip
LONGEST = 1e5  # s
MOTIONS = {"acceleration": 0, "velocity": 1, "displacement": 2}  # times integrated


def peterson(frequency: ArrayLike, level: float = 0.0, motion: str = "acceleration") -> np.ndarray:
    r"""Power spectral density of the Earth's background noise after Peterson (1993) [dB].

    The New Low Noise Model (`level` 0) and the New High Noise Model (1), straight lines in decibels over the
    logarithm of the period; other levels lie between them, in decibels. Beyond their ends, at 10 Hz and
    100 000 s, the models of acceleration are held constant.

    Parameters
    ----------
    frequency : array [Hz], above 0
    level : float
        From 0, a quiet vault, to 1, a loud city.
    motion : "acceleration", "velocity" or "displacement"

    Returns
    -------
    array [dB relative to 1 (m/s²)²/Hz, (m/s)²/Hz or m²/Hz]

    Raises
    ------
    ValueError
        For frequencies not above 0, or another motion.

    Examples
    --------
    >>> peterson([0.2, 1.0]).round(1), peterson([0.2, 1.0], level=1.0).round(1)
    (array([-141.1, -166.4]), array([ -97.7, -116.8]))
    """
    if motion not in MOTIONS:
        raise ValueError(f"unknown motion {motion!r}; choose from {', '.join(MOTIONS)}")
    f = np.asarray(frequency, float)
    if not np.all(f > 0):
        raise ValueError(f"frequency is {np.min(f):g} Hz; it must be greater than 0")
    period = np.clip(1 / f, LOW_NOISE[0][0], LONGEST)
    low, high = (_segments(period, np.array(table)) for table in (LOW_NOISE, HIGH_NOISE))
    return low + level * (high - low) - MOTIONS[motion] * 20 * np.log10(2 * np.pi * f)


def _segments(period: np.ndarray, table: np.ndarray) -> np.ndarray:
    which = np.searchsorted(table[:, 0], period, side="right") - 1
    return table[which, 1] + table[which, 2] * np.log10(period)


def background(
    shape: int | tuple[int, ...],
    *,
    level: float = 0.5,
    rate: float = 100.0,
    motion: str = "velocity",
    seed: int = 0,
) -> np.ndarray:
    """Draw Gaussian noise with the spectrum of the Earth's background, `peterson`, in its units.

    Parameters
    ----------
    shape : int or tuple, time last
    level : float
        0 is the New Low Noise Model, 1 the New High Noise Model, 0.5 half way between in decibels.
    rate : float [Hz]
    motion : "acceleration" [m/s²], "velocity" [m/s] or "displacement" [m]
        Of velocity and displacement most is slower than a record of minutes: take the mean or a trend off, or
        filter, as with real data.
    seed : int

    Examples
    --------
    >>> x = background((3, 60_000), level=0.5)
    >>> x.shape, f"{x.std():.0e} m/s"
    ((3, 60000), '4e-07 m/s')
    """

    def gain(f: np.ndarray) -> np.ndarray:
        # White noise of unit variance has the one-sided density 2 / rate.
        amplitude = np.sqrt(10 ** (peterson(np.where(f > 0, f, 1), level, motion) / 10) * rate / 2)
        return np.where(f > 0, amplitude, 0)

    return _shaped(shape, gain, rate, seed)


def hum(
    shape: int | tuple[int, ...],
    *,
    frequency: float = 50.0,
    harmonics: int = 4,
    wander: float = 5e-4,
    rate: float = 250.0,
    seed: int = 0,
) -> np.ndarray:
    """Draw the hum of a power grid: lines at multiples of its frequency, with unit rms on each row.

    Line j has 1/j of the amplitude of the first and a phase of its own; the frequency wanders slowly, over
    ten seconds or so.

    Parameters
    ----------
    shape : int or tuple, time last
    frequency : float [Hz]
    harmonics : int
        Number of lines; those above the Nyquist frequency are left out.
    wander : float
        Standard deviation of the frequency, as a share of it.
    rate : float [Hz]
    seed : int

    Raises
    ------
    ValueError
        When `rate` is too low for the first line.

    Examples
    --------
    >>> x = hum(1000, harmonics=1, wander=0.0)
    >>> spectrum = np.abs(np.fft.rfft(x))
    >>> float(np.fft.rfftfreq(1000, 1 / 250)[spectrum.argmax()])
    50.0
    """
    size = 1 / np.arange(1, harmonics + 1)
    return _lines(shape, frequency, size, wander, fading=0.0, slow=10.0, rate=rate, seed=seed)


def wind_turbine(
    shape: int | tuple[int, ...],
    *,
    blade_pass: float = 0.9,
    harmonics: int = 12,
    wander: float = 0.01,
    fading: float = 0.5,
    rate: float = 100.0,
    seed: int = 0,
) -> np.ndarray:
    r"""Draw noise like that of a wind turbine: harmonics of the blades' passage that come and go.

    Every blade that passes the tower pushes it, so the ground shakes at multiples of the number of blades
    times the rotor's speed, 0.5 to 1 Hz for large turbines (Saccorotti et al., 2011). Line j has
    :math:`1/\sqrt j` of the amplitude of the first. With the wind, over twenty seconds or so, the rotor's
    speed wanders, all lines together, and the amplitude of each line fades on its own. Unit rms on each row.

    Parameters
    ----------
    shape : int or tuple, time last
    blade_pass : float [Hz]
    harmonics : int
        Number of lines; those above the Nyquist frequency are left out.
    wander : float
        Standard deviation of the frequency, as a share of it.
    fading : float
        Standard deviation of the logarithm of the amplitudes.
    rate : float [Hz]
    seed : int

    Raises
    ------
    ValueError
        When `rate` is too low for the first line.

    Examples
    --------
    >>> x = wind_turbine((3, 6000))
    >>> (x**2).mean(axis=-1).round(6)
    array([1., 1., 1.])
    """
    size = 1 / np.sqrt(np.arange(1, harmonics + 1))
    return _lines(shape, blade_pass, size, wander, fading=fading, slow=20.0, rate=rate, seed=seed)


def _lines(
    shape: int | tuple[int, ...],
    frequency: float,
    size: np.ndarray,
    wander: float,
    *,
    fading: float,
    slow: float,
    rate: float,
    seed: int,
) -> np.ndarray:
    """Sines at multiples of a frequency that wanders, of amplitudes that fade, both over `slow` seconds."""
    shape = _as_tuple(shape)
    if not 0 < 2 * frequency < rate:
        raise ValueError(f"{rate:g} Hz does not resolve {frequency:g} Hz; use a rate above {2 * frequency:g}")
    size = size[: int(np.ceil(rate / 2 / frequency)) - 1]
    rng = np.random.default_rng(seed)
    rows = shape[:-1]
    turns = np.cumsum(frequency * (1 + wander * _smooth(rng, shape, slow * rate)), axis=-1) / rate
    out = np.zeros(shape)
    for j, amplitude in enumerate(size, start=1):
        loud = np.exp(fading * _smooth(rng, shape, slow * rate)) if fading else 1.0
        out += amplitude * loud * np.sin(2 * np.pi * (j * turns + rng.random((*rows, 1))))
    return out / np.sqrt(np.mean(out**2, axis=-1, keepdims=True))


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], samples: float) -> np.ndarray:
    """Normal values of unit variance that stay alike over so many samples."""
    knots = max(int(np.ceil(shape[-1] / samples)), 1) + 4
    curve = CubicSpline(np.arange(knots), rng.standard_normal((*shape[:-1], knots)), axis=-1)
    return curve(1.5 + rng.random() + np.arange(shape[-1]) / samples)


def spikes(shape: int | tuple[int, ...], *, share: float = 1e-3, seed: int = 0) -> np.ndarray:
    """Draw single samples that jump, of either sign, with zeros between them.

    Parameters
    ----------
    shape : int or tuple
    share : float
        Of samples that are spikes, each on its own.
    seed : int

    Returns
    -------
    array
        The median height is one; one in six is higher than e, one in six lower than 1/e (log-normal).

    Examples
    --------
    >>> x = spikes((2, 10_000), share=0.01)
    >>> round(float((x != 0).mean()), 2)
    0.01
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it must be between 0 and 1")
    rng = np.random.default_rng(seed)
    heights = np.exp(rng.standard_normal(shape)) * rng.choice([-1.0, 1.0], shape)
    return np.where(rng.random(shape) < share, heights, 0)


def surrogates(noise: Any, n: int, *, seed: int = 0) -> Any:
    r"""Make new noise from real noise: its spectrum kept, its phases drawn anew.

    The Fourier transform of a piece of noise is turned by random phases, the same ones in all its channels,
    so that the power of each channel and the coherence and phase between channels stay (Prichard and
    Theiler, 1994). What is not noise, such as an earthquake, is smeared over the whole length. Take the
    trend off first: the transform sees a jump where the end meets the start.

    Parameters
    ----------
    noise : array or DataArray, ([trace,] [channel,] time)
        Plain arrays of two axes are (channel, time). Of several traces, copy i is made from trace
        ``i % traces``.
    n : int
        Number of copies.
    seed : int

    Returns
    -------
    array or DataArray, (trace, [channel,] time)

    Raises
    ------
    ValueError
        For noise with NaN, or no copies.

    Examples
    --------
    >>> real = coloured((3, 500), exponent=1.0)
    >>> copies = surrogates(real, 10)
    >>> copies.shape, np.allclose(np.abs(np.fft.rfft(copies)), np.abs(np.fft.rfft(real)))
    ((10, 3, 500), True)
    """
    if n < 1:
        raise ValueError(f"n is {n}; make at least one copy")
    if isinstance(noise, xr.DataArray):
        inner = [d for d in ("channel", "time") if d in noise.dims]
        source = noise if "trace" in noise.dims else noise.expand_dims("trace")
        source = source.transpose("trace", *inner).isel(trace=np.arange(n) % source.sizes["trace"])
        out = source.copy(data=_turned(source.values, seed))
        out.attrs = noted(noise, f"surrogates: {n} copies with random phases")
        return out
    values = np.asarray(noise)
    values = values if values.ndim > 2 else values[None]
    return _turned(values[np.arange(n) % len(values)], seed)


def _turned(x: np.ndarray, seed: int) -> np.ndarray:
    """Turn the phases of each row (trace, ..., time), all channels of a trace alike."""
    if not np.isfinite(x).all():
        raise ValueError("noise holds NaN or infinity; take a piece without gaps")
    size = x.shape[-1]
    count = (size - 1) // 2  # of frequencies that have a phase: not zero, nor Nyquist
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, (len(x),) + (1,) * (x.ndim - 2) + (count,))
    spectrum = np.fft.rfft(x)
    spectrum[..., 1 : count + 1] *= np.exp(1j * phase)
    turned = np.fft.irfft(spectrum, size)
    return turned.astype(x.dtype if x.dtype.kind == "f" else float)
