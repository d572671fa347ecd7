"""The gradient written by hand: autograd's and that of finite differences, wherever it is used."""

import copy

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.testing import assert_close

import geoae
from geoae.dist import Point
from geoae.nn import ACTIVATIONS
from geoae.train.gradient import ByHand, plain

CODES = {
    "diagonal": {"posterior": "diagonal"},
    "point": {},
    "sigmoid": {"code": "sigmoid"},
    "k-sparse": {"latent": 5, "top": 2},
    "linear": {"network": "linear"},
}


def built(**words):
    return geoae.autoencoder(6, **{"channels": 2, "latent": 3, "widths": (7, 5), **words}).double()


def batch(seed=0, *front):
    """What the model sees, some of it missing, what should come out, and what the draws are made of."""
    rng = np.random.default_rng(seed)
    x, y, noise = (torch.from_numpy(rng.standard_normal((*front, 9, *s))) for s in ((2, 6), (2, 6), (3,)))
    x[..., 0, 1, 2:4] = torch.nan
    return x, y, noise


def goal_of(model, share=0.25):
    kl = geoae.objective.WarmUp(4.0) if model.variational else 0.0
    return geoae.Objective(reconstruction=0.7, kl=kl), share


def by_autograd(model, x, y, noise):
    objective, share = goal_of(model)
    loss, terms = objective(model, x, y, share=share, noise=noise[None] if model.variational else None)
    return loss, terms, torch.autograd.grad(loss, list(model.parameters()))


def by_hand(model, x, y, noise, weights=None):
    objective, share = goal_of(model)
    assert plain(model, objective)
    loss, terms = ByHand(model, objective, weights)(x, y, share, noise)
    loss.backward()
    return loss.detach(), terms, [weight.grad for weight in weights or model.parameters()]


@pytest.mark.parametrize("words", CODES.values(), ids=CODES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_by_hand_is_autograds(activation, words):
    model = built(activation=activation, scale="std", **words)
    assert_close(by_hand(model, *batch()), by_autograd(model, *batch()), rtol=1e-11, atol=1e-13)


def test_the_gradient_by_hand_is_the_slope_of_the_loss():
    model = built(posterior="diagonal", activation="tanh", sigma=0.3)
    gradient = torch.cat([g.flatten() for g in by_hand(model, *batch())[2]])
    at = nn.utils.parameters_to_vector(model.parameters()).detach()

    def loss(weights):
        nn.utils.vector_to_parameters(weights, model.parameters())
        return by_autograd(model, *batch())[0].item()

    for seed in range(5):
        way = torch.from_numpy(np.random.default_rng(seed).standard_normal(len(at)))
        slope = (loss(at + 1e-5 * way) - loss(at - 1e-5 * way)) / 2e-5
        assert slope == pytest.approx((gradient @ way).item(), rel=1e-6)


@pytest.mark.parametrize("words", CODES.values(), ids=CODES)
def test_copies_side_by_side_have_the_gradients_that_each_has_alone(words):
    copies = [built(scale="none", **words, seed=seed) for seed in range(3)]
    weights = [torch.stack(w).detach() for w in zip(*(m.parameters() for m in copies), strict=True)]
    x, y, noise = batch(1, 3)
    losses, terms, gradients = by_hand(copies[0], x, y, noise, weights)
    for i, model in enumerate(copies):
        loss, own, gradient = by_hand(model, x[i], y[i], noise[i])
        assert_close(losses[i], loss)
        assert_close({name: value[i] for name, value in terms.items()}, own)
        assert_close([g[i] for g in gradients], gradient)


def move_bias(model):
    model.scale.bias, model.encoder[1].bias = model.encoder[1].bias, None


CHANGES = {
    "a layer of another kind": lambda m: m.encoder.insert(2, nn.LayerNorm(7)),
    "an activation with settings of its own": lambda m: m.decoder.__setitem__(1, nn.GELU("tanh")),
    "a bias that is taken elsewhere": move_bias,
    "another way to flatten": lambda m: m.encoder.__setitem__(0, nn.Identity()),
    "a frozen weight": lambda m: m.encoder[1].weight.requires_grad_(False),
    "a shared layer": lambda m: m.decoder.__setitem__(2, m.decoder[0]),
    "a hook on a layer": lambda m: m.encoder[1].register_forward_hook(lambda *_: None),
    "a hook on a weight": lambda m: m.encoder[1].weight.register_hook(lambda g: 2 * g),
    "a parametrised weight": lambda m: nn.utils.parametrizations.weight_norm(m.encoder[1]),
    "a scale that learns": lambda m: m.scale.register_parameter("own", nn.Parameter(torch.ones(()))),
    "a sigma held for each sample": lambda m: setattr(m, "likelihood", geoae.dist.Gaussian(shape=(2, 6))),
    "a posterior of another class": lambda m: setattr(m, "posterior", type("Own", (Point,), {})(5, 3)),
    "an encoder of another class": lambda m: setattr(m, "encoder", nn.Sequential(*m.encoder)),
}
WORDS = {
    "dropout": {"dropout": 0.1},
    "convolutions": {"network": "conv"},
    "a full posterior": {"posterior": "full"},
    "a learned sigma": {"sigma": "learned"},
    "a sigma for each sample": {"sigma": "per sample"},
    "coins": {"likelihood": "bernoulli", "scale": "range"},
    "tied weights": {"tied": True},
}
TERMS = {"kl": 1.0, "l1": 1.0, "l2": 1.0, "samples": 2, "contractive": 1.0, "activity": 1.0}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_model_that_was_changed_is_left_to_autograd(change):
    model = built()
    assert plain(model, geoae.Objective())
    change(model)
    assert not plain(model, geoae.Objective())


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_other_models_are_left_to_autograd(words):
    model = geoae.autoencoder(32, **words)
    assert not plain(model, geoae.train.default_objective(model))


@pytest.mark.parametrize("term", TERMS)
def test_other_terms_are_left_to_autograd(term):
    assert not plain(built(), geoae.Objective(**{term: TERMS[term]}))
    assert not plain(built(posterior="diagonal"), geoae.Objective(kl=1.0, free_bits=0.1))
    own = {"reconstruction": (1.0, lambda trip: trip.p.mean.square())}
    assert not plain(built(), geoae.Objective(extra=own))


def test_what_autocast_would_change_is_left_to_autograd():
    with torch.autocast("cpu"):
        assert not plain(built(), geoae.Objective())


@pytest.mark.parametrize("words", [{"posterior": "diagonal"}, {"sigma": 0.5, "scale": "peak"}])
def test_a_training_by_hand_ends_where_one_by_autograd_does(words, monkeypatch):
    traces = geoae.synth.damped_oscillations(48, seed=2)
    model = geoae.autoencoder(like=traces, widths=(16,), **words)
    options = {"corrupt": geoae.GaussianNoise(0.1), "clip": 3.0, "valid": 0.2, "weight_decay": 1e-3}
    other = copy.deepcopy(model)
    history = geoae.fit(model, traces, epochs=5, batch=20, **options)
    monkeypatch.setattr(geoae.train.loop, "plain", lambda model, objective: False)
    xr.testing.assert_allclose(history, geoae.fit(other, traces, epochs=5, batch=20, **options), rtol=1e-4)
    for weight, wanted in zip(model.parameters(), other.parameters(), strict=True):
        assert_close(weight, wanted, rtol=1e-3, atol=1e-4)
