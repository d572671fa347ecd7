"""What latents do to a signal: by how much they change it, and what they add to it."""

import numpy as np
import pytest
import torch

import geoae
from geoae import latent


def test_a_traversal_moves_one_latent(vae):
    moved = latent.traverse(vae, 1, span=(-2, 2), steps=5, at=[0.3, 9.0, -0.4])
    assert moved.dims == ("step", "time")
    assert moved.z.values.tolist() == [-2, -1, 0, 1, 2]
    np.testing.assert_allclose(moved[3], latent.decode(vae, [[0.3, 1.0, -0.4]])[0], atol=1e-6)
    with pytest.raises(ValueError, match="latent is 3; this model has 3, numbered 0 to 2"):
        latent.traverse(vae, 3)


def test_sensitivity_is_the_finite_difference_of_the_decoder(vae, oscillations):
    codes = geoae.encode(oscillations, vae)
    mean = codes["mean"].values
    for i in range(3):
        step = np.zeros(3)
        step[i] = 1e-2
        change = (latent.decode(vae, mean + step) - latent.decode(vae, mean - step)) / 2e-2
        rms = float(np.sqrt((change**2).mean()))
        assert float(codes.sensitivity[i]) == pytest.approx(rms * mean[:, i].std(), rel=0.05, abs=1e-4)


def test_the_jacobian_is_the_finite_difference_of_the_decoder(oscillations):
    model = geoae.autoencoder(like=oscillations, latent=3, activation="tanh", posterior="diagonal").double()
    z = np.random.default_rng(0).standard_normal((4, 3))
    slope = latent.jacobian(model, z)
    for i, step in enumerate(1e-5 * np.eye(3)):
        change = (latent.decode(model, z + step) - latent.decode(model, z - step)) / 2e-5
        np.testing.assert_allclose(slope[i], change, atol=1e-8)


def test_sweeping_a_linear_latent_moves_the_trace_by_its_weight(oscillations):
    model = geoae.autoencoder(like=oscillations, latent=2, network="linear")
    codes = geoae.encode(oscillations, model)
    weight = next(m for m in model.decoder.modules() if isinstance(m, torch.nn.Linear)).weight.detach()
    length = float(model.scale.gain) * weight.square().mean(0).sqrt().numpy()
    sweep = np.quantile(codes["mean"], np.linspace(0.05, 0.95, 9), axis=0).std(0)
    np.testing.assert_allclose(codes.traversal, length * sweep, rtol=1e-4)
    np.testing.assert_allclose(codes.sensitivity, length * codes["mean"].std("trace"), rtol=1e-4)


def test_contributions_sum_to_the_decoded_signal(vae, oscillations):
    x = oscillations.isel(trace=slice(0, 144, 29))
    parts = latent.contributions(x, vae)
    decoded = latent.decode(vae, geoae.encode(x, vae)["mean"])
    np.testing.assert_allclose(parts.base + parts.added.sum("latent"), decoded, atol=1e-5)
    np.testing.assert_allclose(parts.decoded, decoded, atol=1e-6)
    np.testing.assert_allclose(parts.base, latent.decode(vae, np.zeros((len(x), 3))), atol=1e-6)
    one = latent.contributions(x[1], vae)
    assert one.added.dims == ("latent", "time")
    np.testing.assert_allclose(one.added, parts.added[:, 1], atol=1e-5)
    elsewhere = latent.contributions(x, vae, at=[0.5, -0.5, 0.0], batch=2)
    np.testing.assert_allclose(elsewhere.base + elsewhere.added.sum("latent"), decoded, atol=1e-5)


def test_contributions_are_the_path_integral_of_the_jacobian(vae, oscillations):
    x = oscillations.isel(trace=[20])
    z = geoae.encode(x, vae)["mean"].values
    shares = (np.arange(400) + 0.5) / 400
    slope = latent.jacobian(vae, shares[:, None] * z).mean("trace")
    parts = latent.contributions(x, vae, steps=100).isel(trace=0)
    np.testing.assert_allclose(parts.added, slope * z[0][:, None], atol=0.01 * float(abs(parts.added).max()))


def test_of_a_linear_decoder_each_contribution_is_code_times_weight(oscillations):
    model = geoae.autoencoder(like=oscillations, latent=3, network="linear")
    geoae.fit(model, oscillations, epochs=2)
    x = oscillations.isel(trace=slice(5))
    weight = (
        next(m for m in model.decoder.modules() if isinstance(m, torch.nn.Linear)).weight.detach().numpy()
    )
    z = geoae.encode(x, model)["mean"].values
    wanted = np.einsum("ni,ti->int", z, weight) * float(model.scale.gain)
    np.testing.assert_allclose(latent.contributions(x, model).added, wanted, atol=1e-6)


def test_a_section_tells_of_parameters_that_were_derived_from_those_of_the_traces(vae, oscillations):
    codes = geoae.encode(oscillations, vae)
    codes = codes.assign_coords(omega=np.sqrt(codes.k - codes.b**2 / 4))
    table = latent.attribute(codes, ["k", "omega"], permutations=20, bootstraps=20)
    section = latent.section("Which latent", oscillations, vae, table)
    assert "omega" in section.text
    assert {row[1] for row in section.tables[0].rows} == {"k", "omega"}
