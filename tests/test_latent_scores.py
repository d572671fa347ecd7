"""The field's summary scores, against the papers they come from."""

import numpy as np
import pytest
from planted import N, planted
from scipy import stats

from geoae import latent


def _published(z, y, bins=20):
    """MIG, SAP, modularity and DCI written down from the papers, loops and all."""
    from sklearn.ensemble import ExtraTreesRegressor

    latents, parameters = z.shape[1], y.shape[1]
    shared, entropy, line = (
        np.zeros((latents, parameters)),
        np.zeros(parameters),
        np.zeros((latents, parameters)),
    )
    for j in range(parameters):
        for i in range(latents):
            table = np.histogram2d(z[:, i], y[:, j], bins)[0] / len(z)
            outer = table.sum(1)[:, None] * table.sum(0)[None]
            shared[i, j] = (table[table > 0] * np.log(table[table > 0] / outer[table > 0])).sum()
            line[i, j] = stats.pearsonr(z[:, i], y[:, j]).statistic ** 2
        p = np.histogram(y[:, j], bins)[0] / len(y)
        entropy[j] = -(p[p > 0] * np.log(p[p > 0])).sum()
    gaps = [sorted(shared[:, j])[-1] - sorted(shared[:, j])[-2] for j in range(parameters)]
    sap = np.mean([sorted(line[:, j])[-1] - sorted(line[:, j])[-2] for j in range(parameters)])
    modularity = []
    for row in shared:
        template = np.zeros(parameters)
        template[row.argmax()] = row.max()
        modularity.append(1 - ((row - template) ** 2).sum() / (row.max() ** 2 * (parameters - 1)))
    order = np.random.default_rng(0).permutation(len(z))
    half, rest = order[: len(z) // 2], order[len(z) // 2 :]
    trees = [ExtraTreesRegressor(50, min_samples_leaf=3, random_state=0).fit(z[half], c[half]) for c in y.T]
    weights = np.stack([t.feature_importances_ for t in trees], 1)
    rows, columns = weights / weights.sum(1, keepdims=True), weights / weights.sum(0)
    d = 1 - stats.entropy(rows, axis=1) / np.log(parameters)
    c = 1 - stats.entropy(columns, axis=0) / np.log(latents)
    return {
        "mig": np.mean(gaps / entropy),
        "sap": sap,
        "modularity": np.mean(modularity),
        "disentanglement": (d * weights.sum(1)).sum() / weights.sum(),
        "completeness": (c * weights.sum(0)).sum() / weights.sum(),
        "informativeness": np.mean([t.score(z[rest], v[rest]) for t, v in zip(trees, y.T, strict=True)]),
    }


def test_scores_agree_with_their_papers(uniform, rng):
    a, b = uniform
    z = np.stack([a + 0.3 * rng.standard_normal(N), b + 0.2 * a, rng.standard_normal(N)], 1)
    found = latent.scores(planted(list(z.T), {"a": a, "b": b}), ["a", "b"])
    for name, value in _published(z, np.stack([a, b], 1)).items():
        assert float(found[name]) == pytest.approx(value, abs=1e-6), name
        assert "201" in found[name].source


def test_scores_of_a_perfect_and_a_turned_code(uniform):
    a, b = uniform
    perfect, turned = (
        latent.scores(planted(c, {"a": a, "b": b}), ["a", "b"]) for c in ([a, b], [a + b, a - b])
    )
    assert float(perfect.sap) > 0.95
    assert float(perfect.disentanglement) > 0.95
    assert float(turned.sap) < 0.15
    assert float(turned.disentanglement) < 0.05
    dead = planted([a, b, 1e-3 * a], {"a": a, "b": b}, kl=[[1, 1, 1e-6]])
    assert float(latent.scores(dead, ["a", "b"]).sap) > 0.95
    assert float(latent.scores(dead, ["a", "b"], active_only=False).sap) < 0.6
