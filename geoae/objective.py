"""What training minimises: a weighted sum of named terms.

A term looks at a `geoae.model.Trip`, one pass of a batch through a model, and gives one number per trace
(or per draw of a trace's code), of which the mean is taken.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial, wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributions import Independent, kl_divergence

from .dist import Delta, Point, prior
from .model import Autoencoder, Model, Trip

Term = Callable[[Trip], Tensor]
T = TypeVar("T")


# ------------------------------------------------------------------------------------------- schedules


@dataclass(frozen=True)
class WarmUp:
    """A weight that rises from 0 to `to` by `until`, a share of the run, and stays (Bowman et al., 2016)."""

    to: float = 1.0
    until: float = 0.5

    def at(self, share: float) -> float:
        """Weight after `share` of the run."""
        return self.to * min(1.0, share / self.until)


@dataclass(frozen=True)
class Cyclic:
    """A weight that rises from 0 to `to` and stays, `cycles` times over (Fu et al., 2019).

    Each cycle rises during its first `rise`.
    """

    to: float = 1.0
    cycles: int = 4
    rise: float = 0.5

    def at(self, share: float) -> float:
        """Weight after `share` of the run; the last cycle ends at `to`."""
        if share >= 1:
            return self.to
        return self.to * min(1.0, (share * self.cycles % 1.0) / self.rise)


# ----------------------------------------------------------------------------------------------- terms


def reconstruction(trip: Trip) -> Tensor:
    """Negative log-likelihood of the target [nats per trace]: at sigma 1 half the squared error + const."""
    return -trip.p.log_prob(trip.target)


def kl(trip: Trip) -> Tensor:
    """Divergence of q(z|x) from the standard normal prior [nats per trace]."""
    q = _posterior(trip, "kl")
    if isinstance(q, Independent):
        return kl_to_prior(q.mean, q.stddev, getattr(q, "log_std", None)).sum(-1)
    return kl_divergence(q, prior(q))


def kl_with_free_bits(trip: Trip, free: float) -> Tensor:
    """Divergence from the prior in which each latent's mean counts for at least `free` nats.

    A latent below pays no less for less, so it is not pressed to switch off (Kingma et al., 2016).
    """
    q = _posterior(trip, "free_bits")
    if not isinstance(q, Independent):
        raise ValueError("free_bits counts latent by latent, which posterior='full' does not; use 'diagonal'")
    return kl_to_prior(q.mean, q.stddev).mean(0).clamp_min(free).sum()


def kl_to_prior(mean: Tensor, std: Tensor, log_std: Tensor | None = None) -> Tensor:
    r"""Divergence of :math:`\mathcal N(\mu, \sigma^2)` from the standard normal, number by number [nats].

    :math:`\tfrac12 (\mu^2 + \sigma^2 - 1 - \ln \sigma^2)` (Kingma and Welling, 2014, appendix B); its
    logarithm may be given where it is at hand.
    """
    return 0.5 * (mean.square() + std.square() - 1) - (std.log() if log_std is None else log_std)


def l1(trip: Trip) -> Tensor:
    """Sum of the absolute values of the code."""
    return _code(trip, "l1").z.abs().sum(-1)


def activity(trip: Trip, weights: tuple[float, ...] | None = None) -> Tensor:
    r"""Sum of the layers' norms, :math:`\sum_k w_k \lVert h_k \rVert_2`, for each trace."""
    layers = _layers(trip, "activity")
    norms = [h.flatten(1).norm(dim=1) for h in layers]
    return _weighted(norms, weights, "layer_weights")


