import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from torch.distributions import Categorical, Independent, LogNormal, MultivariateNormal, Normal, kl_divergence

from geoae import bound


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def standard(k):
    return MultivariateNormal(torch.zeros(k).double(), torch.eye(k).double())


# ---------------------------------------------------------------- reparametrisation


@pytest.mark.parametrize("k", [1, 3])
def test_a_linear_map_of_normal_noise_is_a_multivariate_normal(k):
    mean, factor = draw(k, seed=1), torch.eye(k).double() * 2 + draw(k, k, seed=2).tril()
    z, log_q = bound.reparametrise(draw(4, 5, k), lambda e: mean + factor @ e, standard(k))
    assert (z.shape, log_q.shape) == ((4, 5, k), (4, 5))
    exact = MultivariateNormal(mean, factor @ factor.mT).log_prob(z)
    torch.testing.assert_close(log_q, exact, rtol=0, atol=1e-10)


def test_the_exponential_of_normal_noise_is_log_normal():
    mean, std = draw(3, seed=1), draw(3, seed=2).exp()
    z, log_q = bound.reparametrise(draw(50, 3), lambda e: (mean + std * e).exp(), standard(3))
    exact = LogNormal(mean, std).log_prob(z).sum(-1)
    torch.testing.assert_close(log_q, exact, rtol=1e-12, atol=1e-10)


def test_a_planar_map_has_its_known_determinant():
    # Rezende and Mohamed, 2015: |det| of e + u tanh(w'e + b) is |1 + u'w (1 - tanh²)|
    u, w, b = draw(4, seed=1), draw(4, seed=2), 0.3
    assert u @ w > -1  # invertible
    eps = draw(100, 4)
    z, log_q = bound.reparametrise(eps, lambda e: e + u * torch.tanh(w @ e + b), standard(4))
    slope = 1 - torch.tanh(eps @ w + b) ** 2
    exact = standard(4).log_prob(eps) - (1 + u @ w * slope).log()
    torch.testing.assert_close(log_q, exact, rtol=0, atol=1e-10)
    torch.testing.assert_close(z, eps + u * torch.tanh(eps @ w + b)[:, None])


def test_another_base_serves_as_well():
    base = Independent(torch.distributions.Uniform(torch.zeros(2).double(), torch.ones(2).double()), 1)
    eps = 0.5 + 0.1 * draw(20, 2).tanh()
    _, log_q = bound.reparametrise(eps, lambda e: torch.stack([3 * e[1], -2 * e[0]]), base)
    torch.testing.assert_close(log_q, torch.full((20,), -math.log(6)).double())


def test_the_divergence_from_its_draws_is_the_closed_form():
    mean, factor = draw(2, seed=1), torch.tensor([[0.6, 0.0], [0.5, 0.3]]).double()
    z, log_q = bound.reparametrise(draw(40_000, 2), lambda e: mean + factor @ e, standard(2))
    ratio = log_q - standard(2).log_prob(z)
    wanted = kl_divergence(MultivariateNormal(mean, scale_tril=factor), standard(2))
    assert ratio.mean().item() == pytest.approx(wanted.item(), abs=5 * ratio.std().item() / 200)


def test_gradients_reach_what_the_map_depends_on():
    eps, mean = draw(5, 2), draw(2, seed=1)

    def log_q(mean, log_std, skew):
        std = log_std.exp()
        return torch.cat(
            [
                v.flatten()
                for v in bound.reparametrise(eps, lambda e: mean + std * e + skew * e**3, standard(2))
            ]
        )

    values = [mean, draw(2, seed=2), draw(2, seed=3).exp()]
    assert torch.autograd.gradcheck(log_q, [v.requires_grad_() for v in values])


@pytest.mark.parametrize(
    ("transform", "base", "words"),
    [
        (
            lambda e: e,
            Normal(0.0, 1.0),
            r"base gives log-densities \(5, 2\) for draws \(5, 2\); it must be over vec",
        ),
        (lambda e: e[:1], standard(2), r"transform maps \(2,\) to \(1,\)"),
        (lambda e: e.sum() * torch.ones(2), standard(2), "transform has no inverse at some of the draws"),
    ],
)
def test_a_map_without_an_inverse_is_refused(transform, base, words):
    with pytest.raises(ValueError, match=words):
        bound.reparametrise(draw(5, 2), transform, base)


# ---------------------------------------------------------------- mixture of normals


