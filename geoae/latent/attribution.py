"""Which latent captures which parameter: effects, intervals, p-values and activity, as a labelled table."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import xarray as xr

from ..objective import kl_to_prior
from . import statistics
from .questions import Questions, askable
from .runs import across_runs

ACTIVE = 0.05  # nats; of 204 latents looked at, 17 fell between 0.01 and 0.2
PRESENT = 0.1  # R2 of the whole code below which a parameter is not in it
ALONE = 0.8  # share of the whole code's R2 that makes one latent the answer
FEWEST = 20  # traces
BAR_AFTER = 2.0  # seconds of work that need no progress bar
MOST = 4000  # traces that the surface over all latents is fitted to


def attribute(
    codes: xr.Dataset,
    parameters: str | Sequence[str] | None = None,
    *,
    ceiling: Mapping[str, float] | None = None,
    level: float = 0.95,
    bootstraps: int = 300,
    permutations: int = 500,
    seed: int = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    r"""Which latent captures which parameter, with effect sizes, intervals, p-values and activity.

    :math:`R^2` is that of a smooth fit of the parameter on a latent (a penalised cubic spline), judged on
    each trace by a fit that has not seen it, and corrected for how far a fit to so few traces is off; of the
    whole code likewise, by a smooth surface over all active latents. Of a category it is the share of the
    variance of its indicators. Intervals are bias-corrected bootstrap intervals over traces (Efron, 1987);
    they hold what they should from 400 traces on. P-values compare with the largest of all that was
    asked under shuffled parameters, so the chance of any false claim is the stated one (Westfall and Young,
    1993).

    Parameters
    ----------
    codes : Dataset
        ``mean`` (and ``std``, ``kl``, ``sensitivity``, ``traversal``) over (trace, latent), with the
        parameters as coordinates of ``trace``: from `encode`, or made otherwise. With a dimension ``run``,
        from ``encode(x, model.runs)``: the same question of every training.
    parameters : sequence of str, optional
        Names of coordinates: numbers, whole numbers, or categories (words, true and false). All that vary
        and are whole, if left out. One that goes round and says so by ``attrs["period"]`` (360 for an azimuth
        in degrees) is asked as a point on the circle, by its cosine and sine.
    ceiling : mapping, optional
        The largest R2 that the signals allow, by parameter: what noise leaves to know of it.
    level : float
        Of the intervals; claims are made at p up to one minus it.
    bootstraps, permutations : int
        Draws for the intervals and for the p-values.
    seed : int
        Of everything random.
    progress : bool, optional
        True shows a progress bar once 2 s have passed, False none; by default on a terminal only.

    Returns
    -------
    table : Dataset over (latent, parameter)
        ``r2``, ``r2_low``, ``r2_high``, ``p_value``; ``spearman`` (NaN unless numbers);
        ``mutual_information`` [nats], from nearest neighbours (Kraskov et al., 2004; Ross, 2014); ``share``,
        the part of the latent's variance that the parameter explains (first-order Sobol index); NaN where the
        latent is inactive.

        Over latent: ``kl`` [nats], ``active``; ``interaction``, on a mesh the share of its variance that no
        single parameter explains; and what the codes carry of ``sensitivity`` and ``traversal``.

        Over parameter, of the whole code: ``r2_all``, ``r2_all_low``, ``r2_all_high``, ``p_value_all``;
        ``ceiling``; ``relation`` (one, either, together, none) and, with latent, ``answer``, the latents
        concerned: what `verdict` puts into words.

        ``design`` (parameter, other): R2 of one parameter from another. Near 1 the two cannot be told apart.

        Over ``run``, where there is one: latents are brought into the order of the first run by what they
        capture; ``order`` and ``sign`` (run, latent) say how. ``agreement`` (parameter) is the share of runs
        with the first run's answer.

    Raises
    ------
    KeyError
        For a parameter that the codes do not carry.
    ValueError
        For fewer than 20 traces, NaN, or a parameter that is the same on all traces.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> k, b = rng.uniform(size=(2, 200))
    >>> codes = xr.Dataset({"mean": (("trace", "latent"), np.stack([b, k**2], 1))})
    >>> codes = codes.assign_coords(k=("trace", k), b=("trace", b))
    >>> table = attribute(codes, ["k", "b"])
    >>> table.answer.sel(parameter="k").values
    array([False,  True])
    """
    if not 0 < level < 1 or bootstraps < 1 or permutations < 1 / (1 - level) - 1:
        raise ValueError(
            f"level={level}, bootstraps={bootstraps}, permutations={permutations} cannot tell; level lies "
            f"between 0 and 1, and {permutations} permutations reach p = {1 / (permutations + 1):.3g} at "
            f"best, above {1 - level:.3g}"
        )
    if not isinstance(codes, xr.Dataset) or not {"trace", "latent"} <= set(codes.sizes):
        raise TypeError(f"codes are a {type(codes).__name__} without latents; use geoae.encode(data, model)")
    options: dict[str, Any] = {"ceiling": ceiling, "level": level, "bootstraps": bootstraps}
    options |= {"permutations": permutations, "seed": seed}
    names = askable(codes) if parameters is None else parameters
    names = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    runs = [codes.isel(run=i) for i in range(codes.sizes["run"])] if "run" in codes.dims else [codes]
    steps = len(runs) * (2 * codes.sizes["latent"] + len(names) + 1 + -(-permutations // 25))
    with _bar(steps, progress) as advance:
        tables = [_attribute(run, names, advance=advance, **options) for run in runs]
    return across_runs(tables, runs) if "run" in codes.dims else tables[0]


def _attribute(
    codes: xr.Dataset, names: list[str], *, ceiling, level, bootstraps, permutations, seed, advance
) -> xr.Dataset:
    z, asked = _finite_codes(codes), Questions.of(codes, names, FEWEST)
    kl, active = _activity(codes, z)
    rng = np.random.default_rng(seed)
    table = _blank(asked.names, kl, active, codes)
    table.attrs.update(traces=len(z), level=level, seed=seed, trained=int(codes.attrs.get("trained", True)))
    table["ceiling"] = "parameter", [float((ceiling or {}).get(name, np.nan)) for name in names]
    table["design"] = ("parameter", "other"), asked.design()
    used = np.flatnonzero(active)
    if not len(used):
        return table
    curves = []
    for i in used:
        curves.append(statistics.curve(z[:, i]))
        errors = statistics.unexplained(curves[-1], asked.columns, asked.owner)
        for name, values in zip(
            ("r2", "r2_low", "r2_high"), statistics.interval(errors, level, bootstraps, rng), strict=True
        ):
            table[name].values[i] = values
        advance()
    some = rng.permutation(len(z))[:MOST]
    whole = statistics.unexplained(
        statistics.surface(z[np.ix_(some, used)], seed), asked.columns[some], asked.owner
    )
    for name, values in zip(
        ("r2_all", "r2_all_low", "r2_all_high"),
        statistics.interval(whole, level, bootstraps, rng),
        strict=True,
    ):
        table[name].values[:] = values
    advance()
    bases = [basis.columns for basis in curves]
    together = np.hstack([*bases, statistics.products(z[:, used])])
    p = statistics.p_values([*bases, together], asked.columns, asked.owner, permutations, rng, advance)
    table["p_value"].values[used], table["p_value_all"].values[:] = p[:-1], p[-1]
    _fill_measures(table, z, used, asked, seed, advance)
    _answer(table, z, asked, seed)
    return table


def _finite_codes(codes: xr.Dataset) -> np.ndarray:
    z = codes["mean"].transpose("trace", "latent").values.astype(float)
    if not np.isfinite(z).all():
        raise ValueError("the codes hold NaN or inf; was the model trained, and are the traces whole?")
    return z


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


def _blank(names: list[str], kl: np.ndarray, active: np.ndarray, codes: xr.Dataset) -> xr.Dataset:
    both, nan = ("latent", "parameter"), np.full((len(kl), len(names)), np.nan)
    pairs = ("r2", "r2_low", "r2_high", "p_value", "spearman", "mutual_information", "share")
    carried = {
        name: ("latent", codes[name].values, codes[name].attrs)
        for name in ("sensitivity", "traversal")
        if name in codes
    }
    table = xr.Dataset(
        {name: (both, nan.copy()) for name in pairs}
        | {name: ("parameter", np.zeros(len(names))) for name in ("r2_all", "r2_all_low", "r2_all_high")}
        | {
            "p_value_all": ("parameter", np.ones(len(names))),
            "kl": ("latent", kl, {"units": "nats"}),
            "active": ("latent", active),
            "interaction": ("latent", np.full(len(kl), np.nan)),
            "relation": ("parameter", np.full(len(names), "none", dtype="<U8")),
            "answer": (both, np.zeros(nan.shape, bool)),
        }
        | carried,
        {"latent": np.arange(len(kl)), "parameter": names, "other": names},
    )
    table["mutual_information"].attrs["units"] = "nats"
    return table


def _fill_measures(
    table: xr.Dataset, z: np.ndarray, used: np.ndarray, asked: Questions, seed: int, advance: Callable
) -> None:
    """Rank correlation, mutual information, and shares of variance of the latents in use."""
    active, mesh = z[:, used], asked.mesh()
    for j in range(len(asked.names)):
        if asked.kind[j] == "number":
            rank = statistics.rank_correlation(active, asked.columns[:, asked.owner == j])
            table["spearman"].values[used, j] = rank[:, 0]
        table["mutual_information"].values[used, j] = statistics.mutual_information(
            active, asked.label[j], seed
        )
        table["share"].values[used, j] = asked.share_of(active, j, j in mesh)
        advance()
    if mesh:
        alone = table["share"].values[used][:, mesh].sum(1)
        table["interaction"].values[used] = np.clip(1 - alone, 0, 1)


def _answer(table: xr.Dataset, z: np.ndarray, asked: Questions, seed: int) -> None:
    """Decide for each parameter: one latent, either of several, several together, or none."""
    least = 1 - table.attrs["level"]
    for j in range(len(asked.names)):
        r2, p = table["r2"].values[:, j], table["p_value"].values[:, j]
        whole = max(table["r2_all"].values[j], np.nanmax(r2))
        if whole < PRESENT or min(table["p_value_all"].values[j], np.nanmin(p)) > least:
            continue
        alone = (np.nan_to_num(r2) >= ALONE * whole) & (np.nan_to_num(p, nan=1.0) <= least)
        if alone.any():
            latents, relation = np.flatnonzero(alone).tolist(), "one" if alone.sum() == 1 else "either"
        else:
            latents, relation = _fewest_together(table, z, asked, j, whole, seed), "together"
            relation = relation if len(latents) > 1 else "one"
        table["relation"].values[j] = relation
        table["answer"].values[np.array(latents), j] = True


def _fewest_together(
    table: xr.Dataset, z: np.ndarray, asked: Questions, j: int, whole: float, seed: int
) -> list[int]:
    """Latents added one by one, the most helpful first, until they reach the whole code's R2 or nearly."""
    some = np.random.default_rng(seed).permutation(len(z))[:1500]
    columns = asked.columns[some][:, asked.owner == j]
    left = [int(i) for i in np.flatnonzero(table["active"].values)]
    chosen: list[int] = []
    while left:
        scores = []
        for i in left:
            basis = statistics.surface(z[some][:, [*chosen, i]], seed, centres=60)
            scores.append(statistics.unexplained(basis, columns, np.zeros(columns.shape[1], int)).r2[0])
        best = int(np.argmax(scores))
        chosen.append(left.pop(best))
        if scores[best] >= 0.95 * whole:
            break
    return chosen


@contextmanager
def _bar(steps: int, progress: bool | None) -> Iterator[Callable[[], None]]:
    """A progress bar that appears only if the work takes long."""
    if not (sys.stderr.isatty() if progress is None else progress):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    start, bar = time.monotonic(), Progress(console=Console(stderr=True))
    task = bar.add_task("attributing", total=steps)

    def advance() -> None:
        bar.advance(task)
        if time.monotonic() - start > BAR_AFTER and not bar.live.is_started:
            bar.start()

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
