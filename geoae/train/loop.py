"""Training: the loop, in the open.

Every random number of step s comes from (seed, s): the order of the traces, their corruption, the draws
from the posterior. A run is a function of its arguments, whatever ran before it, whether it was
interrupted, and over how many processes it was spread.
"""

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from importlib.metadata import version
from numbers import Real
from typing import Any

import numpy as np
import torch
import torch.distributed as processes
import xarray as xr
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .. import nn as net
from ..dist import Bernoulli
from ..model import Autoencoder, Model
from ..objective import Objective
from .checkpoint import Finished, Keeper, Progress, Row, digest_of
from .data import (
    CORRUPTION,
    JUDGE,
    RESTART,
    Pair,
    Source,
    batches,
    describe,
    pieces,
    sample,
    seed_of,
    split,
    take,
)
from .gradient import ByHand, Loss, plain
from .plan import PRECISIONS, SCHEDULES, Anneal, Plan, sigma_schedule, units_that_pay, usual_lr
from .together import run_together, together


def fit(
    model: Model,
    data: Any,
    objective: Objective | None = None,
    *,
    target: Any = None,
    corrupt: Callable | None = None,
    valid: Any = 0.0,
    epochs: int = 100,
    batch: int = 128,
    lr: float | None = None,
    schedule: str | Callable[[float], float] = "one cycle",
    weight_decay: float = 0.0,
    clip: float | None = None,
    precision: str = "fp32",
    anneal: Anneal | None = None,
    restarts: int = 1,
    patience: int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    checkpoint: str | os.PathLike | None = None,
    every: float = 60.0,
    resume: bool = False,
    callback: Callable[[int, dict[str, float]], None] | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Train a model in place, with Adam.

    Under ``torchrun`` (once ``torch.distributed.init_process_group()`` was called) every process takes its
    share of each batch, and all end with the same weights that one process would have reached, within
    rounding; with dropout with others as good, as its masks are drawn for the share.

    Parameters
    ----------
    model : Model
        From `geoae.autoencoder` or `geoae.denoiser`, or your own.
    data : DataArray or Cache
        Traces: dims ``time``, maybe ``channel``, and any others; or a `geoae.cache` of more than
        memory holds.
    objective : Objective, optional
        What to minimise; the reconstruction by default, plus ``kl=1`` for a variational autoencoder.
    target : DataArray, optional
        What should come out, trace by trace, if not `data` itself.
    corrupt : callable, optional
        ``corrupt(x, rng) -> x`` on arrays (trace, channel, time), anew at every step; the model sees the
        corrupted traces and is asked for the clean ones. See `geoae.AddNoise`, `geoae.Mask`.
    valid : float, DataArray or (DataArray, DataArray)
        Traces held out: a share of `data`, or traces of their own, with `target` as (data, target). The
        weights of the epoch that did best on them are kept.
    epochs, batch : int
        Passes over the data; traces per step.
    lr, weight_decay : float
        Largest learning rate, by default 5e-3 where sigma is annealed and 3e-3 elsewhere; Adam's weight
        decay.
    schedule : str or callable
        ``one cycle``: up for a tenth of the run, then down a cosine to a hundredth; ``warm-up``: up, then
        constant; ``constant``; or a function from the share of the run to the share of `lr`.
    clip : float, optional
        Largest norm of the gradient.
    precision : str
        ``fp32``, or ``bf16`` or ``fp16`` under `torch.autocast`.
    anneal : Anneal, optional
        How to lower the decoder's sigma where the model was built with ``sigma="anneal"``.
    restarts : int
        Train this many times from different first weights and keep the best, judged by the objective on the
        held-out traces or, without any, on all. With 1 training goes on from the weights as they are.
    patience : int, optional
        Stop after this many epochs without improvement on the held-out traces.
    seed : int
        Of everything random.
    device : str or device, optional
        Where to train; see `geoae.device`.
    checkpoint : path, optional
        File to keep the state of the training in, so that it can go on after a power cut. (Restarts then
        run in turn, which may differ in the last digits from side by side.)
    every : float or int
        Seconds (a float) or steps (an int) between two checkpoints.
    resume : bool
        Go on from the checkpoint if it is there. The weights at the end are, bit for bit, those of a run
        that was not interrupted.
    callback : callable, optional
        ``callback(epoch, numbers)`` after each epoch, its numbers named ``train/loss``, ``valid/loss``,
        ``lr``, ...: with TensorBoard,
        ``lambda epoch, numbers: [writer.add_scalar(k, v, epoch) for k, v in numbers.items()]``.
    progress : bool, optional
        True shows a progress bar (plain lines where there is no terminal), False nothing; by default a bar
        on a terminal only.

    Returns
    -------
    history : Dataset over (epoch, split)
        ``loss`` and the mean of each unweighted term, on ``train`` as it went and on ``valid`` after the
        epoch (NaN if there is none); ``lr`` and, where it is annealed, ``sigma`` over epoch. Held-out
        losses are at the last sigma, so that epochs compare. ``attrs["restart_losses"]`` has one number a
        restart; ``attrs["expected_active_units"]``, for a variational model of known sigma, how many
        latents can pay for themselves, which a progress bar says before it starts.

    Raises
    ------
    ValueError
        If the traces do not fit the model, hold NaN, the loss becomes NaN (naming step, term and trace), or
        the checkpoint is damaged or of another training.
    KeyboardInterrupt
        On Ctrl-C, after a checkpoint was written and the best weights so far were put into the model.

    Notes
    -----
    The defaults are the recipe by which single latents come to hold single parameters of small labelled sets
    (a table of how often is in ``tests/benchmarks``). What each is for:

    - ``scale="global"`` (of the model): one gain for all traces keeps what they differ in by size.
    - ``sigma="anneal"`` (of the model): see `Anneal`. The largest single gain; warming up the KL term,
      learned sigmas and larger beta all wake latents that hold nothing, or turn the axes.
    - ``lr=5e-3``, ``schedule="one cycle"``, ``batch=128``: some 2,000 steps suffice, 100 epochs of 2,500
      traces; straight lines want a fifth of that, smaller sets more epochs. With 3e-3 more trainings end
      with the two axes still turned.
    - ``weight_decay=0``: 1e-4 made no difference that could be measured.
    - ``restarts=4``: side by side they cost little more than two, and the evidence bound knows the good ones
      without labels. ``model.runs`` has all of them.

    The naive recipe of many a course, which ends with a collapsed code, is
    ``autoencoder(..., sigma=1.0, scale="none")`` and ``fit(..., lr=1e-3, batch=100, schedule="constant")``.

    Examples
    --------
    >>> import geoae
    >>> x = geoae.synth.lines(64)
    >>> history = geoae.fit(geoae.autoencoder(like=x), x, epochs=3)
    >>> bool(history.loss.sel(split="train")[-1] < history.loss.sel(split="train")[0])
    True
    """
    plan = _plan(
        objective or default_objective(model),
        corrupt,
        epochs,
        batch,
        usual_lr(model) if lr is None else lr,
        schedule,
        weight_decay,
        clip,
        precision,
        anneal,
        patience,
    )
    if restarts < 1:
        raise ValueError(f"restarts is {restarts}; it must be 1 or more")
    if patience is not None and isinstance(valid, Real) and not valid:
        raise ValueError(
            "patience counts epochs without improvement on held-out traces; give valid=0.1 as well"
        )
    model.to(net.device(device))
    train, held_out = split(model, data, target, valid, seed)
    if isinstance(model.scale, net.SetScale):
        model.scale.measure(pieces(train[0], next(model.parameters())))
    _check_probabilities(model, train[1])
    about = {
        "model": model.config,
        "plan": plan.words(),
        "restarts": restarts,
        "seed": seed,
        "traces": digest_of(train[0]),
    }
    keeper = Keeper(checkpoint, every, about, writes=_rank() == 0)
    going_on = resume and keeper.path is not None and keeper.path.exists()
    if keeper.path is not None and keeper.path.exists() and not resume:
        raise FileExistsError(
            f"{keeper.path} exists; resume=True goes on from it, or delete it to start anew"
        )
    units = units_that_pay(model, plan.objective, lambda: sample(train[0], next(model.parameters())))
    if units is not None and _shown(progress):
        has = f", the model has {model.config['latent']}" if "latent" in model.config else ""
        print(f"training: the traces' spectrum has room for {units} active latents{has}", file=sys.stderr)
    with _bar(restarts * epochs, progress) as advance:
        report = _report(advance, callback)
        loop = Loop(model, train, held_out, plan, keeper, report)
        loop.restarts(restarts, seed, going_on)
    best, *others = sorted(keeper.finished, key=lambda run: run.loss)
    model.load_state_dict(best.weights)
    model.eval()
    history = _history(best.rows, [run.loss for run in keeper.finished])
    if units is not None:
        history.attrs["expected_active_units"] = units
    model.trained = _trained(data, len(train[0]), plan.objective, seed, history)
    model.trained["noisy"] = target is not None or plan.corrupt is not None
    model.others = [_copy(model, run.weights) for run in others]
    return history


def _copy(model: Model, weights: dict[str, Tensor]) -> Model:
    """Another model like this one, with weights of its own."""
    model.others = []  # of an earlier training
    copy = deepcopy(model)
    copy.load_state_dict(weights)
    return copy


def default_objective(model: Model) -> Objective:
    """Reconstruction, plus the divergence from the prior where the posterior has a width."""
    return Objective(kl=1.0 if isinstance(model, Autoencoder) and model.variational else 0.0)


# ------------------------------------------------------------------------------------------- the loop


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
        self, model: Model, train: Pair, held_out: Pair | None, plan: Plan, keeper: Keeper, report: Callable
    ):
        self.model, self.train, self.held_out = model, train, held_out
        self.plan, self.keeper, self.report = plan, keeper, report
        self.parameters = list(model.parameters())
        self.like = self.parameters[0]
        self.step = Step(model, plan.objective, plan.precision)
        self.draws = 1
        self.spread: Callable = self.step  # which gives a loss that knows its way down
        if _world() > 1:
            self.spread = DistributedDataParallel(self.step)
        elif plan.precision is torch.float32 and plain(model, plan.objective):
            self.spread = ByHand(model, plan.objective)
        self.per_epoch = math.ceil(len(train[0]) / plan.batch)
        self.steps = plan.epochs * self.per_epoch

    def restarts(self, count: int, seed: int, going_on: bool) -> None:
        """Run as often as asked, from where the checkpoint left off, into ``keeper.finished``."""
        self.draws = 8 if count > 1 and getattr(self.model, "variational", False) else 1
        if (
            count > 1
            and not self.held_out
            and self.keeper.path is None
            and self.in_memory()
            and _world() == 1
        ):
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
                keys, run_together(model, self.train, self.plan, keys, self.report), strict=True
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
                    self.report(plan.epochs - epoch - 1, progress.rows[-1], epoch + 1)
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
        self.report(1, row, epoch + 1)

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
        if _world() == 1:
            loss, terms = self.spread(x, y, share, None)
            return loss, _numbers(loss, terms)
        count, noise = len(x), self.model.noise(x, self.plan.objective.samples)
        mine = np.array_split(np.arange(count), _world())[_rank()]
        own = slice(mine[0], mine[-1] + 1) if len(mine) else slice(0, 1)
        loss, terms = self.spread(x[own], y[own], share, None if noise is None else noise[:, own])
        weight = len(mine) / count
        numbers = _numbers(loss, terms, weight)
        return loss * weight * _world(), numbers  # torch takes the mean over the processes

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


def _world() -> int:
    return processes.get_world_size() if processes.is_available() and processes.is_initialized() else 1


def _rank() -> int:
    return processes.get_rank() if _world() > 1 else 0


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


# ------------------------------------------------------------------------------------- before and after


def _plan(
    objective, corrupt, epochs, batch, lr, schedule, weight_decay, clip, precision, anneal, patience
) -> Plan:
    for name, count in (("epochs", epochs), ("batch", batch)):
        if count < 1:
            raise ValueError(f"{name} is {count}; it must be 1 or more")
    rates = schedule if callable(schedule) else net.choose(SCHEDULES, schedule, "schedule")
    dtype = net.choose(PRECISIONS, precision, "precision")
    return Plan(
        objective, corrupt, epochs, batch, lr, weight_decay, clip, rates, anneal or Anneal(), patience, dtype
    )


def _check_probabilities(model: Model, y: Source) -> None:
    """Hold targets against what a Bernoulli trace can be."""
    if not isinstance(model.likelihood, Bernoulli):
        return
    for piece in pieces(y, next(model.parameters())):
        offset, gain = model.scale(piece)
        low, high = ((piece - offset) / gain).aminmax()
        if low < -1e-6 or high > 1 + 1e-6:
            raise ValueError(
                f"a Bernoulli trace lies between 0 and 1, the scaled targets between {low:.3g} and "
                f"{high:.3g}; "
                f"build the model with scale='range', or likelihood='gaussian'"
            )


def _history(rows: list[Row], restart_losses: list[float]) -> xr.Dataset:
    names = list(rows[0].train)
    nothing = dict.fromkeys(names, math.nan)
    values = {
        name: (("epoch", "split"), [[row.train[name], (row.valid or nothing)[name]] for row in rows])
        for name in names
    }
    alone: dict[str, Any] = {"lr": ("epoch", [row.lr for row in rows])}
    if rows[0].sigma is not None:
        alone["sigma"] = ("epoch", [row.sigma for row in rows])
    return xr.Dataset(
        {**values, **alone},
        {"epoch": np.arange(1, len(rows) + 1), "split": ["train", "valid"]},
        {"restart_losses": restart_losses},
    )


def _trained(data: Any, traces: int, objective: Objective, seed: int, history: xr.Dataset) -> dict:
    """What the model file says of its training."""
    last = history.isel(epoch=-1)
    return {
        **describe(data),
        "traces": traces,
        "objective": objective.weights(),
        "seed": seed,
        "epochs": int(history.sizes["epoch"]),
        "losses": {name: float(v.sel(split="train")) for name, v in last.items() if "split" in v.dims},
        "versions": {name: version(name) for name in ("geoae", "torch", "numpy")},
    }


def _report(advance: Callable, callback: Callable | None) -> Callable[[int, Row, int], None]:
    """What tells the bar and the callback of an epoch."""

    def report(epochs: int, row: Row, epoch: int) -> None:
        advance(epochs, row.train["loss"])
        if callback is not None and epochs == 1:
            numbers = {f"train/{name}": value for name, value in row.train.items()}
            numbers |= {f"valid/{name}": value for name, value in (row.valid or {}).items()}
            numbers |= {"lr": row.lr} | ({} if row.sigma is None else {"sigma": row.sigma})
            callback(epoch, numbers)

    return report


def _shown(progress: bool | None) -> bool:
    return (sys.stderr.isatty() if progress is None else progress) and _rank() == 0


@contextmanager
def _bar(total: int, progress: bool | None) -> Iterator[Callable[[int, float], None]]:
    """A progress bar with the loss, the rate and the time left; ``advance(epochs, loss)`` moves it."""
    if not _shown(progress):
        yield lambda epochs, loss: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress as Bar, TextColumn, TimeRemainingColumn

    if not sys.stderr.isatty():
        yield _lines(total)
        return
    columns = (
        "training",
        BarColumn(),
        TextColumn("{task.completed}/{task.total} epochs"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=total, numbers="")

        def advance(epochs: int, loss: float) -> None:
            speed = bar.tasks[0].speed  # none before the second step
            numbers = f"loss {loss:.4g}" if speed is None else f"{speed:.3g} epochs/s, loss {loss:.4g}"
            bar.update(task, advance=epochs, numbers=numbers)

        yield advance


def _lines(total: int, every: int = 10) -> Callable[[int, float], None]:
    """Plain lines in place of a bar, about one for each tenth of the run."""
    done = 0

    def advance(epochs: int, loss: float) -> None:
        nonlocal done
        before, done = done, done + epochs
        if before * every // total < done * every // total:
            print(f"training: {done}/{total} epochs, loss {loss:.4g}", file=sys.stderr, flush=True)

    return advance
