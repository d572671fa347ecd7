"""When a code holds one parameter per latent and nothing else: a definition apart from `geoae.latent`.

A parameter belongs to a latent by the best one-to-one assignment on R2, which is the correlation ratio of the
parameter over 20 quantile bins of the latent, corrected for their number (epsilon squared), and zero for a
latent below 0.05 nats. The leak is the share of a latent's variance that the mean over the *other* parameter
explains (first-order Sobol index on a mesh). All other latents must stay below 0.05 nats.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

INACTIVE = 0.05  # nats


class Capture(NamedTuple):
    """What one training got: per parameter its latent, R2 and leak; the largest KL of the other latents."""

    latents: tuple[int, ...]
    r2: tuple[float, ...]
    leak: float
    rest: float

    def good(self, least: tuple[float, ...], leak: float) -> bool:
        """Whether each parameter has a latent of its own, and the rest is silent."""
        enough = all(r2 >= bound for r2, bound in zip(self.r2, least, strict=True))
        return enough and self.leak <= leak and self.rest < INACTIVE


def capture(mean: np.ndarray, kl: np.ndarray, parameters: np.ndarray) -> Capture:
    """Judge codes (trace, latent), their mean divergences (latent) and parameters (trace, parameter)."""
    count = parameters.shape[1]
    r2 = np.array([[_correlation_ratio(y, _bins(z)) for y in parameters.T] for z in mean.T])
    r2 *= (kl > INACTIVE)[:, None]
    latents, columns = linear_sum_assignment(-r2)
    own = dict(zip(columns, latents, strict=True))
    leaks = [_sobol(mean[:, own[j]], parameters[:, i]) for j in range(count) for i in range(count) if i != j]
    rest = np.delete(kl, latents)
    return Capture(
        tuple(int(own[j]) for j in range(count)),
        tuple(float(r2[own[j], j]) for j in range(count)),
        float(max(leaks)),
        float(rest.max(initial=0.0)),
    )


def _bins(z: np.ndarray, count: int = 20) -> np.ndarray:
    return np.ceil(rankdata(z) / len(z) * count).astype(int) - 1


def _correlation_ratio(y: np.ndarray, group: np.ndarray) -> float:
    sizes = np.bincount(group)
    means = np.bincount(group, y) / np.maximum(sizes, 1)
    groups = np.count_nonzero(sizes)
    within = ((y - means[group]) ** 2).sum() / (len(y) - groups)
    return max(0.0, 1 - within / y.var(ddof=1))


def _sobol(z: np.ndarray, y: np.ndarray) -> float:
    level = np.unique(y, return_inverse=True)[1]
    means = np.bincount(level, z) / np.bincount(level)
    return float(means[level].var() / z.var()) if z.var() > 0 else 0.0
