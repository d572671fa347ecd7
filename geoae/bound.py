r"""The evidence bound, small enough to run in a lecture.

For any q(z), :math:`\ln p(x) \ge E_q[\ln p(x, z) - \ln q(z)]`, and the two meet where q is the posterior
p(z|x) (Neal and Hinton, 1998). Three models in which everything about this can be computed:

- any map from noise to codes, whose density follows from its Jacobian: `reparametrise`;
- a mixture of normals, where climbing the bound in turns, over q and over the parameters, is the EM
  algorithm: `e_step`, `m_step`, `bound`;
- probabilistic PCA, the linear autoencoder whose evidence and posterior are known: `ppca_log_evidence`,
  `ppca_posterior`.

Traces are (trace, feature), best in double precision; all logarithms are natural, so values are in nats.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

# ------------------------------------------------------------------------------------ reparametrisation


def reparametrise(
    eps: Tensor, transform: Callable[[Tensor], Tensor], base: Distribution
) -> tuple[Tensor, Tensor]:
    r"""Send noise through an invertible map and follow its density.

    .. math:: z = g(\epsilon), \qquad
              \ln q(z) = \ln q_0(\epsilon) - \ln \left|\det \frac{dz}{d\epsilon}\right|

    (Kingma and Welling, 2019, section 2.4). The determinant is that of the full Jacobian, by automatic
    differentiation. Gradients flow to whatever the map depends on.

    Parameters
    ----------
    eps : Tensor, shape (..., k)
        Draws from `base`.
    transform : callable
        The map g of one vector (k,) to another (k,), differentiable and invertible.
    base : Distribution
        q_0, over vectors: an ``Independent(Normal(...), 1)`` rather than a ``Normal``.

    Returns
    -------
    z : Tensor, shape (..., k)
    log_q : Tensor [nats], shape (...)

    Raises
    ------
    ValueError
        When the shapes do not fit, or the map has no inverse at one of the draws.

    Examples
    --------
    >>> base = MultivariateNormal(torch.zeros(2), torch.eye(2))
    >>> z, log_q = reparametrise(torch.zeros(3, 2), lambda e: 2 * e + 1, base)
    >>> bool(torch.allclose(log_q, MultivariateNormal(torch.ones(2), 4 * torch.eye(2)).log_prob(z)))
    True
    """
    log_base = base.log_prob(eps)
    if log_base.shape != eps.shape[:-1]:
        raise ValueError(
            f"base gives log-densities {tuple(log_base.shape)} for draws {tuple(eps.shape)}; it must be over "
            "vectors: torch.distributions.Independent(base, 1)"
        )
    rows = eps.reshape(-1, eps.shape[-1])
    jacobian, z = torch.vmap(torch.func.jacrev(lambda e: (transform(e),) * 2, has_aux=True))(rows)
    if z.shape != rows.shape:
        raise ValueError(
            f"transform maps {tuple(rows.shape[1:])} to {tuple(z.shape[1:])}; "
            "a map with an inverse keeps the number of variables"
        )
    log_det = torch.linalg.slogdet(jacobian).logabsdet
    if not log_det.isfinite().all():
        raise ValueError("transform has no inverse at some of the draws: its determinant there is 0 or NaN")
    return z.reshape(eps.shape), log_base - log_det.reshape(log_base.shape)


# ------------------------------------------------------------------------------------ mixture of normals


class Mixture(NamedTuple):
    """A mixture of normal distributions, its components along the first axis.

    Attributes
    ----------
    weight : Tensor, shape (component,)
        Share of the traces that come from each component; they sum to one.
    mean : Tensor, shape (component, feature)
    covariance : Tensor, shape (component, feature, feature)
    """

    weight: Tensor
    mean: Tensor
    covariance: Tensor


def log_joint(x: Tensor, mixture: Mixture) -> Tensor:
    r""":math:`\ln p(x, c) = \ln \pi_c + \ln \mathcal N(x; \mu_c, \Sigma_c)` of traces and components.

    Parameters
    ----------
    x : Tensor, shape (trace, feature)
    mixture : Mixture

    Returns
    -------
    Tensor [nats], shape (trace, component)

    Examples
    --------
    >>> one = Mixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
    >>> log_joint(torch.zeros(3, 2), one).shape
    torch.Size([3, 1])
    """
    normal = MultivariateNormal(mixture.mean, mixture.covariance, validate_args=False)
    return mixture.weight.log() + normal.log_prob(x[:, None])


def log_likelihood(x: Tensor, mixture: Mixture) -> Tensor:
    r""":math:`\ln p(x) = \ln \sum_c p(x, c)` of each trace [nats].

    Examples
    --------
    >>> one = Mixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
    >>> log_likelihood(torch.zeros(1, 2), one)  # - ln 2 pi
    tensor([-1.8379])
    """
    return log_joint(x, mixture).logsumexp(-1)


def e_step(x: Tensor, mixture: Mixture) -> Tensor:
    """Find the q(c) of each trace that lifts the bound highest: the posterior p(c|x), or responsibilities.

    Parameters
    ----------
    x : Tensor, shape (trace, feature)
    mixture : Mixture

    Returns
    -------
    Tensor, shape (trace, component)
        Rows sum to one.

    Examples
    --------
    >>> two = Mixture(torch.ones(2) / 2, torch.tensor([[-1.0], [1.0]]), torch.ones(2, 1, 1))
    >>> e_step(torch.zeros(1, 1), two)
    tensor([[0.5000, 0.5000]])
    """
    return log_joint(x, mixture).softmax(-1)


def m_step(x: Tensor, responsibility: Tensor, floor: float = 1e-6) -> Mixture:
    r"""Find the parameters that lift the bound highest, the responsibilities r being held.

    .. math:: \pi_c = \frac1n \sum_i r_{ic}, \quad \mu_c = \frac{\sum_i r_{ic} x_i}{\sum_i r_{ic}}, \quad
              \Sigma_c = \frac{\sum_i r_{ic} (x_i - \mu_c)(x_i - \mu_c)^T}{\sum_i r_{ic}}

    (Bishop, 2006, equations 9.24 to 9.26). A component that collapses onto one trace would have an
    infinite likelihood, so its variance, in any direction, must not go below `floor`, all features being
    measured in standard deviations of the whole data: smaller eigenvalues are lifted to there. That is
    still the highest point of the bound among the covariances allowed, so the bound never falls. A
    component responsible for nothing gets the weight 0, with which its place does not matter to the bound,
    and the mean and covariance of all traces.

    Parameters
    ----------
    x : Tensor, shape (trace, feature)
    responsibility : Tensor, shape (trace, component)
        From `e_step`.
    floor : float

    Returns
    -------
    Mixture

    Raises
    ------
    ValueError
        When shapes do not fit, or a feature is the same in all traces.

    Examples
    --------
    >>> x = torch.tensor([[0.0], [2.0], [10.0], [14.0]])
    >>> m_step(x, torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])).covariance.flatten()
    tensor([1., 4.])
    """
    spread = _spread(x)
    if responsibility.ndim != 2 or len(responsibility) != len(x):
        found = f"{tuple(responsibility.shape)} for {len(x)} traces"
        raise ValueError(f"responsibility has shape {found}; it must be (trace, component)")
    total = responsibility.sum(0)
    tiny = torch.finfo(x.dtype).tiny
    share = torch.where(total > tiny, responsibility / total.clamp(min=tiny), 1 / len(x)).mT
    mean = share @ x
    off = (x - mean[:, None]) / spread
    value, axes = torch.linalg.eigh((share[..., None] * off).mT @ off)
    covariance = (axes * value.clamp(min=floor)[:, None]) @ axes.mT
    return Mixture(total / total.sum(), mean, covariance * spread * spread[:, None])


def bound(x: Tensor, responsibility: Tensor, mixture: Mixture) -> Tensor:
    r"""Evidence lower bound of each trace [nats], for given responsibilities.

    .. math:: \sum_c r_c \left(\ln p(x, c) - \ln r_c\right) = \ln p(x) - KL(r \| p(c|x))

    (Neal and Hinton, 1998): the log-likelihood where `responsibility` comes from `e_step` with the same
    parameters, and less everywhere else.

    Parameters
    ----------
    x : Tensor, shape (trace, feature)
    responsibility : Tensor, shape (trace, component)
    mixture : Mixture

    Returns
    -------
    Tensor, shape (trace,)

    Examples
    --------
    >>> two = Mixture(torch.ones(2) / 2, torch.tensor([[-1.0], [1.0]]), torch.ones(2, 1, 1))
    >>> x = torch.tensor([[0.5]])
    >>> log_likelihood(x, two) - bound(x, torch.tensor([[0.5, 0.5]]), two)
    tensor([0.1201])
    """
    gain = log_joint(x, mixture) - responsibility.log()
    # 0 ln 0 is 0: what has no responsibility counts for nothing, be its logarithm what it may
    return torch.where(responsibility > 0, responsibility * gain, 0).sum(-1)


def fit_mixture_em(
    x: Tensor,
    components: int,
    steps: int = 100,
    seed: int = 0,
    *,
    start: Mixture | None = None,
    floor: float = 1e-6,
) -> tuple[Mixture, Tensor]:
    """Fit a mixture of normals by expectation and maximisation in turns (Dempster et al., 1977).

    Each turn climbs the bound twice, over the responsibilities and then over the parameters; after each E
    step the bound touches the mean log-likelihood, which therefore never falls.

    Parameters
    ----------
    x : Tensor, shape (trace, feature)
    components, steps, seed : int
    start : Mixture, optional
        Where to start. Otherwise from equal weights, the covariance of all traces, and means at traces far
        from each other (k-means++; Arthur and Vassilvitskii, 2007).
    floor : float
        Smallest variance, as a share of a feature's own; see `m_step`.

    Returns
    -------
    mixture : Mixture
    log_likelihood : Tensor [nats per trace], shape (steps + 1,)
        Mean over the traces, at the start and after each step.

    Raises
    ------
    ValueError
        When x is not (trace, feature), finite and varying in each feature, or has fewer traces than
        components.

    Examples
    --------
    >>> x = torch.tensor([[-5.1], [-4.9], [4.9], [5.1]])
    >>> mixture, climb = fit_mixture_em(x, 2)
    >>> mixture.mean.flatten().sort().values, bool(climb[-1] > climb[0])
    (tensor([-5.,  5.]), True)
    """
    mixture = _start(x, components, seed, floor) if start is None else start
    climb = [log_likelihood(x, mixture).mean()]
    for _ in range(steps):
        mixture = m_step(x, e_step(x, mixture), floor)
        climb.append(log_likelihood(x, mixture).mean())
    return mixture, torch.stack(climb)


def fit_mixture_gradient(
    x: Tensor,
    components: int,
    steps: int = 1000,
    seed: int = 0,
    *,
    lr: float = 0.05,
    start: Mixture | None = None,
    floor: float = 1e-6,
) -> tuple[Mixture, Tensor]:
    r"""Fit a mixture of normals by climbing the same bound along its gradient, with Adam.

    The responsibilities are those of the E step, held while the gradient is taken: where the bound touches
    the log-likelihood the two have the same gradient (Fisher's identity). The parameters are free of
    constraints: log-odds for the weights (softmax), and for each covariance a triangular matrix of positive
    diagonal (exp), whose product with its transpose it is, plus the floor. All is measured in standard
    deviations of the features, so that one learning rate fits any units.

    Parameters
    ----------
    x, components, steps, seed, start, floor
        As in `fit_mixture_em`; a `start` needs weights above 0 and covariances above the floor.
    lr : float
        First learning rate; it falls to zero as a cosine.

    Returns
    -------
    mixture : Mixture
    log_likelihood : Tensor [nats per trace], shape (steps + 1,)
        Mean over the traces, at the start and after each step.

    Examples
    --------
    >>> x = torch.tensor([[-5.1], [-4.9], [4.9], [5.1]])
    >>> mixture, climb = fit_mixture_gradient(x, 2)
    >>> mixture.mean.flatten().sort().values.round(decimals=2)
    tensor([-5.,  5.])
    """
    mixture = _start(x, components, seed, floor) if start is None else start
    free = _Free(x, mixture, floor)
    adam = torch.optim.Adam(free.values, lr=lr)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(steps, 1))
    climb = []
    for _ in range(steps):
        mixture = free.mixture()
        with torch.no_grad():
            responsibility = e_step(x, mixture)
        value = bound(x, responsibility, mixture).mean()
        adam.zero_grad()
        (-value).backward()
        adam.step()
        slower.step()
        climb.append(value.detach())
    with torch.no_grad():
        mixture = free.mixture()
        climb.append(log_likelihood(x, mixture).mean())
    return mixture, torch.stack(climb)


class _Free:
    """The parameters of a mixture as numbers without constraints, in standard deviations of the features."""

    def __init__(self, x: Tensor, mixture: Mixture, floor: float):
        self.centre, self.spread = x.mean(0), _spread(x)
        self.floor = floor * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        scaled = mixture.covariance / self.spread / self.spread[:, None]
        factor = torch.linalg.cholesky(scaled - self.floor)
        logs = factor.diagonal(dim1=-2, dim2=-1).log()
        mean = (mixture.mean - self.centre) / self.spread
        self.values = [
            v.detach().clone().requires_grad_() for v in (mixture.weight.log(), mean, factor, logs)
        ]

    def mixture(self) -> Mixture:
        logit, mean, below, logs = self.values
        factor = below.tril(-1) + torch.diag_embed(logs.exp())
        covariance = (factor @ factor.mT + self.floor) * self.spread * self.spread[:, None]
        return Mixture(logit.softmax(-1), self.centre + self.spread * mean, covariance)


def _start(x: Tensor, components: int, seed: int, floor: float) -> Mixture:
    """Equal weights, one covariance for all, means at traces far from each other (k-means++)."""
    scaled = (x / _spread(x)).cpu()
    if not 1 <= components <= len(x):
        raise ValueError(f"components is {components}; {len(x)} traces allow 1 to {len(x)}")
    rng = torch.Generator().manual_seed(seed)
    chosen = [int(torch.randint(len(x), (), generator=rng))]
    for _ in range(components - 1):
        nearest = torch.cdist(scaled, scaled[chosen]).amin(1).square()
        # copies of the same few traces: any other trace will do
        odds = nearest if nearest.sum() > 0 else torch.ones_like(nearest)
        chosen.append(int(torch.multinomial(odds, 1, generator=rng)))
    whole = m_step(x, x.new_ones(len(x), 1), 2 * floor).covariance
    weight = x.new_full((components,), 1 / components)
    return Mixture(weight, x[chosen], whole.repeat(components, 1, 1))


def _spread(x: Tensor) -> Tensor:
    """Standard deviation of each feature, none of which may be 0."""
    _check_traces(x)
    spread = x.std(0, correction=0)
    if not (spread > 0).all():
        same = int(torch.argmin(spread))
        raise ValueError(
            f"feature {same} of x is the same in all traces, so it has no variance; leave it out"
        )
    return spread


def _check_traces(x: Tensor) -> None:
    if x.ndim != 2 or not x.numel():
        raise ValueError(f"x has shape {tuple(x.shape)}; it must be (trace, feature)")
    if not x.isfinite().all():
        raise ValueError("x holds NaN or infinity; leave those traces out")


# ------------------------------------------------------------------------------------ probabilistic PCA


class PPCA(NamedTuple):
    r"""Parameters of probabilistic PCA, :math:`x = W z + \mu + \sigma \epsilon` with normal z and epsilon.

    Attributes
    ----------
    weight : Tensor, shape (feature, latent)
    mean : Tensor, shape (feature,)
    sigma : Tensor, shape ()
    """

    weight: Tensor
    mean: Tensor
    sigma: Tensor


def ppca_log_evidence(x: Tensor, weight: Tensor, mean: Tensor, sigma: float | Tensor) -> Tensor:
    r"""Exact log-evidence of each trace under probabilistic PCA [nats].

    :math:`\ln p(x) = \ln \mathcal N(x; \mu, C)` with :math:`C = W W^T + \sigma^2 I` (Tipping and Bishop,
    1999), through matrices of the latent's size alone. With :math:`M = W^T W + \sigma^2 I` (k by k, d
    features) and m the posterior mean of z,

    .. math:: \ln |C| = (d - k) \ln \sigma^2 + \ln |M|, \qquad
              (x - \mu)^T C^{-1} (x - \mu) = |x - \mu - W m|^2 / \sigma^2 + |m|^2,

    Woodbury's identity as a sum of squares, in which nothing cancels when sigma is small.

    Parameters
    ----------
    x : Tensor, shape (trace, feature)
    weight : Tensor, shape (feature, latent)
    mean : Tensor, shape (feature,)
    sigma : float or Tensor
        Standard deviation of the noise, above 0.

    Returns
    -------
    Tensor, shape (trace,)

    Raises
    ------
    ValueError
        When shapes do not fit, or sigma is not above 0.

    Examples
    --------
    >>> x, weight = torch.zeros(1, 2), torch.ones(2, 1)
    >>> exact = MultivariateNormal(torch.zeros(2), weight @ weight.T + torch.eye(2)).log_prob(x)
    >>> torch.allclose(ppca_log_evidence(x, weight, torch.zeros(2), 1.0), exact)
    True
    """
    sigma = _check_ppca(x, weight, mean, sigma)
    features, latent = weight.shape
    factor = _latent_factor(weight, sigma)
    code = torch.cholesky_solve(weight.mT @ (x - mean).mT, factor).mT
    squares = (x - mean - code @ weight.mT).square().sum(-1) / sigma**2 + code.square().sum(-1)
    log_det = 2 * ((features - latent) * sigma.log() + factor.diagonal().log().sum())
    return -0.5 * (features * math.log(2 * math.pi) + log_det + squares)


def ppca_posterior(x: Tensor, weight: Tensor, mean: Tensor, sigma: float | Tensor) -> tuple[Tensor, Tensor]:
    r"""Exact posterior of the latent variables under probabilistic PCA.

    :math:`p(z|x) = \mathcal N(z; M^{-1} W^T (x - \mu), \sigma^2 M^{-1})`, with
    :math:`M = W^T W + \sigma^2 I` (Tipping and Bishop, 1999).

    Parameters
    ----------
    x, weight, mean, sigma
        As in `ppca_log_evidence`.

    Returns
    -------
    mean : Tensor, shape (trace, latent)
    covariance : Tensor, shape (latent, latent)
        The same for all traces.

    Examples
    --------
    >>> ppca_posterior(torch.tensor([[2.0]]), torch.ones(1, 1), torch.zeros(1), 1.0)
    (tensor([[1.]]), tensor([[0.5000]]))
    """
    sigma = _check_ppca(x, weight, mean, sigma)
    factor = _latent_factor(weight, sigma)
    eye = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
    code = torch.cholesky_solve(weight.mT @ (x - mean).mT, factor).mT
    return code, sigma**2 * torch.cholesky_solve(eye, factor)


def fit_ppca(x: Tensor, latent: int) -> PPCA:
    r"""Fit probabilistic PCA to the highest likelihood, in closed form.

    With eigenvalues :math:`\lambda_1 \ge \dots \ge \lambda_d` and vectors U of the traces' covariance
    (divided by their number), :math:`\sigma^2` is the mean of the :math:`d - k` smallest, and
    :math:`W = U_k (\Lambda_k - \sigma^2 I)^{1/2}` (Tipping and Bishop, 1999, equations 7 and 8). Columns of W
    could be turned among themselves, or change sign, at no loss; these stand on the principal axes.

    Parameters
    ----------
    x : Tensor, shape (trace, feature)
    latent : int
        Fewer than the features.

    Returns
    -------
    PPCA
        ``ppca_log_evidence(x, *fit_ppca(x, 2))`` is the log-evidence of the traces themselves.

    Raises
    ------
    ValueError
        When `latent` does not leave a variance for the noise.

    Examples
    --------
    >>> x = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> fit_ppca(x, 1).sigma**2
    tensor(0.5000)
    """
    _check_traces(x)
    features = x.shape[1]
    if not 1 <= latent < features:
        raise ValueError(f"latent is {latent}; {features} features allow 1 to {features - 1}")
    mean = x.mean(0)
    _, singular, axes = torch.linalg.svd((x - mean) / math.sqrt(len(x)), full_matrices=False)
    variance = singular.square()
    noise = variance[latent:].sum() / (features - latent)
    rounding = (torch.finfo(x.dtype).eps * max(x.shape)) ** 2 * variance[0]
    if not noise > rounding:
        raise ValueError(
            f"{latent} latents explain x without rest, so nothing is left for the noise; take fewer"
        )
    weight = axes[:latent].mT * (variance[:latent] - noise).clamp(min=0).sqrt()
    return PPCA(weight, mean, noise.sqrt())


def _latent_factor(weight: Tensor, sigma: Tensor) -> Tensor:
    """Cholesky factor of M = W'W + sigma² I."""
    eye = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
    return torch.linalg.cholesky(weight.mT @ weight + sigma**2 * eye)


def _check_ppca(x: Tensor, weight: Tensor, mean: Tensor, sigma: float | Tensor) -> Tensor:
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1:] != weight.shape[:1] or mean.shape != x.shape[1:]:
        found = f"x {tuple(x.shape)}, weight {tuple(weight.shape)}, mean {tuple(mean.shape)}"
        raise ValueError(f"{found} do not fit; they must be (trace, feature), (feature, latent), (feature,)")
    sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    if sigma.ndim or not sigma > 0:
        raise ValueError(f"sigma is {sigma.tolist()}; it must be one number above 0")
    return sigma
