"""Training: the loop, in the open.

Every random number of step s comes from (seed, s): the order of the traces, their corruption, the draws
from the posterior. A run is a function of its arguments, whatever ran before it.
"""

import copy
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from . import nn as net
from .arrays import to_batch
from .dist import Bernoulli, Gaussian, Point
from .model import Autoencoder, Model
from .objective import Objective

Pair = tuple[Tensor, Tensor]  # what the model sees, and what should come out

# What the random numbers are for, so that no two uses share a stream.
ORDER, CORRUPTION, SPLIT, RESTART, JUDGE = range(5)


@dataclass(frozen=True)
class Anneal:
    """Lower the decoder's variance during training, from where few latents pay for themselves.

    A latent pays only while it explains an eigenvalue of the data's covariance above the decoder's
    variance. Starting high wakes one latent after the other; lowering slowly lets the nonlinear decoder
    explain the smaller eigenvalues with the latents it has before another one wakes. So single latents
    come to capture single parameters, and what is not needed stays off. (The reverse of warming up the
    KL term, which switches on every latent first.)

    Parameters
    ----------
    start : float
        First variance, as a share of the largest eigenvalue of the scaled data's covariance. Above 1
        no latent pays and all die for good.
    hold, until : float
        The shares of the run at which lowering begins and ends (geometrically, to the likelihood's sigma).
    """

    start: float = 0.5
    hold: float = 0.1
    until: float = 0.7

    def sigma(self, share: float, largest: float, end: float) -> float:
        """Standard deviation after `share` of the run, for a largest eigenvalue `largest`."""
        first = math.sqrt(self.start * largest)
        if first <= end:
            return end
        done = min(1.0, max(0.0, (share - self.hold) / (self.until - self.hold)))
        return first * (end / first) ** done


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
    lr: float = 3e-3,
    weight_decay: float = 0.0,
    clip: float | None = None,
    anneal: Anneal | None = None,
    restarts: int = 1,
    patience: int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Train a model in place, with Adam under a one-cycle learning rate.

    Parameters
    ----------
    model : Model
        From `geoae.autoencoder` or `geoae.denoiser`, or your own.
    data : DataArray
        Traces: dims ``time``, maybe ``channel``, and any others.
    objective : Objective, optional
        What to minimise; the reconstruction by default, plus ``kl=1`` for a variational autoencoder.
    target : DataArray, optional
        What should come out, trace by trace, if not `data` itself.
    corrupt : callable, optional
        ``corrupt(x, rng) -> x`` on arrays (trace, channel, time), anew at every step; the model sees the
        corrupted traces and is asked for the clean ones. See `geoae.AddNoise`, `geoae.Mask`.
    valid : float or DataArray
        Traces held out: a share of `data`, or traces of their own. The weights of the epoch that did best
        on them are kept.
    epochs, batch : int
        Passes over the data; traces per step.
    lr, weight_decay : float
        Largest learning rate (reached after a tenth of the run, falling to a hundredth as a cosine); Adam's
        weight decay.
    clip : float, optional
        Largest norm of the gradient.
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
    progress : bool, optional
        A progress bar; by default on a terminal only.

    Returns
    -------
    history : Dataset over (epoch, split)
        ``loss`` and the mean of each unweighted term, on ``train`` as it went and on ``valid`` after
        the epoch
        (NaN if there is none); ``lr`` and, where it is annealed, ``sigma`` over epoch. Held-out
        losses are at the last sigma, so that epochs compare. ``attrs["restart_losses"]`` has one number a
        restart.

    Raises
    ------
    ValueError
        If the traces do not fit the model, hold NaN, or the loss becomes NaN (naming step and term).

    Examples
    --------
    >>> import geoae
    >>> x = geoae.synth.lines(64)
    >>> history = geoae.fit(geoae.autoencoder(like=x), x, epochs=3)
    >>> bool(history.loss.sel(split="train")[-1] < history.loss.sel(split="train")[0])
    True
    """
    _check(epochs=epochs, batch=batch, restarts=restarts)
    if patience is not None and _is_share(valid) and not valid:
        raise ValueError(
            "patience counts epochs without improvement on held-out traces; give valid=0.1 as well"
        )
    objective = objective or default_objective(model)
    model.to(net.device(device))
    train, held_out = _split(model, data, target, valid, seed)
    if isinstance(model.scale, net.SetScale):
        model.scale.measure(train[0])
    _check_probabilities(model, *train)
    plan = _Plan(objective, corrupt, epochs, batch, lr, weight_decay, clip, anneal or Anneal(), patience)
    runs = []
    with _bar(restarts * epochs, progress) as advance:
        for r in range(restarts):
            key = _seed(seed, RESTART, r)
            if restarts > 1:
                net.reset(model, key)
            with net.forked_rng(key, model):
                rows, loss = _run(model, train, held_out, plan, key, advance)
            runs.append((loss, rows, copy.deepcopy(model.state_dict())))
    loss, rows, weights = min(runs, key=lambda run: run[0])
    model.load_state_dict(weights)
    model.eval()
    history = _history(rows, [run[0] for run in runs])
    model.trained = _trained(data, len(train[0]), objective, seed, history)
    return history


def fit_stacked(
    model: Autoencoder,
    data: xr.DataArray,
    objective: Objective | None = None,
    *,
    epochs: int = 50,
    fine_tune: int = 50,
    **options: Any,
) -> xr.Dataset:
    """Train an autoencoder layer by layer, then as a whole (Bengio et al., 2007).

    Each layer of the encoder and its mirror image in the decoder make a small autoencoder of the codes
    before them;
    once trained, its codes are what the next one learns. It shows how deep networks were first made to
    learn; with today's optimisers training the whole from the start does as well.

    Parameters
    ----------
    model : Autoencoder
        With a point posterior, and a decoder that mirrors the encoder.
    data, objective
        As in `fit`; the objective serves every layer.
    epochs, fine_tune : int
        Passes over the data for each layer, and for the whole afterwards (0 leaves that out).
    **options
        As in `fit`.

    Returns
    -------
    history : Dataset over (epoch, split)
        With a coordinate ``stage`` over epoch: 1, 2, ... for the layers, 0 for the whole.
    """
    stages = _stages(model)
    model.to(net.device(options.get("device")))
    x = _traces(model, data, "data")
    if isinstance(model.scale, net.SetScale):
        model.scale.measure(x)
    offset, gain = model.scale(x)
    h = (x - offset) / gain
    histories = []
    for number, (encoder, decoder) in enumerate(stages, 1):
        if h.ndim == 2:  # between dense layers a trace is a row of numbers
            decoder = [*decoder, nn.Unflatten(1, (1, h.shape[1]))]
            h = h[:, None]
        parts = (nn.Identity(), Point.of(*encoder), nn.Sequential(*decoder), Gaussian())
        layer = Autoencoder(*parts, net.TraceScale("none"))
        time = ("time", np.arange(float(h.shape[-1])))
        codes = xr.DataArray(h.cpu().numpy(), {"time": time}, ("trace", "channel", "time"))
        histories.append(_at_stage(fit(layer, codes, objective, epochs=epochs, **options), number))
        with torch.no_grad():
            h = layer.encode(h).mean
    if fine_tune:
        histories.append(_at_stage(fit(model, data, objective, epochs=fine_tune, **options), 0))
    history = xr.concat(histories, "epoch", combine_attrs="drop")
    return history.assign_coords(epoch=np.arange(1, history.sizes["epoch"] + 1))


def _at_stage(history: xr.Dataset, stage: int) -> xr.Dataset:
    return history.assign_coords(stage=("epoch", np.full(history.sizes["epoch"], stage)))


def _stages(model: Autoencoder) -> list[tuple[list[nn.Module], list[nn.Module]]]:
    """Each layer of the encoder with its mirror image in the decoder, outermost first."""
    if (
        not isinstance(model, Autoencoder)
        or model.variational
        or not isinstance(model.decoder, nn.Sequential)
    ):
        raise ValueError("layer by layer goes with posterior='point' and without tied weights")
    down = _groups([*model.encoder.children(), *model.posterior.children()])
    up = _groups([*model.decoder.children()])[::-1]
    if len(down) != len(up):
        raise ValueError(
            f"the encoder has {len(down)} layers and the decoder {len(up)}; to go layer by layer they "
            f"must mirror "
            f"each other: leave decoder_widths out"
        )
    return list(zip(down, up, strict=True))


def _groups(layers: list[nn.Module]) -> list[list[nn.Module]]:
    """Layers with weights, each with what follows it and has none."""
    groups: list[list[nn.Module]] = [[]]
    full = False
    for layer in layers:
        weighs = any(True for _ in layer.parameters())
        if full and (weighs or isinstance(layer, nn.Flatten)):
            groups.append([])
            full = False
        groups[-1].append(layer)
        full = full or weighs
    for group in groups:
        if isinstance(group[0], nn.Linear):
            group.insert(0, nn.Flatten())
    return groups


def default_objective(model: Model) -> Objective:
    """Reconstruction, plus the divergence from the prior where the posterior has a width."""
    return Objective(kl=1.0 if isinstance(model, Autoencoder) and model.variational else 0.0)


def expected_active_units(x: Any, sigma: float) -> int:
    """How many latents can pay for themselves: eigenvalues of the traces' covariance above sigma squared.

    Parameters
    ----------
    x : DataArray
        Traces, in the scale that sigma is in.
    sigma : float
        Standard deviation of the decoder.
    """
    return int((_eigenvalues(torch.from_numpy(to_batch(x))) > sigma**2).sum())


# ------------------------------------------------------------------------------------------ one run


@dataclass(frozen=True)
class _Plan:
    objective: Objective
    corrupt: Callable | None
    epochs: int
    batch: int
    lr: float
    weight_decay: float
    clip: float | None
    anneal: Anneal
    patience: int | None


@dataclass
class _Row:
    """One epoch of the history."""

    train: dict[str, float]
    lr: float
    sigma: float | None
    valid: dict[str, float] | None = None


@dataclass
class _Best:
    """The weights that did best on held-out traces, and for how many epochs they have."""

    loss: float = math.inf
    weights: dict[str, Tensor] | None = None
    waited: int = 0

    def look(self, model: Model, loss: float, *, counts: bool) -> None:
        if loss < self.loss:
            self.loss, self.weights, self.waited = loss, copy.deepcopy(model.state_dict()), 0
        else:
            self.waited += counts


def _run(model: Model, train: Pair, held_out: Pair | None, plan: _Plan, seed: int, advance: Callable):
    """One training from first to last epoch; the rows of its history, and the loss it is judged by."""
    x, y = train
    optimiser = torch.optim.Adam(model.parameters(), plan.lr, weight_decay=plan.weight_decay, fused=True)
    sigma = _sigma_schedule(model, x, plan.anneal)
    steps, step = plan.epochs * math.ceil(len(x) / plan.batch), 0
    best, rows = _Best(), []
    for epoch in range(plan.epochs):
        model.train()
        order = np.random.default_rng([seed, ORDER, epoch]).permutation(len(x))
        batches = []
        for start in range(0, len(x), plan.batch):
            traces = torch.from_numpy(order[start : start + plan.batch]).to(x.device)
            for group in optimiser.param_groups:
                group["lr"] = plan.lr * one_cycle(step / steps)
            sigma(step / steps)
            seen = x[traces]
            wanted = seen if y is x else y[traces]
            loss, terms = _forward(model, seen, wanted, plan, seed, step, step / steps)
            optimiser.zero_grad()
            loss.backward()
            if plan.clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
            optimiser.step()
            step += 1
            batches.append((len(traces), {"loss": loss.detach()} | {k: v.detach() for k, v in terms.items()}))
        row = _Row(_means(batches), optimiser.param_groups[0]["lr"], sigma(step / steps))
        _refuse_nan(row.train, step)
        if held_out:
            sigma(1.0)
            row.valid = _evaluate(model, *held_out, plan, _seed(seed, JUDGE))
            # while sigma still falls, no improvement on held-out traces means nothing yet
            best.look(model, row.valid["loss"], counts=row.sigma is None or step / steps >= plan.anneal.until)
        rows.append(row)
        advance(1, row.train["loss"])
        if plan.patience is not None and best.waited >= plan.patience:
            advance(plan.epochs - epoch - 1, row.train["loss"])
            break
    sigma(1.0)
    if best.weights is None:
        return rows, _evaluate(model, x, y, plan, _seed(seed, JUDGE))["loss"]
    model.load_state_dict(best.weights)
    return rows, best.loss


def _forward(
    model: Model, x: Tensor, y: Tensor, plan: _Plan, seed: int, step: int, share: float = 1.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and terms of a batch, its corruption, draws and weights being those of this step."""
    if plan.corrupt is not None:
        rng = np.random.default_rng([seed, CORRUPTION, step])
        x = torch.from_numpy(plan.corrupt(x.cpu().numpy(), rng)).to(x)
    net.reseed(x.device, seed + step)
    return plan.objective(model, x, y, share=share)


