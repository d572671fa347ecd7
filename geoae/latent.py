"""Codes of labelled traces: which latent captures what, and what each latent draws.

The question "which latent holds the stiffness?" is answered in this order: is the latent active at all
(its divergence from the prior), what does it tell about the parameter by itself (a smooth fit, on traces
held out), what do all latents tell together. Rank correlation alone misleads: a dead latent can show
|r| = 0.8, and two latents that hold a parameter together can each show none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy.interpolate import BSpline
from scipy.stats import rankdata
from torch import Tensor

from . import nn as net
from .arrays import to_batch
from .dist import prior
from .model import Autoencoder
from .objective import kl_to_prior

ACTIVE = 0.05  # nats; of 204 latents looked at, 17 fell between 0.01 and 0.2
PRESENT = 0.1  # R2 of the whole code below which a parameter is not in it
ALONE = 0.8  # share of the whole code's R2 that makes one latent the answer
FEWEST = 20  # traces

# -------------------------------------------------------------------------------------- codes and back


def encode(data: xr.DataArray, model: Autoencoder, *, batch: int = 4096) -> xr.Dataset:
    """q(z|x) of labelled traces, carrying their parameters along.

    Parameters
    ----------
    data : DataArray, dims (trace, [channel,] time)
    model : Autoencoder
    batch : int
        Traces at a time.

    Returns
    -------
    codes : Dataset over (trace, latent)
        ``mean`` and ``std`` of q(z|x); unless the posterior is a point, ``kl``, each latent's divergence from
        the prior [nats]; ``sensitivity`` (latent), the rms change of the decoded trace for one standard
        deviation of the latent [units of the data]. Coordinates of ``trace`` come along.
    """
    _needs_code(model)
    if "trace" not in data.dims:
        data = data.expand_dims("trace")
    x = _fitting(data, model)
    like = next(model.parameters())
    model.eval()
    with torch.no_grad():
        parts = [_code(model.encode(torch.from_numpy(part).to(like))) for part in _split(x, batch)]
    mean, std = (torch.cat(values).cpu() for values in zip(*parts, strict=True))
    dims = ("trace", "latent")
    values: dict[str, Any] = {"mean": (dims, mean.numpy()), "std": (dims, std.numpy())}
    if model.variational:
        values["kl"] = (dims, kl_to_prior(mean, std).numpy(), {"units": "nats"})
    values["sensitivity"] = (
        "latent",
        _sensitivity(model, mean.numpy()),
        {"units": data.attrs.get("units", "")},
    )
    return xr.Dataset(values, {name: c for name, c in data.coords.items() if c.dims == ("trace",)})


def decode(model: Autoencoder, z: Any) -> xr.DataArray:
    """Traces that codes stand for: the mean of p(x|z).

    Parameters
    ----------
    model : Autoencoder
    z : array, shape (trace, latent)

    Returns
    -------
    traces : DataArray, dims (trace, [channel,] time)
        In the data's units for ``scale="global"``; where each trace was scaled by itself, in scaled units.
    """
    _needs_code(model)
    z = torch.as_tensor(np.asarray(z))
    if z.ndim != 2:
        raise ValueError(f"codes have shape {tuple(z.shape)}; wanted (trace, latent)")
    with torch.no_grad():
        values = _decoded(model, z.to(next(model.parameters()))).cpu().numpy()
    return _labelled(model, values, "trace")


def generate(model: Autoencoder, n: int, *, seed: int = 0) -> xr.DataArray:
    """Draw new traces: codes from the prior N(0, I), decoded.

    Parameters
    ----------
    model : Autoencoder
        Variational; a plain autoencoder has no prior to draw from.
    n : int
        Number of traces.
    seed : int
        Of the codes.

    Returns
    -------
    traces : DataArray, dims (trace, [channel,] time)
    """
    _needs_code(model)
    if not model.variational:
        raise ValueError(
            "a plain autoencoder has no prior to draw codes from; train one with posterior='diagonal'"
        )
    if n < 1:
        raise ValueError(f"n is {n}; it is the number of traces to draw, 1 or more")
    return decode(model, np.random.default_rng(seed).standard_normal((n, _latents(model))))


def traverse(
    model: Autoencoder, latent: int, span: tuple[float, float] = (-3, 3), steps: int = 9, *, at: Any = None
) -> xr.DataArray:
    """What one latent draws: decoded traces while it moves and the others stay.

    Parameters
    ----------
    model : Autoencoder
    latent : int
        The latent that moves.
    span : (float, float)
        From where to where; the prior has standard deviation 1.
    steps : int
        How many traces.
    at : array, shape (latent,), optional
        Where the others stay; 0, the prior's mean, if None.

    Returns
    -------
    traces : DataArray, dims (step, [channel,] time)
        With the moving latent's value as coordinate ``z``.
    """
    _needs_code(model)
    count = _latents(model)
    if not 0 <= latent < count:
        raise ValueError(f"latent is {latent}; this model has {count}, numbered 0 to {count - 1}")
    values = np.linspace(*span, steps)
    z = np.tile(np.zeros(count) if at is None else np.asarray(at, float), (steps, 1))
    z[:, latent] = values
    out = decode(model, z).rename(trace="step").assign_coords(z=("step", values))
    return out.assign_attrs(latent=latent)


def interpolate(
    first: xr.DataArray, second: xr.DataArray, model: Autoencoder, *, steps: int = 9
) -> xr.DataArray:
    """Decode the way between two traces' codes in equal steps.

    Parameters
    ----------
    first, second : DataArray, dims ([channel,] time)
        One trace each.
    model : Autoencoder
    steps : int
        Traces on the way, both ends included.

    Returns
    -------
    traces : DataArray, dims (step, [channel,] time)
        With the share of the way as coordinate ``share``.
    """
    ends = [encode(trace, model)["mean"].values for trace in (first, second)]
    if any(len(end) != 1 for end in ends):
        raise ValueError(
            f"give one trace for each end, found {len(ends[0])} and {len(ends[1])}; pick with .isel(trace=0)"
        )
    share = np.linspace(0, 1, steps)
    codes = ends[0] + share[:, None] * (ends[1] - ends[0])
    return decode(model, codes).rename(trace="step").assign_coords(share=("step", share))


# ------------------------------------------------------------------------------- how likely is a trace


def log_evidence(
    data: xr.DataArray, model: Autoencoder, *, samples: int = 100, seed: int = 0, batch: int = 256
) -> xr.DataArray:
    r"""Importance-weighted bound on the log evidence of each trace [nats].

    :math:`\ln \frac1K \sum_k p(x|z_k)\, p(z_k) / q(z_k|x)` with :math:`z_k \sim q(z|x)` (Burda et al., 2016):
    with one sample an estimate of the evidence lower bound, with more its mean rises towards
    :math:`\ln p(x)`. A density of the scaled trace.

    Parameters
    ----------
    data : DataArray, dims (trace, [channel,] time)
    model : Autoencoder
        Variational.
    samples : int
        Draws for each trace, K.
    seed : int
        Of the draws.
    batch : int
        Traces at a time; it changes the draws, not what they estimate.

    Returns
    -------
    bound : DataArray, dims (trace,)
        With the coordinates of ``trace``.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; it is the number of draws for each trace, 1 or more")
    return _by_trace(
        data,
        model,
        lambda x: torch.logsumexp(_log_weights(model, x, samples), 0) - np.log(samples),
        seed,
        batch,
    )


