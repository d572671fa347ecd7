"""Which latent captures which parameter: planted codes whose answer is known, and bad questions."""

import time

import numpy as np
import pytest
import xarray as xr
from planted import N, ask, planted

import geoae
from geoae import latent


def test_one_to_one_codes_are_named(uniform, rng):
    a, b = uniform
    table, verdict = ask(planted([b, rng.standard_normal(N), np.exp(a)], {"a": a, "b": b}))
    assert verdict["a"].latents == (2,)
    assert verdict["b"].latents == (0,)
    assert verdict["a"].effect > 0.99
    assert verdict["a"].p_value == pytest.approx(1 / 201)
    assert float(table.share.sel(latent=0, parameter="b")) > 0.99
    assert float(table.share.sel(latent=0, parameter="a")) < 0.05


def test_swapped_parameters_swap_the_answer(uniform):
    a, b = uniform
    _, straight = ask(planted([a, b], {"a": a, "b": b}))
    _, swapped = ask(planted([a, b], {"a": b, "b": a}))
    assert straight["a"].latents == swapped["b"].latents == (0,)
    assert straight["b"].latents == swapped["a"].latents == (1,)


def test_a_folded_code_is_found_by_mutual_information_and_not_by_rank(uniform):
    a, b = uniform
    _table, verdict = ask(planted([b, a], {"a": a, "b2": b}), ("a", "b2"))
    assert verdict["b2"].latents == (0,)
    folded = latent.attribute(planted([a, b], {"square": a**2}), ["square"])
    assert abs(float(folded.spearman.sel(latent=0, parameter="square"))) < 0.2
    assert float(folded.mutual_information.sel(latent=0, parameter="square")) > 1
    assert latent.verdict(folded)["square"].latents == (0,)


def test_codes_turned_by_45_degrees_hold_it_together(uniform):
    a, b = uniform
    _, verdict = ask(planted([a + b, a - b], {"a": a, "b": b}))
    for name in "ab":
        assert verdict[name].relation == "together"
        assert set(verdict[name].latents) == {0, 1}
        assert verdict[name].effect > 0.95
    assert "z0 and z1 together" in str(verdict)


def test_doubled_codes_are_either(uniform):
    a, b = uniform
    _, verdict = ask(planted([a, b, a], {"a": a, "b": b}))
    assert verdict["a"].relation == "either"
    assert verdict["a"].latents == (0, 2)
    assert "a: z0 or z2" in str(verdict)


def test_a_dead_latent_is_no_answer_however_it_correlates(uniform):
    a, b = uniform
    codes = planted([1e-3 * a, b], {"a": a, "b": b}, kl=[[1e-6, 1.0]])
    table, verdict = ask(codes)
    assert not table.active[0]
    assert verdict["a"].latents == ()
    assert "a: not in the code" in str(verdict)
    assert "z0: inactive (KL 0.000 nats)" in str(verdict)


def test_all_zeros_hold_nothing(uniform):
    a, b = uniform
    _, verdict = ask(planted([0 * a, 0 * b], {"a": a, "b": b}, kl=0.0))
    assert verdict["a"].latents == verdict["b"].latents == ()
    assert verdict["a"].p_value == 1


def test_an_idle_latent_is_said_to_answer_nothing(uniform, rng):
    a, b = uniform
    _, verdict = ask(planted([a, rng.standard_normal(N), b], {"a": a, "b": b}))
    assert "z1: active (KL 1.000 nats), but the answer to none of these questions" in str(verdict)


def _round(degrees, columns, **more):
    codes = planted(columns, {"azimuth": degrees, **more})
    codes.azimuth.attrs["period"] = 360
    return codes


def test_of_an_azimuth_its_cosine_holds_half_and_both_all(rng):
    """The cosine says nothing of the sine, which is half of what there is to know on a circle."""
    azimuth, other = rng.uniform(0, 360, N), rng.uniform(size=N)
    x, y = np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth))
    table, verdict = ask(_round(azimuth, [x, other, y], other=other), ("azimuth", "other"))
    np.testing.assert_allclose(table.r2.sel(parameter="azimuth"), [0.5, 0, 0.5], atol=0.05)
    assert float(table.r2_all.sel(parameter="azimuth")) > 0.99
    assert verdict["azimuth"].relation == "together"
    assert set(verdict["azimuth"].latents) == {0, 2}
    np.testing.assert_allclose(table.share.sel(parameter="azimuth"), [1, 0, 1], atol=0.03)
    assert np.isnan(table.spearman.sel(parameter="azimuth")).all()