def _evaluate(
    model: Model, x: Tensor, y: Tensor, plan: _Plan, seed: int, batch: int = 4096
) -> dict[str, float]:
    """Loss and terms over all traces in evaluation mode, with the same corruption and draws at every call."""
    model.eval()
    batches = []
    for step, start in enumerate(range(0, len(x), batch)):
        piece = slice(start, start + batch)
        with torch.set_grad_enabled(bool(plan.objective.contractive)):  # whose value is itself a derivative
            loss, terms = _forward(model, x[piece], y[piece], plan, seed, step)
        batches.append((len(x[piece]), {"loss": loss.detach()} | {k: v.detach() for k, v in terms.items()}))
    return _means(batches)


def _means(batches: list[tuple[int, dict[str, Tensor]]]) -> dict[str, float]:
    """Mean of each term over the traces of all batches."""
    sizes, terms = zip(*batches, strict=True)
    return {
        name: float(np.average(torch.stack([t[name] for t in terms]).double().cpu().numpy(), weights=sizes))
        for name in terms[0]
    }


def one_cycle(share: float) -> float:
    """Share of the largest learning rate: up for a tenth of the run, down a cosine to a hundredth."""
    if share < 0.1:
        return max(share / 0.1, 0.01)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (share - 0.1) / 0.9))


