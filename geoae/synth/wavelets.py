"""Wavelets: the pulses that sources send out."""

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
    frequency = np.asarray(frequency, float)[..., None]
    if not np.all(frequency > 0):
        raise ValueError(f"frequency is {np.min(frequency):g} Hz; it must be greater than 0")
    square = (np.pi * frequency * np.asarray(t, float)) ** 2
    return (1 - 2 * square) * np.exp(-square)
