"""The gradient of a dense autoencoder, written down by hand.

A step of a small network is some hundred short operations, and what autograd notes down of each takes about
as long as the operation. By hand the loss and its gradient take two thirds of the time. Only plain models go
this way (see `plain`), and only while they are trained; all else is left to autograd, which the tests hold
this against.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import dist, nn as net
from ..model import Autoencoder, Model
from ..objective import Objective

_aten = torch.ops.aten

# Each activation y = f(x), and the way back: from the loss's gradient g by y to that by x.
ACTIVATIONS: dict[type[nn.Module], tuple[Callable, Callable]] = {
    nn.ReLU: (torch.relu, lambda g, x, y: _aten.threshold_backward(g, y, 0)),
    nn.GELU: (F.gelu, lambda g, x, y: _aten.gelu_backward(g, x)),
    nn.SiLU: (F.silu, lambda g, x, y: _aten.silu_backward(g, x)),
    nn.Tanh: (torch.tanh, lambda g, x, y: _aten.tanh_backward(g, y)),
    nn.Sigmoid: (torch.sigmoid, lambda g, x, y: _aten.sigmoid_backward(g, y)),
    nn.Identity: (lambda x: x, lambda g, x, y: g),
}


def plain(model: Model, objective: Objective) -> TypeGuard[Autoencoder]:
    """Whether the gradient is known by hand.

    It is of dense layers as `geoae.autoencoder` puts them together, a point or a diagonal posterior, a sigma
    that is no weight, no terms but reconstruction and divergence, and with no hook to watch autograd.
    """
    if type(model) is not Autoencoder or type(objective) is not Objective:
        return False
    parts = (model.encoder, model.decoder, model.likelihood)
    if tuple(map(type, parts)) != (net.DenseEncoder, net.DenseDecoder, dist.Gaussian):
        return False
    ends = [*model.encoder][:1] + [*model.decoder][-1:]  # type: ignore[misc]
    layers, weights = [*_inward(model), *_outward(model)], list(model.parameters())
    usual = {"reconstruction", "kl"} if type(model.posterior) is dist.Diagonal else {"reconstruction"}
    return (
        type(model.posterior) in (dist.Diagonal, dist.Point)
        and [type(end) for end in ends] == [nn.Flatten, nn.Unflatten]
        and all(_known(layer) for layer in layers)
        and len(weights) == 2 * sum(isinstance(layer, nn.Linear) for layer in layers)  # each has its own
        and all(weight.requires_grad for weight in weights)
        and set(map(torch.numel, model.likelihood.buffers())) == {1}
        and objective.weights().keys() <= usual
        and not (objective.samples > 1 or objective.free_bits or objective.extra)
        and not any(map(_watched, model.modules()))
        and not any(map(_watched, weights))
        and not torch.is_autocast_enabled(weights[0].device.type)
    )


def _inward(model: Autoencoder) -> list[nn.Module]:
    """Layers from the flattened trace to what the posterior is made of."""
    head = model.posterior if isinstance(model.posterior, dist.Point) else [model.posterior]
    return [*model.encoder, *head][1:]  # type: ignore[misc]


def _outward(model: Autoencoder) -> list[nn.Module]:
    """Layers from the code to the flattened trace."""
    return [*model.decoder][:-1]  # type: ignore[misc]


def _known(layer: nn.Module) -> bool:
    """Whether it is a layer with a bias, or an activation as it comes."""
    if type(layer) in (nn.Linear, dist.Diagonal):
        return layer.bias is not None
    return type(layer) is net.TopK or (type(layer) in ACTIVATIONS and repr(layer) == repr(type(layer)()))


def _watched(part: nn.Module | nn.Parameter) -> bool:
    """Whether somebody wants to be told what goes through a layer, or of a weight's gradient."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(part, kind, None) for kind in (*kinds, "_post_accumulate_grad_hooks"))


# ------------------------------------------------------------------------------------- there and back


class Linear:
    """One layer, y = x W^T + b; or with an axis in front, that of several networks side by side."""

    def __init__(self, weight: Tensor, bias: Tensor):
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (..., trace, feature) of inputs."""
        if self.weight.ndim == 2:
            return F.linear(x, self.weight, self.bias)
        return torch.baddbmm(self.bias[:, None], x, self.weight.mT)

    def backward(self, g: Tensor, x: Tensor, y: Tensor, more: bool) -> Tensor:
        """Leave their gradients with the weights; return the one by `x`, if there is more to come."""
        self.weight.grad, self.bias.grad = g.mT @ x, g.sum(-2)
        return g @ self.weight if more else g


class Activation:
    """One nonlinearity."""

    def __init__(self, layer: nn.Module):
        if isinstance(layer, net.TopK):  # of features that are not kept the gradient is not kept either
            self.forward, self.derivative = layer.forward, lambda g, x, y: layer(g, x)
        else:
            self.forward, self.derivative = ACTIVATIONS[type(layer)]

    def backward(self, g: Tensor, x: Tensor, y: Tensor, more: bool) -> Tensor:
        """Return the gradient by `x`."""
        return self.derivative(g, x, y)


class Layers:
    """Layers in a row, which remember what went through them until the way back."""

    def __init__(self, layers: list[nn.Module], weights: Iterator[Tensor]):
        self.layers = [
            Linear(next(weights), next(weights)) if isinstance(layer, nn.Linear) else Activation(layer)
            for layer in layers
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Send x (..., trace, feature) through."""
        self.seen = [x]
        for layer in self.layers:
            self.seen.append(layer.forward(self.seen[-1]))
        return self.seen[-1]

    def backward(self, g: Tensor, *, more: bool) -> Tensor:
        """Send the gradient back; return the one by what went in, if there is more to come."""
        for i in reversed(range(len(self.layers))):
            g = self.layers[i].backward(g, self.seen[i], self.seen[i + 1], more or i > 0)
        return g