def anomaly(
    data: xr.DataArray,
    model: Autoencoder,
    measure: str = "reconstruction",
    *,
    samples: int = 100,
    seed: int = 0,
    batch: int = 256,
) -> xr.DataArray:
    """Score how little a trace resembles those the model was trained on; higher is stranger.

    Parameters
    ----------
    data : DataArray, dims (trace, [channel,] time)
    model : Autoencoder
    measure : str
        ``reconstruction``: mean squared error of the reconstruction, in scaled units; ``elbo``: minus the
        evidence lower bound [nats]; ``evidence``: minus the importance-weighted bound [nats].
    samples, seed, batch
        As in `log_evidence`.

    Returns
    -------
    score : DataArray, dims (trace,)
    """
    if measure == "reconstruction":
        return _by_trace(data, model, lambda x: _squared_error(model, x), seed, batch)
    if measure == "elbo":
        return -_by_trace(data, model, lambda x: _log_weights(model, x, samples).mean(0), seed, batch)
    if measure == "evidence":
        return -log_evidence(data, model, samples=samples, seed=seed, batch=batch)
    raise ValueError(f"unknown measure {measure!r}; choose from reconstruction, elbo, evidence")


def _by_trace(data: xr.DataArray, model: Autoencoder, score, seed: int, batch: int) -> xr.DataArray:
    """One number for each trace, with its coordinates."""
    _needs_code(model)
    model.eval()
    like = next(model.parameters())
    with torch.no_grad(), net.forked_rng(seed, model):
        parts = [score(torch.from_numpy(x).to(like)) for x in _split(_fitting(data, model), batch)]
    coords = {name: c for name, c in data.coords.items() if c.dims == ("trace",)}
    return xr.DataArray(torch.cat(parts).cpu().numpy(), coords, ("trace",))


