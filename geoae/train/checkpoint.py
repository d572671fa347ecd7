"""A training's state on disk: whole or not there, without code, refused where it does not belong."""

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors, save as save_tensors
from torch import Tensor

from ..files import whole
from ..model import Model, digest

Terms = dict[str, float]


@dataclass
class Row:
    """One epoch of the history."""

    train: Terms
    lr: float
    sigma: float | None
    valid: Terms | None = None


@dataclass
class Best:
    """The weights that did best on held-out traces, and for how many epochs they have."""

    loss: float = math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)
    waited: int = 0

    def look(self, model: Model, loss: float, *, counts: bool) -> None:
        """Take note of an epoch's loss; waiting counts, or not yet."""
        if loss < self.loss:
            self.loss, self.waited = loss, 0
            self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        else:
            self.waited += counts


@dataclass
class Progress:
    """How far one run has come; with the weights and the optimiser's state it is all there is to a run."""

    step: int = 0
    rows: list[Row] = field(default_factory=list)
    batches: list[tuple[int, Terms]] = field(default_factory=list)  # of the epoch under way
    best: Best = field(default_factory=Best)
    scaler: dict[str, Any] = field(default_factory=dict)  # of the loss, for half precision


@dataclass
class Finished:
    """A run that is over: the loss it is judged by, its history, its weights."""

    loss: float
    rows: list[Row]
    weights: dict[str, Tensor]


class Keeper:
    """Writes the state of a training every so often, and brings it back.

    Parameters
    ----------
    path : path or None
        Of the checkpoint; None keeps nothing.
    every : float or int
        Seconds (float) or steps (int) between two checkpoints.
    about : dict
        What the training is: its settings, the model's words, a digest of the data.
    """

    def __init__(
        self, path: str | os.PathLike | None, every: float, about: dict[str, Any], *, writes: bool = True
    ):
        self.path = None if path is None else Path(path)
        self.every, self.about, self.writes = every, json.loads(json.dumps(about)), writes
        self.finished: list[Finished] = []
        self._last = time.monotonic()
        if self.path is not None and not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"no folder {self.path.parent} for the checkpoint {self.path.name}; make it first"
            )

    def due(self, step: int) -> bool:
        """Whether it is time for a checkpoint."""
        if self.path is None or not self.writes:
            return False
        if isinstance(self.every, int):
            return step % self.every == 0
        return time.monotonic() - self._last >= self.every

    def save(self, model: Model, optimiser: torch.optim.Optimizer, progress: Progress) -> None:
        """Write the state of the run under way and of those before it."""
        if self.path is None or not self.writes:
            return
        tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in progress.best.weights.items()}
        for i, parameter in enumerate(model.parameters()):
            tensors |= {f"optimiser.{i}.{k}": v for k, v in optimiser.state.get(parameter, {}).items()}
        for i, run in enumerate(self.finished):
            tensors |= {f"finished.{i}.{k}": v for k, v in run.weights.items()}
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        text = {
            "about": self.about,
            "step": progress.step,
            "rows": [asdict(row) for row in progress.rows],
            "batches": progress.batches,
            "best": [progress.best.loss, progress.best.waited],
            "scaler": progress.scaler,
            "finished": [[run.loss, [asdict(row) for row in run.rows]] for run in self.finished],
        }
        metadata = {"geoae checkpoint": json.dumps(text), "sha256": digest(tensors)}
        with whole(self.path) as part:
            part.write_bytes(save_tensors(tensors, metadata))
        self._last = time.monotonic()

    def done(self, epochs: int) -> int:
        """How many epochs the checkpoint has behind it; a run that is over counts as all of its own."""
        text, _ = self._read()
        return epochs * len(text["finished"]) + len(text["rows"])

    def restore(self, model: Model, optimiser: torch.optim.Optimizer) -> Progress:
        """Bring back the run under way, in place; what was finished before it is in ``finished``."""
        text, tensors = self._read()
        model.load_state_dict(_under(tensors, "model."))
        for i, parameter in enumerate(model.parameters()):
            state = _under(tensors, f"optimiser.{i}.")
            if state:
                optimiser.state[parameter] = {
                    k: v.to(parameter.device if v.ndim else v.device) for k, v in state.items()
                }
        best = Best(text["best"][0], _under(tensors, "best."), text["best"][1])
        self.finished = [
            Finished(loss, [Row(**row) for row in rows], _under(tensors, f"finished.{i}."))
            for i, (loss, rows) in enumerate(text["finished"])
        ]
        rows = [Row(**row) for row in text["rows"]]
        return Progress(
            text["step"], rows, [(n, terms) for n, terms in text["batches"]], best, text["scaler"]
        )

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        path = self.path
        try:
            with safe_open(path, "pt") as file:  # type: ignore[arg-type]
                metadata = file.metadata() or {}
            if "geoae checkpoint" not in metadata:
                raise ValueError(f"{path} is not a checkpoint of geoae; give checkpoint= another name")
            text = json.loads(metadata["geoae checkpoint"])
            tensors = load_tensors(path.read_bytes())  # type: ignore[union-attr]
        except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a checkpoint of geoae, or it is damaged ({error})") from error
        if metadata.get("sha256") != digest(tensors):
            raise ValueError(
                f"{path} is damaged: its numbers do not match their sha256; delete it and train anew"
            )
        for name, value in self.about.items():
            if text["about"].get(name) != value:
                raise ValueError(
                    f"{path} is of another training: its {name} is {_short(text['about'].get(name))}, "
                    f"now it is "
                    f"{_short(value)}; train on with the same settings, or give checkpoint= another name"
                )
        return text, tensors


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose name begins with a prefix, by the rest of it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _short(value: Any, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


def digest_of(x: Any, some: int = 64) -> str:
    """Short digest of traces, from how many there are and the first and last of them."""
    ends = [x[:some], x[-some:]]
    sha = hashlib.sha256(str(tuple(x.shape)).encode())
    for end in ends:
        sha.update((end.cpu().numpy() if isinstance(end, Tensor) else end).tobytes())
    return sha.hexdigest()[:16]