def sparsity(
    trip: Trip,
    kind: str,
    rho: float | tuple[float, ...],
    weights: tuple[float, ...] | None = None,
    mean_over: str = "traces",
) -> Tensor:
    r"""Distance of mean activations from their targets, :math:`\sum_k w_k\, s(\rho_k, \hat\rho_k)`.

    Parameters
    ----------
    trip : Trip
    kind : str
        What s is: ``kl``, between two coins that fall heads with :math:`\rho` and :math:`\hat\rho`; ``l1``,
        :math:`|\rho - \hat\rho|`; ``l2``, :math:`(\rho - \hat\rho)^2`.
    rho : float or tuple
        Target, one for all layers or one each.
    weights : tuple, optional
        :math:`w_k` of each layer; 1 if None.
    mean_over : str
        ``traces``: each unit's mean over the batch is held to the target, and s summed over the units (Ng,
        2011); ``units``: each trace's mean over the layer is.

    Returns
    -------
    Tensor
        One number for the batch, or with ``mean_over="units"`` one for each trace.
    """
    if mean_over not in ("traces", "units"):
        raise ValueError(f"mean_over is {mean_over!r}; choose from traces, units")
    layers = _layers(trip, f"sparse_{kind}")
    targets = rho if isinstance(rho, tuple | list) else (rho,) * len(layers)
    if len(targets) != len(layers):
        raise ValueError(f"rho has {len(targets)} targets, the model {len(layers)} layers with an activation")
    distance = DISTANCES[kind]
    if mean_over == "traces":
        values = [distance(r, h.flatten(1).mean(0)).sum() for r, h in zip(targets, layers, strict=True)]
    else:
        values = [distance(r, h.flatten(1).mean(1)) for r, h in zip(targets, layers, strict=True)]
    return _weighted(values, weights, "layer_weights")


def bernoulli_kl(rho: float, rho_hat: Tensor) -> Tensor:
    r"""Divergence of a coin that falls heads with :math:`\hat\rho` from one with :math:`\rho` [nats].

    :math:`\rho \ln \frac{\rho}{\hat\rho} + (1 - \rho) \ln \frac{1 - \rho}{1 - \hat\rho}`: zero at
    :math:`\hat\rho = \rho` and nowhere else.
    """
    if not 0 < rho < 1:
        raise ValueError(f"rho is {rho}; a target activation lies between 0 and 1")
    low, high = rho_hat.aminmax()
    if low < 0 or high > 1:
        raise ValueError(
            f"mean activations go from {low:.3g} to {high:.3g}, sparsity by KL needs 0 to 1; "
            f"use activation='sigmoid' (and code='sigmoid')"
        )
    tiny = torch.finfo(rho_hat.dtype).tiny  # a unit that is wholly off costs much, not infinitely
    return rho * (math.log(rho) - rho_hat.clamp_min(tiny).log()) + (1 - rho) * (
        math.log1p(-rho) - torch.log1p(-rho_hat).clamp_min(math.log(tiny))
    )


DISTANCES: dict[str, Callable[[float, Tensor], Tensor]] = {
    "kl": bernoulli_kl,
    "l1": lambda rho, rho_hat: (rho - rho_hat).abs(),
    "l2": lambda rho, rho_hat: (rho - rho_hat).square(),
}


def contractive(trip: Trip, probes: int = 0) -> Tensor:
    r"""Squared Frobenius norm of the Jacobian, :math:`\lVert dz/dx \rVert_F^2` (Rifai et al., 2011).

    Parameters
    ----------
    trip : Trip
    probes : int
        0 takes one derivative for each latent. Otherwise Hutchinson's estimate from this many random
        signs v, the mean of :math:`\lVert J^\top v \rVert^2`, cheaper where the code is wide.
    """
    mean = _code(trip, "contractive").q.mean
    if probes:
        signs = torch.randint(0, 2, (probes, *mean.shape), device=mean.device).to(mean) * 2 - 1
        directions, over = signs, probes
    else:
        directions, over = torch.eye(mean.shape[1]).to(mean)[:, None].expand(-1, *mean.shape), 1
    rows = [torch.autograd.grad(mean, trip.x, v, create_graph=True)[0] for v in directions]
    return torch.stack([row.flatten(1).square().sum(-1) for row in rows]).sum(0) / over


def contractive_closed(trip: Trip, weight: Tensor) -> Tensor:
    r"""`contractive` of one sigmoid layer :math:`h = \sigma(Wx + b)` without a derivative.

    :math:`\sum_i (h_i (1 - h_i))^2 \sum_j W_{ij}^2`.
    """
    h = _code(trip, "contractive").q.mean
    return (h * (1 - h)).square() @ weight.square().sum(1)


def sum_of_squares(model: Model) -> Tensor:
    """Sum of squares of all weight matrices; biases and the likelihood's sigma are not penalised."""
    own = {id(p) for p in model.likelihood.parameters()}
    return torch.stack(
        [p.square().sum() for p in model.parameters() if p.ndim > 1 and id(p) not in own]
    ).sum()


def _code(trip: Trip, term: str) -> Any:
    if trip.q is None:
        raise ValueError(f"{term} acts on a code, and a denoiser with skips has none; leave {term} at 0")
    return trip


