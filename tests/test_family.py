"""The family of autoencoders: each variant proved right by an answer from outside the code."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.distributions import Bernoulli, MultivariateNormal, kl_divergence

import geoae
from geoae import Objective, latent, objective
from geoae.arrays import to_batch
from geoae.dist import Diagonal, Full, Gaussian


@pytest.fixture(scope="module")
def traces():
    return geoae.synth.damped_oscillations((10, 10))


def batch(traces):
    return torch.from_numpy(to_batch(traces))


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def mean_square(model, x, target=None):
    with torch.no_grad():
        return (model(x) - (x if target is None else target)).square().mean().item()


# ------------------------------------------------------------------------------ linear: the subspace of PCA


def test_traces_over_the_root_of_their_number_have_their_covariance(traces):
    centred = (traces.values - traces.values.mean(0)) / math.sqrt(traces.sizes["trace"])
    np.testing.assert_allclose(centred.T @ centred, np.cov(traces.values.T, bias=True), atol=1e-12)


def test_a_linear_autoencoder_finds_the_subspace_and_not_the_axes(traces):
    model = geoae.autoencoder(like=traces, network="linear", latent=3)
    geoae.fit(model, traces, epochs=600, batch=100, lr=3e-2)
    centred = traces.values - traces.values.mean(0)
    _, s, vt = np.linalg.svd(centred, full_matrices=False)
    decoder = model.decoder[0].weight.detach().numpy()
    q, _ = np.linalg.qr(decoder)
    outside = np.linalg.norm(q - vt[:3].T @ (vt[:3] @ q), 2)  # sine of the largest principal angle
    assert np.degrees(np.arcsin(outside)) < 1
    assert mean_square(model, batch(traces)) * centred.size == pytest.approx((s[3:] ** 2).sum(), rel=0.01)
    cosines = np.abs(vt[:3] @ (decoder / np.linalg.norm(decoder, axis=0)))
    assert cosines.max(0).min() < 0.95  # at least one column points along no principal component


def test_tied_linear_weights_become_orthonormal(traces):
    """At the optimum E'E = I emerges, though nothing asks for it."""
    model = geoae.autoencoder(like=traces, network="linear", latent=2, tied=True)
    geoae.fit(model, traces, epochs=600, batch=100, lr=3e-2)
    e = model.posterior[0].weight.detach()
    torch.testing.assert_close(e @ e.T, torch.eye(2), atol=1e-2, rtol=0)


def transposed(layer, y, length):
    """Use a layer's weights the other way, by torch's own opposite operation, so that `length` comes out."""
    words = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    if isinstance(layer, nn.ConvTranspose1d):
        return nn.functional.conv1d(y, layer.weight, **words)
    short = nn.functional.conv_transpose1d(y, layer.weight, **words).shape[-1]
    return nn.functional.conv_transpose1d(y, layer.weight, output_padding=length - short, **words)


