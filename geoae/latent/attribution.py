"""Which latent captures which parameter: effects, intervals, p-values and activity, as a labelled table."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from scipy.interpolate import BSpline
from scipy.stats import rankdata

from ..objective import kl_to_prior

ACTIVE = 0.05  # nats; of 204 latents looked at, 17 fell between 0.01 and 0.2
PRESENT = 0.1  # R2 of the whole code below which a parameter is not in it
ALONE = 0.8  # share of the whole code's R2 that makes one latent the answer
FEWEST = 20  # traces


def attribute(
    codes: xr.Dataset,
    parameters: Sequence[str],
    *,
    level: float = 0.95,
    bootstraps: int = 300,
    permutations: int = 500,
    seed: int = 0,
) -> xr.Dataset:
    r"""Which latent captures which parameter, with effect sizes, intervals, p-values and activity.

    :math:`R^2` is that of a smooth fit (kernel ridge regression) of the parameter on a latent,
    predicted for traces
    that the fit has not seen; of the whole code likewise, on all active latents. Intervals are
    percentiles over
    traces drawn anew. The p-value compares the fit of cubic splines with that to shuffled parameters,
    and with
    the largest value over all questions asked, so the chance of any false claim is the stated one
    (Westfall and Young, 1993).

    Parameters
    ----------
    codes : Dataset
        ``mean`` (and ``std``, ``kl``, ``sensitivity``) over (trace, latent), with the parameters as
        coordinates of
        ``trace``: from `encode`, or made otherwise.
    parameters : sequence of str
        Names of coordinates.
    level : float
        Of the intervals.
    bootstraps, permutations : int
        Draws for the intervals and for the p-values.
    seed : int
        Of everything random.

    Returns
    -------
    table : Dataset over (latent, parameter)
        ``r2``, ``r2_low``, ``r2_high``, ``p_value``; ``spearman``; ``mutual_information`` [nats]
        (Kraskov et al., 2004);
        ``share``, the part of the latent's variance that the parameter explains (first-order Sobol index);
        NaN where the latent is inactive. ``kl``, ``active``, ``sensitivity`` over latent. ``r2_all``,
        ``r2_all_low``, ``r2_all_high``, ``p_value_all`` over parameter, for the whole code.
        ``relation`` (one, either,
        together, none) and ``answer``, the latents concerned: what `verdict` puts into words.

    Raises
    ------
    KeyError
        For a parameter that the codes do not carry.
    ValueError
        For fewer than 20 traces, NaN, or a parameter that is the same on all traces.
    """
    if not 0 < level < 1 or bootstraps < 1 or permutations < 1 / (1 - level) - 1:
        raise ValueError(
            f"level={level}, bootstraps={bootstraps}, permutations={permutations} cannot tell; level "
            f"lies between 0 "
            f"and 1, and {permutations} permutations reach p = {1 / (permutations + 1):.3g} at best, "
            f"above {1 - level:.3g}"
        )
    names = [parameters] if isinstance(parameters, str) else list(dict.fromkeys(parameters))
    z, y = _codes_and_parameters(codes, names)
    kl, active = _activity(codes, z)
    rng = np.random.default_rng(seed)
    used = np.flatnonzero(active)
    table = _blank(z.shape[1], names, kl, active)
    table.attrs.update(traces=len(z), level=level, seed=seed)
    if "sensitivity" in codes:
        table["sensitivity"] = codes["sensitivity"].drop_vars(codes["sensitivity"].coords)
    if not len(used):
        return table
    splines = [_spline_basis(z[:, i]) for i in used]
    folds = _folds(len(z), rng)
    alone = np.stack(
        [_held_out(_smooth(seed), z[:, [i]], y, folds) for i in used], 1
    )  # trace, latent, parameter
    together = _held_out(_smooth(seed), z[:, used], y, folds)[:, None]
    for name, predicted in (("r2", alone), ("r2_all", together)):
        _fill(table, name, used, _r2_with_interval(predicted - y[:, None], y, level, bootstraps, rng))
    p, p_all = _p_values(splines, z[:, used], y, permutations, rng)
    _fill(table, "p_value", used, [p])
    _fill(table, "p_value_all", used, [p_all[None]])
    _fill(table, "spearman", used, [_spearman(z[:, used], y)])
    _fill(table, "mutual_information", used, [_mutual_information(z[:, used], y, seed)])
    _fill(
        table,
        "share",
        used,
        [np.stack([_adjusted_r2(_spline_basis(y[:, j]), z[:, used]) for j in range(y.shape[1])], 1)],
    )
    _answer(table, z, y, folds, seed)
    return table


def _codes_and_parameters(codes: xr.Dataset, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    z = codes["mean"].transpose("trace", "latent").values.astype(float)
    known = [str(c) for c, v in codes.coords.items() if v.dims == ("trace",) and c != "trace"]
    for name in names:
        if name not in known:
            raise KeyError(f"the codes carry no parameter {name!r}; they carry {', '.join(known) or 'none'}")
    if not names:
        raise ValueError(f"no parameter to ask about; the codes carry {', '.join(known) or 'none'}")
    words = [name for name in names if codes[name].dtype.kind not in "biuf"]
    if words:
        raise ValueError(
            f"parameter {words[0]!r} holds {codes[words[0]].dtype}, not numbers; give it as numbers"
        )
    if len(z) < FEWEST:
        raise ValueError(f"{len(z)} traces are too few to tell anything; give {FEWEST} or more")
    y = np.stack([codes[name].values.astype(float) for name in names], 1)
    for name, values in zip(names, y.T, strict=True):
        if not np.isfinite(values).all():
            raise ValueError(
                f"parameter {name!r} is NaN or inf on {(~np.isfinite(values)).sum()} traces; leave them out"
            )
        if np.ptp(values) == 0:
            raise ValueError(
                f"parameter {name!r} is {values[0]:g} on every trace; there is nothing to attribute"
            )
    if not np.isfinite(z).all():
        raise ValueError("the codes hold NaN or inf; was the model trained, and are the traces whole?")
    return z, y


def _activity(codes: xr.Dataset, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divergence from the prior per latent, and which latents are in use."""
    if "kl" in codes:
        kl = codes["kl"].mean("trace").values
        return kl, kl > ACTIVE
    if "std" in codes and (codes["std"] > 0).all():
        kl = kl_to_prior(torch.from_numpy(z), torch.from_numpy(codes["std"].values)).numpy().mean(0)
        return kl, kl > ACTIVE
    variance = z.var(0)
    return np.full(len(variance), np.nan), variance > 1e-4 * variance.max()


