"""Codes of a trained model: encoded, decoded, moved, drawn, and held against what the model has seen."""

import numpy as np
import pytest
import torch
import xarray as xr
from planted import planted
from scipy import stats

import geoae
from geoae import latent


def test_codes_carry_parameters_and_divergences(vae, oscillations):
    codes = geoae.encode(oscillations, vae)
    assert codes["mean"].dims == ("trace", "latent")
    np.testing.assert_array_equal(codes.k, oscillations.k)
    by_hand = 0.5 * (codes["mean"] ** 2 + codes["std"] ** 2 - 1) - np.log(codes["std"])
    xr.testing.assert_allclose(codes.kl, by_hand, atol=1e-5)
    xr.testing.assert_allclose(geoae.encode(oscillations, vae, batch=7)["mean"], codes["mean"], atol=1e-6)


def test_a_point_posterior_has_no_divergence(oscillations):
    model = geoae.autoencoder(like=oscillations, network="linear")
    geoae.fit(model, oscillations, epochs=2)
    codes = geoae.encode(oscillations, model)
    assert "kl" not in codes
    assert (codes["std"] == 0).all()
    table = latent.attribute(codes, ["k"], permutations=20, bootstraps=20)
    assert table.active.all()
    assert geoae.plot.attribution(table).axes
    assert geoae.plot.codes_against(codes, ["k"]).axes
    assert geoae.plot.codes(codes, colour="k").axes


def test_decoding_the_mean_codes_is_the_models_own_reconstruction(vae, oscillations):
    decoded = latent.decode(vae, geoae.encode(oscillations, vae)["mean"])
    with torch.no_grad():
        own = vae(torch.from_numpy(geoae.arrays.to_batch(oscillations))).numpy()[:, 0]
    np.testing.assert_allclose(decoded, own, atol=1e-5)
    np.testing.assert_allclose(decoded.time, oscillations.time)
    assert decoded.attrs["units"] == oscillations.attrs["units"]


def test_draws_from_the_prior_depend_on_the_seed_alone(vae, oscillations):
    first, again, other = (geoae.generate(vae, 5, seed=s) for s in (0, 0, 1))
    xr.testing.assert_identical(first, again)
    assert not np.allclose(first, other)
    assert first.sizes == {"trace": 5, "time": 50}
    with pytest.raises(ValueError, match="a plain autoencoder has no prior"):
        geoae.generate(geoae.autoencoder(like=oscillations), 5)
    with pytest.raises(ValueError, match="n is 0"):
        geoae.generate(vae, 0)


@pytest.mark.parametrize("gap", [np.nan, np.inf])
def test_traces_with_gaps_are_refused_until_they_are_left_out(gap, vae, oscillations):
    data = oscillations.copy()
    data[7, 3] = gap
    for ask_of in (geoae.encode, latent.anomaly, latent.log_evidence, latent.contributions, latent.movement):
        with pytest.raises(
            ValueError, match=r"NaN or inf in 1 of \d+ traces, the first being trace 7"
        ) as told:
            ask_of(data, vae)
    kept = eval(str(told.value).split("leave them out: ")[1], {"np": np, "data": data})
    xr.testing.assert_equal(geoae.encode(kept, vae).k, oscillations.k.drop_isel(trace=7))


def test_decoded_traces_lie_on_the_axes_that_the_model_learned_on(tmp_path):
    lines = geoae.synth.lines(32)
    model = geoae.autoencoder(like=lines, latent=2)
    geoae.fit(model, lines, epochs=1)
    geoae.save(model, tmp_path / "lines.safetensors")
    figure = geoae.plot.traversals([latent.traverse(geoae.load(tmp_path / "lines.safetensors"), 0)])
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("x", "y")
    parts = latent.contributions(lines.isel(trace=0), model)
    figure = geoae.plot.contributions(parts, lines.isel(trace=0))
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("x", "y")
    for name in ("name", "time_name"):  # as in files of earlier versions
        del model.trained[name]
    figure = geoae.plot.traversals([latent.traverse(model, 0)])
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("time", "amplitude")


def test_traces_of_another_length_are_refused(vae, oscillations):
    for ask_of in (geoae.encode, latent.anomaly):
        with pytest.raises(ValueError, match="data has 1 channels of 40 samples, the model expects 1 of 50"):
            ask_of(oscillations.isel(time=slice(40)), vae)


def test_traces_without_labels_are_refused(vae, oscillations):
    with pytest.raises(TypeError, match=r"data is a ndarray; wanted labelled traces, such as xr.DataArray"):
        geoae.encode(oscillations.values, vae)


def test_a_denoiser_has_no_latents(denoiser, oscillations):
    with pytest.raises(TypeError, match="a Denoiser has no latents"):
        geoae.encode(oscillations, denoiser)


# ------------------------------------------------------------------------------------ whether codes are sound


def test_the_aggregated_posterior_is_that_of_a_mixture(rng):
    """Two equal normals at -1 and 1 of width 0.5: mean 0, variance 1.25; the prior itself has no distance."""
    codes = planted([np.tile([-1.0, 1.0], 50), np.zeros(100)], {})
    codes["std"] = ("trace", "latent"), np.tile([0.5, 1.0], (100, 1))
    seen = latent.aggregate(codes)
    np.testing.assert_allclose(seen["mean"], [0, 0], atol=1e-12)
    np.testing.assert_allclose(seen["std"], [np.sqrt(1.25), 1], rtol=1e-12)
    draws = rng.choice([-1.0, 1.0], 200_000) + 0.5 * rng.standard_normal(200_000)
    mixture = 0.5 * (stats.norm.pdf(draws, -1, 0.5) + stats.norm.pdf(draws, 1, 0.5))
    wanted = np.mean(np.log(mixture) - stats.norm.logpdf(draws))
    np.testing.assert_allclose(seen.divergence, [wanted, 0], atol=0.01)
    with pytest.raises(ValueError, match="these codes are points"):
        latent.aggregate(planted([np.zeros(30)], {}))


def test_codes_of_noisy_signals_move_by_what_the_encoder_says(oscillations):
    """Of a linear encoder the rms movement is known: it falls by ten for 20 dB."""
    model = geoae.autoencoder(like=oscillations, latent=2, network="linear")
    moved = latent.movement(oscillations, model, (40, 20, 0))
    np.testing.assert_allclose(moved.moved[1:] / moved.moved[:-1].values, 10, rtol=1e-3)
    weight = model.posterior[0].weight.detach().numpy() / float(model.scale.gain)
    power = oscillations.var("time").mean().item() * (weight**2).sum(1)
    spread = geoae.encode(oscillations, model)["mean"].std("trace")
    np.testing.assert_allclose(moved.moved[-1], np.sqrt(power) / spread, rtol=0.15)
    assert (moved.per_db > 0).all()


def test_codes_beyond_what_was_seen_are_pointed_out(uniform):
    a, b = uniform
    seen, new = planted([a, b], {}), planted([np.r_[0.0, 1.15, 2.0], np.zeros(3)], {})
    with pytest.warns(UserWarning, match=r"1 of 3 traces lie outside of what the model has seen \(z0\)"):
        outside = latent.out_of_range(new, seen)
    assert outside.values.tolist() == [[False, False], [False, False], [True, False]]
    assert not latent.out_of_range(seen, seen).any()
