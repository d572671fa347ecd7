"""Wavelets: the pulses that sources send out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def ricker(t: ArrayLike, frequency: ArrayLike) -> np.ndarray:
    r"""Give the Ricker wavelet, the second derivative of a Gaussian with its sign turned.

    :math:`(1 - 2\pi^2 f^2 t^2)\,e^{-\pi^2 f^2 t^2}`: one at t = 0, zero mean, with an amplitude spectrum
    proportional to :math:`\nu^2 e^{-\nu^2/f^2}`, which is largest at :math:`\nu = f` (Ricker 1953).

    Parameters
    ----------
    t : array [s], shape (time,)
    frequency : float or array [Hz], shape (...)

    Returns
    -------
    array, shape (..., time)

    Examples
    --------
    >>> ricker([0.0, 0.1], frequency=5.0).round(4)
    array([ 1.    , -0.3337])
    """
    return pulse(np.asarray(t, float), _frequencies(frequency, "frequency"))


def pulse(t: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Evaluate the formula of `ricker`, analytic in both: complex values are welcome."""
    square = (np.pi * frequency * t) ** 2
    return (1 - 2 * square) * np.exp(-square)


def ormsby(t: ArrayLike, corners: Sequence[float]) -> np.ndarray:
    r"""Give the Ormsby wavelet, whose amplitude spectrum is a trapezoid: a band-limited spike of zero phase.

    The spectrum rises linearly from :math:`f_1` to :math:`f_2`, is flat to :math:`f_3` and falls to zero at
    :math:`f_4`, so the wavelet is a difference of triangles' transforms,

    .. math:: \frac{1}{f_4 + f_3 - f_2 - f_1} \left[
        \frac{f_4^2 S(f_4 t) - f_3^2 S(f_3 t)}{f_4 - f_3} -
        \frac{f_2^2 S(f_2 t) - f_1^2 S(f_1 t)}{f_2 - f_1} \right], \quad
        S(x) = \left(\frac{\sin \pi x}{\pi x}\right)^2

    (Ryan, 1994), one at t = 0.

    Parameters
    ----------
    t : array [s], shape (time,)
    corners : four frequencies [Hz], increasing

    Returns
    -------
    array, shape (time,)

    Raises
    ------
    ValueError
        Unless there are four corners, each greater than the one before, the first at least 0.

    Examples
    --------
    >>> ormsby([0.0, 0.01, 0.02], (5, 10, 40, 60)).round(3)
    array([ 1.   , -0.169, -0.149])
    """
    f = np.asarray(corners, float)
    if f.shape != (4,) or not (f[0] >= 0 and np.all(np.diff(f) > 0)):
        raise ValueError(f"corners are {corners}; they must be four frequencies, each above the one before")
    square = f[:, None] ** 2 * np.sinc(f[:, None] * np.asarray(t, float)) ** 2
    high, low = (square[3] - square[2]) / (f[3] - f[2]), (square[1] - square[0]) / (f[1] - f[0])
    return (high - low) / (f[3] + f[2] - f[1] - f[0])


MOTIONS = ("displacement", "velocity")


def brune(t: ArrayLike, corner: ArrayLike, motion: str = "displacement") -> np.ndarray:
    r"""Give the far-field pulse of an earthquake after Brune (1970): causal, one corner frequency.

    Displacement is :math:`\omega_c^2 t\,e^{-\omega_c t}` from t = 0 on, with :math:`\omega_c = 2\pi f_c`:
    of unit area, and an amplitude spectrum :math:`1/(1 + (f/f_c)^2)`. Velocity is its derivative,
    :math:`\omega_c^2 (1 - \omega_c t)\,e^{-\omega_c t}`, whose spectrum peaks at the corner.

    Parameters
    ----------
    t : array [s], shape (time,)
    corner : float or array [Hz], shape (...)
    motion : "displacement" or "velocity"

    Returns
    -------
    array [1/s, or 1/s² for velocity], shape (..., time)

    Raises
    ------
    ValueError
        Unless the corner is above 0, or for another motion.

    Examples
    --------
    >>> t = np.arange(0, 10, 0.001)
    >>> float((brune(t, corner=2.0).sum() * 0.001).round(3))
    1.0
    """
    if motion not in MOTIONS:
        raise ValueError(f"unknown motion {motion!r}; choose from {', '.join(MOTIONS)}")
    t = np.asarray(t, float)
    omega = 2 * np.pi * _frequencies(corner, "corner")
    angle = omega * np.maximum(t, 0)
    shape = angle if motion == "displacement" else omega * (1 - angle)
    return np.where(t >= 0, omega * shape * np.exp(-angle), 0)


def _frequencies(values: ArrayLike, name: str) -> np.ndarray:
    """Frequencies, one per row."""
    f = np.asarray(values, float)[..., None]
    if not np.all(f > 0):
        raise ValueError(f"{name} is {np.min(f):g} Hz; it must be greater than 0")
    return f