def _blank(latents: int, names: list[str], kl: np.ndarray, active: np.ndarray) -> xr.Dataset:
    both, nan = ("latent", "parameter"), np.full((latents, len(names)), np.nan)
    pairs = ("r2", "r2_low", "r2_high", "p_value", "spearman", "mutual_information", "share")
    return xr.Dataset(
        {name: (both, nan.copy()) for name in pairs}
        | {name: ("parameter", np.zeros(len(names))) for name in ("r2_all", "r2_all_low", "r2_all_high")}
        | {
            "p_value_all": ("parameter", np.ones(len(names))),
            "kl": ("latent", kl, {"units": "nats"}),
            "active": ("latent", active),
            "relation": ("parameter", np.full(len(names), "none", dtype="<U8")),
            "answer": (both, np.zeros(nan.shape, bool)),
        },
        {"latent": np.arange(latents), "parameter": names},
    )


def _fill(table: xr.Dataset, name: str, used: np.ndarray, values: Sequence[np.ndarray]) -> None:
    """Write an estimate (and its interval) into the table; whole-code rows hold one latent's worth."""
    for suffix, value in zip(("", "_low", "_high"), values, strict=False):
        variable = table[name + suffix]
        if variable.ndim == 1:
            variable.values[:] = value[0]
        else:
            variable.values[used] = value


# ------------------------------------------------------------------------------ the statistics, on arrays


def _spline_basis(z: np.ndarray, pieces: int = 6) -> np.ndarray:
    """Cubic B-splines (trace, spline) with knots at the quantiles of `z`; levels, if these are few."""
    levels = np.unique(z)
    if len(levels) <= pieces:
        return (z[:, None] == levels).astype(float)
    inner = np.unique(np.quantile(z, np.linspace(0, 1, pieces + 1)))
    knots = np.r_[[inner[0]] * 3, inner, [inner[-1]] * 3]
    return BSpline.design_matrix(z, knots, 3).toarray()


def _folds(n: int, rng: np.random.Generator, count: int = 5) -> list[np.ndarray]:
    return np.array_split(rng.permutation(n), count)


def _held_out(fit, features: np.ndarray, y: np.ndarray, folds: list[np.ndarray]) -> np.ndarray:
    """Predictions (trace, parameter), each from a fit that has not seen the trace."""
    out = np.empty_like(y)
    for test in folds:
        seen = np.ones(len(y), bool)
        seen[test] = False
        out[test] = fit(features[seen], y[seen], features[test])
    return out


