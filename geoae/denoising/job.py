"""How a model is to be run, which components go through it together, and piece by piece along time."""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np

from .. import dist, nn as net
from ..io import ENZ
from ..model import Model, load, pretrained
from .windows import OUTSIDE, Pass

BLOCK = 2**19  # samples per component that are worked on at a time
SAME_RATE = 1e-6  # relative; what single precision makes of a rate
BATCH = {"cpu": 4}  # windows that fit a core's cache
GPU_BATCH = 64


@dataclass(frozen=True)
class Job:
    """A model and how it is to be run."""

    model: Model
    hop: int
    batch: int
    outside: str
    partial: bool
    std: bool = False

    def at(self, rate: float) -> Pass:
        """How the model passes along data of a sampling rate."""
        if self.std and not self.predicts:
            raise ValueError("this model predicts no error; train one with denoiser(..., sigma='predicted')")
        return Pass(self.model, rate, self.hop, self.batch, self.outside, self.std)

    @property
    def predicts(self) -> bool:
        """Whether the model says how far it may be off."""
        return isinstance(self.model.likelihood, dist.Heteroscedastic)

    @property
    def line(self) -> str:
        """What goes into the history of a result."""
        name = self.model.card.get("name") or self.model.config.get("builder", type(self.model).__name__)
        words = f"model={name}, length={self.model.config['length']}, hop={self.hop}"
        what = "standard deviation of " if self.std else ""
        return f"geoae {version('geoae')}: {what}denoise({words}, outside={self.outside})"


def job_for(model: Any, hop: int | None, batch: int | None, outside: str, partial: bool, device: Any) -> Job:
    """Put a job together from what the user said, and check it."""
    model = _model(model).to(net.device(device)).eval()
    if not model.trained.get("noisy", True):
        warnings.warn(
            "this model was trained to repeat its traces, not to take noise off them; "
            "geoae.fit(model, clean, corrupt=geoae.AddNoise(noise)) trains one that does",
            stacklevel=3,
        )
    length = model.config["length"]
    hop = 4 * length // 5 if hop is None else hop
    if not 1 <= hop <= length:
        raise ValueError(f"hop is {hop}; the model sees {length} samples, so 1 to {length} will do")
    if batch is None:
        batch = BATCH.get(next(model.parameters()).device.type, GPU_BATCH)
    return Job(
        model,
        hop,
        batch,
        net.choose({word: word for word in OUTSIDE}, outside, "word for what lies outside"),
        partial,
    )


def _model(model: Model | str | os.PathLike | None) -> Model:
    if model is None:
        return pretrained()
    model = model if isinstance(model, Model) else load(model)
    if "length" not in model.config:
        raise ValueError(
            "this model was put together by hand, so its window is unknown; set model.config['length']"
        )
    return model


def instruments(ids: Sequence[str], job: Job) -> list[list[int | None]]:
    """Indices of the channels that go through the model together, in its order; None for a missing one."""
    count = job.model.config.get("channels", 1)
    if count == 1:
        return [[i] for i in range(len(ids))]
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(ids):
        groups.setdefault(name[:-1], []).append(i)
    order = job.model.trained.get("channels") or list("ENZ")
    for name, members in groups.items():
        members.sort(key=lambda i: _rank(ids[i][-1:], order))
        if len(members) > count or (len(members) < count and not job.partial):
            found = ", ".join(ids[i] for i in members if ids[i]) or f"{len(members)} without names"
            few = "give all of them, take what is there with partial=True"
            what = "leave out those that are none of them" if len(members) > count else few
            whose = f"instrument {name}?" if name else "this record"
            raise ValueError(
                f"model takes {count} components together, {whose} has {found}; {what}, or use a "
                f"one-component model"
            )
    return [
        _placed(members, [_rank(ids[i][-1:], order)[0] for i in members], count)
        for members in groups.values()
    ]


def _placed(members: list[int], ranks: list[int], count: int) -> list[int | None]:
    """Each component at its place among `count`; where places are contested or unknown, from the last on."""
    if len(members) == count:
        return list(members)
    places: list[int | None] = [None] * count
    for i, rank in zip(members, ranks, strict=True):
        free = [p for p in range(count) if places[p] is None]
        places[rank if rank in free else free[-1]] = i
    return places


def _rank(component: str, order: Sequence[str]) -> tuple[int, str]:
    """Where a component stands among the model's: by its name, or what that name stands for (1 is north)."""
    places = [ENZ.get(name[-1:], name) for name in order]
    place = ENZ.get(component, component)
    return (places.index(place) if place in places else len(places)), component


def absolute_sample(start_ns: int, rate: float) -> int:
    """Number of the sample that a time stands nearest to, on a grid that hangs on 1970."""
    return round(start_ns * rate / 1e9)


@lru_cache
def nominal(rate: float) -> float:
    """The simple fraction that a rate stands for, or components would lie on different grids."""
    simple = Fraction(rate).limit_denominator(1000)
    return float(simple) if abs(simple / Fraction(rate) - 1) < SAME_RATE else rate


def in_blocks(run: Pass, first: int, last: int, read: Callable, write: Callable) -> None:
    """Denoise absolute samples `first` to `last` piece by piece, so that memory does not grow with length.

    ``read(begin, end)`` gives (channel, n) values and ``write(begin, values)`` takes them; a piece comes with
    all that its results depend on.
    """
    for begin in range(first, last, BLOCK):
        end = min(begin + BLOCK, last)
        low, high = max(begin - run.reach, first), min(end + run.reach, last)
        write(begin, run(read(low, high), low)[:, begin - low : end - low])


def output_dtype(dtype: np.dtype) -> np.dtype:
    """The smallest float that holds every number of `dtype`."""
    return np.result_type(dtype, np.float32)


def refuse_nothing(samples: int, numbers: int) -> None:
    """Refuse what holds no samples, or no numbers among them."""
    if not samples:
        raise ValueError("there are no samples to denoise")
    if not numbers:
        raise ValueError("every sample is NaN; there is nothing to denoise")


def refuse_infinite(count: int) -> None:
    """Refuse infinite samples, if there are any."""
    if count:
        raise ValueError(f"{count} samples are infinite; set them to NaN, and they count as missing")