@pytest.mark.parametrize(
    ("model", "convolutions"),
    [
        (geoae.autoencoder(50, network="conv"), 4),
        (geoae.autoencoder(51, channels=3, network="conv", stride=3), 4),
        (geoae.denoiser(64, kind="time", widths=(4, 6)), 14),
        (geoae.denoiser(64, kind="mask", widths=(4, 4), kernel=16, stride=4), 6),
    ],
)
def test_every_convolution_and_its_transpose_are_adjoint(model, convolutions):
    """<Ax, y> = <x, A'y> for each convolution of each network, A' using the same weights the other way."""
    layers = [m for m in model.double().modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
    assert len(layers) == convolutions
    for layer in layers:
        x = normal(1, layer.in_channels, 33)
        with torch.no_grad():
            ax = layer(x) - layer(torch.zeros_like(x))
            y = normal(*ax.shape, seed=1)
            back = transposed(layer, y, 33)
        assert (ax * y).sum().item() == pytest.approx((x * back).sum().item(), rel=1e-9)
        a = geoae.nn.matrix(layer, 33)
        torch.testing.assert_close((a @ x.flatten()), ax.flatten())
        torch.testing.assert_close((a.T @ y.flatten()), back.flatten())


# ------------------------------------------------------------------------------------------ penalties


def sparse_trip(widths=(7,), code="sigmoid"):
    model = geoae.autoencoder(
        20, widths=widths, latent=5, activation="sigmoid", code=code, network="dense", scale="none"
    ).double()
    return model, model.trip(normal(6, 1, 20))


def test_hidden_holds_what_came_out_of_each_activation():
    model, trip = sparse_trip()
    first = torch.sigmoid(model.encoder[1](trip.x.flatten(1)))
    torch.testing.assert_close(trip.hidden[0], first)
    torch.testing.assert_close(trip.hidden[1], torch.sigmoid(model.posterior[0](first)))
    assert len(trip.hidden) == 2


def test_sparsity_by_kl_is_the_divergence_of_two_coins():
    _, trip = sparse_trip()
    rho, weights = (0.05, 0.2), (2.0, 3.0)
    wanted = sum(
        w * kl_divergence(Bernoulli(torch.tensor(r, dtype=torch.float64)), Bernoulli(h.mean(0))).sum()
        for r, w, h in zip(rho, weights, trip.hidden, strict=True)
    )
    torch.testing.assert_close(objective.sparsity(trip, "kl", rho, weights), wanted, rtol=1e-10, atol=0)
    by_trace = sum(
        w * kl_divergence(Bernoulli(torch.tensor(r, dtype=torch.float64)), Bernoulli(h.mean(1)))
        for r, w, h in zip(rho, weights, trip.hidden, strict=True)
    )
    torch.testing.assert_close(objective.sparsity(trip, "kl", rho, weights, "units"), by_trace)


@pytest.mark.parametrize("kind", ["kl", "l1", "l2"])
def test_sparsity_is_zero_at_its_target_and_nowhere_else(kind):
    distance = objective.DISTANCES[kind]
    rho_hat = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    values = distance(0.05, rho_hat)
    assert (values >= -1e-15).all()
    assert torch.nonzero(values < 1e-12).flatten().tolist() == [49]
    assert distance(0.05, torch.zeros(1).double()).isfinite().all()


def test_the_gradient_of_sparsity_by_kl():
    rho, r = 0.05, torch.linspace(0.01, 0.9, 20).double().requires_grad_()
    objective.bernoulli_kl(rho, r).sum().backward()
    torch.testing.assert_close(r.grad, -rho / r.detach() + (1 - rho) / (1 - r.detach()), rtol=1e-10, atol=0)


def test_sparsity_by_l1_and_l2_and_the_plain_sum_of_norms():
    _, trip = sparse_trip()
    means = [h.mean(0) for h in trip.hidden]
    torch.testing.assert_close(objective.sparsity(trip, "l1", 0.1), sum((m - 0.1).abs().sum() for m in means))
    torch.testing.assert_close(
        objective.sparsity(trip, "l2", 0.1), sum((m - 0.1).square().sum() for m in means)
    )
    norms = sum(w * torch.linalg.vector_norm(h, dim=1) for w, h in zip((1.0, 0.5), trip.hidden, strict=True))
    torch.testing.assert_close(objective.activity(trip, (1.0, 0.5)), norms)


def test_the_gradient_of_l1_on_the_code_is_its_sign():
    model = geoae.autoencoder(8, network="linear", latent=3, scale="none").double()
    trip = model.trip(normal(4, 1, 8))
    trip.z.retain_grad()
    objective.l1(trip).sum().backward()
    assert torch.equal(trip.z.grad, trip.z.sign())


def jacobian_norm(model, x):
    """Squared Frobenius norm of the encoder's Jacobian, trace by trace, by torch's own function."""
    rows = [
        torch.autograd.functional.jacobian(lambda v: model.posterior(model.encoder(v)).mean, t[None])
        for t in x
    ]
    return torch.stack([row.square().sum() for row in rows])


def test_the_contractive_penalty_three_ways():
    model = geoae.autoencoder(20, widths=(), latent=6, code="sigmoid", scale="none").double()
    trip = model.trip(normal(5, 1, 20), differentiable=True)
    wanted = jacobian_norm(model, trip.x.detach())
    torch.testing.assert_close(objective.contractive(trip), wanted, rtol=1e-10, atol=0)
    weight = objective._one_sigmoid_layer(model)
    torch.testing.assert_close(objective.contractive_closed(trip, weight), wanted, rtol=1e-10, atol=0)
    torch.manual_seed(0)
    probes = torch.stack([objective.contractive(trip, probes=1) for _ in range(400)])
    error = 5 * probes.std(0) / math.sqrt(400)
    assert ((probes.mean(0) - wanted).abs() < error).all()
    several = torch.stack([objective.contractive(trip, probes=8) for _ in range(50)])
    assert ((several.mean(0) - wanted).abs() < error).all()
    assert (several.std(0) < 0.6 * probes.std(0)).all()  # a mean of eight: a third is expected
    assert (probes.std(0) < 0.5 * wanted).all()


def test_the_objective_takes_the_closed_form_where_there_is_one():
    x = normal(5, 1, 20)
    for words, closed in (
        ({"widths": (), "code": "sigmoid"}, True),
        ({"widths": (9,), "activation": "sigmoid"}, False),
    ):
        model = geoae.autoencoder(20, latent=4, scale="none", **words).double()
        assert (objective._one_sigmoid_layer(model) is not None) == closed
        _, terms = Objective(contractive=1.0)(model, x)
        torch.testing.assert_close(terms["contractive"], jacobian_norm(model, x).mean())


# ------------------------------------------------------------------- what each is for, on the lecture's data


def learned(traces, goal=None, seed=0, epochs=150, lr=3e-3, corrupt=None, **words):
    model = geoae.autoencoder(like=traces, **{"widths": (50,), "latent": 10, "seed": seed} | words)
    geoae.fit(model, traces, goal, corrupt=corrupt, epochs=epochs, lr=lr, batch=25, seed=seed)
    return model


def test_a_denoising_autoencoder_beats_a_plain_one_on_corrupted_traces(traces):
    clean = batch(traces)
    noisy = torch.from_numpy(geoae.GaussianNoise(0.3)(clean.numpy(), np.random.default_rng(5)))
    plain, denoising = learned(traces), learned(traces, corrupt=geoae.GaussianNoise(0.3))
    assert mean_square(denoising, noisy, clean) < 0.7 * mean_square(plain, noisy, clean)
    masked = torch.from_numpy(geoae.Mask(0.25)(clean.numpy(), np.random.default_rng(5)))
    filled = learned(traces, corrupt=geoae.Mask(0.25))
    assert mean_square(filled, masked, clean) < 0.5 * mean_square(plain, masked, clean)


def test_an_autoencoder_learns_to_deblur(traces):
    clean = batch(traces)
    blur = geoae.Blur(width=(2.0, 2.0))
    blurred = torch.from_numpy(blur(clean.numpy(), np.random.default_rng(5)))
    sharp = learned(traces, corrupt=blur)
    assert mean_square(sharp, blurred, clean) < 0.1 * (blurred - clean).square().mean().item()


def test_a_linear_denoising_autoencoder_is_the_wiener_filter():
    """Its optimum is C (C + s2 I)^-1 on the centred traces."""
    rng = np.random.default_rng(0)
    spread = np.r_[3.0, 2.0, 1.0, 0.5, 0.3, 0.2]
    basis = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    x = rng.standard_normal((2000, 6)) * spread @ basis.T
    data = xr.DataArray(x, {"time": np.arange(6.0)}, ("trace", "time"))
    model = geoae.autoencoder(like=data, network="linear", latent=6, scale="none")
    geoae.fit(model, data, corrupt=geoae.GaussianNoise(1.0), epochs=60, batch=100, lr=1e-2)
    c = np.cov(x.T, bias=True)
    wanted = c @ np.linalg.inv(c + np.eye(6))
    with torch.no_grad():
        units = torch.eye(6)[:, None]
        found = (model(units) - model(torch.zeros(1, 1, 6)))[:, 0].T.numpy()
    np.testing.assert_allclose(found, wanted, atol=0.05)


def test_an_overcomplete_autoencoder_without_a_penalty_learns_the_identity(traces):
    model = learned(traces, epochs=300, network="linear", latent=60)
    assert mean_square(model, batch(traces)) < 1e-4 * traces.values.var()
    unseen = geoae.synth.damped_oscillations(20, seed=7)
    assert mean_square(model, batch(unseen)) < 1e-3 * unseen.values.var()


def test_a_sparse_autoencoder_is_sparser(traces):
    words = {"activation": "sigmoid", "code": "sigmoid", "widths": (), "latent": 30, "lr": 3e-2}
    plain, sparse = learned(traces, **words), learned(traces, Objective(sparse_kl=5.0, rho=0.05), **words)
    with torch.no_grad():
        means = [m.encode(batch(traces)).mean.mean().item() for m in (plain, sparse)]
    assert means[1] < 0.5 * means[0]
    assert means[1] == pytest.approx(0.05, abs=0.05)


def test_an_l1_penalty_shrinks_the_code(traces):
    plain, sparse = learned(traces), learned(traces, Objective(l1=0.3))
    with torch.no_grad():
        size = [m.encode(batch(traces)).mean.abs().sum(-1).mean().item() for m in (plain, sparse)]
    assert size[1] < 0.7 * size[0]


def test_a_k_sparse_code_has_k_numbers(traces):
    model = learned(traces, top=4, epochs=20)
    with torch.no_grad():
        kept = model.encode(batch(traces)).mean.count_nonzero(-1)
    assert kept.tolist() == [4] * 100


def test_a_contractive_autoencoder_has_the_smaller_jacobian(traces):
    words = {"widths": (), "latent": 10, "code": "sigmoid"}
    plain, contractive = learned(traces, **words), learned(traces, Objective(contractive=3.0), **words)
    norms = []
    for model in (plain, contractive):
        offset, gain = model.scale(batch(traces))
        norms.append(jacobian_norm(model, ((batch(traces) - offset) / gain)[:20]).mean().item())
    assert norms[1] < 0.5 * norms[0]


def test_an_l2_penalty_shrinks_the_weights(traces):
    sums = [
        objective.sum_of_squares(learned(traces, goal)).item() for goal in (Objective(), Objective(l2=1e-2))
    ]
    assert sums[1] < 0.7 * sums[0]


# ----------------------------------------------------------------------------------------- layer by layer


@pytest.mark.parametrize("network", ["dense", "conv"])
def test_stacked_codes_are_those_of_the_greedy_layers(network, traces):
    words = {"dense": {"widths": (30, 20)}, "conv": {"widths": (4, 6), "hidden": 12}}[network]
    model = geoae.autoencoder(like=traces, network=network, latent=4, **words)
    before = mean_square(model, batch(traces))
    history = geoae.fit_stacked(model, traces, epochs=20, fine_tune=0, batch=25)
    layers = {"dense": 3, "conv": 4}[network]
    assert sorted(set(history.stage.values.tolist())) == list(range(1, layers + 1))
    greedy = mean_square(model, batch(traces))
    assert greedy < before
    tuned = geoae.fit_stacked(model, traces, epochs=1, fine_tune=60, batch=25)
    assert tuned.stage.values[-1] == 0
    assert mean_square(model, batch(traces)) < 0.5 * greedy


def test_each_greedy_layer_lowers_its_own_loss(traces):
    model = geoae.autoencoder(like=traces, widths=(30, 20), latent=4)
    history = geoae.fit_stacked(model, traces, epochs=20, fine_tune=5, batch=25)
    for stage in (1, 2, 3, 0):
        loss = history.loss.sel(split="train").values[history.stage.values == stage]
        assert loss[-1] < loss[0]


def test_what_cannot_be_stacked_says_why(traces):
    with pytest.raises(
        ValueError, match="layer by layer goes with posterior='point' and without tied weights"
    ):
        geoae.fit_stacked(geoae.autoencoder(like=traces, posterior="diagonal"), traces)
    uneven = geoae.autoencoder(like=traces, widths=(9, 9), decoder_widths=(9,))
    with pytest.raises(ValueError, match="the encoder has 3 layers and the decoder 2"):
        geoae.fit_stacked(uneven, traces)


# -------------------------------------------------------------------------------------- the evidence bound


@pytest.fixture(scope="module")
def linear_gaussian():
    """A probabilistic PCA as an autoencoder, its exact evidence and posterior, and traces."""
    rng = np.random.default_rng(0)
    w, sigma = rng.standard_normal((6, 2)) * [1.5, 0.7], 0.5
    x = rng.standard_normal((40, 2)) @ w.T + sigma * rng.standard_normal((40, 6))
    decoder = nn.Sequential(nn.Linear(2, 6, bias=False), nn.Unflatten(1, (1, 6))).double()
    decoder[0].weight.data = torch.from_numpy(w)
    evidence = MultivariateNormal(torch.zeros(6).double(), torch.from_numpy(w @ w.T + sigma**2 * np.eye(6)))
    precision = np.eye(2) + w.T @ w / sigma**2
    covariance = np.linalg.inv(precision)
    data = xr.DataArray(x, {"time": np.arange(6.0)}, ("trace", "time"))
    mean = x @ w @ covariance / sigma**2
    return decoder, sigma, data, evidence.log_prob(torch.from_numpy(x)).numpy(), mean, covariance


class Fixed(nn.Module):
    """A posterior with the mean of a linear map and one covariance for all."""

    def __init__(self, matrix, covariance):
        super().__init__()
        self.register_buffer("matrix", torch.from_numpy(matrix))
        self.register_buffer("lower", torch.linalg.cholesky(torch.from_numpy(covariance)))

    def forward(self, h):
        mean = h @ self.matrix
        return MultivariateNormal(
            mean, scale_tril=self.lower.expand(*mean.shape[:-1], -1, -1), validate_args=False
        )


def with_posterior(linear_gaussian, widen=1.0):
    decoder, sigma, data, *_, covariance = linear_gaussian
    w = decoder[0].weight.detach().numpy()
    posterior = Fixed(w @ covariance / sigma**2, covariance * widen)
    return geoae.Autoencoder(
        nn.Flatten(), posterior, decoder, Gaussian(sigma), geoae.nn.TraceScale("none")
    ).double(), data


def test_with_the_exact_posterior_one_draw_gives_the_evidence(linear_gaussian):
    model, data = with_posterior(linear_gaussian)
    exact = linear_gaussian[3]
    np.testing.assert_allclose(latent.log_evidence(data, model, samples=1), exact, atol=1e-4)
    np.testing.assert_allclose(latent.anomaly(data, model, "evidence", samples=1), -exact, atol=1e-4)


def test_the_bound_is_unbiased_and_its_variance_falls_as_one_over_the_draws(linear_gaussian):
    model, data = with_posterior(linear_gaussian, widen=2.0)
    x = torch.from_numpy(to_batch(data)).double()[:1]
    q = model.encode(x)
    gap = kl_divergence(
        q, MultivariateNormal(torch.from_numpy(linear_gaussian[4][:1]), torch.from_numpy(linear_gaussian[5]))
    )
    exact = (
        linear_gaussian[3][0] - gap.item()
    )  # the bound is the evidence less the divergence from the true posterior
    torch.manual_seed(0)
    spread = {}
    for draws in (1, 10, 100):
        goal = Objective(kl=1.0, samples=draws)
        with torch.no_grad():
            bounds = -torch.stack([goal(model, x)[0] for _ in range(400)])
        assert bounds.mean().item() == pytest.approx(exact, abs=5 * bounds.std().item() / 20)
        spread[draws] = bounds.var().item()
    assert spread[1] / spread[10] == pytest.approx(10, rel=0.4)
    assert spread[10] / spread[100] == pytest.approx(10, rel=0.4)


def test_the_importance_weighted_bound_rises_to_the_evidence(linear_gaussian):
    model, data = with_posterior(linear_gaussian, widen=2.0)
    exact = linear_gaussian[3].mean()
    bounds = [
        np.mean([float(latent.log_evidence(data, model, samples=k, seed=s).mean()) for s in range(repeats)])
        for k, repeats in ((1, 100), (5, 50), (50, 20), (500, 5))
    ]
    assert bounds == sorted(bounds)
    assert bounds[0] < exact - 0.1
    assert bounds[-1] == pytest.approx(exact, abs=0.01)


def test_a_full_posterior_finds_the_true_covariance_where_a_diagonal_cannot(linear_gaussian):
    """The decoder is turned by 45 degrees, so that the latents of the true posterior are correlated."""
    decoder, sigma, *_ = linear_gaussian
    turn = np.array([[1.0, 1.0], [-1.0, 1.0]]) / math.sqrt(2)
    w = decoder[0].weight.detach().numpy() @ turn
    truth = np.linalg.inv(np.eye(2) + w.T @ w / sigma**2)
    many = xr.DataArray(
        np.random.default_rng(1).standard_normal((500, 2)) @ w.T
        + sigma * np.random.default_rng(2).standard_normal((500, 6)),
        {"time": np.arange(6.0)},
        ("trace", "time"),
    )
    found = {}
    for head in (Full, Diagonal):
        turned = nn.Sequential(nn.Linear(2, 6, bias=False), nn.Unflatten(1, (1, 6)))
        turned[0].weight.data = torch.from_numpy(w).float()
        turned.requires_grad_(False)
        model = geoae.Autoencoder(
            nn.Flatten(), head(6, 2), turned, Gaussian(sigma), geoae.nn.TraceScale("none")
        )
        geoae.nn.reset(model.posterior, 0)
        geoae.fit(model, many, Objective(kl=1.0, samples=8), epochs=200, batch=50, lr=2e-2)
        q = model.encode(batch(many)[:1])
        found[head] = (
            (q.covariance_matrix[0] if head is Full else q.variance.diag_embed()[0]).detach().numpy()
        )
    off = {head: np.linalg.norm(c - truth) / np.linalg.norm(truth) for head, c in found.items()}
    assert off[Full] < 0.05
    assert off[Diagonal] > 0.3
    np.testing.assert_allclose(np.diag(found[Diagonal]), 1 / np.diag(np.linalg.inv(truth)), rtol=0.05)


def test_entropies_agree_with_torch():
    h = normal(3, 4)
    for head in (Diagonal(4, 2).double(), Full(4, 2).double()):
        q = head(h)
        z = q.rsample((50_000,))
        error = 5 * q.log_prob(z).std(0) / math.sqrt(50_000)
        assert ((-q.log_prob(z).mean(0) - q.entropy()).abs() < error).all()


# ------------------------------------------------------------------------------- schedules and free bits


def test_warm_up_and_cycles():
    warm = geoae.WarmUp(to=2.0, until=0.5)
    assert [warm.at(s) for s in (0, 0.25, 0.5, 1)] == [0, 1, 2, 2]
    cycles = geoae.Cyclic(to=1.0, cycles=2, rise=0.5)
    assert [cycles.at(s) for s in (0, 0.125, 0.25, 0.4, 0.5, 0.625, 1)] == [0, 0.5, 1, 1, 0, 0.5, 1]
    model, x = geoae.autoencoder(20, posterior="full"), normal(3, 1, 20).float()
    for share in (0.0, 0.25, 1.0):
        loss, terms = Objective(kl=warm)(model, x, share=share)
        torch.testing.assert_close(loss, terms["reconstruction"] + warm.at(share) * terms["kl"])
    assert Objective(kl=warm).weights() == {"reconstruction": 1.0, "kl": 2.0}


def test_a_schedule_is_followed_and_its_end_is_what_counts(traces):
    model = geoae.autoencoder(like=traces, latent=2, posterior="diagonal", sigma=0.5)
    history = geoae.fit(
        model, traces, Objective(kl=geoae.WarmUp(4.0, 0.5)), valid=traces, epochs=10, batch=50
    )
    train, valid = (history.sel(split=s, epoch=1) for s in ("train", "valid"))
    assert float(train.loss - train.reconstruction) < 0.2 * 4 * float(
        train.kl
    )  # the first epoch: hardly weighed
    assert float(valid.loss - valid.reconstruction) == pytest.approx(4 * float(valid.kl), rel=1e-4)


def test_free_bits_keep_latents_awake(traces):
    trip = geoae.autoencoder(20, posterior="diagonal", latent=3, scale="none").double().trip(normal(6, 1, 20))
    per_latent = objective.kl_to_prior(trip.q.mean, trip.q.stddev).mean(0)
    free = per_latent.median().item()
    torch.testing.assert_close(objective.kl_with_free_bits(trip, free), per_latent.clamp_min(free).sum())
    torch.testing.assert_close(objective.kl_with_free_bits(trip, 0.0), objective.kl(trip).mean())
    kl = {}
    for bits in (0.0, 0.5):
        model = geoae.autoencoder(
            like=traces, latent=3, posterior="diagonal", sigma=6.0
        )  # so wide that all switch off
        geoae.fit(model, traces, Objective(kl=1.0, free_bits=bits), epochs=60, batch=25)
        kl[bits] = geoae.encode(traces, model).kl.mean("trace").values
    assert kl[0.0].max() < 0.05
    assert kl[0.5].min() > 0.2


# ------------------------------------------------------------------------------------- uses in the lectures


def test_a_strange_trace_scores_higher(vae, oscillations):
    strange = oscillations.isel(trace=slice(0, 20)).copy(
        data=np.random.default_rng(0).standard_normal((20, 50))
    )
    for measure in ("reconstruction", "elbo", "evidence"):
        usual, odd = (latent.anomaly(x, vae, measure, samples=10) for x in (oscillations, strange))
        assert float(odd.min()) > float(usual.max()), measure
    assert (latent.anomaly(oscillations, vae).k == oscillations.k).all()
    with pytest.raises(ValueError, match="unknown measure 'p'; choose from reconstruction, elbo, evidence"):
        latent.anomaly(oscillations, vae, "p")
    with pytest.raises(ValueError, match="a plain autoencoder has no evidence"):
        latent.log_evidence(oscillations, geoae.autoencoder(like=oscillations))
    with pytest.raises(ValueError, match="samples is 0"):
        latent.log_evidence(oscillations, vae, samples=0)


def test_features_start_a_classifier(vae, oscillations):
    """A linear map on what was learned without labels tells stiff from soft."""
    with torch.no_grad():
        features = vae.features(batch(oscillations)).numpy()
    assert features.shape == (144, 32)
    stiff = oscillations.k.values > 7.5
    design = np.c_[features, np.ones(144)]
    weights, *_ = np.linalg.lstsq(design[::2], stiff[::2] * 2.0 - 1, rcond=None)
    assert ((design[1::2] @ weights > 0) == stiff[1::2]).mean() > 0.9


def test_the_way_between_two_traces_begins_and_ends_at_them(vae, oscillations):
    first, last = oscillations.isel(trace=0), oscillations.isel(trace=-1)
    way = latent.interpolate(first, last, vae, steps=5)
    assert way.share.values.tolist() == [0, 0.25, 0.5, 0.75, 1]
    for step, trace in ((0, first), (-1, last)):
        np.testing.assert_allclose(
            way.isel(step=step), latent.decode(vae, geoae.encode(trace, vae)["mean"])[0], atol=1e-5
        )
    codes = geoae.encode(xr.concat([first, last], "trace"), vae)["mean"]
    np.testing.assert_allclose(
        way.isel(step=2), latent.decode(vae, codes.mean("trace").values[None])[0], atol=1e-5
    )
    with pytest.raises(ValueError, match="give one trace for each end, found 144 and 1"):
        latent.interpolate(oscillations, last, vae)


# ------------------------------------------------------------------------------------- errors that teach


@pytest.mark.parametrize(
    ("words", "goal", "message"),
    [
        (
            {},
            {"kl": 1.0},
            "kl needs a posterior with a width, but it is a point; use posterior='diagonal' or kl=0",
        ),
        ({"posterior": "full"}, {"kl": 1.0, "free_bits": 0.1}, "free_bits counts latent by latent"),
        (
            {"network": "linear"},
            {"sparse_kl": 1.0},
            "sparse_kl acts on activations, and this encoder has none",
        ),
        ({"widths": (8,)}, {"sparse_kl": 1.0}, "sparsity by KL needs 0 to 1; use activation='sigmoid'"),
        ({"widths": (8,)}, {"sparse_l1": 1.0, "rho": (0.1, 0.1)}, "rho has 2 targets, the model 1 layers"),
        (
            {"widths": (8,)},
            {"activity": 1.0, "layer_weights": (1, 1)},
            "layer_weights has 2 numbers, the model 1 layers",
        ),
        (
            {"widths": (8,)},
            {"sparse_l1": 1.0, "mean_over": "all"},
            "mean_over is 'all'; choose from traces, units",
        ),
    ],
)
def test_objectives_that_do_not_fit_the_model_say_why(words, goal, message):
    with pytest.raises(ValueError, match=message):
        Objective(**goal)(geoae.autoencoder(20, **words), 100 * normal(4, 1, 20).float())


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ({"samples": 0}, "samples is 0; it is the number of draws of each code, 1 or more"),
        ({"probes": -1}, "probes is -1"),
        ({"reconstruction": 0.0}, "every weight is 0, so there is nothing to minimise"),
    ],
)
def test_objectives_no_run_could_use_are_refused(goal, message):
    with pytest.raises(ValueError, match=message):
        Objective(**goal)


def test_bernoulli_on_traces_outside_zero_and_one_is_refused(traces):
    model = geoae.autoencoder(like=traces, likelihood="bernoulli", posterior="diagonal")
    with pytest.raises(
        ValueError, match="a Bernoulli trace lies between 0 and 1, .*build the model with scale='range'"
    ):
        geoae.fit(model, traces)


def test_a_target_of_rho_outside_zero_and_one_is_refused():
    with pytest.raises(ValueError, match="rho is 1.5; a target activation lies between 0 and 1"):
        objective.bernoulli_kl(1.5, torch.tensor([0.5]))