def test_where_north_is_does_not_matter(rng):
    """Around north plain numbers jump from 360 to 0, and a latent that passes it smoothly would hold less."""
    turn = rng.uniform(-60, 60, N)
    z = turn + 10 * rng.standard_normal(N)  # R2 of the angle itself: 0.92
    tables = [ask(_round((turn + north) % 360, [z]), ["azimuth"])[0] for north in (0, 180)]
    for name in ("r2", "r2_all", "share", "p_value"):
        np.testing.assert_allclose(*(t[name] for t in tables), atol=0.01)
    assert float(tables[0].r2[0, 0]) > 0.85
    plain = planted([z], {"azimuth": turn % 360})
    assert float(ask(plain, ["azimuth"])[0].r2[0, 0]) < 0.8


def test_a_latent_that_holds_a_part_is_said_to(uniform, rng):
    a, b = uniform
    noise = rng.standard_normal(N)
    _, verdict = ask(planted([a / a.std() + 2 * noise, b], {"a": a, "b": b}))  # R2 of a: one fifth
    assert str(verdict["a"]).startswith("a: z0, in part (R2 0.")
    assert str(verdict["b"]).startswith("b: z1 (R2 1.00")


# --------------------------------------------------------------------- the same, over many draws of each kind


def _one_to_one(rng, a, b):
    return [b + 0.05 * rng.standard_normal(N), rng.standard_normal(N), np.exp(2 * a)], {"a": a, "b": b}


def _categories(rng, a, b):
    rock = rng.integers(0, 3, N)
    held = np.array([2.0, 0.0, 1.0])[rock] + 0.2 * rng.standard_normal(N)  # no order that a rank could see
    return [a, held], {"a": a, "b": np.array(["sand", "clay", "rock"])[rock]}


def _whole_numbers(rng, a, b):
    layers = rng.integers(1, 6, N)
    return [a, layers + 0.3 * rng.standard_normal(N)], {"a": a, "b": layers}


def _tied(rng, a, b):
    a, other = rng.standard_normal((2, N))
    return [a, other], {"a": a, "b": 0.9 * a + np.sqrt(1 - 0.81) * other}


KINDS = {
    "one to one": (_one_to_one, {"a": "z2", "b": "z0"}),
    "folded": (lambda rng, a, b: ([a, b], {"a": a**2, "b": b}), {"a": "z0", "b": "z1"}),
    "turned": (
        lambda rng, a, b: ([a + b, a - b], {"a": a, "b": b}),
        {"a": "z0 and z1 together", "b": "z0 and z1 together"},
    ),
    "doubled": (lambda rng, a, b: ([a, b, a], {"a": a, "b": b}), {"a": "z0 or z2", "b": "z1"}),
    "categories": (_categories, {"a": "z0", "b": "z1"}),
    "whole numbers": (_whole_numbers, {"a": "z0", "b": "z1"}),
    "tied by the design": (_tied, {"a": "z0"}),
}


