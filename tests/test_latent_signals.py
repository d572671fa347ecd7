"""What a variational autoencoder finds in signals of known parameters."""

import numpy as np
import pytest
from planted import ask
from scipy.ndimage import gaussian_filter1d
from scipy.signal import hilbert

import geoae
from geoae import latent


def test_the_recipe_gives_stiffness_and_damping_a_latent_each():
    """What the lecture shows in pictures; and the answer follows when the two parameters swap names."""
    x = geoae.synth.damped_oscillations((30, 30))
    model = geoae.autoencoder(like=x, latent=3, posterior="diagonal", seed=0)
    geoae.fit(model, x, epochs=150, restarts=4, seed=0)
    codes = geoae.encode(x, model)
    _, verdict = ask(codes, ("k", "b"))
    (k,), (b,) = verdict["k"].latents, verdict["b"].latents
    assert k != b
    assert min(verdict["k"].effect, verdict["b"].effect) > 0.8
    kl = codes.kl.mean("trace")
    assert float(kl[3 - k - b]) < 0.05
    swapped = codes.assign_coords(k=codes.b, b=codes.k)
    _, verdict = ask(swapped, ("k", "b"))
    assert (verdict["k"].latents, verdict["b"].latents) == ((b,), (k,))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_with_noise_r2_comes_near_what_noise_leaves_to_know(seed):
    x = geoae.synth.damped_oscillations((50, 50), b=(0, 5))
    sigma = 0.1 * float(x.std())
    y = geoae.noise.add_white(x, sigma, seed=seed + 1)
    model = geoae.autoencoder(like=y, latent=3, posterior="diagonal")
    geoae.fit(model, y, restarts=4, seed=seed)
    table = latent.attribute(geoae.encode(y, model), ["k", "b"], ceiling=geoae.synth.ceiling(x, sigma))
    assert (table.r2_all / table.ceiling > 0.95).all()
    assert (table.r2_all / table.ceiling < 1.02).all()
    assert (table.r2.max("latent") / table.ceiling > 0.75).all()


@pytest.mark.slow
def test_of_a_thin_bed_the_code_holds_thickness_contrast_and_tone():
    """Three parameters make the trace, so the code must know all; which latents share them it may choose."""
    x = geoae.synth.thin_beds(2000, thickness=(5.0, 40.0), frequency=(20.0, 30.0))
    model = geoae.autoencoder(like=x, latent=4, network="conv", posterior="diagonal")
    geoae.fit(model, x, epochs=100)
    table = latent.attribute(geoae.encode(x, model), ["thickness", "contrast", "frequency"])
    assert (table.r2_all > 0.9).all()
    assert all(answer.latents for answer in latent.verdict(table).values())
    assert (table.design.values[~np.eye(3, dtype=bool)] < 0.05).all()


@pytest.mark.slow
def test_of_an_earthquakes_envelope_latents_hold_the_sp_time_and_the_noise():
    """A convolutional VAE on log envelopes: S minus P time in one latent, the noise level in another.

    The tone of the wavelet is not in an envelope so smooth, and the verdict says so.
    """
    x = geoae.synth.arrivals(2000, sp=(1.5, 4.0))
    x = geoae.noise.add_white(x, (0.01, 0.2), seed=1)
    power = gaussian_filter1d(np.abs(hilbert(x.values, axis=-1)) ** 2, 10, axis=-1)
    x = x.copy(data=np.log(power + 1e-4)).isel(time=slice(None, None, 4))
    model = geoae.autoencoder(like=x, latent=4, network="conv", posterior="diagonal")
    geoae.fit(model, x, epochs=100, restarts=2)
    codes = geoae.encode(x, model)
    verdict = latent.verdict(latent.attribute(codes, ["sp", "frequency", "noise", "snr_db", "distance"]))
    assert [verdict[name].relation for name in ("sp", "noise")] == ["one", "one"]
    assert verdict["sp"].latents != verdict["noise"].latents
    assert verdict["sp"].latents == verdict["distance"].latents
    assert verdict["snr_db"].latents == verdict["noise"].latents
    assert min(verdict["sp"].effect, verdict["noise"].effect) > 0.9
    assert verdict["frequency"].effect < 0.3
    assert "sp and distance go together in these traces (R2 1.00)" in str(verdict)
