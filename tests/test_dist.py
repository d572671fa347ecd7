"""Posteriors and likelihoods against torch.distributions and closed forms."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from geoae import dist


def test_a_point_is_its_own_mean_and_draw():
    head = dist.Point(4, 2)
    h = torch.randn(3, 4)
    q = head(h)
    assert torch.equal(q.mean, head[0](h))
    assert torch.equal(q.rsample(), q.mean)
    assert q.rsample((5,)).shape == (5, 3, 2)
    assert q.stddev.count_nonzero() == 0


def test_a_diagonal_posterior_is_a_normal_of_its_two_halves():
    head = dist.Diagonal(4, 3).double()
    h, z = torch.randn(5, 4).double(), torch.randn(5, 3).double()
    mean, log_std = torch.nn.functional.linear(h, head.weight, head.bias).chunk(2, -1)
    q = head(h)
    torch.testing.assert_close(q.log_prob(z), Normal(mean, log_std.exp()).log_prob(z).sum(-1))


def test_a_full_posterior_has_the_covariance_of_its_cholesky_factor():
    head = dist.Full(4, 3).double()
    q = head(torch.randn(5, 4).double())
    assert (q.scale_tril.triu(1) == 0).all()
    assert (q.scale_tril.diagonal(dim1=-2, dim2=-1) > 0).all()
    torch.manual_seed(0)
    draws = q.rsample((200_000,))
    centred = draws - draws.mean(0)
    sampled = torch.einsum("sti,stj->tij", centred, centred) / len(draws)
    torch.testing.assert_close(sampled, q.covariance_matrix, atol=0.03, rtol=0.03)


def test_an_untrained_full_posterior_is_about_as_wide_as_the_prior():
    head = dist.Full(4, 2)
    for p in head.parameters():
        torch.nn.init.zeros_(p)
    torch.testing.assert_close(head(torch.zeros(1, 4)).stddev, torch.ones(1, 2), atol=2e-3, rtol=0)


@pytest.mark.parametrize("head", [dist.Diagonal, dist.Full])
def test_given_numbers_are_drawn_through_the_factor_of_the_covariance(head):
    q, noise = head(4, 3).double()(torch.randn(5, 4).double()), torch.randn(6, 5, 3).double()
    centred = dist.drawn(q, noise) - q.mean
    factor = torch.linalg.cholesky(
        torch.diag_embed(q.variance) if head is dist.Diagonal else q.covariance_matrix
    )
    torch.testing.assert_close(centred, torch.einsum("tij,stj->sti", factor, noise))
    assert (q.batch_shape, q.event_shape) == ((5,), (3,))


@pytest.mark.parametrize("head", [dist.Diagonal, dist.Full])
def test_kl_from_the_prior_agrees_with_monte_carlo(head):
    torch.manual_seed(0)
    q = head(4, 3).double()(torch.randn(2, 4).double())
    p = dist.prior(q)
    z = q.rsample((100_000,))
    sampled = q.log_prob(z) - p.log_prob(z)
    error = 5 * sampled.std(0) / math.sqrt(len(z))
    assert ((sampled.mean(0) - kl_divergence(q, p)).abs() < error).all()


def test_the_prior_is_the_standard_normal_of_the_same_family():
    p = dist.prior(dist.Full(4, 3)(torch.zeros(2, 4)))
    assert isinstance(p, MultivariateNormal)
    z = torch.randn(2, 3)
    torch.testing.assert_close(p.log_prob(z), Normal(0.0, 1.0).log_prob(z).sum(-1))


@pytest.mark.parametrize(("learn", "shape"), [(False, ()), (True, ()), (True, (2, 7))])
def test_a_gaussian_trace_has_one_sigma_or_one_per_sample(learn, shape):
    likelihood = dist.Gaussian(0.3, learn=learn, shape=shape)
    h, x = torch.randn(4, 2, 7), torch.randn(4, 2, 7)
    torch.testing.assert_close(likelihood(h).log_prob(x), Normal(h, 0.3).log_prob(x).sum((1, 2)))
    assert len(list(likelihood.parameters())) == learn


def test_the_learned_sigma_is_right_where_its_gradient_vanishes():
    x = torch.randn(1000, 1, 5).double()
    likelihood = dist.Gaussian(x.square().mean().sqrt().item(), learn=True).double()
    likelihood(torch.zeros_like(x)).log_prob(x).sum().backward()
    assert abs(likelihood.log_sigma.grad.item()) < 1e-3  # of 5000 terms


def test_a_bernoulli_trace_is_the_cross_entropy():
    h, x = torch.randn(4, 1, 7), torch.rand(4, 1, 7)
    torch.testing.assert_close(
        dist.Bernoulli()(h).log_prob(x), (x * h.sigmoid().log() + (1 - x) * (-h).sigmoid().log()).sum((1, 2))
    )
    ones = (x > 0.5).float()
    torch.testing.assert_close(
        dist.Bernoulli()(h).log_prob(ones), Bernoulli(logits=h).log_prob(ones).sum((1, 2))
    )


def test_a_width_of_zero_is_refused():
    with pytest.raises(ValueError, match="sigma is 0; it must be above 0"):
        dist.Gaussian(0)
