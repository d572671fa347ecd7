"""Several restarts of a small model at once: one tensor program with an axis for the seeds.

A step of a small model is made of many short operations; four restarts side by side take little more than
half the time of four in turn, and end, but for rounding, where those would.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import dist, nn as net
from ..model import Autoencoder, Model, Trip
from .checkpoint import Row
from .data import Pair, batches, sample
from .plan import Plan, sigma_schedule

PLAIN = {nn.Linear, nn.Flatten, nn.Unflatten, *net.ACTIVATIONS.values()}


def together(model: Model, plan: Plan) -> bool:
    """Whether restarts of this model can be trained side by side."""
    if not isinstance(model, Autoencoder) or isinstance(model.decoder, net.Tied):
        return False
    heads = {dist.Diagonal, dist.Point}
    plain = all(type(m) in PLAIN for part in (model.encoder, model.decoder) for m in part.children())
    fixed = isinstance(model.likelihood, dist.Gaussian) and not list(model.likelihood.parameters())
    goal = plan.objective
    usual = goal.weights().keys() <= {"reconstruction", "kl"} and goal.samples == 1 and not goal.free_bits
    alone = plan.corrupt is None and plan.clip is None and plan.precision is torch.float32
    return plain and fixed and usual and alone and type(model.posterior) in heads


class Stack(nn.Module):
    """The dense layers of several copies of a model, their weights with an axis for the copies in front."""

    def __init__(self, model: Autoencoder, seeds: list[int]):
        super().__init__()
        self.model = [model]  # in a list, so that its own weights are not this module's
        copies = []
        for seed in seeds:
            net.reset(model, seed)
            copies.append([p.detach().clone() for p in model.parameters()])
        self.weights = nn.ParameterList(torch.stack(values) for values in zip(*copies, strict=True))

    def put(self, i: int) -> None:
        """Give the model the weights of one copy."""
        with torch.no_grad():
            for parameter, stacked in zip(self.model[0].parameters(), self.weights, strict=True):
                parameter.copy_(stacked[i])

    def forward(self, x: Tensor, noise: Tensor | None) -> Trip:
        """Send traces (seed, trace, channel, time) through, each seed's through its own copy."""
        model, shape = self.model[0], x.shape
        offset, gain = model.scale(x.flatten(0, 1))
        seen = ((x.flatten(0, 1) - offset) / gain).reshape(shape)
        weights = iter(self.weights)
        h = _dense(model.encoder, seen.flatten(2), weights)
        if isinstance(model.posterior, dist.Diagonal):
            mean, log_std = _linear(h, weights).chunk(2, -1)
            q: Any = dist.Normals(mean, log_std, 1)
            z = mean + q.base_dist.scale * noise
        else:
            z = _dense(model.posterior, h, weights)
            q = dist.Delta(z)
        return Trip(seen, seen, model.likelihood(_dense(model.decoder, z, weights).reshape(shape)), q, z)


def _linear(x: Tensor, weights: Any) -> Tensor:
    weight, bias = next(weights), next(weights)
    return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))


def _dense(layers: nn.Module, x: Tensor, weights: Any) -> Tensor:
    for layer in layers.children():
        if isinstance(layer, nn.Linear):
            x = _linear(x, weights)
        elif not isinstance(layer, nn.Flatten | nn.Unflatten):
            x = layer(x)
    return x


def run_together(
    model: Autoencoder, train: Pair, plan: Plan, seeds: list[int], report: Callable
) -> list[tuple[list[Row], Callable[[], None]]]:
    """Train a copy for each seed; returns each one's history, and what puts its weights into the model."""
    x, y = train
    assert isinstance(x, Tensor)
    assert y is x
    stack = Stack(model, seeds)
    adam = torch.optim.Adam(stack.parameters(), plan.lr, weight_decay=plan.weight_decay, fused=True)
    sigma = sigma_schedule(model, lambda: sample(x, x), plan.anneal)
    steps, step = plan.epochs * -(-len(x) // plan.batch), 0
    rows: list[list[Row]] = [[] for _ in seeds]
    model.train()
    for epoch in range(plan.epochs):
        seen = []
        for some in zip(*[batches(x, plan.batch, seed, epoch) for seed in seeds], strict=True):
            share = step / steps
            for group in adam.param_groups:
                group["lr"] = plan.lr * plan.schedule(share)
            sigma(share)
            loss, numbers = _step(stack, x[torch.stack(some)], plan, [seed + step for seed in seeds], share)
            if not loss.isfinite().all():
                raise ValueError(
                    f"the loss of restart {int(loss.isfinite().logical_not().nonzero()[0])} became NaN "
                    f"or inf at step {step}; try a smaller lr"
                )
            adam.zero_grad()
            loss.sum().backward()
            adam.step()
            step += 1
            seen.append((len(some[0]), numbers))
        sizes = [n for n, _ in seen]
        means = {
            k: np.average(torch.stack([t[k] for _, t in seen]).double().cpu().numpy(), 0, sizes)
            for k in seen[0][1]
        }
        lr, at = plan.lr * plan.schedule((step - 1) / steps), sigma(step / steps)
        for i, own in enumerate(rows):
            own.append(Row({name: float(value[i]) for name, value in means.items()}, lr, at))
            report(1, own[-1], epoch + 1)
    sigma(1.0)
    return [(own, lambda i=i: stack.put(i)) for i, own in enumerate(rows)]  # type: ignore[misc]


def _step(
    stack: Stack, x: Tensor, plan: Plan, seeds: list[int], share: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of each copy, and its terms; each draws what it would have drawn alone."""
    model, goal = stack.model[0], plan.objective
    draws = []
    for seed, traces in zip(seeds, x, strict=True):
        net.reseed(x.device, seed)
        draws.append(model.noise(traces, 1))
    noise = None if draws[0] is None else torch.cat(draws)  # type: ignore[arg-type]
    trip = stack(x, noise)
    weights = goal.weights_at(share)
    terms = {name: goal.term(name, model)(trip).mean(-1) for name in goal.weights()}
    loss = torch.stack([weights[name] * value for name, value in terms.items()]).sum(0)
    return loss, {"loss": loss.detach(), **{name: value.detach() for name, value in terms.items()}}