class Draw:
    r"""Draws of the code, :math:`z = \mu + s` with :math:`s = \sigma \epsilon`, and their divergence.

    With g the gradient by z, those by :math:`\mu` and :math:`\ln \sigma` are :math:`g + \beta \mu` and
    :math:`g s + \beta (\sigma^2 - 1)`, :math:`\beta` being the weight of the divergence from the prior
    (Kingma and Welling, 2014, section 2.4 and appendix B).
    """

    def forward(self, h: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Codes (..., trace, latent) of what the encoder tells of them; their mean divergence [nats]."""
        self.mean, log_std = h.chunk(2, -1)
        std = log_std.exp()
        noise = torch.randn(std.shape, dtype=h.dtype, device=h.device) if noise is None else noise
        self.off, self.excess = std * noise, std.square() - 1
        twice = torch.addcmul(self.excess, self.mean, self.mean).sub_(log_std, alpha=2)
        return self.mean + self.off, twice.sum((-2, -1)) * (0.5 / h.shape[-2])

    def backward(self, g: Tensor, weight: float) -> Tensor:
        """Gradient by what the encoder told."""
        each = weight / g.shape[-2]
        by_mean = torch.add(g, self.mean, alpha=each)
        return torch.cat([by_mean, torch.addcmul(each * self.excess, g, self.off)], -1)


class Misfit:
    r"""What residuals r cost: :math:`\tfrac12 |r|^2 / \sigma^2 + n \ln(\sqrt{2 \pi} \sigma)`."""

    def forward(self, y: Tensor, goal: Tensor, log_sigma: float) -> Tensor:
        """Mean negative log-likelihood [nats] of traces (..., trace, sample)."""
        self.residual, self.precision = y - goal, math.exp(-2 * log_sigma)
        traces, samples = y.shape[-2:]
        halves = self.residual.square().sum((-2, -1)) * (0.5 * self.precision / traces)
        return halves + samples * (log_sigma + dist.HALF_LOG_TAU)

    def backward(self, weight: float) -> Tensor:
        """Gradient by `y`."""
        return self.residual * (weight * self.precision / self.residual.shape[-2])


class Loss:
    """A loss that knows the way down, as a tensor does that autograd went through."""

    def __init__(self, value: Tensor, backward: Callable[[], None]):
        self.value, self.backward = value, backward

    def detach(self) -> Tensor:
        """The number itself."""
        return self.value


class ByHand:
    """Loss of a plain model and, without autograd, its gradient.

    Parameters
    ----------
    model : Autoencoder
        A `plain` one.
    objective : Objective
    weights : iterable of Tensor, optional
        In place of the model's own and in their order, those of several copies, with an axis in front.
    """

    def __init__(self, model: Autoencoder, objective: Objective, weights: Iterable[Tensor] | None = None):
        self.model, self.objective = model, objective
        self.likelihood: Any = model.likelihood
        each = iter(model.parameters() if weights is None else weights)
        self.encoder, self.draw = Layers(_inward(model), each), Draw()
        self.decoder, self.misfit = Layers(_outward(model), each), Misfit()

    @torch.no_grad()
    def __call__(
        self, x: Tensor, target: Tensor, share: float, noise: Tensor | None = None
    ) -> tuple[Loss, dict[str, Tensor]]:
        """Loss and terms of traces (..., trace, channel, time), as `geoae.Objective` has them."""
        seen, goal = self.model.scaled(x, target)
        z, means = self.encoder.forward(seen.flatten(-2)), {}
        if self.model.variational:
            z, means["kl"] = self.draw.forward(z, noise)
        y, log_sigma = self.decoder.forward(z), self.likelihood.log_sigma.item()
        means["reconstruction"] = self.misfit.forward(y, goal.flatten(-2), log_sigma)
        weights = self.objective.weights_at(share)
        terms = {name: means[name] for name in self.objective.weights()}
        return Loss(self.objective.total(terms, share), lambda: self._backward(weights)), terms

    @torch.no_grad()
    def _backward(self, weights: dict[str, float]) -> None:
        """Leave its gradient with each weight."""
        g = self.decoder.backward(self.misfit.backward(weights.get("reconstruction", 0.0)), more=True)
        if self.model.variational:
            g = self.draw.backward(g, weights["kl"])
        self.encoder.backward(g, more=False)
