"""Training: the loop, in the open.

Every random number of step s comes from (seed, s): the order of the traces, their corruption, the draws
from the posterior. A run is a function of its arguments, whatever ran before it, whether it was
interrupted, and over how many processes it was spread.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.distributed as processes
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .. import nn as net
from ..model import Model
from ..objective import Objective
from .bar import Teller
from .checkpoint import Finished, Keeper, Progress, Row
from .data import CORRUPTION, JUDGE, RESTART, Pair, batches, pieces, sample, seed_of, take
from .gradient import ByHand, Loss, plain
from .plan import Plan, sigma_schedule
from .together import run_together, together


class Step(nn.Module):
    """One forward pass up to the loss, as a module, which is what torch spreads over processes."""

    def __init__(self, model: Model, objective: Objective, precision: torch.dtype):
        super().__init__()
        self.model, self.objective, self.precision = model, objective, precision

    def forward(
        self, x: Tensor, y: Tensor, share: float, noise: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and terms of a batch after a share of the run."""
        if self.precision is torch.float32:
            return self.objective(self.model, x, y, share=share, noise=noise)
        with torch.autocast(x.device.type, self.precision):
            return self.objective(self.model, x, y, share=share, noise=noise)


class Loop:
    """What a training goes round in."""

    def __init__(
        self, model: Model, train: Pair, held_out: Pair | None, plan: Plan, keeper: Keeper, teller: Teller
    ):
        self.model, self.train, self.held_out = model, train, held_out
        self.plan, self.keeper, self.teller = plan, keeper, teller
        self.parameters = list(model.parameters())
        self.like = self.parameters[0]
        self.step = Step(model, plan.objective, plan.precision)
        self.draws = 1
        self.spread: Callable = self.step  # which gives a loss that knows its way down
        if world() > 1:
            self.spread = DistributedDataParallel(self.step)
        elif plan.precision is torch.float32 and plain(model, plan.objective):
            self.spread = ByHand(model, plan.objective)
        self.per_epoch = math.ceil(len(train[0]) / plan.batch)
        self.steps = plan.epochs * self.per_epoch

    def restarts(self, count: int, seed: int, going_on: bool) -> None:
        """Run as often as asked, from where the checkpoint left off, into ``keeper.finished``."""
        self.draws = 8 if count > 1 and getattr(self.model, "variational", False) else 1
        if count > 1 and not self.held_out and self.keeper.path is None and self.in_memory() and world() == 1:
            self.restarts_together([seed_of(seed, RESTART, r) for r in range(count)])
            return
        progress = Progress()
        optimiser = self.optimiser()
        if going_on:
            progress = self.keeper.restore(self.model, optimiser)
        for r in range(len(self.keeper.finished), count):
            key = seed_of(seed, RESTART, r)
            if count > 1 and progress.step == 0:
                net.reset(self.model, key)
            with net.forked_rng(key, self.model):
                loss = self.run(optimiser, progress, key)
            weights = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
            self.keeper.finished.append(Finished(loss, progress.rows, weights))
            progress, optimiser = Progress(), self.optimiser()
            self.keeper.save(self.model, optimiser, progress)

    def in_memory(self) -> bool:
        """Whether restarts can be trained side by side: a small dense model on traces in memory."""
        x, y = self.train
        return isinstance(x, Tensor) and y is x and together(self.model, self.plan)

    def restarts_together(self, keys: list[int]) -> None:
        """All restarts at once, each as it would have run alone."""
        model: Any = self.model
        with net.forked_rng(keys[0], model):
            for key, (rows, put) in zip(
                keys, run_together(model, self.train, self.plan, keys, self.teller), strict=True
            ):
                put()
                loss = self.judged(key)
                weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
                self.keeper.finished.append(Finished(loss, rows, weights))

    def optimiser(self) -> torch.optim.Optimizer:
        """Adam as the plan says."""
        plan = self.plan
        return torch.optim.Adam(self.model.parameters(), plan.lr, weight_decay=plan.weight_decay, fused=True)

    def run(self, optimiser: torch.optim.Optimizer, progress: Progress, seed: int) -> float:
        """One training, from where it stands to the last epoch; returns the loss that it is judged by."""
        model, plan, best = self.model, self.plan, progress.best
        sigma = sigma_schedule(model, lambda: sample(self.train[0], self.like), plan.anneal)
        try:
            for epoch in range(len(progress.rows), plan.epochs):
                self.epoch(optimiser, progress, sigma, seed, epoch)
                if plan.patience is not None and best.waited >= plan.patience:
                    self.teller.leap(plan.epochs - epoch - 1, progress.rows[-1])
                    break
        except KeyboardInterrupt as stop:
            self.keeper.save(model, optimiser, progress)
            if best.weights:
                model.load_state_dict(best.weights)
            kept = f"; resume=True goes on from {self.keeper.path}" if self.keeper.path else ""
            stop.add_note(
                f"stopped at step {progress.step} of {self.steps}; the model has the best weights so "
                f"far{kept}"
            )
            raise
        sigma(1.0)
        if best.weights:
            model.load_state_dict(best.weights)
            return best.loss
        return self.judged(seed)

    def epoch(
        self, optimiser: torch.optim.Optimizer, progress: Progress, sigma: Callable, seed: int, epoch: int
    ) -> None:
        """All traces once, or what is left of them; then a row for the history."""
        plan, (x, y) = self.plan, self.train
        self.model.train()
        for rows in batches(x, plan.batch, seed, epoch)[progress.step - epoch * self.per_epoch :]:
            share = progress.step / self.steps
            for group in optimiser.param_groups:
                group["lr"] = plan.lr * plan.schedule(share)
            sigma(share)
            seen = take(x, rows, self.like)
            wanted = seen if y is x else take(y, rows, self.like)
            loss, numbers = self.forward(seen, wanted, seed, progress.step, share)
            if not math.isfinite(numbers["loss"]):
                raise ValueError(self.diagnosis(rows, numbers, seed, progress.step, share))
            for parameter in self.parameters:  # Adam's own zero_grad takes ten times as long
                parameter.grad = None
            self.descend(loss, optimiser, progress)
            progress.step += 1
            progress.batches.append((len(rows), numbers))
            if self.keeper.due(progress.step):
                self.keeper.save(self.model, optimiser, progress)
        share = progress.step / self.steps
        lr = plan.lr * plan.schedule((progress.step - 1) / self.steps)
        row = Row(_means(progress.batches), lr, sigma(share))
        if self.held_out:
            sigma(1.0)
            row.valid = self.evaluate(self.held_out, seed_of(seed, JUDGE))
            # while sigma still falls, no improvement on held-out traces means nothing yet
            progress.best.look(
                self.model, row.valid["loss"], counts=row.sigma is None or share >= plan.anneal.until
            )
        progress.rows.append(row)
        progress.batches = []
        self.teller.epoch(row, epoch + 1)

    def descend(self, loss: Tensor | Loss, optimiser: torch.optim.Optimizer, progress: Progress) -> None:
        """Go one step down the gradient.

        In fp16 the loss is scaled up meanwhile, so that the gradient does not vanish.
        """
        clip = self.plan.clip
        if self.plan.precision is not torch.float16:
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), clip)
            optimiser.step()
            return
        assert isinstance(loss, Tensor)
        scaler = torch.amp.GradScaler(loss.device.type)
        scaler.load_state_dict(progress.scaler or scaler.state_dict())
        scaler.scale(loss).backward()
        if clip is not None:
            scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        scaler.step(optimiser)
        scaler.update()
        progress.scaler = scaler.state_dict()

    def forward(
        self, x: Tensor, y: Tensor, seed: int, step: int, share: float
    ) -> tuple[Tensor | Loss, dict[str, float]]:
        """Loss to go down, and the loss and terms of the batch; corruption and draws are those of this step.

        Of several processes each corrupts and draws for the whole batch, as one process would, and
        takes its share.
        """
        if self.plan.corrupt is not None:
            x = self.corrupted(x, seed, step)
        net.reseed(x.device, seed + step)
        if world() == 1:
            loss, terms = self.spread(x, y, share, None)
            return loss, _numbers(loss, terms)
        count, noise = len(x), self.model.noise(x, self.plan.objective.samples)
        mine = np.array_split(np.arange(count), world())[rank()]
        own = slice(mine[0], mine[-1] + 1) if len(mine) else slice(0, 1)
        loss, terms = self.spread(x[own], y[own], share, None if noise is None else noise[:, own])
        weight = len(mine) / count
        numbers = _numbers(loss, terms, weight)
        return loss * weight * world(), numbers  # torch takes the mean over the processes

    def corrupted(self, x: Tensor, seed: int, step: int) -> Tensor:
        """A batch as the model sees it at this step."""
        rng = np.random.default_rng([seed, CORRUPTION, step])
        return torch.from_numpy(self.plan.corrupt(x.cpu().numpy(), rng)).to(x)  # type: ignore[misc]

    def judged(self, seed: int) -> float:
        """Loss over all traces, with several draws of each code between restarts, lest luck decide."""
        goal = self.plan.objective
        several = Step(self.model, replace(goal, samples=goal.samples * self.draws), self.plan.precision)
        return self.evaluate(self.train, seed_of(seed, JUDGE), several)["loss"]

    def evaluate(self, pair: Pair, seed: int, step: Step | None = None) -> dict[str, float]:
        """Loss and terms over all traces as the model is used, with the same draws at every call."""
        self.model.eval()
        x, y = pair
        seen = []
        goals = pieces(y, self.like, 512)
        pairs = (
            ((goal, goal) for goal in goals) if y is x else zip(pieces(x, self.like, 512), goals, strict=True)
        )
        for i, (given, goal) in enumerate(pairs):
            if self.plan.corrupt is not None:
                given = self.corrupted(given, seed, i)
            net.reseed(goal.device, seed + i)
            # the contractive term is itself a derivative
            with torch.set_grad_enabled(bool(self.plan.objective.contractive)):
                loss, terms = (step or self.step)(given, goal, 1.0, None)
            seen.append((len(goal), _numbers(loss, terms)))
        return _means(seen)

    def diagnosis(self, rows: Tensor, numbers: dict[str, float], seed: int, step: int, share: float) -> str:
        """Which term stopped being a number, at which step and on which trace."""
        name = next(name for name in reversed(numbers) if not math.isfinite(numbers[name]))
        trace = next((int(row) for row in rows if not self._finite_alone(int(row), seed, step, share)), None)
        where = "on the batch as a whole" if trace is None else f"on trace {trace} of those trained on"
        return f"{name} became {numbers[name]} at step {step}, {where}; try a smaller lr, or clip=1.0"

    def _finite_alone(self, row: int, seed: int, step: int, share: float) -> bool:
        x, y = (take(part, torch.tensor([row]), self.like) for part in self.train)
        if self.plan.corrupt is not None:
            x = self.corrupted(x, seed, step)
        return math.isfinite(self.step(x, y, share, None)[0].item())


def _means(seen: list[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """Mean of each term over the traces of all batches."""
    sizes, terms = zip(*seen, strict=True)
    return {name: float(np.average([t[name] for t in terms], weights=sizes)) for name in terms[0]}


def world() -> int:
    """How many processes train together."""
    return processes.get_world_size() if processes.is_available() and processes.is_initialized() else 1


def rank() -> int:
    """Which of them this one is."""
    return processes.get_rank() if world() > 1 else 0


def _numbers(loss: Tensor | Loss, terms: dict[str, Tensor], weight: float | None = None) -> dict[str, float]:
    """Loss and terms as plain numbers; those of several processes are added up, each by its weight.

    One transfer brings all of them. As small tensors they would stay between the large ones that come and
    go, and keep their memory from being used again.
    """
    values = torch.stack([loss.detach(), *(value.detach() for value in terms.values())])
    if weight is not None:
        values *= weight
        processes.all_reduce(values)
    return dict(zip(("loss", *terms), values.tolist(), strict=True))
