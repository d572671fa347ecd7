"""How close an estimate comes to the clean signal: SNR, correlation, peak amplitude, onset, spectrum.

Each measure takes plain arrays of shape (trace, ..., time), or (time,) for a single trace, and gives one
number per trace; or labelled arrays, and gives one per everything but ``channel`` and ``time``, labels kept.
All components of a trace count together. Samples that are NaN in either are left out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.lib.stride_tricks import sliding_window_view


def snr_db(clean: Any, estimate: Any) -> Any:
    r"""Signal-to-noise ratio of an estimate [dB].

    :math:`10\log_{10}(\sum s^2 / \sum (s - y)^2)` for a clean signal s and an estimate y, all components
    jointly. An estimate of zeros has 0 dB, a perfect one is infinitely good.

    Examples
    --------
    >>> s = np.sin(np.arange(100.0))
    >>> snr_db(s, 0.9 * s).round(6)
    np.float64(20.0)
    """
    return _measure(_snr_db, clean, estimate)


def si_snr_db(clean: Any, estimate: Any) -> Any:
    r"""Scale-invariant signal-to-noise ratio [dB]: how good the estimate's shape is, whatever its size.

    Each component of the estimate is split into :math:`a s` with :math:`a = \sum sy / \sum s^2`, and the
    rest: :math:`10\log_{10}(\sum (as)^2 / \sum (y - as)^2)`, the sums over all components (Le Roux et al.
    2019). An estimate of zeros has minus infinity.

    Examples
    --------
    >>> s = np.array([1.0, 0.0, -1.0, 0.0])
    >>> si_snr_db(s, 5 * s + np.array([0.0, 0.5, 0.0, 0.5])).round(6)
    np.float64(20.0)
    """
    return _measure(_si_snr_db, clean, estimate)


def correlation(clean: Any, estimate: Any) -> Any:
    """Pearson correlation in time, averaged over the components; 0 for a component that is constant.

    Examples
    --------
    >>> s = np.sin(np.arange(100.0))
    >>> correlation(s, 3 - 2 * s).round(12)
    np.float64(-1.0)
    """
    return _measure(_correlation, clean, estimate)


def peak_error(clean: Any, estimate: Any) -> Any:
    r"""Error of the peak amplitude [%], median of the components.

    :math:`100\,|\max|y| - \max|s|\,| / \max|s|` for a clean signal s and an estimate y.

    Examples
    --------
    >>> peak_error(np.array([0.0, 4.0, -5.0]), np.array([0.0, 4.0, -4.5])).round(6)
    np.float64(10.0)
    """
    return _measure(_peak_error, clean, estimate)


def onset_shift(clean: Any, estimate: Any) -> Any:
    r"""How much later the estimate sets in than the clean signal [samples].

    A trace sets in where it falls best into two pieces of different variance: at the k of the smallest

    .. math:: k \ln\mathrm{var}(x_1 \ldots x_k) + (n - k - 1) \ln\mathrm{var}(x_{k+1} \ldots x_n),

    summed over the components (Maeda 1985). So cut out a few seconds around one arrival first. Silence counts
    as 120 dB below the whole trace; NaN where either has no variance at all.

    Examples
    --------
    >>> s = np.zeros(200)
    >>> s[80:] = np.sin(np.arange(120.0))
    >>> onset_shift(s, np.roll(s, 3))
    np.float64(3.0)
    """
    return _measure(_onset_shift, clean, estimate)


def spectral_distance(clean: Any, estimate: Any, *, length: int = 256, down_to: float = -40.0) -> Any:
    r"""Log-spectral distance [dB]: how far the power spectrum of the estimate is off.

    :math:`\sqrt{\langle (10\log_{10} P_y(f) / P_s(f))^2 \rangle_f}`, averaged over the components, with
    powers P by Welch's method (Hann windows that overlap by half; those with a gap are left out). Only
    frequencies count at which the clean signal has some power.

    Parameters
    ----------
    clean, estimate : array or DataArray
    length : int [samples]
        Of a window.
    down_to : float [dB]
        Power that a frequency must have beside the strongest one of its component, to count.

    Examples
    --------
    >>> s = np.random.default_rng(0).standard_normal(2000)
    >>> spectral_distance(s, 10 * s).round(6)
    np.float64(20.0)
    """
    return _measure(partial(_spectral_distance, length=length, down_to=down_to), clean, estimate)


def _measure(kernel: Callable, clean: Any, estimate: Any) -> Any:
    """Apply a kernel over (channel, time): for labels by name, for plain arrays all axes but the first."""
    if isinstance(clean, xr.DataArray) and isinstance(estimate, xr.DataArray):
        if "time" not in clean.dims or set(clean.dims) != set(estimate.dims):
            raise ValueError(f"dims are {clean.dims} and {estimate.dims}; both need the same, with 'time'")
        core = [d for d in ("channel", "time") if d in clean.dims]
        inner = kernel if len(core) == 2 else lambda s, y: kernel(s[..., None, :], y[..., None, :])
        return xr.apply_ufunc(inner, clean, estimate, input_core_dims=[core, core], join="exact")
    s, y = np.asarray(clean, float), np.asarray(estimate, float)
    if s.shape != y.shape or s.ndim == 0:
        raise ValueError(f"clean has shape {s.shape}, the estimate {y.shape}; they must be the same")
    traces = s.shape[:1] if s.ndim > 1 else ()
    channels = int(np.prod(s.shape[len(traces) : -1]))
    shape = (*traces, channels, s.shape[-1])
    return kernel(s.reshape(shape), y.reshape(shape))


# The kernels know axes and gaps only: (..., channel, time) -> (...).


def _known(s: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signal and estimate in float64 with zeros where either is unknown, and where both are known."""
    known = np.isfinite(s) & np.isfinite(y)
    return np.where(known, s, 0).astype(float), np.where(known, y, 0).astype(float), known


