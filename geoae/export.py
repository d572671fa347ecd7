"""A trained decoder as JSON, small enough to run inside a web page."""

import base64
import json
import os
from typing import Any

import numpy as np
from torch import Tensor, nn

from .files import whole
from .model import Autoencoder
from .nn import SetScale

ACTIVATIONS = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}


def decoder_json(model: Autoencoder, path: str | os.PathLike, *, dtype: str = "float16") -> None:
    """Write the decoder of a trained model for a browser: layers in words, weights as base64.

    The file holds ``latent``, ``channels``, ``length``, ``time`` (first and last sample), ``layers``
    (type and
    shape of each, in order) and ``weights``: all numbers in the order of the layers (weight, then bias). The
    trace in the units of the data is the last layer's output times ``gain`` plus ``offset``, one
    number for each
    sample. Numbers are little-endian; gain and offset are single precision whatever `dtype`, as they
    have units.

    Parameters
    ----------
    model : Autoencoder
    path : path
        Of the JSON file; it appears whole or not at all.
    dtype : str
        ``float16`` (half the size, 2e-4 off) or ``float32``.

    Raises
    ------
    ValueError
        For a layer that the browser's side does not know, or a scale measured trace by trace.
    """
    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype is {dtype!r}; choose from float16, float32")
    if not isinstance(model.scale, SetScale):
        raise ValueError(
            "a decoder alone cannot undo a scale measured trace by trace; build with scale='global'"
        )
    layers, numbers = [], []
    for layer in model.decoder.children():
        words, tensors = _describe(layer)
        if words:
            layers.append(words)
            numbers += tensors
    content = {
        "latent": model.config["latent"],
        "channels": model.config["channels"],
        "length": model.config["length"],
        "time": model.trained.get("time", [0, model.config["length"] - 1]),
        "units": model.trained.get("units", ""),
        "layers": layers,
        "dtype": dtype,
        "weights": _packed(numbers, dtype),
        "gain": float(model.scale.gain),
        "offset": _packed([model.scale.offset], "float32"),
    }
    with whole(path) as part:
        part.write_text(json.dumps(content))


def _packed(tensors: list[Tensor], dtype: str) -> str:
    """Numbers as base64 of little-endian floats."""
    flat = np.concatenate([t.detach().cpu().numpy().ravel() for t in tensors])
    if np.abs(flat).max() > np.finfo(dtype).max:
        raise ValueError(
            f"a weight of {np.abs(flat).max():.3g} does not fit into {dtype}; use dtype='float32'"
        )
    return base64.b64encode(flat.astype(f"<f{np.dtype(dtype).itemsize}").tobytes()).decode()


def _describe(layer: nn.Module) -> tuple[dict[str, Any], list[Tensor]]:
    if isinstance(layer, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):
        words: dict[str, Any] = {"type": type(layer).__name__, "shape": list(layer.weight.shape)}
        if not isinstance(layer, nn.Linear):
            words |= {"stride": layer.stride[0], "padding": layer.padding[0]}
        if isinstance(layer, nn.ConvTranspose1d):
            words["output_padding"] = layer.output_padding[0]
        return words, [p for p in (layer.weight, layer.bias) if p is not None]
    if isinstance(layer, nn.Unflatten | nn.Flatten | nn.Identity | nn.Dropout):
        return {}, []  # a model in use changes nothing there
    if type(layer) not in ACTIVATIONS:
        known = "Linear, Conv1d, ConvTranspose1d, ReLU, Tanh, Sigmoid"
        raise ValueError(f"a browser cannot run the layer {layer}; it knows {known}")
    return {"type": ACTIVATIONS[type(layer)]}, []
