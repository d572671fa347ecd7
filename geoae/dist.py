"""From features to distributions: q(z|x) on the way in, p(x|z) on the way out.

A *posterior* maps features (trace, width) to a torch ``Distribution`` over codes (trace, latent);
a *likelihood* maps the decoder's output (trace, channel, time) to a ``Distribution`` over traces.
A plain autoencoder is the posterior `Point`: all probability in one place.
"""

import math
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import (
    Bernoulli as _Bernoulli,
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    constraints,
)

SMALLEST_STD = 1e-3  # of a full posterior, so that its covariance can be inverted
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


class Delta(Distribution):
    """All probability in one point: the code of an autoencoder that is not variational.

    Parameters
    ----------
    loc : Tensor, shape (..., latent)
    """

    arg_constraints: dict = {}  # noqa: RUF012 (torch's own class attribute)
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor):
        self.loc = loc
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The point."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """Zero: a point has no width."""
        return torch.zeros_like(self.loc)

    def rsample(self, sample_shape=()) -> Tensor:
        """Return the point itself, as often as asked."""
        return self.loc.expand(*sample_shape, *self.loc.shape)


class Point(nn.Sequential):
    """Features to one point in latent space.

    Parameters
    ----------
    width, latent : int
        Number of features in, of latent variables out.
    activation : Module, optional
        What the code goes through: a sigmoid for sparse codes, `geoae.nn.TopK` for k-sparse ones.
    """

    def __init__(self, width: int, latent: int, activation: nn.Module | None = None):
        super().__init__(nn.Linear(width, latent), *([activation] if activation else []))

    @classmethod
    def of(cls, *layers: nn.Module) -> "Point":
        """Make a point of what comes out of some layers."""
        point = cls.__new__(cls)
        nn.Sequential.__init__(point, *layers)
        return point

    def forward(self, h: Tensor) -> Delta:  # noqa: D102
        return Delta(super().forward(h))


class Diagonal(nn.Linear):
    """Features to a normal distribution with independent components.

    A diagonal covariance is also what ties the latent axes to the directions that matter: turning the
    axes costs evidence (Rolinek et al., 2019), so single latents can come to mean single parameters.
    """

    def __init__(self, width: int, latent: int):
        super().__init__(width, 2 * latent)

    def forward(self, h: Tensor) -> Independent:  # type: ignore[override]  # noqa: D102
        mean, log_std = super().forward(h).chunk(2, -1)
        return Normals(mean, log_std, 1)


class Full(nn.Linear):
    """Features to a normal distribution with full covariance, through its Cholesky factor.

    Tightens the evidence bound where the true posterior is correlated, and takes the meaning from the
    axes: with it one parameter per latent came out in 4 of 20 runs on lines, against 20 of 20 with
    `Diagonal`.
    """

    def __init__(self, width: int, latent: int):
        super().__init__(width, latent + latent * (latent + 1) // 2)
        self.latent = latent

    def forward(self, h: Tensor) -> MultivariateNormal:  # type: ignore[override]  # noqa: D102
        mean, entries = super().forward(h).split([self.latent, self.out_features - self.latent], -1)
        row, column = torch.tril_indices(self.latent, self.latent, device=h.device)
        # softplus(0 + shift) = 1: an untrained head starts at the prior's unit width
        positive = F.softplus(entries + math.log(math.e - 1)) + SMALLEST_STD
        lower = h.new_zeros(*h.shape[:-1], self.latent, self.latent)
        lower[..., row, column] = torch.where(row == column, positive, entries)
        return MultivariateNormal(mean, scale_tril=lower, validate_args=False)


class Normals(Independent):
    """Independent normals that take no longer to build than what they are made of.

    torch's own broadcast, check and square, which takes as long as a step of a small model.
    """

    _validate_args = False

    def __init__(self, mean: Tensor, log_std: Tensor, dims: int):
        self.loc, self.log_std, self.reinterpreted_batch_ndims = mean, log_std, dims

    @cached_property
    def base_dist(self) -> Normal:  # type: ignore[override]
        """The same numbers one by one, as torch has them."""
        return Normal(self.mean, self.stddev, validate_args=False)

    @property
    def _batch_shape(self) -> torch.Size:  # type: ignore[override]
        return self.loc.shape[: -self.reinterpreted_batch_ndims]

    @property
    def _event_shape(self) -> torch.Size:  # type: ignore[override]
        return self.loc.shape[-self.reinterpreted_batch_ndims :]

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return self.loc

    @cached_property
    def stddev(self) -> Tensor:  # type: ignore[override]
        """The standard deviation."""
        return self.log_std.exp()

    def rsample(self, sample_shape=()) -> Tensor:
        """Draw mean + std * noise."""
        noise = torch.randn(*sample_shape, *self.loc.shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + self.stddev * noise


class _NormalTrace(Normals):
    """Independent normal samples of a trace; one sigma is not worth a logarithm for each of them."""

    @cached_property
    def stddev(self) -> Tensor:  # type: ignore[override]
        """The standard deviation, of every sample."""
        return self.log_std.exp().expand_as(self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        squares = F.mse_loss(self.loc, value, reduction="none")  # one pass, and one on the way back
        count = squares.shape[-2:].numel()
        log_sigma: Any = self.log_std
        if log_sigma.ndim:
            constant = count * (log_sigma.mean((-2, -1)) + HALF_LOG_TAU)
            return (squares * (-0.5 * (-2 * log_sigma).exp())).sum((-2, -1)) - constant
        if log_sigma.is_cpu and not log_sigma.requires_grad:  # numbers cost less than tensors of one number
            log_sigma = log_sigma.item()
        return squares.sum((-2, -1)) * (-0.5 * math.e ** (-2 * log_sigma)) - count * (
            log_sigma + HALF_LOG_TAU
        )


class Gaussian(nn.Module):
    r"""Trace with additive normal noise, :math:`p(x|z) = \mathcal N(x; \hat x(z), \sigma^2)`.

    Parameters
    ----------
    sigma : float
        Standard deviation, in the model's own scale; where it starts, if it changes.
    learn : bool
        Make sigma a weight.
    shape : tuple
        ``()`` for one sigma; ``(channel, time)`` for one per sample of the trace.
    anneal : bool
        Let `geoae.fit` lower sigma along its `geoae.train.Anneal` schedule.
    """

    def __init__(self, sigma: float = 1.0, *, learn: bool = False, shape: tuple = (), anneal: bool = False):
        super().__init__()
        if not sigma > 0:
            raise ValueError(f"sigma is {sigma}; it must be above 0, in units of the scaled traces")
        self.start, self.anneal = math.log(sigma), anneal
        log_sigma = torch.full(shape, self.start)
        if learn:
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma)

    def reset_parameters(self) -> None:
        """Put sigma back to where it started."""
        with torch.no_grad():
            self.log_sigma.fill_(self.start)

    def forward(self, h: Tensor) -> Independent:  # noqa: D102
        return _NormalTrace(h, self.log_sigma, 2)


class Heteroscedastic(nn.Module):
    r"""Trace with normal noise, :math:`\mathcal N(x; \hat x, \hat\sigma^2)`, sigma told by the network.

    The network gives the mean and the logarithm of sigma, each (trace, channel, time).
    """

    def forward(self, h: tuple[Tensor, Tensor]) -> Independent:  # noqa: D102
        return _NormalTrace(*h, 2)


class Bernoulli(nn.Module):
    """Trace of probabilities, the decoder's output being their log-odds.

    On targets between 0 and 1 that are not themselves 0 or 1 its log-probability is the (negative)
    cross-entropy, not a density.
    """

    def forward(self, h: Tensor) -> Independent:  # noqa: D102
        return Independent(_Bernoulli(logits=h, validate_args=False), 2, validate_args=False)


def drawn(q: Distribution, noise: Tensor) -> Tensor:
    """Draws of q made of given standard normal numbers (sample, trace, latent): mean + L noise."""
    if isinstance(q, MultivariateNormal):
        return q.loc + (q.scale_tril @ noise[..., None])[..., 0]
    return q.mean + q.stddev * noise


def prior(q: Distribution) -> Distribution:
    """Return the standard normal of the same family, shape and device as `q`."""
    zeros = torch.zeros_like(q.mean)
    if isinstance(q, MultivariateNormal):
        eye = torch.eye(zeros.shape[-1], dtype=zeros.dtype, device=zeros.device).expand_as(q.scale_tril)
        return MultivariateNormal(zeros, scale_tril=eye, validate_args=False)
    return Independent(Normal(zeros, torch.ones_like(zeros), validate_args=False), 1, validate_args=False)


def kl_normal(mean_q: Tensor, cov_q: Tensor, mean_p: Tensor, cov_p: Tensor) -> Tensor:
    r"""Divergence of one multivariate normal from another, KL(q || p), in closed form [nats].

    .. math:: \tfrac12 \left[\ln\frac{|\Sigma_p|}{|\Sigma_q|} - k + \mathrm{tr}(\Sigma_p^{-1} \Sigma_q)
              + (\mu_p - \mu_q)^T \Sigma_p^{-1} (\mu_p - \mu_q)\right]

    (Rasmussen and Williams, 2006, equation A.23). With the Cholesky factors of both covariances and
    :math:`M = L_p^{-1} L_q` it is half the sum of :math:`M_{ii}^2 - 1 - \ln M_{ii}^2`, of the other
    :math:`M_{ij}^2` and of :math:`|L_p^{-1}(\mu_p - \mu_q)|^2`: no term is negative, so near zero, where
    the terms above cancel, nothing is lost.

    Parameters
    ----------
    mean_q, mean_p : Tensor, shape (..., k)
    cov_q, cov_p : Tensor, shape (..., k, k)
        Full covariances; ``torch.diag_embed(std**2)`` makes them from standard deviations. The leading
        axes of all four broadcast.

    Returns
    -------
    Tensor, shape (...)

    Raises
    ------
    ValueError
        When shapes do not fit, or a covariance is not symmetric and positive definite.

    Examples
    --------
    >>> eye = torch.eye(2)
    >>> kl_normal(torch.tensor([1.0, 2.0]), eye, torch.zeros(2), eye)
    tensor(2.5000)
    """
    batch = _common_batch(mean_q, cov_q, mean_p, cov_p)
    factor_q, factor_p = _cholesky(cov_q, "cov_q"), _cholesky(cov_p, "cov_p")
    square = cov_q.shape[-2:]
    factor_q, factor_p = factor_q.expand(*batch, *square), factor_p.expand(*batch, *square)
    ratio = torch.linalg.solve_triangular(factor_p, factor_q, upper=False)
    apart = (mean_p - mean_q).expand(*batch, -1).unsqueeze(-1)
    distance = torch.linalg.solve_triangular(factor_p, apart, upper=False).square().sum((-2, -1))
    width = ratio.diagonal(dim1=-2, dim2=-1).square() - 1
    turn = ratio.tril(-1).square().sum((-2, -1))
    return 0.5 * ((width - width.log1p()).sum(-1) + turn + distance)


def _common_batch(mean_q: Tensor, cov_q: Tensor, mean_p: Tensor, cov_p: Tensor) -> torch.Size:
    """Leading shape of two normals together."""
    k = mean_q.shape[-1:]
    wanted = {"mean_q": (mean_q, k), "cov_q": (cov_q, k * 2), "mean_p": (mean_p, k), "cov_p": (cov_p, k * 2)}
    for name, (value, end) in wanted.items():
        if not k or value.shape[value.ndim - len(end) :] != end:
            ends = ", ".join(map(str, ("...", *(end or "k"))))
            hint = "; torch.diag_embed(std**2) makes it from standard deviations" * name.startswith("cov")
            raise ValueError(f"{name} has shape {tuple(value.shape)}; it must be ({ends}){hint}")
    try:
        return torch.broadcast_shapes(*(v.shape[: v.ndim - len(end)] for v, end in wanted.values()))
    except RuntimeError as error:
        found = ", ".join(f"{name} {tuple(value.shape)}" for name, (value, _) in wanted.items())
        raise ValueError(f"leading axes do not broadcast: {found}") from error


def _cholesky(cov: Tensor, name: str) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(cov)
    # the factor is made from one triangle alone and would not notice that the other differs
    slack = (1e-6 if cov.dtype == torch.float64 else 1e-4) * cov.abs().amax((-2, -1), keepdim=True)
    if failed.any() or ((cov - cov.mT).abs() > slack).any():
        raise ValueError(f"{name} is not a covariance: it must be symmetric and positive definite")
    return factor
