"""Training layer by layer, as deep networks were first made to learn."""

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from .. import nn as net
from ..dist import Gaussian, Point
from ..model import Autoencoder
from ..objective import Objective
from .data import in_memory
from .fitting import fit


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
    before them; once trained, its codes are what the next one learns. It shows how deep networks were first
    made to learn; with today's optimisers training the whole from the start does as well.

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
    x = in_memory(model, data, "data")
    if isinstance(model.scale, net.SetScale):
        model.scale.measure([x])
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