def clouds(n=300, d=2, seed=0):
    """Three stretched, partly overlapping clouds; each in its own direction."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0.0, 0.0], [6.0, 1.0], [1.0, 5.0]])
    roots = np.array([[[1.5, 0.0], [0.8, 0.5]], [[0.5, 0.0], [-0.6, 1.0]], [[1.0, 0.4], [0.0, 0.8]]])
    which = rng.choice(3, size=n, p=[0.5, 0.3, 0.2])
    x = centres[which] + np.einsum("nij,nj->ni", roots[which], rng.standard_normal((n, 2)))
    extra = rng.standard_normal((n, d - 2)) + which[:, None] if d > 2 else np.empty((n, 0))
    return torch.from_numpy(np.concatenate([x, extra], axis=1))


def some_mixture(seed=1):
    root = draw(3, 2, 2, seed=seed)
    weight = draw(3, seed=seed + 1).softmax(0)
    return bound.Mixture(weight, 3 * draw(3, 2, seed=seed + 2), root @ root.mT + 0.5 * torch.eye(2).double())


def test_densities_are_those_of_scipy():
    x, m = clouds(), some_mixture()
    each = [
        multivariate_normal(m.mean[c].numpy(), m.covariance[c].numpy()).logpdf(x.numpy()) for c in range(3)
    ]
    joint = np.stack(each, axis=1) + np.log(m.weight.numpy())
    np.testing.assert_allclose(bound.log_joint(x, m), joint, atol=1e-10)
    np.testing.assert_allclose(bound.log_likelihood(x, m), logsumexp(joint, axis=1), atol=1e-10)


def test_after_the_e_step_the_bound_touches_the_log_likelihood():
    x, m = clouds(), some_mixture()
    touching = bound.bound(x, bound.e_step(x, m), m)
    torch.testing.assert_close(touching, bound.log_likelihood(x, m), rtol=0, atol=1e-10)


def test_below_it_the_bound_lacks_the_divergence_of_the_responsibilities():
    x, m = clouds(), some_mixture()
    odds = draw(len(x), 3)
    missing = bound.log_likelihood(x, m) - bound.bound(x, odds.softmax(-1), m)
    wanted = kl_divergence(Categorical(logits=odds), Categorical(logits=bound.log_joint(x, m)))
    torch.testing.assert_close(missing, wanted, rtol=0, atol=1e-10)


def test_the_m_step_is_the_top_of_the_bound():
    x, r = clouds(), draw(300, 3).softmax(-1)
    best = bound.m_step(x, r)
    torch.testing.assert_close(best.weight.sum(), torch.ones(()).double())
    values = [
        best.weight.log().requires_grad_(),
        best.mean.requires_grad_(),
        best.covariance.requires_grad_(),
    ]

    def height(logit, mean, covariance):
        return bound.bound(x, r, bound.Mixture(logit.softmax(0), mean, covariance)).mean()

    for slope in torch.autograd.grad(height(*values), values):
        assert slope.abs().max() < 1e-10
    weight, mean, covariance = (v.detach() for v in values)
    assert height(weight, mean + 0.01, covariance) < height(weight, mean, covariance)
    assert height(weight, mean, 1.02 * covariance) < height(weight, mean, covariance)


@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_the_bound_climbs_at_every_step(scale):
    x = scale * clouds()
    mixture, heights = bound.fit_mixture_em(x, 3, 1, seed=3)[0], []
    for _ in range(40):
        r = bound.e_step(x, mixture)
        heights.append(bound.bound(x, r, mixture).mean())
        mixture = bound.m_step(x, r)
        heights.append(bound.bound(x, r, mixture).mean())
    climb = torch.stack(heights).diff()
    assert climb.min() > -1e-9
    assert climb.sum() > 0.1


@pytest.mark.parametrize("floor", [1e-6, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_the_log_likelihood_never_falls_even_on_the_floor(seed, floor):
    x = torch.cat([clouds(60, seed=seed), torch.full((5, 2), 9.0).double()])  # copies: a variance of nothing
    mixture, climb = bound.fit_mixture_em(x, 4, 60, seed=seed, floor=floor)
    assert climb.shape == (61,)
    assert climb.diff().min() > -1e-9
    spread = x.std(0, correction=0)
    lowest = torch.linalg.eigvalsh(mixture.covariance / spread / spread[:, None]).min()
    assert lowest.item() > floor * (1 - 1e-6)


def test_the_floor_is_a_share_of_the_variance_of_each_feature():
    x = torch.cat([clouds(60), torch.full((5, 2), 9.0).double()]) * torch.tensor([1.0, 1e-6])
    r = torch.zeros(65, 2).double()
    r[:60, 0], r[60:, 1] = 1, 1
    floor = torch.diag(0.01 * x.var(0, correction=0))
    wide, copies = bound.m_step(x, r, floor=0.01).covariance
    torch.testing.assert_close(copies, floor, rtol=1e-9, atol=0)
    torch.testing.assert_close(wide, torch.cov(x[:60].mT, correction=0), rtol=1e-9, atol=0)


def sklearn_from(x, start, steps):
    """The other implementation, from the same start, as many steps."""
    other = GaussianMixture(
        len(start.weight),
        weights_init=start.weight.numpy(),
        means_init=start.mean.numpy(),
        precisions_init=np.linalg.inv(start.covariance.numpy()),
        reg_covar=0.0,
        tol=0.0,
        max_iter=steps,
    )
    with pytest.warns(match="did not converge"):
        return other.fit(x.numpy())


@pytest.mark.parametrize("d", [2, 4])
def test_em_is_that_of_scikit_learn(d):
    x = clouds(d=d)
    start = bound.fit_mixture_em(x, 3, 2, seed=1)[0]
    for steps in (3, 25):
        mine, climb = bound.fit_mixture_em(x, 3, steps, start=start)
        other = sklearn_from(x, start, steps)
        assert climb[-1].item() == pytest.approx(other.score(x.numpy()), abs=1e-6)
        np.testing.assert_allclose(mine.weight, other.weights_, atol=1e-8)
        np.testing.assert_allclose(mine.mean, other.means_, atol=1e-7)
        np.testing.assert_allclose(mine.covariance, other.covariances_, atol=1e-7)
        np.testing.assert_allclose(bound.e_step(x, mine), other.predict_proba(x.numpy()), atol=1e-7)


def test_one_component_is_the_mean_and_covariance_of_the_data():
    x = clouds()
    mixture, climb = bound.fit_mixture_em(x, 1, 1)
    np.testing.assert_allclose(mixture.mean[0], x.numpy().mean(0), atol=1e-12)
    np.testing.assert_allclose(mixture.covariance[0], np.cov(x.numpy().T, bias=True), atol=1e-12)
    assert climb[1] > climb[0]


def test_em_finds_the_clouds():
    mixture, _ = bound.fit_mixture_em(clouds(4000), 3, 100)
    found = mixture.mean[mixture.weight.argsort(descending=True)]
    torch.testing.assert_close(
        found, torch.tensor([[0.0, 0.0], [6.0, 1.0], [1.0, 5.0]]).double(), rtol=0, atol=0.2
    )


@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_the_gradient_reaches_the_same_height(scale):
    x = scale * clouds()
    _, em = bound.fit_mixture_em(x, 3, 200, seed=0)
    _, gradient = bound.fit_mixture_gradient(x, 3, 500, seed=0)
    assert gradient.shape == (501,)
    assert gradient[0] < em[-1] - 0.1
    assert gradient[-1].item() == pytest.approx(em[-1].item(), abs=1e-3)


def test_both_start_at_the_same_place_and_may_be_told_another():
    x = clouds()
    _, em = bound.fit_mixture_em(x, 3, 1, seed=4)
    _, gradient = bound.fit_mixture_gradient(x, 3, 1, seed=4)
    torch.testing.assert_close(em[0], gradient[0], rtol=0, atol=1e-9)
    start = some_mixture()
    there = bound.log_likelihood(x, start).mean()
    for fit in (bound.fit_mixture_em, bound.fit_mixture_gradient):
        torch.testing.assert_close(fit(x, 3, 1, start=start)[1][0], there, rtol=0, atol=1e-9)


def test_a_fit_follows_its_seed_and_leaves_the_global_one_alone():
    x = clouds()
    state = torch.get_rng_state()
    one, again = (bound.fit_mixture_em(x, 3, 2, seed=5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one[0], again[0], strict=True))
    assert not torch.equal(one[1], bound.fit_mixture_em(x, 3, 2, seed=6)[1])
    assert torch.equal(state, torch.get_rng_state())


def test_a_component_without_responsibility_stays_finite_and_out():
    x = clouds()
    r = draw(300, 3).softmax(-1)
    r = torch.cat([r, torch.zeros(300, 1).double()], dim=1)
    four, three = bound.m_step(x, r), bound.m_step(x, r[:, :3])
    assert all(v.isfinite().all() for v in four)
    assert four.weight[3] == 0
    torch.testing.assert_close(four.covariance[3], torch.cov(x.mT, correction=0))
    torch.testing.assert_close(bound.bound(x, r, four), bound.bound(x, r[:, :3], three))
    assert (bound.e_step(x, four)[:, 3] == 0).all()
    _, climb = bound.fit_mixture_em(x, 4, 5, start=four)
    assert climb.isfinite().all()


def test_a_start_far_from_everything_gives_no_nan():
    start = some_mixture()._replace(mean=torch.tensor([[0.0, 0.0], [3.0, 3.0], [1e6, 1e6]]).double())
    mixture, climb = bound.fit_mixture_em(clouds(), 3, 5, start=start)
    assert all(v.isfinite().all() for v in (*mixture, climb))
    assert mixture.weight[2] == 0


def test_single_precision_and_copies_of_one_trace_serve_too():
    x = clouds().float()
    for fit in (bound.fit_mixture_em, bound.fit_mixture_gradient):
        mixture, climb = fit(x, 3, 20)
        assert {v.dtype for v in (*mixture, climb)} == {torch.float32}
        copies, climb = fit(torch.tensor([[0.0], [0.0], [1.0]]).double(), 3, 20)
        assert all(v.isfinite().all() for v in (*copies, climb))


@pytest.mark.parametrize("fit", [bound.fit_mixture_em, bound.fit_mixture_gradient])
def test_features_that_say_the_same_start_above_the_floor(fit):
    x = clouds()[:, :1] * torch.ones(3).double()
    mixture, climb = fit(x, 2, 3)
    assert all(v.isfinite().all() for v in (*mixture, climb))


@pytest.mark.parametrize("fit", [bound.fit_mixture_em, bound.fit_mixture_gradient])
@pytest.mark.parametrize(
    ("x", "components", "words"),
    [
        (torch.zeros(5), 1, r"x has shape \(5,\); it must be \(trace, feature\)"),
        (torch.full((5, 2), torch.nan), 1, "x holds NaN or infinity"),
        (torch.stack([torch.arange(5.0), torch.ones(5)], 1), 1, "feature 1 of x is the same in all traces"),
        (torch.arange(6.0).reshape(3, 2), 4, "components is 4; 3 traces allow 1 to 3"),
        (torch.arange(6.0).reshape(3, 2), 0, "components is 0; 3 traces allow 1 to 3"),
    ],
)
def test_traces_that_fit_no_mixture_are_refused(fit, x, components, words):
    with pytest.raises(ValueError, match=words):
        fit(x, components)


def test_responsibilities_of_other_traces_are_refused():
    with pytest.raises(ValueError, match=r"responsibility has shape \(4, 2\) for 300 traces"):
        bound.m_step(clouds(), torch.ones(4, 2).double())


# ---------------------------------------------------------------- probabilistic PCA


def linear(features=6, latent=2, n=40, seed=0):
    return draw(n, features, seed=seed), draw(features, latent, seed=seed + 1), draw(features, seed=seed + 2)


@pytest.mark.parametrize("sigma", [2.0, 0.3, 1e-4])
@pytest.mark.parametrize(("features", "latent"), [(6, 2), (3, 1), (1, 1), (2, 4)])
def test_the_evidence_is_that_of_its_multivariate_normal(features, latent, sigma):
    x, weight, mean = linear(features, latent)
    covariance = weight @ weight.mT + sigma**2 * torch.eye(features).double()
    exact = MultivariateNormal(mean, covariance).log_prob(x)
    found = bound.ppca_log_evidence(x, weight, mean, sigma)
    assert found.shape == (40,)
    torch.testing.assert_close(found, exact, rtol=1e-10 if sigma > 0.01 else 1e-7, atol=1e-10)


def test_the_evidence_loses_nothing_when_sigma_is_small():
    # traces in the plane of W itself: the square is that of the code, up to sigma²
    weight, code, sigma = draw(6, 2, seed=1), draw(30, 2), 1e-6
    x = code @ weight.mT
    log_det = 4 * math.log(sigma**2) + torch.logdet(weight.mT @ weight)
    exact = -0.5 * (6 * math.log(2 * math.pi) + log_det + code.square().sum(-1))
    torch.testing.assert_close(
        bound.ppca_log_evidence(x, weight, torch.zeros(6).double(), sigma), exact, rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("latent", [1, 2])
def test_the_posterior_is_bayes_rule_on_a_grid(latent):
    x, weight, mean = linear(3, latent, n=3)
    sigma = 0.8
    axis = torch.linspace(-8, 8, 801, dtype=torch.float64)
    z = torch.cartesian_prod(*[axis] * latent).reshape(-1, latent)
    likelihood = Normal(mean + z @ weight.mT, sigma).log_prob(x[:, None]).sum(-1)
    joint = likelihood + Normal(0.0, 1.0).log_prob(z).sum(-1)
    cell = (axis[1] - axis[0]).log() * latent
    evidence = joint.logsumexp(-1) + cell
    torch.testing.assert_close(bound.ppca_log_evidence(x, weight, mean, sigma), evidence, rtol=0, atol=1e-8)
    p = joint.softmax(-1)
    grid_mean = p @ z
    off = z - grid_mean[:, None]
    grid_cov = (p[..., None] * off).mT @ off
    found_mean, found_cov = bound.ppca_posterior(x, weight, mean, sigma)
    torch.testing.assert_close(found_mean, grid_mean, rtol=0, atol=1e-8)
    torch.testing.assert_close(found_cov.expand(3, -1, -1), grid_cov, rtol=0, atol=1e-8)


def test_with_the_posterior_every_draw_gives_the_evidence():
    # ln p(x, z) - ln p(z|x) is ln p(x) wherever z is: the importance weights of the exact posterior
    x, weight, mean = linear()
    code, covariance = bound.ppca_posterior(x, weight, mean, 0.5)
    z = code + draw(7, 40, 2, seed=9)
    joint = Normal(mean + z @ weight.mT, 0.5).log_prob(x).sum(-1) + standard(2).log_prob(z)
    found = joint - MultivariateNormal(code, covariance).log_prob(z)
    exact = bound.ppca_log_evidence(x, weight, mean, 0.5)
    torch.testing.assert_close(found, exact.expand(7, -1), rtol=0, atol=1e-10)


def correlated(n=200, features=5, seed=0):
    return draw(n, features, seed=seed) @ draw(features, features, seed=seed + 1) + 3


@pytest.mark.parametrize("latent", [1, 2, 4])
def test_sigma_is_the_mean_of_the_variances_discarded(latent):
    x = correlated()
    variances = np.sort(np.linalg.eigvalsh(np.cov(x.numpy().T, bias=True)))
    fit = bound.fit_ppca(x, latent)
    assert fit.sigma.item() ** 2 == pytest.approx(variances[: 5 - latent].mean(), rel=1e-10)


@pytest.mark.parametrize("latent", [1, 3])
def test_the_fit_is_that_of_scikit_learn(latent):
    x = correlated()
    n = len(x)
    fit, other = bound.fit_ppca(x, latent), PCA(latent).fit(x.numpy())
    assert fit.sigma.item() ** 2 == pytest.approx(other.noise_variance_ * (n - 1) / n, rel=1e-10)
    covariance = fit.weight @ fit.weight.mT + fit.sigma**2 * torch.eye(5).double()
    np.testing.assert_allclose(covariance, other.get_covariance() * (n - 1) / n, atol=1e-10)


def test_the_fit_is_the_top_of_the_likelihood():
    x = correlated()
    values = [v.requires_grad_() for v in bound.fit_ppca(x, 2)]
    top = bound.ppca_log_evidence(x, *values).mean()
    for slope in torch.autograd.grad(top, values):
        assert slope.abs().max() < 1e-10
    for i, step in enumerate([0.05 * draw(5, 2), 0.05 * draw(5), torch.tensor(0.05).double()]):
        aside = [v + step if i == j else v for j, v in enumerate(values)]
        assert bound.ppca_log_evidence(x, *aside).mean() < top


def test_fewer_traces_than_features_serve_too():
    x = correlated(4, 6)
    fit = bound.fit_ppca(x, 2)
    variances = np.linalg.eigvalsh(np.cov(x.numpy().T, bias=True))
    assert fit.sigma.item() ** 2 == pytest.approx(variances[:4].mean(), rel=1e-9)


def test_equal_variances_leave_no_weight_and_no_nan():
    x = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    assert torch.nan_to_num(bound.fit_ppca(x, 1).weight, nan=9.0).abs().max() < 1e-7


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bound.fit_ppca(correlated(), 5), "latent is 5; 5 features allow 1 to 4"),
        (lambda: bound.fit_ppca(correlated(3), 2), "2 latents explain x without rest"),
        (lambda: bound.fit_ppca(torch.zeros(3), 1), r"x has shape \(3,\)"),
        (lambda: bound.ppca_posterior(*linear(), 0.0), r"sigma is 0.0; it must be one number above 0"),
        (
            lambda: bound.ppca_log_evidence(*linear(), torch.ones(6)),
            "sigma is .* it must be one number above 0",
        ),
        (
            lambda: bound.ppca_posterior(draw(4, 6), draw(6), draw(6), 1.0),
            r"weight \(6,\), mean \(6,\) do not fit",
        ),
        (
            lambda: bound.ppca_log_evidence(draw(4, 5), *linear()[1:], 1.0),
            r"x \(4, 5\), weight \(6, 2\), mean \(6,\) do not fit; they must be \(trace, feature\)",
        ),
    ],
)
def test_what_is_no_probabilistic_pca_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
