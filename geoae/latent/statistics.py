"""The statistics behind an attribution, on plain arrays.

`z` has shape (trace, latent). What is asked about has shape (trace, column): one column for a parameter that
is a number, one for each level of a category, and `owner` says which question a column belongs to.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.interpolate import BSpline
from scipy.linalg import eigh, qr
from scipy.stats import norm, rankdata

LEVELS = 6  # of a latent or a parameter up to which each is a group of its own, not a place on a curve
PIECES = 12  # of the smooth curve through one latent, fewer where there are few traces
CENTRES = 300  # of the smooth surface over all latents


# ------------------------------------------------------------------------------------------ smooth fits


class Basis(NamedTuple):
    """Functions of the codes, columns (trace, function), and what their roughness costs, a quadratic form."""

    columns: np.ndarray
    penalty: np.ndarray


class Errors(NamedTuple):
    """What a fit leaves unexplained of each trace, and what there was to explain: (trace, question).

    And the degrees of freedom that the fit used beyond the mean, (question,).
    """

    left: np.ndarray
    all: np.ndarray
    freedom: np.ndarray

    @property
    def r2(self) -> np.ndarray:
        """Share explained, of each question."""
        return 1 - self.left.mean(0) / self.all.mean(0)


def curve(z: np.ndarray, pieces: int = PIECES) -> Basis:
    r"""Cubic splines of one latent with knots at its quantiles, and the penalty :math:`\int f''^2`.

    Its straight lines cost nothing, so little data give a line and not the mean. A latent of few levels
    gets one function each.
    """
    levels = np.unique(z)
    if len(levels) <= LEVELS:
        return Basis((z[:, None] == levels).astype(float), np.zeros((len(levels),) * 2))
    pieces = int(np.clip(len(z) // 10, 3, pieces))
    inner = np.unique(np.quantile(z, np.linspace(0, 1, pieces + 1)))
    knots = np.r_[[inner[0]] * 3, inner, [inner[-1]] * 3]
    # f'' is linear between knots: two Gauss points integrate its square exactly
    half, middle = np.diff(inner)[:, None] / 2, (inner[1:, None] + inner[:-1, None]) / 2
    at = (middle + half * np.array([-1, 1]) / np.sqrt(3)).ravel()
    bends = BSpline(knots, np.eye(len(knots) - 4), 3).derivative(2)(at)
    return Basis(
        BSpline.design_matrix(z, knots, 3).toarray(), bends.T @ (bends * np.repeat(half.ravel(), 2)[:, None])
    )


def surface(z: np.ndarray, seed: int, centres: int = CENTRES) -> Basis:
    """Constant, planes, and radial functions around some traces (Nystroem), which cost their square."""
    from sklearn.kernel_approximation import Nystroem

    z = (z - z.mean(0)) / np.where(z.std(0) > 0, z.std(0), 1)
    bumps = Nystroem(
        gamma=1 / (2 * z.shape[1]), n_components=min(centres, len(z) // 4), random_state=seed
    ).fit_transform(z)
    columns = np.hstack([np.ones((len(z), 1)), z, bumps])
    return Basis(columns, np.diag(np.r_[np.zeros(1 + z.shape[1]), np.ones(bumps.shape[1])]))


def unexplained(basis: Basis, y: np.ndarray, owner: np.ndarray) -> Errors:
    r"""Squared errors of a penalised fit on traces held out, less what the fit itself is off.

    The strength of the penalty is the one with the least leave-one-out error (in closed form, from the fit's
    own leverages :math:`h_i = S_{ii}`). An error on a held-out trace is the noise plus what the fit itself is
    off, which makes R2 look small where traces are few. So the fit's residuals are taken instead, over what
    is left in them of the noise, :math:`1 - 2 h_i + (S S^\top)_{ii}`: their mean square is the noise's.
    """
    u, stiffness = _modes(basis)
    d = y - y.mean(0)
    weight, square = u.T @ d, u**2
    best = np.full(y.shape[1], np.inf)
    left, freedom = np.empty_like(y), np.empty(y.shape[1])
    for strength in _strengths(stiffness):
        kept = 1 / (1 + strength * stiffness)
        residual, leverage = d - u @ (kept[:, None] * weight), square @ kept
        loss = ((residual / np.maximum(1 - leverage, 1e-6)[:, None]) ** 2).mean(0)
        better = loss < best
        best[better] = loss[better]
        expected = np.maximum(1 - 2 * leverage + square @ kept**2, 1e-6)
        left[:, better] = residual[:, better] ** 2 / expected[:, None]
        freedom[better] = kept.sum() - 1
    what = d**2 * len(y) / (len(y) - 1)
    return Errors(_summed(left, owner), _summed(what, owner), _summed(freedom[None], owner)[0])


def _modes(basis: Basis) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal columns that span the basis, and what each costs (Demmler and Reinsch, 1975)."""
    q, r, order = qr(basis.columns, mode="economic", pivoting=True)
    rank = int((np.abs(np.diag(r)) > 1e-9 * abs(r[0, 0])).sum())
    q, back = q[:, :rank], np.linalg.inv(r[:rank, :rank])
    penalty = basis.penalty[np.ix_(order[:rank], order[:rank])]
    stiffness, turn = eigh(back.T @ penalty @ back)
    stiffness[stiffness < 1e-9 * max(stiffness[-1], 1e-300)] = 0  # what costs nothing but for rounding
    return q @ turn, stiffness


