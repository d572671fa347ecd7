"""Codes whose answer is known, as if a model had made them."""

import numpy as np
import xarray as xr

from geoae import latent

N = 400  # traces


def planted(columns, parameters, *, kl=1.0):
    """Codes with given means; `kl` in nats per latent."""
    mean = np.stack(columns, 1)
    dims = ("trace", "latent")
    return xr.Dataset(
        {"mean": (dims, mean), "kl": (dims, np.broadcast_to(kl, mean.shape))},
        {name: ("trace", values) for name, values in parameters.items()},
    )


def ask(codes, names=("a", "b"), **options):
    """The table and the verdict, at the cost of a test."""
    table = latent.attribute(codes, list(names), permutations=200, bootstraps=100, **options)
    return table, latent.verdict(table)