def _draw(kind, seed):
    rng = np.random.default_rng([seed, 7])
    columns, parameters = KINDS[kind][0](rng, *rng.uniform(-1, 1, (2, N)))
    table = latent.attribute(
        planted(columns, parameters), ["a", "b"], permutations=100, bootstraps=50, seed=seed
    )
    return latent.verdict(table)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("draws", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_each_kind_of_code_gets_its_answer(kind, draws):
    for seed in range(draws):
        verdict = _draw(kind, seed)
        for name, where in KINDS[kind][1].items():
            joined = {"either": " or ", "together": " and "}.get(verdict[name].relation, "")
            latents = joined.join(f"z{i}" for i in sorted(verdict[name].latents))
            assert latents + " together" * (joined == " and ") == where
        assert ("go together in these traces" in str(verdict)) == (kind == "tied by the design")


# ------------------------------------------------------------------------------ what the verdict says besides


def test_the_ceiling_is_quoted(uniform, rng):
    a, b = uniform
    codes = planted([a + 0.5 * rng.standard_normal(N), b], {"a": a, "b": b})
    table = latent.attribute(codes, ["a", "b"], ceiling={"a": 0.8, "b": 0.03}, permutations=20)
    verdict = latent.verdict(table)
    assert verdict["a"].ceiling == 0.8
    assert f"{verdict['a'].effect / 0.8:.0%} of the 0.80 that the signals allow" in str(verdict["a"])
    assert str(verdict["b"]) == "b: cannot be known from these signals (R2 0.03 at best)"


def test_runs_are_brought_into_one_order(uniform, rng):
    """Signs and order of latents are arbitrary; what they hold is not."""
    a, b = uniform
    idle = 1e-3 * rng.standard_normal(N)
    parameters, kl = {"a": a, "b": b}, [1.0, 1.0, 1e-6]
    first = planted([a, b, idle], parameters, kl=[kl])
    turned = planted([idle, -b, -a], parameters, kl=[kl[::-1]])
    other = planted([a + b, a - b, idle], parameters, kl=[kl])
    table, verdict = ask(xr.concat([first, turned, other], "run"))
    assert table.order[1].values.tolist() == [2, 1, 0]
    assert table.sign[1, :2].values.tolist() == [-1, -1]
    assert table.answer.sel(run=1, latent=0, parameter="a")
    np.testing.assert_allclose(table.agreement, 2 / 3)
    assert "2 of 3 trainings agree" in str(verdict["a"])
    assert verdict["a"].latents == (0,)


def test_codes_of_a_model_that_never_learned_come_with_a_warning(oscillations, vae):
    model = geoae.autoencoder(like=oscillations, latent=3, posterior="diagonal")
    for one, warned in ((model, True), (vae, False)):
        table = latent.attribute(geoae.encode(oscillations, one), ["k"], permutations=20)
        assert ("the model was never trained" in str(latent.verdict(table))) is warned


def test_a_code_that_has_collapsed_is_said_to_have(uniform):
    a, b = uniform
    _, verdict = ask(planted([0 * a, 0 * b], {"a": a, "b": b}, kl=0.0))
    assert verdict.notes[-1] == "no latent is active: the code has collapsed"


# ----------------------------------------------------------------------------------------------------- asking


def test_the_same_seed_gives_the_same_table(uniform):
    codes = planted(list(uniform), dict(zip("ab", uniform, strict=True)))
    xr.testing.assert_identical(ask(codes, seed=3)[0], ask(codes, seed=3)[0])


def test_a_progress_bar_shows_on_long_work_only(uniform, capsys, monkeypatch):
    codes = planted(list(uniform), dict(zip("ab", uniform, strict=True)))
    ask(codes, progress=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("geoae.latent.attribution.BAR_AFTER", 0.0)
    ask(codes, progress=True)
    assert "attributing" in capsys.readouterr().err


@pytest.mark.slow
def test_ten_thousand_traces_ten_latents_and_six_parameters_take_seconds():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((10_000, 10))
    parameters = {f"p{i}": z[:, i] + 0.5 * rng.standard_normal(10_000) for i in range(5)}
    parameters["sum"] = z[:, 6] + z[:, 7] + z[:, 8]
    start = time.process_time()
    table = latent.attribute(planted(list(z.T), parameters), list(parameters))
    assert time.process_time() - start < 20
    verdict = latent.verdict(table)
    assert [verdict[f"p{i}"].latents for i in range(5)] == [(i,) for i in range(5)]
    assert verdict["sum"].latents == (6, 7, 8)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"names": ["c"]}, KeyError, "the codes carry no parameter 'c'; they carry a, b"),
        ({"names": []}, ValueError, "no parameter to ask about; the codes carry a, b"),
        ({"a": np.full(N, "x")}, ValueError, "parameter 'a' is the same word on every trace"),
        (
            {"a": np.arange(N).astype(str)},
            ValueError,
            "parameter 'a' holds 400 different words on 400 traces",
        ),
        ({"a": np.full(N, None)}, ValueError, "parameter 'a' is missing on some traces; leave them out"),
        ({"a": np.ones(N, complex)}, ValueError, "holds complex128, neither numbers nor words"),
        ({"traces": 19}, ValueError, "19 traces are too few to tell anything; give 20 or more"),
        ({"a": np.full(N, 2.0)}, ValueError, "parameter 'a' is 2 on every trace"),
        ({"a": np.r_[np.nan, np.ones(N - 1)]}, ValueError, "parameter 'a' is NaN or inf on 1 traces"),
    ],
)
def test_bad_questions_get_good_answers(uniform, change, error, message):
    parameters = {"a": change.get("a", uniform[0]), "b": uniform[1]}
    codes = planted(list(uniform), parameters).isel(trace=slice(change.get("traces")))
    with pytest.raises(error, match=message):
        latent.attribute(codes, change.get("names", ["a", "b"]))


@pytest.mark.parametrize("period", ["360", 0])
def test_a_period_that_is_none_is_refused(uniform, period):
    codes = planted(list(uniform), {"a": uniform[0]})
    codes.a.attrs["period"] = period
    with pytest.raises(ValueError, match=f"parameter 'a' goes round in {period!r}; give a number above 0"):
        latent.attribute(codes, ["a"])


@pytest.mark.parametrize(
    "options", [{"permutations": 10}, {"permutations": 0}, {"level": 1.0}, {"level": 95}, {"bootstraps": 0}]
)
def test_settings_that_cannot_tell_are_refused(uniform, options):
    codes = planted(list(uniform), dict(zip("ab", uniform, strict=True)))
    with pytest.raises(ValueError, match="cannot tell; level lies between 0 and 1, and"):
        latent.attribute(codes, ["a"], **options)