def _strengths(stiffness: np.ndarray) -> np.ndarray:
    """Strengths of the penalty to choose from: from one that no function feels to one that all feel."""
    felt = stiffness[stiffness > 0]
    return np.geomspace(1e-2 / felt.max(), 1e3 / felt.min(), 24) if len(felt) else np.zeros(1)


def _summed(columns: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Columns (trace, column) added up by question (trace, question)."""
    if len(owner) == owner[-1] + 1:
        return columns
    return np.add.reduceat(columns, np.flatnonzero(np.r_[True, np.diff(owner) > 0]), axis=1)


# -------------------------------------------------------------------------------------------- intervals


def interval(
    errors: Errors, level: float, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""R2 with the ends of its interval: bootstrap over traces, bias-corrected and accelerated (Efron, 1987).

    The traces are drawn anew and the fit is not. What m degrees of freedom find in noise, :math:`\sqrt{2m} (1
    - R^2) / n` (a standard deviation), is added in quadrature: near zero it is all there is, because a fit
    that found nothing leaves the same errors in every draw.

    Returns
    -------
    r2, low, high : array, shape (question,)
    """
    r2, n = errors.r2, len(errors.left)
    drawn = np.concatenate(list(_redrawn(errors, draws, rng)))
    below = (drawn < r2).mean(0) + (drawn == r2).mean(0) / 2
    bias = norm.ppf(np.clip(below, 0.5 / draws, 1 - 0.5 / draws))
    # derivative of a ratio of means by the weight of each trace
    pull = (errors.all * (1 - r2) - errors.left) / errors.all.mean(0)
    size = (pull**2).sum(0) ** 1.5
    skew = np.divide((pull**3).sum(0), 6 * size, out=np.zeros_like(size), where=size > 0)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        shifted = bias + norm.ppf(tail)
        share = norm.cdf(bias + shifted / (1 - skew * shifted))
        ends.append(np.array([np.quantile(drawn[:, j], share[j]) for j in range(len(r2))]))
    chance = norm.ppf((1 + level) / 2) * np.sqrt(2 * errors.freedom) * (1 - r2) / n
    return r2, r2 - np.hypot(r2 - ends[0], chance), r2 + np.hypot(ends[1] - r2, chance)


def _redrawn(errors: Errors, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """R2 (draw, question) over traces drawn anew with replacement, some draws at a time."""
    n = len(errors.left)
    step = max(1, 2_000_000 // n)
    for start in range(0, draws, step):
        count = min(step, draws - start)
        places = rng.integers(0, n, (count, n)) + n * np.arange(count)[:, None]
        times = np.bincount(places.ravel(), minlength=count * n).reshape(count, n).astype(float)
        yield 1 - (times @ errors.left) / (times @ errors.all)


# --------------------------------------------------------------------------------------------- p-values


def p_values(
    bases: list[np.ndarray],
    y: np.ndarray,
    owner: np.ndarray,
    permutations: int,
    rng: np.random.Generator,
    advance: Callable[[], None],
) -> np.ndarray:
    """Family-wise p-values (basis, question) of the share that each basis explains.

    Each share is compared with the largest over all bases and questions when the traces of `y` are shuffled
    (Westfall and Young, 1993), so that the chance of any false claim is the stated one however much is asked.
    To be comparable, shares are taken in standard deviations of what so many functions explain by chance.
    """
    n = len(y)
    d = (y - y.mean(0)) / np.sqrt(n)
    bases = [_orthonormal(basis) for basis in bases]
    first = np.cumsum([0, *(basis.shape[1] for basis in bases)])
    sizes = np.diff(first)[:, None]
    chance = np.sqrt(2 * sizes * (n - 1 - sizes) / (n + 1)) / (n - 1)
    stacked = np.hstack(bases).T
    questions = owner[-1] + 1

    def scores(columns: np.ndarray) -> np.ndarray:
        """Of shuffled copies (trace, copy * column) of what was asked: (copy, basis, question)."""
        square = np.add.reduceat((stacked @ columns) ** 2, first[:-1], axis=0)
        copies = square.reshape(len(bases), -1, len(owner)).transpose(1, 0, 2)
        shares = np.add.reduceat(copies, np.searchsorted(owner, np.arange(questions)), axis=2)
        return (shares - sizes / (n - 1)) / chance

    found = scores(d)[0]
    above = np.ones_like(found)
    at_once = 25
    for start in range(0, permutations, at_once):
        count = min(at_once, permutations - start)
        shuffled = np.hstack([d[rng.permutation(n)] for _ in range(count)])
        above += (scores(shuffled).max((1, 2))[:, None, None] >= found).sum(0)
        advance()
    return above / (permutations + 1)


def _orthonormal(basis: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span what `basis` adds to a constant."""
    q, r, _ = qr(basis - basis.mean(0), mode="economic", pivoting=True)
    return q[:, np.abs(np.diag(r)) > 1e-8 * abs(r[0, 0])]


def products(z: np.ndarray) -> np.ndarray:
    """Products of two latents each: what curves through single latents cannot say."""
    i, j = np.triu_indices(z.shape[1], 1)
    return z[:, i] * z[:, j]


# --------------------------------------------------------------------------------- what needs no fitting


def rank_correlation(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's, (latent, column); 0 where one of the two is constant."""

    def ranks(v: np.ndarray) -> np.ndarray:
        r = rankdata(v, axis=0)
        return (r - r.mean(0)) / np.where(r.std(0) > 0, r.std(0), 1)

    return ranks(z).T @ ranks(y) / len(z)


def mutual_information(z: np.ndarray, y: np.ndarray, seed: int, most: int = 2000) -> np.ndarray:
    """Between latents and a parameter [nats], by neighbours: Kraskov et al. (2004), Ross (2014)."""
    from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

    some = np.random.default_rng(seed).permutation(len(z))[:most]  # its cost grows faster than its use
    values, level = np.unique(y[some], return_inverse=True)
    if len(values) <= 20:
        return mutual_info_classif(z[some], level, random_state=seed)
    return mutual_info_regression(z[some], y[some], random_state=seed)


def between_levels(level: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Share of the variance of z (trace, latent) between the levels of a parameter: Var(E[z|y]) / Var(z)."""
    sizes = np.bincount(level)
    means = np.stack([np.bincount(level, column) for column in z.T], 1) / sizes[:, None]
    return sizes @ (means - z.mean(0)) ** 2 / (len(z) * z.var(0))


def is_mesh(levels: list[np.ndarray]) -> bool:
    """Whether every combination of levels is there, each as often as the others."""
    if not levels:
        return False
    combination = np.ravel_multi_index(levels, [level.max() + 1 for level in levels])
    times = np.bincount(combination, minlength=int(np.prod([level.max() + 1 for level in levels])))
    return bool(times.min() == times.max())