def _log_weights(model: Autoencoder, x: Tensor, samples: int) -> Tensor:
    """Ln p(x, z) / q(z|x) for draws of z, shape (sample, trace)."""
    if not model.variational:
        raise ValueError("a plain autoencoder has no evidence; train one with posterior='diagonal'")
    trip: Any = model.trip(x, samples=samples)
    z = trip.z.unflatten(0, (samples, -1))
    likelihood = trip.p.log_prob(trip.target).unflatten(0, (samples, -1))
    return likelihood + prior(trip.q).log_prob(z) - trip.q.log_prob(z)


def _squared_error(model: Autoencoder, x: Tensor) -> Tensor:
    _, gain = model.scale(x)
    return ((model(x) - x) / gain).square().mean((1, 2))


def _needs_code(model: Any) -> None:
    if not isinstance(model, Autoencoder):
        raise TypeError(f"a {type(model).__name__} has no latents; build one with geoae.autoencoder(...)")


def _fitting(data: xr.DataArray, model: Autoencoder) -> np.ndarray:
    """Traces as a batch, if they are of the size that the model takes."""
    x = to_batch(data.transpose("trace", ...))
    wanted = (model.config.get("channels", x.shape[1]), model.config.get("length", x.shape[2]))
    if x.shape[1:] != wanted:
        raise ValueError(
            f"data has {x.shape[1]} channels of {x.shape[2]} samples, the model expects {wanted[0]} of "
            f"{wanted[1]}"
        )
    return x


def _split(x: np.ndarray, batch: int) -> list[np.ndarray]:
    return [x[start : start + batch] for start in range(0, len(x), batch)]


def _code(q: Any) -> tuple[Tensor, Tensor]:
    return q.mean, q.stddev


def _decoded(model: Autoencoder, z: Tensor) -> Tensor:
    mean = model.decode(z).mean
    return mean * model.scale.gain + model.scale.offset if isinstance(model.scale, net.SetScale) else mean


def _latents(model: Autoencoder) -> int:
    if "latent" in model.config:
        return model.config["latent"]
    linear = [m for m in model.decoder.modules() if isinstance(m, torch.nn.Linear)]
    return linear[0].in_features