def _posterior(trip: Trip, term: str) -> Any:
    q = _code(trip, term).q
    if isinstance(q, Delta):
        raise ValueError(
            f"{term} needs a posterior with a width, but it is a point; use posterior='diagonal' or {term}=0"
        )
    return q


def _layers(trip: Trip, term: str) -> tuple[Tensor, ...]:
    layers = _code(trip, term).hidden
    if not layers:
        raise ValueError(
            f"{term} acts on activations, and this encoder has none; give widths, or code='sigmoid'"
        )
    return layers


def _weighted(values: list[Tensor], weights: tuple[float, ...] | None, name: str) -> Tensor:
    if weights is None:
        weights = (1.0,) * len(values)
    if len(weights) != len(values):
        raise ValueError(
            f"{name} has {len(weights)} numbers, the model {len(values)} layers with an activation"
        )
    return torch.stack([w * value for w, value in zip(weights, values, strict=True)]).sum(0)


# ------------------------------------------------------------------------------------------- objective


def _words_checked(cls: type[T]) -> type[T]:
    """Let a class say which keywords it takes when it is given another."""
    init: Any = cls.__init__
    names = list(inspect.signature(init).parameters)[1:]

    @wraps(init)
    def checked(self: T, *args: Any, **words: Any) -> None:
        for word in words.keys() - names:
            near = "".join(f", perhaps {name!r}" for name in get_close_matches(word.lower(), names, 1))
            raise TypeError(f"unknown keyword {word!r}{near}; {cls.__name__} takes {', '.join(names)}")
        init(self, *args, **words)

    cls.__init__ = checked  # type: ignore[assignment]
    return cls