def _decibel(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10 * np.log10(signal / noise)


def _snr_db(s: np.ndarray, y: np.ndarray) -> np.ndarray:
    s, y, _ = _known(s, y)
    return _decibel((s**2).sum((-2, -1)), ((s - y) ** 2).sum((-2, -1)))


def _si_snr_db(s: np.ndarray, y: np.ndarray) -> np.ndarray:
    s, y, _ = _known(s, y)
    energy = (s**2).sum(-1, keepdims=True)
    shape = (s * y).sum(-1, keepdims=True) / np.where(energy > 0, energy, 1) * s
    ratio = _decibel((shape**2).sum((-2, -1)), ((y - shape) ** 2).sum((-2, -1)))
    return np.where((y**2).sum((-2, -1)) > 0, ratio, -np.inf)[()]


def _correlation(s: np.ndarray, y: np.ndarray) -> np.ndarray:
    s, y, known = _known(s, y)
    count = np.maximum(known.sum(-1, keepdims=True), 1)
    s, y = (np.where(known, x - x.sum(-1, keepdims=True) / count, 0) for x in (s, y))
    size = np.sqrt((s**2).sum(-1) * (y**2).sum(-1))
    return np.mean((s * y).sum(-1) / np.where(size > 0, size, 1), axis=-1)


def _peak_error(s: np.ndarray, y: np.ndarray) -> np.ndarray:
    s, y, _ = _known(s, y)
    peak = np.abs(s).max(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 100 * np.median(np.abs(np.abs(y).max(-1) - peak) / peak, axis=-1)


def _onset_shift(s: np.ndarray, y: np.ndarray) -> np.ndarray:
    s, y, known = _known(s, y)
    return _onset(y, known) - _onset(s, known)


def _onset(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Samples before the onset, NaN if there is none."""
    count = known.sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(known, x - x.sum(-1, keepdims=True) / count, 0)
        first = [np.cumsum(values, -1)[..., :-1] for values in (known, x, x**2)]
        total = (x**2).sum(-1, keepdims=True)
        silence = 1e-12 * total / count
        aic = np.zeros(first[0].shape)
        for n, sums, squares, weight in (
            (*first, first[0]),
            (count - first[0], -first[1], total - first[2], count - first[0] - 1),
        ):
            aic += np.where(
                n > 1, weight * np.log(np.maximum(squares / n - (sums / n) ** 2, silence)), np.inf
            )
    aic = np.where(total > 0, aic, 0).sum(-2)
    some = (total > 0).any((-2, -1)) & np.isfinite(aic).any(-1)
    return np.where(some, np.argmin(aic, -1) + 1.0, np.nan)[()]


def _spectral_distance(s: np.ndarray, y: np.ndarray, length: int, down_to: float) -> np.ndarray:
    s, y, known = _known(s, y)
    length = min(length, s.shape[-1])
    windows = [sliding_window_view(x, length, -1)[..., :: max(length // 2, 1), :] for x in (s, y, known)]
    whole = windows.pop().all(-1, keepdims=True)
    taper = np.sin(np.pi * np.arange(length) / length) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        clean, estimate = (
            (np.abs(np.fft.rfft((w - w.mean(-1, keepdims=True)) * taper)) ** 2).mean(-2, where=whole)
            for w in windows
        )
        counts = clean >= 10 ** (down_to / 10) * clean.max(-1, keepdims=True)
        off = _decibel(estimate, clean) ** 2
        return np.sqrt(off.mean(-1, where=counts)).mean(-1)
