"""What a training is asked to do, and how its settings move during the run."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ..arrays import to_batch
from ..dist import Gaussian
from ..model import Model
from ..objective import Objective


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
    until: float = 0.85

    def sigma(self, share: float, largest: float, end: float) -> float:
        """Standard deviation after `share` of the run, for a largest eigenvalue `largest`."""
        first = math.sqrt(self.start * largest)
        if first <= end:
            return end
        done = min(1.0, max(0.0, (share - self.hold) / (self.until - self.hold)))
        return first * (end / first) ** done


@dataclass(frozen=True)
class Plan:
    """The settings of `geoae.fit` that every step looks at."""

    objective: Objective
    corrupt: Callable | None
    epochs: int
    batch: int
    lr: float
    weight_decay: float
    clip: float | None
    schedule: Callable[[float], float]
    anneal: Anneal
    patience: int | None
    precision: torch.dtype

    def words(self) -> dict[str, str]:
        """The settings in words, by which a checkpoint knows its training."""
        return {
            f.name: repr(getattr(self, f.name)) for f in fields(self) if f.name not in ("corrupt", "schedule")
        }


def one_cycle(share: float) -> float:
    """Share of the largest learning rate: up for a tenth of the run, down a cosine to a hundredth."""
    if share < 0.1:
        return max(share / 0.1, 0.01)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (share - 0.1) / 0.9))


def usual_lr(model: Model) -> float:
    """Largest learning rate where none is asked for: larger steps where sigma is annealed."""
    return 5e-3 if getattr(model.likelihood, "anneal", False) else 3e-3


SCHEDULES: dict[str, Callable[[float], float]] = {
    "one cycle": one_cycle,
    "warm-up": lambda share: max(min(share / 0.1, 1.0), 0.01),
    "constant": lambda share: 1.0,
}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def sigma_schedule(
    model: Model, some: Callable[[], Tensor], anneal: Anneal
) -> Callable[[float], float | None]:
    """What sets the likelihood's sigma to where it should be after a share of the run, and returns it.

    Where it is annealed, it starts from the largest eigenvalue of `some` traces (trace, channel, time).
    """
    likelihood: Any = model.likelihood
    if not getattr(likelihood, "anneal", False):
        return lambda share: None
    traces = some()
    with torch.no_grad():
        offset, gain = model.scale(traces)
        largest = _eigenvalues((traces - offset) / gain)[-1].item()

    def set_sigma(share: float) -> float:
        sigma = anneal.sigma(share, largest, math.exp(likelihood.start))
        with torch.no_grad():
            likelihood.log_sigma.fill_(math.log(sigma))
        return sigma

    return set_sigma


def units_that_pay(model: Model, objective: Objective, some: Callable[[], Tensor]) -> int | None:
    """`expected_active_units` of a training to come, at its last sigma and weight of the KL term.

    None where that says nothing: for a point posterior, or a sigma that is learned.
    """
    likelihood: Any = model.likelihood
    beta = objective.weights().get("kl", 0.0)
    if not beta or not isinstance(likelihood, Gaussian) or list(likelihood.parameters()):
        return None
    traces = some()
    with torch.no_grad():
        offset, gain = model.scale(traces)
        end = likelihood.start if likelihood.anneal else float(likelihood.log_sigma)
    return int((_eigenvalues((traces - offset) / gain) > beta * math.exp(2 * end)).sum())


def expected_active_units(x: Any, sigma: float) -> int:
    """How many latents can pay for themselves: eigenvalues of the traces' covariance above sigma squared.

    A latent that explains an eigenvalue smaller than the decoder's variance costs more divergence from the
    prior than it saves in reconstruction (Lucas et al., 2019): 0 means that the code will collapse. It is of
    the linear model; a nonlinear decoder can need fewer latents. Times beta, if the KL term has a weight.

    Parameters
    ----------
    x : DataArray
        Traces, in the scale that sigma is in.
    sigma : float
        Standard deviation of the decoder.
    """
    return int((_eigenvalues(torch.from_numpy(to_batch(x))) > sigma**2).sum())


def _eigenvalues(x: Tensor) -> Tensor:
    """Eigenvalues of the covariance of traces (trace, channel, time), ascending."""
    flat = x.flatten(1).double()
    flat = flat - flat.mean(0)
    gram = flat.T @ flat if len(flat) > flat.shape[1] else flat @ flat.T  # both have the same nonzero ones
    return torch.linalg.eigvalsh(gram / len(flat))