def _sigma_schedule(model: Model, x: Tensor, anneal: Anneal) -> Callable[[float], float | None]:
    """What sets the likelihood's sigma to where it should be after a share of the run, and returns it."""
    likelihood: Any = model.likelihood
    if not getattr(likelihood, "anneal", False):
        return lambda share: None
    with torch.no_grad():
        offset, gain = model.scale(x)
        largest = _eigenvalues((x - offset) / gain)[-1].item()

    def set_sigma(share: float) -> float:
        sigma = anneal.sigma(share, largest, math.exp(likelihood.start))
        with torch.no_grad():
            likelihood.log_sigma.fill_(math.log(sigma))
        return sigma

    return set_sigma


def _eigenvalues(x: Tensor) -> Tensor:
    """Eigenvalues of the covariance of traces (trace, channel, time), ascending."""
    flat = x.flatten(1).double()
    flat = flat - flat.mean(0)
    gram = flat.T @ flat if len(flat) > flat.shape[1] else flat @ flat.T  # both have the same nonzero ones
    return torch.linalg.eigvalsh(gram / len(flat))


# ----------------------------------------------------------------------------------- data and report


def _is_share(valid: Any) -> bool:
    return isinstance(valid, int | float)


def _check(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} is {count}; it must be 1 or more")


