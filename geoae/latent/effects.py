"""What a latent does to a signal: by how much it changes it, and what it adds to it."""

from typing import Any

import numpy as np
import torch
import xarray as xr

from ..model import Autoencoder
from .codes import _decoded, _labelled, _latents, _needs_code, encode


def jacobian(model: Autoencoder, z: Any) -> xr.DataArray:
    """Derivative of the decoded trace by each latent, at codes.

    Parameters
    ----------
    model : Autoencoder
    z : array, shape (trace, latent)

    Returns
    -------
    derivative : DataArray, dims (latent, trace, [channel,] time)
        In units of the data per unit of the latent.
    """
    _needs_code(model)
    like = next(model.parameters())
    code = torch.as_tensor(np.asarray(z)).to(like)
    rows = []
    for unit in torch.eye(code.shape[1], device=code.device, dtype=code.dtype):
        direction = unit.expand_as(code).contiguous()
        change = torch.autograd.functional.jvp(lambda at: _decoded(model, at), code, direction)[1]
        rows.append(_labelled(model, change.cpu().numpy(), "trace"))
    return xr.concat(rows, "latent")


def contributions(
    data: xr.DataArray, model: Autoencoder, *, at: Any = None, steps: int = 32, batch: int = 512
) -> xr.Dataset:
    r"""What each latent adds to a signal: parts that sum to the decoded signal.

    The code walks from `at` to the signal's own code, and each latent is credited with what the decoded
    signal changes while it moves: :math:`c_i = \int (z_i - z_i^0)\, \partial x / \partial z_i \,
    \mathrm d s` along the straight line (Aumann and Shapley, 1974; as integrated gradients, Sundararajan et
    al., 2017). The walk goes in small steps, one latent after the other, there in ascending and in
    descending order and averaged; so the parts sum exactly, and for a linear decoder each is exact too.

    Parameters
    ----------
    data : DataArray, dims ([trace, channel,] time)
    model : Autoencoder
    at : array, shape (latent,), optional
        Where the walk begins; 0, the prior's mean, if None.
    steps : int
        Of the walk.
    batch : int
        Traces at a time.

    Returns
    -------
    parts : Dataset
        ``base``, what the code `at` decodes to; ``added`` (latent, ...), what each latent adds to it;
        ``decoded``, their sum, the decoded signal.
    """
    codes = encode(data, model, batch=batch)
    end = codes["mean"].transpose("trace", "latent").values
    start = np.broadcast_to(0.0 if at is None else np.asarray(at, float), end.shape).copy()
    pieces = [
        _walk(model, start[i : i + batch], end[i : i + batch], steps) for i in range(0, len(end), batch)
    ]
    base, added, decoded = (np.concatenate(parts, -3) for parts in zip(*pieces, strict=True))
    out = xr.Dataset(
        {
            "base": _labelled(model, base, "trace"),
            "added": xr.concat([_labelled(model, part, "trace") for part in added], "latent"),
            "decoded": _labelled(model, decoded, "trace"),
        },
        {name: c for name, c in codes.coords.items() if c.dims == ("trace",)},
    )
    return out if "trace" in data.dims else out.isel(trace=0)


def _walk(model: Autoencoder, start: np.ndarray, end: np.ndarray, steps: int) -> tuple[np.ndarray, ...]:
    """Decoded start, what each latent adds (latent, trace, channel, time), and decoded end."""
    like, count = next(model.parameters()), _latents(model)

    def decode(z: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return _decoded(model, torch.as_tensor(z).to(like)).double().cpu().numpy()

    base = decode(start)
    added = np.zeros((count, *base.shape))
    for order in (range(count), range(count - 1, -1, -1)):
        before = base
        for step in range(steps):
            z = start + (end - start) * (step / steps)
            for i in order:
                z[:, i] = start[:, i] + (end - start)[:, i] * ((step + 1) / steps)
                after = decode(z)
                added[i] += (after - before) / 2  # in double precision, so that what is between cancels
                before = after
    return base, added, before
