"""Whether codes can be relied on: against the prior, against noise, against what the model has seen."""

import warnings
from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.stats import norm

from ..model import Autoencoder
from ..noise import mix
from .codes import encode


def aggregate(codes: xr.Dataset) -> xr.Dataset:
    r"""Compare the aggregated posterior of each latent with the prior.

    :math:`q(z) = \frac1n \sum_x q(z|x)` is where draws from the prior should fall for what they decode to
    to look like the data (Makhzani et al., 2015).

    Parameters
    ----------
    codes : Dataset
        ``mean`` and ``std`` over (trace, latent), of a variational autoencoder.

    Returns
    -------
    comparison : Dataset over latent
        ``mean`` and ``std`` of q(z), 0 and 1 if it were the prior; ``divergence`` of q(z) from the prior
        [nats]; ``density`` (latent, z) of q(z), with ``prior`` (z) beside it.
    """
    if "std" not in codes or not (codes["std"] > 0).all():
        raise ValueError("these codes are points, without a width; train with posterior='diagonal'")
    mean = codes["mean"].transpose("trace", "latent").values.astype(float)
    std = codes["std"].transpose("trace", "latent").values.astype(float)
    z = np.linspace(min(-6.0, (mean - 6 * std).min()), max(6.0, (mean + 6 * std).max()), 4001)
    density = np.zeros((mean.shape[1], len(z)))
    for center, width in zip(mean, std, strict=True):
        density += norm.pdf(z, center[:, None], width[:, None]) / len(mean)
    log = np.log(np.maximum(density, 1e-300)) - norm.logpdf(z)
    return xr.Dataset(
        {
            "mean": ("latent", mean.mean(0)),
            "std": ("latent", np.sqrt(mean.var(0) + (std**2).mean(0))),
            "divergence": ("latent", np.trapezoid(density * log, z, axis=1), {"units": "nats"}),
            "density": (("latent", "z"), density),
            "prior": ("z", norm.pdf(z)),
        },
        {"z": z, "latent": np.arange(mean.shape[1])},
    )


def movement(
    data: xr.DataArray,
    model: Autoencoder,
    snr_db: Sequence[float] = (30, 25, 20, 15, 10, 5, 0),
    *,
    seed: int = 0,
) -> xr.Dataset:
    """How far codes of noisy signals lie from those of the clean ones.

    White noise is added to each trace at each signal-to-noise ratio.

    Parameters
    ----------
    data : DataArray, dims (trace, [channel,] time)
        Clean traces.
    model : Autoencoder
    snr_db : sequence of float [dB]
    seed : int
        Of the noise, the same but for its size at every ratio.

    Returns
    -------
    movement : Dataset over (snr_db, latent)
        ``moved``, rms difference, and ``shift``, mean difference of noisy and clean mean codes, both over the
        spread of the clean ones; ``std``, mean width of the posterior, over the same. ``per_db`` (latent):
        how much less a latent moves for each dB, by a straight line. Where a latent does not spread, NaN.
    """
    clean = encode(data, model)
    spread = clean["mean"].std("trace")
    spread = spread.where(spread > 1e-6)
    data = data.transpose("trace", ..., "time")
    noise = np.random.default_rng(seed).standard_normal(data.shape)
    rows = []
    for ratio in snr_db:
        codes = encode(data.copy(data=mix(data.values, noise, ratio)), model)
        off = (codes["mean"] - clean["mean"]) / spread
        rows.append(
            xr.Dataset(
                {
                    "moved": np.sqrt((off**2).mean("trace")),
                    "shift": off.mean("trace"),
                    "std": codes["std"].mean("trace") / spread,
                }
            )
        )
    out = xr.concat(rows, xr.Variable("snr_db", np.asarray(snr_db, float), {"units": "dB"}))
    slope = np.full(out.sizes["latent"], np.nan)
    if len(snr_db) > 1:
        slope = -np.polyfit(np.asarray(snr_db, float), out["moved"].values, 1)[0]
    return out.assign(per_db=("latent", slope, {"units": "dB-1"}))


def out_of_range(codes: xr.Dataset, seen: xr.Dataset, *, margin: float = 0.1) -> xr.DataArray:
    """Which codes lie outside of what the model has seen, so that what they say is extrapolated.

    Parameters
    ----------
    codes, seen : Dataset
        ``mean`` over (trace, latent): of the traces in question, and of those the model was trained on.
    margin : float
        How far beyond the smallest and largest code seen, as a share of the range between them.

    Returns
    -------
    outside : DataArray of bool, dims (trace, latent)

    Warns
    -----
    UserWarning
        If there are any.
    """
    low, high = seen["mean"].min("trace"), seen["mean"].max("trace")
    slack = margin * (high - low)
    outside = (codes["mean"] < low - slack) | (codes["mean"] > high + slack)
    count = int(outside.any("latent").sum())
    if count:
        where = ", ".join(f"z{i}" for i in np.flatnonzero(outside.any("trace")))
        warnings.warn(
            f"the codes of {count} of {outside.sizes['trace']} traces lie outside of what the model has seen "
            f"({where}): what is read from them is extrapolated",
            stacklevel=2,
        )
    return outside.transpose("trace", "latent")
