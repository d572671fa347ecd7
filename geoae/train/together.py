"""Several restarts of a small model at once: one tensor program with an axis for the seeds.

A step of a small model is made of many short operations; four restarts side by side take little more than
half the time of four in turn, and end, but for rounding, where those would.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from .. import nn as net
from ..model import Autoencoder, Model
from .bar import Teller
from .checkpoint import Row
from .data import Pair, batches, sample
from .gradient import ByHand, plain
from .plan import Plan, sigma_schedule


def together(model: Model, plan: Plan) -> bool:
    """Whether restarts of this model can be trained side by side."""
    alone = plan.corrupt is None and plan.clip is None and plan.precision is torch.float32
    return alone and plain(model, plan.objective)


def run_together(
    model: Autoencoder, train: Pair, plan: Plan, seeds: list[int], teller: Teller
) -> list[tuple[list[Row], Callable[[], None]]]:
    """Train a copy for each seed; returns each one's history, and what puts its weights into the model."""
    x, y = train
    assert isinstance(x, Tensor)
    assert y is x
    weights = _stacked(model, seeds)
    by_hand = ByHand(model, plan.objective, weights)
    adam = torch.optim.Adam(weights, plan.lr, weight_decay=plan.weight_decay, fused=True)
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
            each = x.index_select(0, torch.cat(some)).unflatten(0, (len(seeds), -1))
            loss, terms = by_hand(each, each, share, _noise(model, each, [seed + step for seed in seeds]))
            numbers = torch.stack([loss.detach(), *terms.values()]).tolist()
            finite = [*map(math.isfinite, numbers[0])]
            if not all(finite):
                raise ValueError(
                    f"the loss of restart {finite.index(False)} became NaN or inf at step {step}; try a "
                    f"smaller lr"
                )
            loss.backward()
            adam.step()
            step += 1
            seen.append((len(some[0]), numbers))
        sizes = [n for n, _ in seen]
        means = np.average([numbers for _, numbers in seen], 0, sizes)
        lr, at = plan.lr * plan.schedule((step - 1) / steps), sigma(step / steps)
        for own, values in zip(rows, means.T.tolist(), strict=True):
            own.append(Row(dict(zip(("loss", *terms), values, strict=True)), lr, at))
            teller.epoch(own[-1], epoch + 1)
    sigma(1.0)
    return [(own, lambda i=i: _put(model, weights, i)) for i, own in enumerate(rows)]  # type: ignore[misc]


def _stacked(model: Model, seeds: list[int]) -> list[Tensor]:
    """First weights of a copy for each seed, with an axis for the copies in front."""
    copies = []
    for seed in seeds:
        net.reset(model, seed)
        copies.append([weight.detach().clone() for weight in model.parameters()])
    return [nn.Parameter(torch.stack(values)) for values in zip(*copies, strict=True)]


@torch.no_grad()
def _put(model: Model, weights: list[Tensor], i: int) -> None:
    """Give the model the weights of one copy."""
    for weight, stacked in zip(model.parameters(), weights, strict=True):
        weight.copy_(stacked[i])


def _noise(model: Autoencoder, x: Tensor, seeds: list[int]) -> Tensor | None:
    """What each copy would have drawn, had it been alone."""
    draws = []
    for seed, traces in zip(seeds, x, strict=True):
        net.reseed(x.device, seed)
        draws.append(model.noise(traces, 1))
    return torch.cat(draws) if model.variational else None  # type: ignore[arg-type]