def _seed(*key: int) -> int:
    """One 63-bit seed out of several numbers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def _split(model: Model, data: Any, target: Any, valid: Any, seed: int) -> tuple[Pair, Pair | None]:
    """Training and held-out (input, target) pairs, where the model is."""
    x = _traces(model, data, "data")
    y = x if target is None else _traces(model, target, "target")
    if len(x) != len(y):
        raise ValueError(f"data has {len(x)} traces and target {len(y)}; they must go in pairs")
    if not _is_share(valid):
        held_out = _traces(model, valid, "valid")
        return (x, y), (held_out, held_out)
    if not 0 <= valid < 1:
        raise ValueError(f"valid is {valid}; it is the share of traces held out, from 0 to below 1")
    if not valid:
        return (x, y), None
    count = math.ceil(valid * len(x))
    if count >= len(x):
        raise ValueError(f"valid={valid} of {len(x)} traces leaves none to train on")
    order = np.random.default_rng([seed, SPLIT]).permutation(len(x))
    held, kept = order[:count], np.sort(order[count:])
    return (x[kept], y[kept]), (x[held], y[held])


def _traces(model: Model, data: Any, name: str) -> Tensor:
    """Traces (trace, channel, time) where the model is, if they are ones it can be trained on."""
    x = to_batch(data)
    if not len(x):
        raise ValueError(f"{name} holds no traces")
    bad = np.flatnonzero(~np.isfinite(x).all((1, 2)))
    if len(bad):
        raise ValueError(
            f"{name} has NaN or inf in {len(bad)} of {len(x)} traces, the first being trace {bad[0]}; "
            f"leave them out: data.isel(trace=np.isfinite(data).all('time'))"
        )
    wanted = (model.config.get("channels", x.shape[1]), model.config.get("length", x.shape[2]))
    if x.shape[1:] != wanted:
        raise ValueError(
            f"{name} has {x.shape[1]} channels of {x.shape[2]} samples, the model expects {wanted[0]} "
            f"of {wanted[1]}; "
            f"build it with like={name}"
        )
    return torch.from_numpy(x).to(next(model.parameters()))


def _check_probabilities(model: Model, x: Tensor, y: Tensor) -> None:
    """Hold targets against what a Bernoulli trace can be."""
    if isinstance(model.likelihood, Bernoulli):
        offset, gain = model.scale(x)
        low, high = ((y - offset) / gain).aminmax()
        if low < -1e-6 or high > 1 + 1e-6:
            raise ValueError(
                f"a Bernoulli trace lies between 0 and 1, the scaled targets between {low:.3g} and "
                f"{high:.3g}; "
                f"build the model with scale='range', or likelihood='gaussian'"
            )


def _refuse_nan(terms: dict[str, float], step: int) -> None:
    bad = [name for name, value in terms.items() if not math.isfinite(value)]
    if bad:
        raise ValueError(f"{bad[-1]} became {terms[bad[-1]]} by step {step}; try a smaller lr, or clip=1.0")


def _history(rows: list[_Row], restart_losses: list[float]) -> xr.Dataset:
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


def _trained(data: xr.DataArray, traces: int, objective: Objective, seed: int, history: xr.Dataset) -> dict:
    """What the model file says of its training."""
    at = data["time"].values
    seconds = (at - at[0]) / np.timedelta64(1, "s") if np.issubdtype(at.dtype, np.datetime64) else at
    last = history.isel(epoch=-1)
    return {
        "traces": traces,
        "time": [float(seconds[0]), float(seconds[-1])],
        "rate": float((len(seconds) - 1) / (seconds[-1] - seconds[0])) if len(seconds) > 1 else None,
        "channels": [str(c) for c in data["channel"].values] if "channel" in data.coords else [],
        "units": str(data.attrs.get("units", "")),
        "time_units": str(data["time"].attrs.get("units", "s")),
        "objective": objective.weights(),
        "seed": seed,
        "epochs": int(history.sizes["epoch"]),
        "losses": {name: float(v.sel(split="train")) for name, v in last.items() if "split" in v.dims},
        "versions": {name: version(name) for name in ("geoae", "torch", "numpy")},
    }


@contextmanager
def _bar(total: int, progress: bool | None) -> Iterator[Callable[[int, float], None]]:
    """A progress bar with the loss and the time left; ``advance(epochs, loss)`` moves it."""
    show = sys.stderr.isatty() if progress is None else progress
    if not show:
        yield lambda epochs, loss: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        "training",
        BarColumn(),
        TextColumn("{task.completed}/{task.total} epochs"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, TextColumn("loss {task.fields[loss]:.4g}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=total, loss=math.nan)
        yield lambda epochs, loss: bar.update(task, advance=epochs, loss=loss)
