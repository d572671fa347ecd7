import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import least_squares
from scipy.stats import norm

from geoae.synth import ceiling, cramer_rao, damped_oscillation, damped_oscillations, lines

FORMS = ["physical", "cosine", "lecture"]


@pytest.mark.parametrize("form", FORMS)
def test_the_bound_is_that_of_finite_differences(form):
    x = damped_oscillations((7, 9), b=(0.1, 4.3), form=form)
    k, b, t, h = x.k.values, x.b.values, x.time.values, 1e-5

    def trace(k, b):
        return damped_oscillation(t, k, b, form=form)

    by_k = (trace(k + h, b) - trace(k - h, b)) / (2 * h)
    by_b = (trace(k, b + h) - trace(k, b - h)) / (2 * h)
    fisher = np.einsum("pit,qit->ipq", [by_k, by_b], [by_k, by_b]) / 0.05**2
    expected = np.sqrt(np.diagonal(np.linalg.inv(fisher), axis1=1, axis2=2))
    np.testing.assert_allclose(cramer_rao(x, 0.05).bound, expected, rtol=1e-5)


def test_estimates_scatter_as_the_bound_says():
    x = damped_oscillations((1, 1), k=(7, 7), b=(0.8, 0.8))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        noisy = x.values[0] + 0.01 * rng.standard_normal(50)
        fit = least_squares(lambda p, y=noisy: damped_oscillation(x.time, *p) - y, (7.0, 0.8))  # of k, b
        found.append(fit.x)
    np.testing.assert_allclose(np.std(found, axis=0), cramer_rao(x, 0.01).bound[0], rtol=0.15)


def test_the_bound_of_lines_is_that_of_linear_regression():
    x = np.linspace(0, 20, 50)
    away = ((x - x.mean()) ** 2).sum()
    expected = [np.sqrt(1 / away), np.sqrt(1 / 50 + x.mean() ** 2 / away)]
    np.testing.assert_allclose(
        cramer_rao(lines((3, 3), x=x), 2.0).bound, np.tile(2 * np.array(expected), (9, 1))
    )


def test_what_strong_damping_hides_is_as_measured():
    x = damped_oscillations((50, 50), b=(0, 5), form="lecture")
    limits = cramer_rao(x, 0.05)
    k = limits.bound.sel(parameter="k")
    parts = (x.b < 1, (x.b >= 1) & (x.b < 3), x.b > 3, x.b > 4.5)
    medians = [float(k.where(part).median()) for part in parts]
    np.testing.assert_allclose(medians, [0.04, 0.38, 1.02, 1.39], atol=0.01)
    assert float(limits.identifiable.sel(parameter="k").mean()) == pytest.approx(0.62, abs=0.01)


def test_the_twins_of_the_lecture_form_are_told_even_without_noise():
    x = damped_oscillations(2000, b=(0, 5), form="lecture")
    hidden = ~cramer_rao(x, 0).identifiable.sel(parameter="k").values
    twin = x.b.values**4 / (16 * x.k.values)
    same = damped_oscillation(x.time, twin[hidden], x.b.values[hidden], form="lecture")
    np.testing.assert_allclose(same, x.values[hidden], atol=1e-12)
    assert np.all((twin[hidden] > 4.99) & (twin[hidden] < 10.01))
    share = quad(lambda k: 5 - (80 * k) ** 0.25, 5, 5**4 / 80)[0] / 25  # where b⁴/16k lies in the range of k
    assert hidden.mean() == pytest.approx(share, abs=0.01)
    assert cramer_rao(damped_oscillations((101, 101), b=(0, 5)), 0).identifiable.all()


def test_a_parameter_without_effect_cannot_be_known():
    x = damped_oscillations((1, 1), k=(6.25, 6.25), b=(5, 5), form="lecture")  # critical: cos(0 t)
    assert cramer_rao(x, 0.1).bound.sel(parameter="k").item() == np.inf
    assert np.isfinite(cramer_rao(x, 0.1).bound.sel(parameter="b").item())


def test_the_ceiling_for_lines_is_that_of_truncated_normals():
    y = lines((60, 60))  # on a symmetric axis slope and intercept do not disturb each other
    for noise in (0.5, 5.0, 20.0):
        expected = {}
        for name, size in (("slope", np.linalg.norm(y.time)), ("intercept", np.sqrt(50))):
            truth, sigma = np.unique(y[name]), noise / size
            seen = truth[:, None] + sigma * np.random.default_rng(1).standard_normal((60, 2000))
            low, high = (truth[0] - seen) / sigma, (truth[-1] - seen) / sigma
            best = seen + sigma * (norm.pdf(low) - norm.pdf(high)) / (norm.cdf(high) - norm.cdf(low))
            expected[name] = 1 - np.mean((best - truth[:, None]) ** 2) / truth.var()
        assert ceiling(y, noise) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("noise", "measured"), [(0.16, 0.49), (0.05, 0.83)])
def test_the_ceiling_is_the_error_of_the_posterior_mean_over_random_draws(noise, measured):
    rng = np.random.default_rng(0)
    t = np.linspace(0, 10, 50)
    k, b = rng.uniform(5, 10, 6000), rng.uniform(0, 5, 6000)
    clean = damped_oscillation(t, k, b, form="lecture")
    seen = clean[:2000] + noise * rng.standard_normal((2000, 50))
    misfit = ((seen**2).sum(1)[:, None] + (clean[2000:] ** 2).sum(1) - 2 * seen @ clean[2000:].T) / 2
    weight = np.exp((misfit.min(1, keepdims=True) - misfit) / noise**2)
    best = weight @ k[2000:] / weight.sum(1)
    expected = 1 - np.mean((best - k[:2000]) ** 2) / (25 / 12)
    found = ceiling(damped_oscillations(2000, b=(0, 5), form="lecture"), noise)["k"]
    assert found == pytest.approx(expected, abs=0.025)
    assert found == pytest.approx(measured, abs=0.035)  # on another computer, to two digits


def test_the_ceiling_takes_any_number_of_traces_and_the_noisy_ones_too():
    x = damped_oscillations(20, b=(0, 5), seed=1)
    assert ceiling(x, 0.1) == ceiling(x + 0 * x.max(), 0.1) == ceiling(x.copy(data=0 * x.values), 0.1)
    many = damped_oscillations((80, 80), b=(0, 5))
    assert ceiling(many, 0.1) == pytest.approx(ceiling(many, 0.1, seed=1), abs=0.02)
    constant = ceiling(damped_oscillations((1, 50), k=(7, 7)), 0.1)
    assert np.isnan(constant["k"])
    assert constant["b"] > 0.5


def test_limits_need_traces_that_say_how_they_were_made():
    x = damped_oscillations((3, 3))
    with pytest.raises(
        ValueError, match="these traces say signal=None in their attrs; it must be one of damped"
    ):
        cramer_rao(x.drop_attrs(), 0.1)
    with pytest.raises(ValueError, match="the traces carry no b; use traces as geoae.synth made them"):
        ceiling(x.drop_vars("b"), 0.1)
    with pytest.raises(ValueError, match="noise is -1; it must be at least 0"):
        cramer_rao(x, -1)
    with pytest.raises(ValueError, match="noise is 0; it must be above 0"):
        ceiling(x, 0)