def _smooth(seed: int):
    """Smooth regression: ridge on the latents and radial functions around some traces (Nystroem).

    The strength of the ridge is chosen by leave-one-out. Where there is little data it falls back to
    the mean,
    as splines would not.
    """
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    def fit(z: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
        centres = min(20 if z.shape[1] == 1 else 300, len(z))
        pipeline = make_pipeline(
            StandardScaler(),
            make_union(
                FunctionTransformer(), Nystroem(gamma=1 / z.shape[1], n_components=centres, random_state=seed)
            ),
            RidgeCV(np.logspace(-5, 2, 8), alpha_per_target=y.shape[1] > 1),
        )
        return pipeline.fit(z, y).predict(new).reshape(len(new), -1)

    return fit


def _r2_with_interval(error: np.ndarray, y: np.ndarray, level: float, draws: int, rng: np.random.Generator):
    """R2, and its lower and upper percentile over traces drawn anew; error (trace, latent, parameter)."""
    n = len(y)
    square, spread = error**2, (y - y.mean(0)) ** 2

    def r2(weight: np.ndarray) -> np.ndarray:
        return 1 - np.tensordot(weight, square, 1) / np.expand_dims(weight @ spread, -2)

    weights = rng.multinomial(n, np.full(n, 1 / n), size=draws) / n
    low, high = np.quantile(r2(weights), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return r2(np.full((1, n), 1 / n))[0], low, high


def _orthonormal(basis: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span what `basis` adds to a constant."""
    u, s, _ = np.linalg.svd(basis - basis.mean(0), full_matrices=False)
    return u[:, s > 1e-8 * s[0]]


def _adjusted_r2(basis: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of each column's variance that the basis explains, corrected for its size; 0 to 1."""
    q, d = _orthonormal(basis), y - y.mean(0)
    r2 = (q.T @ d).__pow__(2).sum(0) / (d**2).sum(0)
    n, m = q.shape
    return np.clip(1 - (1 - r2) * (n - 1) / (n - m - 1), 0, 1)


def _p_values(
    splines: list[np.ndarray], z: np.ndarray, y: np.ndarray, permutations: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Family-wise p-values of each latent and of the whole code: largest statistic under shuffling."""
    d = (y - y.mean(0)) / y.std(0) / np.sqrt(len(y))
    bases = [_orthonormal(basis) for basis in splines]
    together = _orthonormal(np.hstack([*splines, _products(z)]))

    def statistic(d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([((q.T @ d) ** 2).sum(0) for q in bases]), ((together.T @ d) ** 2).sum(0)

    single, whole = statistic(d)
    above, above_all = np.ones_like(single), np.ones_like(whole)
    for _ in range(permutations):
        null, null_all = statistic(d[rng.permutation(len(d))])
        above += null.max() >= single
        above_all += null_all.max() >= whole
    return above / (permutations + 1), above_all / (permutations + 1)


def _products(z: np.ndarray) -> np.ndarray:
    """Products of two latents each: what splines of single latents cannot say."""
    i, j = np.triu_indices(z.shape[1], 1)
    return z[:, i] * z[:, j]


def _spearman(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    def ranks(v: np.ndarray) -> np.ndarray:
        r = rankdata(v, axis=0)
        return (r - r.mean(0)) / r.std(0)

    return ranks(z).T @ ranks(y) / len(z)


def _mutual_information(z: np.ndarray, y: np.ndarray, seed: int, most: int = 2000) -> np.ndarray:
    from sklearn.feature_selection import mutual_info_regression

    some = np.random.default_rng(seed).permutation(len(z))[:most]  # its cost grows faster than its use
    return np.stack([mutual_info_regression(z[some], column[some], random_state=seed) for column in y.T], 1)


def _answer(table: xr.Dataset, z: np.ndarray, y: np.ndarray, folds: list[np.ndarray], seed: int) -> None:
    """Decide for each parameter: one latent, either of several, several together, or none."""
    for j in range(y.shape[1]):
        r2 = table["r2"].values[:, j]
        whole = max(table["r2_all"].values[j], np.nanmax(r2))
        significant = min(table["p_value_all"].values[j], np.nanmin(table["p_value"].values[:, j]))
        if whole < PRESENT or significant > 1 - table.attrs["level"]:
            continue
        alone = np.nan_to_num(r2) >= ALONE * whole
        if alone.any():
            latents, relation = np.flatnonzero(alone).tolist(), "one" if alone.sum() == 1 else "either"
        else:
            latents, relation = _fewest_together(table, z, y[:, [j]], folds, seed, whole), "together"
        table["relation"].values[j] = relation
        table["answer"].values[latents, j] = True


def _fewest_together(table, z, y, folds, seed, whole) -> list[int]:
    """Latents added one by one, the most helpful first, until they reach the whole code's R2 or nearly."""
    left = [int(i) for i in np.flatnonzero(table["active"].values)]
    chosen: list[int] = []
    spread = ((y - y.mean(0)) ** 2).sum()
    while left:
        scores = []
        for i in left:
            error = _held_out(_smooth(seed), z[:, [*chosen, i]], y, folds) - y
            scores.append(1 - (error**2).sum() / spread)
        best = int(np.argmax(scores))
        chosen.append(left.pop(best))
        if scores[best] >= 0.95 * whole:
            break
    return chosen
