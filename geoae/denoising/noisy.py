"""Pairs to train a denoiser on, made of noisy records alone."""

import numpy as np
import xarray as xr
from scipy.ndimage import uniform_filter1d

from ..arrays import sampling_rate


def noisy_pairs(
    data: xr.DataArray, *, draws: int = 4, quiet: float = 0.3, seed: int = 0
) -> tuple[xr.DataArray, xr.DataArray]:
    r"""Inputs and targets for training without clean signals: noise is added to one, and taken off the other.

    Of a noisy trace :math:`x = s + n` and another piece of noise :math:`n'` like it come the input
    :math:`x + n'` and the target :math:`x - n'`. For Gaussian noise their errors :math:`n + n'` and
    :math:`n - n'` are independent, so that the best guess of the target is that of :math:`s`
    (recorrupted-to-recorrupted; Pang et al., 2021). The noise is found in the data: in the traces with the
    least outbursts, scaled to the level of the trace that they are added to, shifted round and sign-flipped.

    This needs many traces that are mostly noise of one kind, and learns nothing about what is in every trace:
    a hum that never stops is signal to it.

    Parameters
    ----------
    data : DataArray, dims ("trace", ["channel",] "time")
        Noisy traces without gaps.
    draws : int
        Pairs made of each trace.
    quiet : float
        Share of the traces to take noise from.
    seed : int

    Returns
    -------
    inputs, targets : DataArray
        For ``geoae.fit(model, inputs, target=targets)``.

    Examples
    --------
    >>> import geoae
    >>> inputs, targets = noisy_pairs(geoae.synth.seismograms(10), draws=2)
    >>> inputs.sizes["trace"]
    20
    """
    rng = np.random.default_rng(seed)
    values = data.transpose("trace", ..., "time").values
    second = max(round(sampling_rate(data)), 2)
    power = uniform_filter1d((values - values.mean(-1, keepdims=True)) ** 2, second, axis=-1)
    level = np.sqrt(np.median(power, axis=-1, keepdims=True))
    outburst = (
        (power.max(-1) / np.maximum(level[..., 0] ** 2, np.finfo(float).tiny))
        .reshape(len(values), -1)
        .max(-1)
    )
    calm = np.argsort(outburst, kind="stable")[: max(round(quiet * len(values)), 2)]
    inputs, targets = [], []
    for _ in range(draws):
        place = calm[rng.integers(len(calm), size=len(values))]
        gain = rng.choice([-1, 1], len(values)).reshape(-1, *[1] * (values.ndim - 1)) * level
        shift = rng.integers(values.shape[-1], size=len(values))
        noise = np.stack([np.roll(values[i], n, -1) for i, n in zip(place, shift, strict=True)])
        noise = noise * (gain / np.maximum(level[place], np.finfo(float).tiny))
        inputs.append(values + noise)
        targets.append(values - noise)
    many = xr.concat([data.transpose("trace", ..., "time")] * draws, "trace")
    noisier, wanted = (many.copy(data=np.concatenate(v).astype(data.dtype)) for v in (inputs, targets))
    return noisier, wanted
