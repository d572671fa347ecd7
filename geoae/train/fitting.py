"""`fit`: what is asked for before the loop goes round, and what is kept of it afterwards."""

import math
import os
import sys
from collections.abc import Callable
from copy import deepcopy
from importlib.metadata import version
from numbers import Real
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from .. import nn as net
from ..dist import Bernoulli
from ..model import Autoencoder, Model
from ..objective import Objective
from .bar import Teller, bar, shown
from .checkpoint import Keeper, Row, digest_of
from .data import Source, describe, pieces, sample, split
from .loop import Loop, rank
from .plan import PRECISIONS, SCHEDULES, Anneal, Plan, units_that_pay, usual_lr


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
    TypeError
        If the model, the data or the objective is something else.
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
    if not isinstance(model, Model):
        raise TypeError(f"model is a {type(model).__name__}; the model comes first: fit(model, data)")
    if not isinstance(objective, Objective | None):
        raise TypeError(f"objective is {objective!r}; wanted one such as geoae.Objective(kl=1)")
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
    if not every > 0:
        raise ValueError(f"every is {every}; it must be above 0, in seconds (a float) or steps (an int)")
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
    keeper = Keeper(checkpoint, every, about, writes=rank() == 0)
    going_on = resume and keeper.path is not None and keeper.path.exists()
    if keeper.path is not None and keeper.path.exists() and not resume:
        raise FileExistsError(
            f"{keeper.path} exists; resume=True goes on from it, or delete it to start anew"
        )
    units = units_that_pay(model, plan.objective, lambda: sample(train[0], next(model.parameters())))
    show = rank() == 0 and shown(progress)
    if units is not None and show:
        has = f", the model has {model.config['latent']}" if "latent" in model.config else ""
        print(f"training: the traces' spectrum has room for {units} active latents{has}", file=sys.stderr)
    done = keeper.done(epochs) if going_on else 0
    with bar(restarts * epochs, done, show) as advance:
        loop = Loop(model, train, held_out, plan, keeper, Teller(advance, callback))
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


def _plan(
    objective, corrupt, epochs, batch, lr, schedule, weight_decay, clip, precision, anneal, patience
) -> Plan:
    for name, count in (("epochs", epochs), ("batch", batch), ("patience", patience)):
        if count is not None and count < 1:
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
