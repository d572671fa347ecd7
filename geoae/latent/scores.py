"""The field's summary scores of a code: one number each, for comparison with others, never as a verdict.

They do not compare across data sets: of a perfect code of two even parameters the mutual information gap
is 0.63 with 20 bins and 2,500 traces, 0.43 with 50 bins. The table of `geoae.latent.attribute` does.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from .attribution import FEWEST, _activity, _finite_codes
from .questions import Questions

SOURCES = {
    "mig": "Chen et al., 2018, Isolating sources of disentanglement in VAEs (beta-TCVAE)",
    "sap": "Kumar et al., 2018, Variational inference of disentangled latent concepts (DIP-VAE)",
    "disentanglement": "Eastwood and Williams, 2018, A framework for the evaluation of ... (DCI)",
    "completeness": "Eastwood and Williams, 2018",
    "informativeness": "Eastwood and Williams, 2018",
    "modularity": "Ridgeway and Mozer, 2018, Learning deep disentangled embeddings with the F-statistic loss",
}


def scores(
    codes: xr.Dataset,
    parameters: str | Sequence[str],
    *,
    bins: int = 20,
    active_only: bool = True,
    seed: int = 0,
) -> xr.Dataset:
    r"""Summary scores of disentanglement, as published; each is 1 at best.

    ``mig``
        Gap between the two largest mutual informations of a parameter with a latent, over the parameter's
        entropy; both from a histogram of `bins` equal bins, as published. Mean over parameters.
    ``sap``
        Gap between the two largest :math:`R^2` of a straight line. Mean over parameters.
    ``disentanglement``, ``completeness``, ``informativeness``
        One minus the entropy of the importances of latents for parameters, along latents' rows and
        parameters' columns, weighted by the rows' share; and :math:`R^2` on the other half of the traces.
        Importances are those of 50 extremely randomised trees (scikit-learn), fitted to half of the traces.
    ``modularity``
        One minus the mutual information that a latent has with all but its first parameter (squared, mean),
        over that with the first. Mean over latents.

    Parameters
    ----------
    codes : Dataset
        As `attribute` takes them.
    parameters : sequence of str
        Two or more, numbers; one alone leaves completeness and the gaps.
    bins : int
        Of the histograms.
    active_only : bool
        Leave inactive latents out: their correlations are accidents.
    seed : int
        Of the halves and the trees.

    Returns
    -------
    scores : Dataset of numbers
        Each with its source in ``attrs["source"]``.
    """
    names = [parameters] if isinstance(parameters, str) else list(dict.fromkeys(parameters))
    z, asked = _finite_codes(codes), Questions.of(codes, names, FEWEST)
    for name, kind in zip(names, asked.kind, strict=True):
        if kind != "number":
            raise ValueError(f"scores are of numbers, and {name!r} is of the kind {kind}; leave it out")
    if active_only:
        z = z[:, _activity(codes, z)[1]]
    if not z.shape[1]:
        raise ValueError("no latent is active, so there is nothing to score; active_only=False scores them")
    y = np.stack(asked.label, 1)
    shared, entropy = _shared_information(z, y, bins)
    importance, informed = _importances(z, y, seed)
    values: dict[str, Any] = {
        "mig": float(np.mean(_gap(shared) / entropy)),
        "sap": float(np.mean(_gap(_line_r2(z, y)))),
        "disentanglement": _concentration(importance),
        "completeness": _concentration(importance.T),
        "informativeness": float(np.mean(informed)),
        "modularity": _modularity(shared),
    }
    return xr.Dataset({name: ((), value, {"source": SOURCES[name]}) for name, value in values.items()})


def _gap(values: np.ndarray) -> np.ndarray:
    """Largest minus second largest of each column; the second of one latent alone is 0."""
    ordered = np.sort(np.vstack([values, np.zeros((1, values.shape[1]))]), axis=0)
    return ordered[-1] - ordered[-2] if len(values) > 1 else values[0]


def _shared_information(z: np.ndarray, y: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Mutual information (latent, parameter) and entropies (parameter) of histograms [nats]."""
    from sklearn.metrics import mutual_info_score

    zs, ys = _binned(z, bins), _binned(y, bins)
    shared = np.array([[mutual_info_score(b, a) for b in ys.T] for a in zs.T])
    return shared, np.array([mutual_info_score(b, b) for b in ys.T])


def _binned(values: np.ndarray, bins: int) -> np.ndarray:
    low, span = values.min(0), np.ptp(values, axis=0)
    return np.minimum((values - low) / np.where(span > 0, span, 1) * bins, bins - 1).astype(int)


def _line_r2(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    z, y = z - z.mean(0), y - y.mean(0)
    spread = np.sqrt((z**2).sum(0))
    return ((z / np.where(spread > 0, spread, 1)).T @ (y / np.sqrt((y**2).sum(0)))) ** 2


def _importances(z: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Importances (latent, parameter) and R2 on the other half (parameter)."""
    from sklearn.ensemble import ExtraTreesRegressor

    order = np.random.default_rng(seed).permutation(len(z))
    half, rest = order[: len(z) // 2], order[len(z) // 2 :]
    importance, informed = [], []
    for column in y.T:
        trees = ExtraTreesRegressor(50, min_samples_leaf=3, random_state=seed).fit(z[half], column[half])
        importance.append(trees.feature_importances_)
        informed.append(trees.score(z[rest], column[rest]))
    return np.stack(importance, 1), np.array(informed)


def _concentration(importance: np.ndarray) -> float:
    """One minus the entropy of each row over its largest, weighted by the rows' sums."""
    weight = importance.sum(1)
    if importance.shape[1] == 1:
        return 1.0
    share = (importance + 1e-11) / (importance + 1e-11).sum(1, keepdims=True)
    entropy = -(share * np.log(share)).sum(1) / np.log(importance.shape[1])
    return float((1 - entropy) @ weight / weight.sum())


def _modularity(shared: np.ndarray) -> float:
    if shared.shape[1] == 1:
        return 1.0
    largest = shared.max(1)
    others = (shared**2).sum(1) - largest**2
    rows = largest > 1e-12
    return float(np.mean(1 - others[rows] / (largest[rows] ** 2 * (shared.shape[1] - 1))))
