"""A model in one file: weights, and in words how to build it. Nothing in it is ever executed."""

import hashlib
import json
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors, save as save_tensors
from torch import Tensor

from .. import nn as net
from ..files import whole
from .builders import BUILDERS
from .models import Model

FORMAT = 1


def save(model: Model, path: str | os.PathLike) -> None:
    """Write a model into one ``.safetensors`` file: weights, and how to build it as JSON metadata.

    The file appears whole or not at all, holds no code, and carries a sha256 of its numbers, which the
    format itself would not miss if a bit flipped.

    Parameters
    ----------
    model : Model
        From `autoencoder` or `denoiser`; one put together by hand is saved too, for ``load(path, into=)``.
    path : path
        Of the file.
    """
    if not isinstance(model, Model):
        raise TypeError(f"model is a {type(model).__name__}; the model comes first: save(model, path)")
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    about = {"format": FORMAT, "model": model.config, "trained": model.trained, "card": model.card}
    metadata = {"geoae": json.dumps(about), "sha256": digest(tensors)}
    with whole(path) as part:
        part.write_bytes(save_tensors(tensors, metadata))


def load(path: str | os.PathLike, *, into: Model | None = None, device: str | torch.device = "cpu") -> Model:
    """Build a saved model again. Nothing in the file is executed.

    Parameters
    ----------
    path : path
        Of a file that `save` wrote.
    into : Model, optional
        A model put together by hand, to be filled with the file's weights.
    device : str or device
        Where the model should live.

    Returns
    -------
    Model
        In evaluation mode.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no model of geoae, is damaged, or comes from a newer geoae.
    """
    about, tensors = _read(Path(path))
    if into is None and not about["model"]:
        raise ValueError(
            f"{path} holds a model put together by hand; build it again and load(path, into=model)"
        )
    model = _build(about["model"], path) if into is None else into
    _check_shapes(model, tensors, path)
    model.load_state_dict(tensors, assign=into is None)
    model.trained, model.card = about["trained"], about["card"]
    return model.to(device).eval()


def pretrained() -> Model:
    """Load the denoiser that comes with geoae: trained on real earthquakes and noise, for 100 Hz, E, N, Z.

    What it was trained on, its scores and its limits stand in its ``card``. It is a new model at each
    call, so that `geoae.fit` may train it on.

    Examples
    --------
    >>> pretrained().trained["rate"]
    100.0
    """
    with resources.as_file(resources.files("geoae") / "weights" / "denoiser.safetensors") as path:
        return load(path)


def about(path: str | os.PathLike) -> dict[str, Any]:
    """What a model file says of itself: its words, what it was trained on, its card, and its size."""
    text, tensors = _read(Path(path))
    return {**text, "weights": sum(t.numel() for t in tensors.values())}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        if "geoae" not in metadata:
            raise ValueError(f"{path} is a safetensors file, but not a model saved by geoae")
        text = json.loads(metadata["geoae"])
        _check_text(text, path)
        tensors = load_tensors(path.read_bytes())
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a model saved by geoae, or it is damaged ({error})") from error
    if metadata.get("sha256") != digest(tensors):
        raise ValueError(f"{path} is damaged: its weights do not match their sha256; fetch or train it again")
    return text, tensors


def _check_text(text: Any, path: Path) -> None:
    """Hold what a file says of itself against what every model file says."""
    kinds = {"format": int, "model": dict, "trained": dict, "card": dict}
    missing = kinds.keys() - (text.keys() if isinstance(text, dict) else ())
    if missing:
        raise ValueError(f"{path} is damaged: it does not say its {', '.join(sorted(missing))}")
    for name, kind in kinds.items():
        if type(text[name]) is not kind:
            raise ValueError(f"{path} is damaged: its {name} is {text[name]!r:.40}, no {kind.__name__}")
    rate = text["trained"].get("rate")
    if rate is not None and not (isinstance(rate, int | float) and rate > 0):
        raise ValueError(f"{path} is damaged: its sampling rate is {rate!r:.40}")
    if text["format"] > FORMAT:
        raise ValueError(f"{path} has format {text['format']}; this geoae reads up to {FORMAT}, update geoae")


def _build(config: dict[str, Any], path: str | os.PathLike) -> Model:
    words = dict(config)
    try:
        with torch.device("meta"):  # shapes only: a hostile size takes no memory
            return net.choose(BUILDERS, words.pop("builder"), "builder")(**words)
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path} describes a model this geoae cannot build ({error})") from error


def _check_shapes(model: Model, tensors: Mapping[str, Tensor], path: str | os.PathLike) -> None:
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    kinds = {value.dtype for value in tensors.values() if value.dtype != torch.bool}
    if len(kinds) > 1 or not all(kind.is_floating_point for kind in kinds):
        raise ValueError(
            f"{path} holds numbers of types {', '.join(map(str, kinds))}; wanted floats of one kind"
        )
    if not all(value.isfinite().all() for value in tensors.values()):
        raise ValueError(f"{path} holds weights that are NaN or inf; train the model again")
    wrong = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"{path} does not fit the model: {name} is {found.get(name, 'missing')} in the file, "
            f"{wanted.get(name, 'unknown')} in the model"
        )


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of tensors, their names, types and shapes."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        sha.update(value.numpy().tobytes())
    return sha.hexdigest()
