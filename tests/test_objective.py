"""Terms of the objective against torch and closed forms."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence

import geoae
from geoae import objective
from geoae.objective import Objective


def trip_of(**words):
    return geoae.autoencoder(20, scale="none", **words).double().trip(torch.randn(6, 1, 20).double())


def test_reconstruction_at_sigma_one_is_half_the_squared_error_and_a_constant():
    trip = trip_of(sigma=1.0)
    wanted = 0.5 * (trip.p.mean - trip.x).square().sum((1, 2)) + 10 * torch.tensor(2 * torch.pi).log()
    torch.testing.assert_close(objective.reconstruction(trip), wanted.double())


def test_kl_agrees_with_torch_and_with_the_closed_form():
    trip = trip_of(posterior="diagonal")
    mean, std = trip.q.mean, trip.q.stddev
    standard = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    torch.testing.assert_close(objective.kl(trip), kl_divergence(trip.q, standard), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        objective.kl(trip), objective.kl_to_prior(mean, std).sum(-1), rtol=1e-12, atol=1e-12
    )


def test_the_contractive_penalty_of_a_linear_encoder_is_its_frobenius_norm():
    model = geoae.autoencoder(20, network="linear", latent=3, scale="none").double()
    _, terms = Objective(contractive=1.0)(model, torch.randn(5, 1, 20).double())
    torch.testing.assert_close(terms["contractive"], model.posterior[0].weight.square().sum())


def test_the_gradient_of_l2_is_twice_lambda_w():
    model = geoae.autoencoder(20, widths=(5,), sigma="per sample")  # whose sigma is no weight matrix
    loss, terms = Objective(reconstruction=0.0, l1=1e-30, l2=0.1)(model, torch.zeros(2, 1, 20))
    loss.backward()
    weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
    torch.testing.assert_close(terms["l2"], sum(w.square().sum() for w in weights))
    for w in weights:
        torch.testing.assert_close(w.grad, 0.2 * w)


def test_the_loss_is_the_weighted_sum_of_its_terms():
    model = geoae.autoencoder(20, posterior="diagonal", latent=2)
    x = torch.randn(4, 1, 20)
    extra = {"height": (3.0, lambda trip: trip.p.mean.amax((1, 2)))}
    loss, terms = Objective(reconstruction=2.0, kl=0.5, extra=extra)(model, x)
    assert set(terms) == {"reconstruction", "kl", "height"}
    torch.testing.assert_close(loss, 2 * terms["reconstruction"] + 0.5 * terms["kl"] + 3 * terms["height"])


class Loss(nn.Module):
    """An objective as a module of its model's weights, the posterior's draw held still."""

    def __init__(self, model, x):
        super().__init__()
        self.model, self.x = model, x

    def forward(self):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return Objective(kl=1.0)(self.model, self.x)[0]


def test_gradients_agree_with_finite_differences():
    model = geoae.autoencoder(6, widths=(4,), activation="tanh", posterior="diagonal", sigma=0.7).double()
    loss = Loss(model, torch.from_numpy(np.random.default_rng(0).standard_normal((3, 1, 6))))
    names, weights = zip(*loss.named_parameters(), strict=True)

    def at(*values):
        return torch.func.functional_call(loss, dict(zip(names, values, strict=True)), ())

    assert torch.autograd.gradcheck(at, weights)


def test_a_mistyped_weight_is_a_type_error_that_names_the_weights_there_are():
    with pytest.raises(
        TypeError, match="unknown keyword 'KL', perhaps 'kl'; Objective takes reconstruction, kl, free"
    ):
        Objective(KL=1)


def test_terms_that_need_a_code_say_so():
    x = torch.zeros(2, 1, 64)
    with pytest.raises(ValueError, match="kl needs a posterior with a width, but it is a point"):
        Objective(kl=1)(geoae.autoencoder(64), x)
    with pytest.raises(ValueError, match="l1 acts on a code, and a denoiser with skips has none"):
        Objective(l1=1)(geoae.denoiser(64, channels=1, kind="time"), x)


def test_every_weight_switches_a_term_on():
    settings = {"free_bits", "samples", "rho", "layer_weights", "mean_over", "probes", "extra"}
    weights = {f.name for f in fields(Objective) if f.init} - settings
    model = geoae.autoencoder(20, posterior="diagonal", activation="sigmoid")
    _, terms = Objective(**dict.fromkeys(weights, 0.5))(model, torch.randn(4, 1, 20))
    assert terms.keys() == weights  # a word that is missing here is missing in objective.TERMS


def test_weights_are_plain_numbers():
    assert Objective(kl=4, l2=1e-4).weights() == {"reconstruction": 1.0, "kl": 4, "l2": 1e-4}