@_words_checked
@dataclass(frozen=True, kw_only=True)
class Objective:
    """Weights of the terms; a term of weight zero is left out.

    Parameters
    ----------
    reconstruction : float
        Weight of the negative log-likelihood of the target [nats].
    kl : float or schedule
        Weight of KL(q(z|x) || N(0, I)) [nats]: 1 gives (minus) the evidence lower bound, other values a
        beta-VAE (Higgins et al., 2017), `WarmUp` and `Cyclic` change it during the run.
    free_bits : float
        Nats that each latent has for nothing.
    samples : int
        Draws of the code for each trace, L: the estimate of the bound stays unbiased, its variance
        falls as 1/L.
    l1 : float
        Weight of the sum of the code's absolute values.
    activity : float
        Weight of the sum of the layers' norms.
    sparse_kl, sparse_l1, sparse_l2 : float
        Weights of the distance of mean activations from `rho`, see `sparsity`.
    rho : float or tuple
        Target of mean activations, for all layers or one each.
    layer_weights : tuple, optional
        w_k of each layer with an activation, first to last, the code being one if it has an activation.
    mean_over : str
        ``traces``, the mean activation of a unit over the batch, or ``units``, of a trace over the layer.
    contractive : float
        Weight of the squared Frobenius norm of the encoder's Jacobian.
    probes : int
        0 for that norm exactly, or the number of Hutchinson's probes that estimate it.
    l2 : float
        Weight of the sum of squares of all weight matrices; its gradient is ``2 * l2 * W``.
    extra : mapping
        Terms of your own: name to (weight, function of a `Trip` giving one number per trace).

    Examples
    --------
    >>> Objective(kl=4)
    Objective(kl=4)
    >>> Objective(sparse_kl=0.1, rho=0.005)
    Objective(sparse_kl=0.1, rho=0.005)
    """

    reconstruction: float = 1.0
    kl: float | WarmUp | Cyclic = 0.0
    free_bits: float = 0.0
    samples: int = 1
    l1: float = 0.0
    activity: float = 0.0
    sparse_kl: float = 0.0
    sparse_l1: float = 0.0
    sparse_l2: float = 0.0
    rho: float | tuple[float, ...] = 0.05
    layer_weights: tuple[float, ...] | None = None
    mean_over: str = "traces"
    contractive: float = 0.0
    probes: int = 0
    l2: float = 0.0
    extra: Mapping[str, tuple[float, Term]] = field(default_factory=dict)
    _weights: dict[str, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what no run could use."""
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}; it is the number of draws of each code, 1 or more")
        if self.probes < 0:
            raise ValueError(f"probes is {self.probes}; it is a number of draws, or 0 for the exact norm")
        weights = {name: getattr(self, name) for name in TERMS}
        weights |= {name: weight for name, (weight, _) in self.extra.items()}
        weights["kl"] = _at(self.kl, 1.0)
        object.__setattr__(self, "_weights", {name: weight for name, weight in weights.items() if weight})
        if not self._weights:
            raise ValueError("every weight is 0, so there is nothing to minimise; leave reconstruction at 1")

    def __repr__(self) -> str:
        """Name what differs from the defaults."""
        default = {name: f.default for name, f in self.__dataclass_fields__.items() if f.init}
        own = {name: getattr(self, name) for name in default}
        words = [f"{name}={value!r}" for name, value in own.items() if value != default[name] and value != {}]
        return f"Objective({', '.join(words)})"

    def __call__(
        self,
        model: Model,
        x: Tensor,
        target: Tensor | None = None,
        *,
        share: float = 1.0,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss, a scalar, and the mean of each unweighted term over the batch.

        Parameters
        ----------
        model : Model
        x, target : Tensor, shape (trace, channel, time)
            What the model sees, and what should come out (`x` itself if None), in physical units.
        share : float
            Share of the run that is over, which schedules go by.
        noise : Tensor, optional
            What the draws are made of, see `geoae.model.Model.trip`.
        """
        watch = not self._weights.keys() <= UNWATCHED
        derive = bool(self.contractive)
        trip = model.trip(x, target, samples=self.samples, differentiable=derive, watch=watch, noise=noise)
        means = {name: self.term(name, model)(trip).mean() for name in self._weights}
        return self.total(means, share), means

    def total(self, means: Mapping[str, Tensor], share: float = 1.0) -> Tensor:
        """Weighted sum of the terms after a share of the run."""
        weights = self.weights_at(share)
        first, *others = [value if weights[k] == 1.0 else weights[k] * value for k, value in means.items()]
        return sum(others, first)

    def term(self, name: str, model: Model) -> Term:
        """Return the function of a trip behind a name, with this objective's settings in it."""
        return self.extra[name][1] if name in self.extra else TERMS[name](self, model)

    def weights_at(self, share: float) -> dict[str, float]:
        """Weights after a share of the run, of every term that counts at its end."""
        return self._weights | {"kl": _at(self.kl, share)}

    def weights(self) -> dict[str, float]:
        """Weights that are not zero, at the end of the run, as plain numbers."""
        return dict(self._weights)


def _at(weight: float | WarmUp | Cyclic, share: float) -> float:
    return weight if isinstance(weight, int | float) else weight.at(share)


def _sparsity(own: Objective, kind: str) -> Term:
    return lambda trip: sparsity(trip, kind, own.rho, own.layer_weights, own.mean_over)


def _contractive(own: Objective, model: Model) -> Term:
    weight = None if own.probes else _one_sigmoid_layer(model)
    if weight is not None:
        return lambda trip: contractive_closed(trip, weight)
    return lambda trip: contractive(trip, own.probes)


def _one_sigmoid_layer(model: Model) -> Tensor | None:
    """Weight of an encoder that is one sigmoid layer and nothing else."""
    if not (isinstance(model, Autoencoder) and isinstance(model.posterior, Point)):
        return None
    layers = [*model.encoder.children(), *model.posterior.children()]
    kinds = [type(layer) for layer in layers]
    return layers[1].weight if kinds == [nn.Flatten, nn.Linear, nn.Sigmoid] else None  # type: ignore[return-value]


# What the weight of this name in an objective switches on, given its settings and the model.
TERMS: dict[str, Callable[[Objective, Model], Term]] = {
    "reconstruction": lambda own, model: reconstruction,
    "kl": lambda own, model: partial(kl_with_free_bits, free=own.free_bits) if own.free_bits else kl,
    "l1": lambda own, model: l1,
    "activity": lambda own, model: partial(activity, weights=own.layer_weights),
    "sparse_kl": lambda own, model: _sparsity(own, "kl"),
    "sparse_l1": lambda own, model: _sparsity(own, "l1"),
    "sparse_l2": lambda own, model: _sparsity(own, "l2"),
    "contractive": _contractive,
    "l2": lambda own, model: lambda trip: sum_of_squares(model),
}
UNWATCHED = {"reconstruction", "kl", "l1", "contractive", "l2"}  # these do not look at a trip's activations
