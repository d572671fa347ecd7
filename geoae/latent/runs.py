"""The same question of several trainings: latents in one order, and how often the answer is the same."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from . import statistics


def across_runs(tables: Sequence[xr.Dataset], codes: Sequence[xr.Dataset]) -> xr.Dataset:
    """Tables of several trainings over a dimension ``run``, latents in the order of the first.

    Signs and order of latents are arbitrary. Latents belong together if they capture the same parameters; if
    that does not decide, if they go up and down together.
    """
    first, aligned = tables[0], []
    for table, run in zip(tables, codes, strict=True):
        rank = statistics.rank_correlation(codes[0]["mean"].values, run["mean"].values)
        order = _matched(_captured(first), _captured(table), np.abs(rank))
        signs = np.sign(rank[np.arange(len(order)), order]).astype(int)
        own = table.isel(latent=order).assign_coords(latent=first["latent"].values)
        aligned.append(own.assign(order=("latent", order), sign=("latent", np.where(signs == 0, 1, signs))))
    out = xr.concat(aligned, "run", data_vars="all", combine_attrs="override")
    same = [_same(table, aligned[0]) for table in aligned]
    out["ceiling"], out["design"] = first["ceiling"], first["design"]
    return out.assign(agreement=("parameter", np.mean(same, 0)))


def _captured(table: xr.Dataset) -> np.ndarray:
    """What each latent holds (latent, parameter): its R2, nothing where it is inactive."""
    return np.clip(np.nan_to_num(table["r2"].values), 0, 1)


def _matched(first: np.ndarray, other: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """For each latent of the first run the one of the other that holds the same."""
    likeness = np.sqrt(first) @ np.sqrt(other).T
    alive = (first.sum(1) > 0)[:, None] & (other.sum(1) > 0)
    return linear_sum_assignment(-(likeness + 0.1 * rank * alive))[1]


def _same(table: xr.Dataset, first: xr.Dataset) -> np.ndarray:
    """Whether each parameter's answer is that of the first run."""
    relation = table["relation"].values == first["relation"].values
    return relation & (table["answer"].values == first["answer"].values).all(0)
