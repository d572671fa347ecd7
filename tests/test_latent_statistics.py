"""The statistics behind an attribution: how sure its claims are, and what its measures are in closed form."""

import numpy as np
import pytest
from planted import N, ask, planted
from scipy import stats

from geoae import latent
from geoae.latent import statistics


@pytest.mark.parametrize("draws", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_pure_noise_is_seldom_claimed(draws):
    claims = 0
    for seed in range(draws):
        rng = np.random.default_rng([seed, 8])
        n = (30, 60, 200, 400)[seed % 4]
        group = np.array(["x", "y", "z"])[rng.integers(0, 3, n)]
        noise = planted(
            list(rng.standard_normal((3, n))), {"a": rng.uniform(size=n), "b": rng.normal(size=n), "g": group}
        )
        table = latent.attribute(noise, ["a", "b", "g"], permutations=100, bootstraps=20, seed=seed)
        claims += any(answer.latents for answer in latent.verdict(table).values())
    assert claims <= {20: 4, 200: 10}[draws]  # the level is 5 %; of 20, 5 or more have a chance of 0.3 %


def test_p_values_under_shuffling_are_as_often_small_as_they_say():
    """Of one question the p-value is uniform, and the least of many questions likewise."""
    rng = np.random.default_rng(0)
    least = []
    for _ in range(60):
        z, y = rng.standard_normal((50, 2)), rng.standard_normal((50, 3))
        bases = [z[:, [0]], z[:, [1]], z]
        p = statistics.p_values(bases, y, np.arange(3), 99, rng, lambda: None)
        least.append(p.min())
    assert stats.kstest(least, "uniform").pvalue > 0.01


def test_more_questions_make_the_same_answer_less_sure(rng):
    """The p-value compares with the largest of all that was asked, so that asking often does not help."""
    a = rng.standard_normal(60)
    others = {f"n{i}": rng.standard_normal(60) for i in range(12)}
    codes = planted([a + 3 * rng.standard_normal(60)], {"a": a, **others})
    alone, among = (
        float(latent.attribute(codes, names, bootstraps=20).p_value.sel(latent=0, parameter="a"))
        for names in (["a"], ["a", *others])
    )
    assert alone < 0.6 * among


@pytest.mark.parametrize(
    ("draws", "n", "r2"),
    [
        (20, 400, 0.5),
        (20, 400, 0.0),
        *[
            pytest.param(100, n, r2, marks=pytest.mark.slow)
            for n in (400, 1500)
            for r2 in (0.0, 0.1, 0.5, 0.9)
        ],
    ],
)
def test_the_interval_holds_the_value_for_other_traces(draws, n, r2):
    """R2 of a line with noise is known; with few traces a held-out fit alone would be biased low."""
    inside, found = 0, []
    for seed in range(draws):
        a, noise = np.random.default_rng([seed, 9]).standard_normal((2, n))
        y = np.sqrt(r2) * a + np.sqrt(1 - r2) * noise
        table = latent.attribute(planted([a], {"y": y}), ["y"], permutations=20, bootstraps=300, seed=seed)
        inside += float(table.r2_low[0, 0]) <= r2 <= float(table.r2_high[0, 0])
        found.append(float(table.r2[0, 0]))
    assert inside >= {20: 16, 100: 90}[draws]  # 19 of 20 expected; 15 or fewer have a chance of 0.03 %
    assert np.mean(found) == pytest.approx(r2, abs=4 * np.std(found) / np.sqrt(draws) + 0.002)


def test_leave_one_out_in_closed_form_is_leaving_one_out():
    """Refits without each trace in turn give the errors that the leverages promise."""
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, 40)
    y = np.sin(3 * z) + 0.3 * rng.standard_normal(40)
    basis, strength = statistics.curve(z), 0.01

    def fitted(seen):
        b = basis.columns[seen]
        return np.linalg.solve(b.T @ b + strength * basis.penalty, b.T @ y[seen])

    everyone = np.arange(40)
    alone = [y[i] - basis.columns[i] @ fitted(everyone != i) for i in everyone]
    u, stiffness = statistics._modes(basis)
    kept = 1 / (1 + strength * stiffness)
    residual, leverage = y - u @ (kept * (u.T @ y)), u**2 @ kept
    np.testing.assert_allclose(residual / (1 - leverage), alone, rtol=1e-6)


def test_an_exact_code_has_an_r2_of_one_on_few_traces_too():
    for seed in range(10):
        a = np.random.default_rng(seed).standard_normal(50)
        table = latent.attribute(planted([a], {"a": a}), ["a", "a"], permutations=20, bootstraps=20)
        assert table.parameter.values.tolist() == ["a"]
        assert float(table.r2[0, 0]) > 0.995


def test_the_share_of_variance_is_that_of_the_parameter(rng):
    y = rng.uniform(-1, 1, 1500)
    z = np.sin(3 * y) + 0.3 * rng.standard_normal(1500)
    table, _ = ask(planted([z], {"y": y}), ["y"])
    variance = 0.5 * (1 - np.sin(6) / 6)  # of sin 3y for y even between -1 and 1
    assert float(table.share[0, 0]) == pytest.approx(variance / (variance + 0.09), abs=0.02)


def test_on_a_mesh_shares_are_exact_sobol_indices():
    """Of z = a + 2 b + 3 ab on a balanced mesh of +-1: parts 1, 4 and 9 of 14."""
    a, b = (v.ravel() for v in np.meshgrid(np.tile([-1.0, 1.0], 5), np.tile([-1.0, 1.0], 6)))
    table, _ = ask(planted([a + 2 * b + 3 * a * b], {"a": a, "b": b}))
    np.testing.assert_allclose(table.share[0], [1 / 14, 4 / 14], atol=1e-12)
    assert float(table.interaction[0]) == pytest.approx(9 / 14)


def test_spearman_and_mutual_information_agree_with_their_libraries(uniform, rng):
    from scipy.stats import spearmanr

    a, b = uniform
    z = a + 0.5 * rng.standard_normal(N)
    table, _ = ask(planted([z, b], {"a": a, "b": b}))
    assert float(table.spearman[0, 0]) == pytest.approx(spearmanr(z, a).statistic)
    x = rng.standard_normal(2000)
    y = 0.8 * x + 0.6 * rng.standard_normal(2000)
    normal = latent.attribute(planted([x], {"y": y}), ["y"], permutations=20)
    assert float(normal.mutual_information[0, 0]) == pytest.approx(-0.5 * np.log(1 - 0.64), abs=0.06)
