"""A trained decoder as JSON, small enough to run inside a web page."""

import base64
import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor, nn

from .arrays import to_batch
from .dist import Bernoulli
from .files import whole
from .model import Autoencoder
from .nn import SetScale

ACTIVATIONS = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.SiLU: "silu"}
UNSEEN = (nn.Unflatten, nn.Flatten, nn.Identity, nn.Dropout)  # a model in use changes nothing there


def decoder_json(
    model: Autoencoder,
    path: str | os.PathLike,
    *,
    traces: xr.DataArray | None = None,
    codes: xr.Dataset | None = None,
    dtype: str = "float32",
) -> None:
    """Write the decoder of a trained model for a browser: layers in words, weights as base64.

    The file holds ``latent``, ``channels``, ``length``, ``time`` (first and last sample), ``layers`` (type
    and shape of each, in order) and ``weights``: all numbers in the order of the layers (weight, then bias).
    The trace in the units of the data is the last layer's output times ``gain`` plus ``offset``, one number
    for each sample. Numbers are little-endian; gain and offset are single precision whatever `dtype`, as
    they have units.

    Parameters
    ----------
    model : Autoencoder
    path : path
        Of the JSON file; it appears whole or not at all.
    traces, codes : DataArray and Dataset, optional
        Traces to compare with and what `geoae.encode` says of them. The file then holds as ``examples``
        the traces, their mean codes, the parameters that they carry, and each latent's mean ``kl``.
    dtype : str
        Of the weights and examples: ``float32``, or ``float16`` (half the size, 2e-4 off).

    Raises
    ------
    ValueError
        For a layer that the browser's side does not know, a scale measured trace by trace, or codes of
        other traces.

    Examples
    --------
    >>> import geoae, tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "decoder.json")
    ...     decoder_json(geoae.autoencoder(50, latent=2, widths=(16,)), file)
    ...     [layer["type"] for layer in json.loads(file.read_text())["layers"]]
    ['Linear', 'relu', 'Linear']
    """
    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype is {dtype!r}; choose from float16, float32")
    if not isinstance(model.scale, SetScale):
        raise ValueError(
            "a decoder alone cannot undo a scale measured trace by trace; build with scale='global'"
        )
    layers, weights = _layers(model)
    trained = model.trained
    content = {
        "latent": model.config["latent"],
        "channels": model.config["channels"],
        "length": model.config["length"],
        "time": trained.get("time", [0, model.config["length"] - 1]),
        "time_units": trained.get("time_units", ""),
        "units": trained.get("units", ""),
        "layers": layers,
        "dtype": dtype,
        "weights": _packed((w.detach().cpu().numpy() for w in weights), dtype),
        "gain": float(model.scale.gain),
        "offset": _packed([model.scale.offset.cpu().numpy()], "float32"),
    }
    if traces is not None or codes is not None:
        content["examples"] = _examples(traces, codes, dtype)
    with whole(path) as part:
        part.write_text(json.dumps(content), encoding="utf-8")


def _layers(model: Autoencoder) -> tuple[list[dict[str, Any]], list[Tensor]]:
    """Layers of the decoder in words, and their numbers in the same order."""
    if not isinstance(model.decoder, nn.Sequential):
        raise ValueError(
            f"a browser cannot run the decoder {type(model.decoder).__name__}; it needs layers in a row"
        )
    layers: list[dict[str, Any]] = []
    weights: list[Tensor] = []
    for layer in model.decoder:
        if not isinstance(layer, UNSEEN):
            layers.append(_in_words(layer))
            weights += layer.parameters()  # the weight, then the bias if there is one
    if isinstance(model.likelihood, Bernoulli):
        layers.append({"type": "sigmoid"})  # the decoder gives log-odds, the trace is the probability
    return layers, weights


def _in_words(layer: nn.Module) -> dict[str, Any]:
    if type(layer) in ACTIVATIONS:
        return {"type": ACTIVATIONS[type(layer)]}
    if type(layer) not in (nn.Linear, nn.Conv1d, nn.ConvTranspose1d) or not _plain(layer):
        known = ", ".join(kind.__name__ for kind in (nn.Linear, nn.Conv1d, nn.ConvTranspose1d, *ACTIVATIONS))
        raise ValueError(
            f"a browser cannot run the layer {layer}; it knows {known} (no dilation, groups or other padding)"
        )
    shape = list(next(layer.parameters()).shape)
    words = {"type": type(layer).__name__, "shape": shape, "bias": layer.bias is not None}
    if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
        words |= {"stride": layer.stride[0], "padding": layer.padding[0]}
    if isinstance(layer, nn.ConvTranspose1d):
        words["output_padding"] = layer.output_padding[0]
    return words


def _plain(layer: nn.Module) -> bool:
    """Whether a convolution does nothing that its words do not say."""
    if not isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
        return True
    usual = (layer.dilation, layer.groups, layer.padding_mode) == ((1,), 1, "zeros")
    return usual and not isinstance(layer.padding, str)


def _examples(traces: xr.DataArray | None, codes: xr.Dataset | None, dtype: str) -> dict[str, Any]:
    if traces is None or codes is None or traces.sizes.get("trace") != codes.sizes["trace"]:
        raise ValueError("traces and codes go together, trace by trace: codes=geoae.encode(traces, model)")
    own = {name: c for name, c in traces.coords.items() if c.dims == ("trace",) and c.dtype.kind in "fiu"}
    return {
        "count": traces.sizes["trace"],
        "traces": _packed([to_batch(traces.transpose("trace", ...))], dtype),
        "mean": _packed([codes["mean"].values], "float32"),
        "kl": codes["kl"].mean("trace").values.round(4).tolist() if "kl" in codes else None,
        "parameters": {
            str(name): {
                "values": [float(f"{value:.4g}") for value in c.values],
                "units": c.attrs.get("units", ""),
            }
            for name, c in own.items()
        },
    }


def _packed(arrays: Iterable[np.ndarray], dtype: str) -> str:
    """Numbers as base64 of little-endian floats."""
    flat = np.concatenate([a.ravel() for a in arrays])
    if np.abs(flat).max() > np.finfo(dtype).max:
        raise ValueError(
            f"a number of {np.abs(flat).max():.3g} does not fit into {dtype}; use dtype='float32'"
        )
    return base64.b64encode(flat.astype(f"<f{np.dtype(dtype).itemsize}").tobytes()).decode()
