import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch.distributions import MultivariateNormal, kl_divergence

from geoae.dist import kl_normal
from geoae.objective import kl_to_prior


def normal(*batch, k=4, seed=0, dtype=torch.float64):
    """Means and well-conditioned full covariances."""
    rng = torch.Generator().manual_seed(seed)
    root = torch.randn(*batch, k, k, generator=rng, dtype=dtype)
    return torch.randn(*batch, k, generator=rng, dtype=dtype), root @ root.mT + torch.eye(k, dtype=dtype)


def unit(k):
    return torch.zeros(k, dtype=torch.float64), torch.eye(k, dtype=torch.float64)


@pytest.mark.parametrize("k", [1, 2, 7])
def test_it_is_that_of_torch(k):
    q, p = normal(5, 3, k=k, seed=1), normal(5, 3, k=k, seed=2)
    wanted = kl_divergence(MultivariateNormal(*q), MultivariateNormal(*p))
    torch.testing.assert_close(kl_normal(*q, *p), wanted, rtol=1e-12, atol=0)


def test_it_is_that_of_the_textbook():
    (mean_q, cov_q), (mean_p, cov_p) = ([v.numpy() for v in normal(seed=s)] for s in (1, 2))
    inverse, apart = np.linalg.inv(cov_p), mean_p - mean_q
    log_ratio = np.linalg.slogdet(cov_p)[1] - np.linalg.slogdet(cov_q)[1]
    wanted = 0.5 * (log_ratio - 4 + np.trace(inverse @ cov_q) + apart @ inverse @ apart)
    assert kl_normal(*normal(seed=1), *normal(seed=2)).item() == pytest.approx(wanted, rel=1e-12)


def test_leading_axes_broadcast():
    (mean_q, cov_q), (mean_p, cov_p) = normal(5, 1, seed=1), normal(3, seed=2)
    found = kl_normal(mean_q, cov_q, mean_p, cov_p)
    assert found.shape == (5, 3)
    torch.testing.assert_close(found[4, 2], kl_normal(mean_q[4, 0], cov_q[4, 0], mean_p[2], cov_p[2]))
    one_width = kl_normal(mean_q, cov_q[0, 0], mean_p, cov_p[0])
    torch.testing.assert_close(one_width[4, 2], kl_normal(mean_q[4, 0], cov_q[0, 0], mean_p[2], cov_p[0]))


def test_a_distribution_does_not_diverge_from_itself():
    p = normal(100, seed=3)
    assert kl_normal(*p, *p).abs().max() < 1e-20


def test_it_is_never_negative_even_next_to_zero():
    mean, cov = normal(1000, seed=4)
    for step in (1e-3, 1e-6, 1e-9, 1e-12):
        mean_p, cov_p = mean + step * mean.flip(0), cov + step * cov.flip(0)
        assert (kl_normal(mean, cov, mean_p, cov_p) >= 0).all()
    # to second order in a small change of width h it is h²/4 for each variable
    mean, cov = unit(1)
    found = kl_normal(mean, cov * (1 + 1e-9), mean, cov)
    assert found.item() == pytest.approx(0.25e-18, rel=1e-6)


def test_an_affine_map_of_the_space_changes_nothing():
    (mean_q, cov_q), (mean_p, cov_p) = normal(20, seed=1), normal(20, seed=2)
    turn, move = normal(20, seed=5)[1], normal(20, seed=6)[0]

    def moved(mean, cov):
        return (turn @ mean[..., None])[..., 0] + move, turn @ cov @ turn.mT

    found = kl_normal(*moved(mean_q, cov_q), *moved(mean_p, cov_p))
    torch.testing.assert_close(found, kl_normal(mean_q, cov_q, mean_p, cov_p), rtol=1e-8, atol=0)


def test_it_is_the_mean_of_the_log_ratio():
    q, p = (MultivariateNormal(*normal(seed=s)) for s in (1, 2))
    rng = torch.Generator().manual_seed(0)
    draws = torch.randn(200_000, 4, generator=rng, dtype=torch.float64)
    x = q.mean + draws @ q.scale_tril.mT
    ratio = q.log_prob(x) - p.log_prob(x)
    error = (ratio.std() / len(x) ** 0.5).item()
    found = kl_normal(q.mean, q.covariance_matrix, p.mean, p.covariance_matrix).item()
    assert found == pytest.approx(ratio.mean().item(), abs=5 * error)
    assert error < 0.01 * found


def test_in_one_dimension_it_is_the_integral():
    q, p = norm(0.3, 0.7), norm(-1.0, 2.0)
    wanted = quad(lambda x: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), -8, 8, epsabs=1e-12)[0]
    numbers = ([0.3], [[0.49]], [-1.0], [[4.0]])
    found = kl_normal(*(torch.tensor(n, dtype=torch.float64) for n in numbers))
    assert found.item() == pytest.approx(wanted, rel=1e-9)


def test_independent_components_against_the_prior_are_the_sum_of_their_own():
    mean, std = normal(6, seed=1)[0], normal(6, seed=2)[0].exp()
    found = kl_normal(mean, torch.diag_embed(std**2), *unit(4))
    torch.testing.assert_close(found, kl_to_prior(mean, std).sum(-1), rtol=1e-12, atol=0)


def test_its_gradient_is_that_of_finite_differences():
    def of_roots(mean_q, root_q, mean_p, root_p):
        eye = torch.eye(3, dtype=torch.float64)
        return kl_normal(mean_q, root_q @ root_q.mT + eye, mean_p, root_p @ root_p.mT + eye)

    rng = torch.Generator().manual_seed(0)
    values = [torch.randn(2, *shape, generator=rng, dtype=torch.float64) for shape in [(3,), (3, 3)] * 2]
    assert torch.autograd.gradcheck(of_roots, [v.requires_grad_() for v in values])


def test_single_precision_serves_too():
    q, p = normal(5, seed=1), normal(5, seed=2)
    found = kl_normal(*(v.float() for v in (*q, *p)))
    torch.testing.assert_close(found.double(), kl_normal(*q, *p), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {1: torch.ones(4)},
            r"cov_q has shape \(4,\); it must be \(\.\.\., 4, 4\); torch.diag_embed\(std\*\*2\)",
        ),
        ({2: torch.zeros(3)}, r"mean_p has shape \(3,\); it must be \(\.\.\., 4\)"),
        ({3: torch.eye(3)}, r"cov_p has shape \(3, 3\); it must be \(\.\.\., 4, 4\)"),
        ({0: torch.zeros(())}, r"mean_q has shape \(\); it must be \(\.\.\., k\)"),
        ({0: torch.zeros(2, 4), 2: torch.zeros(3, 4)}, r"leading axes do not broadcast: mean_q \(2, 4\)"),
        ({1: -torch.eye(4)}, "cov_q is not a covariance: it must be symmetric and positive definite"),
        ({1: torch.stack([torch.eye(4), -torch.eye(4)])}, "cov_q is not a covariance"),
        ({3: torch.ones(4, 4)}, "cov_p is not a covariance"),
        ({3: torch.eye(4) + 0.1 * torch.ones(4, 4).triu(1)}, "cov_p is not a covariance"),
        ({1: torch.full((4, 4), torch.nan)}, "cov_q is not a covariance"),
    ],
)
def test_what_is_no_normal_is_refused(change, words):
    good = dict(enumerate([torch.zeros(4), torch.eye(4), torch.zeros(4), torch.eye(4)]))
    with pytest.raises(ValueError, match=words):
        kl_normal(*(good | change).values())
