"""The classical denoisers to compare with."""

import numpy as np
import scipy  # its signal package costs 60 MB once it is asked for
import xarray as xr

from ..arrays import sampling_rate


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
    sos = scipy.signal.butter(corners, [low, high], "bandpass", fs=rate, output="sos")
    axis = data.get_axis_num("time")
    return data.copy(data=scipy.signal.sosfiltfilt(sos, data.values.astype(float), axis=axis))


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
    cells = scipy.signal.stft(data.transpose(..., "time").values.astype(float), **options)[2]
    power = np.abs(cells) ** 2
    floor = np.median(power, axis=-1, keepdims=True) / np.log(
        2
    )  # the median of an exponential is ln 2 of its mean
    gain = np.maximum(1 - strength * floor / np.maximum(power, np.finfo(float).tiny), 0)
    values = scipy.signal.istft(cells * gain, **options)[1][..., : data.sizes["time"]]
    return data.transpose(..., "time").copy(data=values).transpose(*data.dims)
