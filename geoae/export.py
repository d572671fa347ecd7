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
    (type and shape of
    each, in order) and ``weights``: all numbers in the order of the layers (weight, then bias),
    little-endian.
    The last layer, ``scale``, brings the trace back to the units of the data.

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
    layers.append({"type": "scale", "shape": list(model.scale.offset.shape)})
    numbers += [model.scale.gain.reshape(1), model.scale.offset]
    flat = np.concatenate([n.detach().cpu().numpy().ravel() for n in numbers]).astype(
        f"<f{np.dtype(dtype).itemsize}"
    )
    content = {
        "latent": model.config["latent"],
        "channels": model.config["channels"],
        "length": model.config["length"],
        "time": model.trained.get("time", [0, model.config["length"] - 1]),
        "units": model.trained.get("units", ""),
        "layers": layers,
        "dtype": dtype,
        "weights": base64.b64encode(flat.tobytes()).decode(),
    }
    with whole(path) as part:
        part.write_text(json.dumps(content))


def _describe(layer: nn.Module) -> tuple[dict[str, Any], list[Tensor]]:
    if isinstance(layer, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):
        words: dict[str, Any] = {"type": type(layer).__name__, "shape": list(layer.weight.shape)}
        if not isinstance(layer, nn.Linear):
            words |= {"stride": layer.stride[0], "padding": layer.padding[0]}
        if isinstance(layer, nn.ConvTranspose1d):
            words["output_padding"] = layer.output_padding[0]
        return words, [p for p in (layer.weight, layer.bias) if p is not None]
    if isinstance(layer, nn.Unflatten | nn.Flatten | nn.Identity):
        return {}, []  # the order of the numbers stays
    if type(layer) not in ACTIVATIONS:
        known = "Linear, Conv1d, ConvTranspose1d, ReLU, Tanh, Sigmoid"
        raise ValueError(f"a browser cannot run the layer {layer}; it knows {known}")
    return {"type": ACTIVATIONS[type(layer)]}, []