def _sensitivity(model: Autoencoder, mean: np.ndarray, most: int = 256) -> np.ndarray:
    """Rms of d(trace)/d(latent) times the latent's spread, over at most `most` of the codes."""
    some = mean[:: -(-len(mean) // most)]
    z = torch.from_numpy(some).to(next(model.parameters()))
    rms = []
    for unit in torch.eye(z.shape[1], device=z.device, dtype=z.dtype):
        _, change = torch.autograd.functional.jvp(
            lambda code: _decoded(model, code), z, unit.expand_as(z).contiguous()
        )
        rms.append(change.square().mean().sqrt().item())
    return np.array(rms) * mean.std(0)


def _labelled(model: Autoencoder, values: np.ndarray, first: str) -> xr.DataArray:
    """Dims and coordinates for decoded values (trace, channel, time), from what the model was trained on."""
    start, stop = model.trained.get("time", (0, values.shape[-1] - 1))
    time = np.linspace(start, stop, values.shape[-1])
    channels = model.trained.get("channels", [])
    known = isinstance(model.scale, net.SetScale)
    out = xr.DataArray(
        values,
        dims=(first, "channel", "time"),
        coords={"time": ("time", time, {"units": model.trained.get("time_units", "s")})},
        attrs={"units": model.trained.get("units", "") if known else "scaled"},
    )
    return out.assign_coords(channel=channels) if channels else out.isel(channel=0)


# ----------------------------------------------------------------------------------------- attribution


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


# --------------------------------------------------------------------------------------------- verdict


@dataclass(frozen=True)
class Answer:
    """Where one parameter is in the code.

    Attributes
    ----------
    latents : tuple of int
        The latents that capture it; empty when it is not in the code.
    relation : str
        ``one``, ``either`` (each by itself), ``together``, ``none``.
    effect : float
        R2 of the answer on traces held out: of the latent, or of the whole code.
    interval : (float, float)
    p_value : float
        Corrected for the number of questions.
    """

    parameter: str
    latents: tuple[int, ...]
    relation: str
    effect: float
    interval: tuple[float, float]
    p_value: float

    def __str__(self) -> str:
        """One plain sentence."""
        effect = f"R2 {self.effect:z.2f} [{self.interval[0]:z.2f}, {self.interval[1]:z.2f}]"
        if self.relation == "none":
            return f"{self.parameter}: not in the code ({effect})"
        names = [f"z{i}" for i in self.latents]
        joined = {"either": " or ".join(names), "together": f"{' and '.join(names)} together"}
        return f"{self.parameter}: {joined.get(self.relation, names[0])} ({effect})"


class Verdict(Mapping[str, Answer]):
    """Parameter to `Answer`; prints as plain sentences, with the latents that hold nothing at the end."""

    def __init__(self, answers: Mapping[str, Answer], notes: Sequence[str]):
        self.answers, self.notes = dict(answers), tuple(notes)

    def __getitem__(self, parameter: str) -> Answer:
        return self.answers[parameter]

    def __iter__(self):
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.answers.values()), *self.notes])

    __repr__ = __str__


def verdict(table: xr.Dataset) -> Verdict:
    """Put an attribution table into words.

    Parameters
    ----------
    table : Dataset
        From `attribute`.

    Returns
    -------
    verdict : Verdict
        A mapping from parameter to `Answer`, whose ``str`` is plain sentences.
    """
    answers = {str(name): _in_words(table.sel(parameter=name)) for name in table["parameter"].values}
    return Verdict(answers, _notes(table))


def _in_words(column: xr.Dataset) -> Answer:
    relation = str(column["relation"].values)
    latents = tuple(int(i) for i in np.flatnonzero(column["answer"].values))
    if relation in ("one", "either"):
        best = column.isel(latent=max(latents, key=lambda i: float(column["r2"][i])))
        values = [best[name] for name in ("r2", "r2_low", "r2_high", "p_value")]
    else:
        values = [column[name] for name in ("r2_all", "r2_all_low", "r2_all_high", "p_value_all")]
    effect, low, high, p = (float(v) for v in values)
    return Answer(str(column["parameter"].values), latents, relation, effect, (low, high), p)


def _notes(table: xr.Dataset) -> list[str]:
    notes = []
    for i in table["latent"].values:
        row = table.sel(latent=i)
        nats = "" if row["kl"].isnull() else f" (KL {float(row['kl']):.3f} nats)"
        if not row["active"]:
            notes.append(f"z{i}: inactive{nats}")
        elif not row["answer"].any():
            notes.append(f"z{i}: active{nats}, but the answer to none of these questions")
    return notes
