"""What training minimises: a weighted sum of named terms, each one number per trace."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from .dist import Delta, prior
from .model import Model, Trip


def reconstruction(trip: Trip) -> Tensor:
    """Negative log-likelihood of the target [nats per trace]: at sigma 1 half the squared error + const."""
    return -trip.p.log_prob(trip.target)


def kl(trip: Trip) -> Tensor:
    """Divergence of q(z|x) from the standard normal prior [nats per trace]."""
    q = _code(trip, "kl").q
    if isinstance(q, Delta):
        raise ValueError(
            "kl needs a posterior with a width, but it is a point; use posterior='diagonal' or kl=0"
        )
    return kl_divergence(q, prior(q))


def kl_to_prior(mean: Tensor, std: Tensor) -> Tensor:
    r"""Divergence of :math:`\mathcal N(\mu, \sigma^2)` from the standard normal, number by number [nats].

    :math:`\tfrac12 (\mu^2 + \sigma^2 - 1 - \ln \sigma^2)` (Kingma and Welling, 2014, appendix B).
    """
    return 0.5 * (mean**2 + std**2 - 1) - std.log()


def l1(trip: Trip) -> Tensor:
    """Sum of the absolute values of the code."""
    return _code(trip, "l1").z.abs().sum(-1)


def contractive(trip: Trip) -> Tensor:
    """Squared Frobenius norm of d(mean code)/d(trace) (Rifai et al., 2011)."""
    mean = _code(trip, "contractive").q.mean
    rows = (torch.autograd.grad(mean[:, i].sum(), trip.x, create_graph=True)[0] for i in range(mean.shape[1]))
    return torch.stack([row.flatten(1).square().sum(-1) for row in rows]).sum(0)


def _code(trip: Trip, term: str) -> Any:
    if trip.q is None:
        raise ValueError(f"{term} acts on a code, and a denoiser with skips has none; leave {term} at 0")
    return trip


TERMS: dict[str, Callable[[Trip], Tensor]] = {f.__name__: f for f in (reconstruction, kl, l1, contractive)}


@dataclass(frozen=True)
class Objective:
    """Weights of the terms; a term of weight zero is left out.

    Parameters
    ----------
    reconstruction : float
        Weight of the negative log-likelihood of the target [nats].
    kl : float
        Weight of KL(q(z|x) || N(0, I)) [nats]: 1 gives (minus) the evidence lower bound, other values a
        beta-VAE (Higgins et al., 2017).
    l1 : float
        Weight of the sum of the code's absolute values.
    contractive : float
        Weight of the squared Frobenius norm of the encoder's Jacobian.
    l2 : float
        Weight of the sum of squares of all weight matrices; its gradient is ``2 * l2 * W``.
    extra : mapping
        Terms of your own: name to (weight, function of a `Trip` giving one number per trace).

    Examples
    --------
    >>> Objective(kl=4)
    Objective(reconstruction=1.0, kl=4, l1=0.0, contractive=0.0, l2=0.0, extra={})
    """

    reconstruction: float = 1.0
    kl: float = 0.0
    l1: float = 0.0
    contractive: float = 0.0
    l2: float = 0.0
    extra: Mapping[str, tuple[float, Callable[[Trip], Tensor]]] = field(default_factory=dict)

    def __call__(
        self, model: Model, x: Tensor, target: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss, a scalar, and the mean of each unweighted term over the batch.

        Parameters
        ----------
        model : Model
        x, target : Tensor, shape (trace, channel, time)
            What the model sees, and what should come out (`x` itself if None), in physical units.
        """
        if self.contractive:
            x = x.detach().requires_grad_()
        trip = model.trip(x, target)
        means = {name: function(trip).mean() for name, (_, function) in self.terms().items()}
        loss = torch.stack([weight * means[name] for name, (weight, _) in self.terms().items()]).sum()
        if self.l2:
            means["l2"] = sum_of_squares(model)
            loss = loss + self.l2 * means["l2"]
        return loss, means

    def terms(self) -> dict[str, tuple[float, Callable[[Trip], Tensor]]]:
        """Name to (weight, function) of the terms per trace that count."""
        own = {name: (getattr(self, name), function) for name, function in TERMS.items()}
        return {name: term for name, term in {**own, **self.extra}.items() if term[0]}

    def weights(self) -> dict[str, float]:
        """Return the weights as plain numbers, for a file or a log."""
        plain = {name: getattr(self, name) for name in (*TERMS, "l2")}
        return {name: w for name, w in {**plain, **{k: w for k, (w, _) in self.extra.items()}}.items() if w}


def sum_of_squares(model: Model) -> Tensor:
    """Sum of squares of all weight matrices; biases are not penalised."""
    return torch.stack([p.square().sum() for p in model.parameters() if p.ndim > 1]).sum()
