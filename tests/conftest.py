"""What several test files share."""

import signal

import numpy as np
import pytest
import torch
from planted import N

import geoae


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two threads on models this small are many times slower than one."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_is_heard():
    """A shell that starts the tests in the background has them ignore it, and all they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def oscillations():
    return geoae.synth.damped_oscillations((12, 12))


@pytest.fixture(scope="session")
def vae(oscillations):
    """A variational autoencoder trained enough to be about something."""
    model = geoae.autoencoder(like=oscillations, latent=3, widths=(32,), posterior="diagonal", seed=0)
    geoae.fit(model, oscillations, epochs=60, batch=32, seed=0)
    return model


@pytest.fixture(scope="session")
def denoiser():
    """A one-component denoiser that changes what it sees, without having been trained long."""
    events = geoae.synth.seismograms(16, rate=100.0, duration=10.24, seed=0).isel(
        channel=[2], time=slice(256, 512)
    )
    model = geoae.denoiser(like=events, widths=(8, 8), seed=0)
    geoae.fit(model, events, corrupt=geoae.AddNoise(snr_db=(0, 10)), epochs=5, batch=8, seed=0)
    return model


@pytest.fixture(scope="session")
def three():
    """A three-component denoiser of windows of 2.56 s that changes what it sees."""
    events = geoae.synth.seismograms(16, rate=100.0, duration=10.24, seed=0).isel(time=slice(256, 512))
    model = geoae.denoiser(like=events, widths=(8, 8), seed=0)
    geoae.fit(model, events, corrupt=geoae.AddNoise(snr_db=(0, 10)), epochs=5, batch=8, seed=0)
    return model


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def uniform(rng):
    """Two parameters for planted codes."""
    return rng.uniform(-1, 1, (N, 2)).T
