"""Codes of labelled traces, what they stand for, and how likely a trace is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from .. import nn as net
from ..arrays import check_finite, to_batch
from ..dist import prior
from ..model import Autoencoder
from ..objective import kl_to_prior


def encode(
    data: xr.DataArray, model: Autoencoder | Sequence[Autoencoder], *, batch: int = 4096
) -> xr.Dataset:
    """q(z|x) of labelled traces, carrying their parameters along.

    Parameters
    ----------
    data : DataArray, dims (trace, [channel,] time)
        Without gaps: what a code says of samples that are not there would be the model's guess.
    model : Autoencoder, or sequence of them
        Several, such as ``model.runs`` after ``geoae.fit(..., restarts=4)``, give a dimension ``run``.
    batch : int
        Traces at a time.

    Returns
    -------
    codes : Dataset over (trace, latent)
        ``mean`` and ``std`` of q(z|x); unless the posterior is a point, ``kl``, each latent's divergence from
        the prior [nats]. Over latent, what it does to the decoded trace [units of the data, rms]:
        ``sensitivity``, for one standard deviation of its codes by the decoder's Jacobian; ``traversal``, the
        standard deviation while it sweeps through its codes' quantiles. Coordinates of ``trace`` come along.

    Raises
    ------
    ValueError
        If a trace holds NaN or inf, or is not of the size that the model takes.
    """
    if isinstance(data, torch.nn.Module):
        raise TypeError(f"data is a {type(data).__name__}; the traces come first: encode(data, model)")
    if isinstance(model, Sequence):
        return xr.concat([encode(data, run, batch=batch) for run in model], "run", combine_attrs="override")
    _needs_code(model)
    if isinstance(data, xr.DataArray) and "trace" not in data.dims:
        data = data.expand_dims("trace")
    x = _fitting(data, model)
    like = next(model.parameters())
    model.eval()
    with torch.no_grad():
        parts = [model.encode(torch.from_numpy(part).to(like)) for part in _split(x, batch)]
    mean, std = torch.cat([q.mean for q in parts]).cpu(), torch.cat([q.stddev for q in parts]).cpu()
    dims = ("trace", "latent")
    values: dict[str, Any] = {"mean": (dims, mean.numpy()), "std": (dims, std.numpy())}
    if model.variational:
        values["kl"] = (dims, kl_to_prior(mean, std).numpy(), {"units": "nats"})
    about = {"units": data.attrs.get("units", "") if isinstance(model.scale, net.SetScale) else "scaled"}
    for name, measure in (("sensitivity", _sensitivity), ("traversal", _swept)):
        values[name] = ("latent", measure(model, mean.numpy()), about)
    along = {name: c for name, c in data.coords.items() if c.dims == ("trace",)}
    return xr.Dataset(values, along, {"trained": int(bool(model.trained))})


def decode(model: Autoencoder, z: Any) -> xr.DataArray:
    """Traces that codes stand for: the mean of p(x|z).

    Parameters
    ----------
    model : Autoencoder
    z : array, shape (trace, latent)

    Returns
    -------
    traces : DataArray, dims (trace, [channel,] time)
        In the data's units for ``scale="global"``; where each trace was scaled by itself, in scaled units.
    """
    _needs_code(model)
    z = torch.as_tensor(np.asarray(z))
    if z.ndim != 2:
        raise ValueError(f"codes have shape {tuple(z.shape)}; wanted (trace, latent)")
    with torch.no_grad():
        values = _decoded(model, z.to(next(model.parameters()))).cpu().numpy()
    return _labelled(model, values, "trace")


def generate(model: Autoencoder, n: int, *, seed: int = 0) -> xr.DataArray:
    """Draw new traces: codes from the prior N(0, I), decoded.

    Parameters
    ----------
    model : Autoencoder
        Variational; a plain autoencoder has no prior to draw from.
    n : int
        Number of traces.
    seed : int
        Of the codes.

    Returns
    -------
    traces : DataArray, dims (trace, [channel,] time)
    """
    _needs_code(model)
    if not model.variational:
        raise ValueError(
            "a plain autoencoder has no prior to draw codes from; train one with posterior='diagonal'"
        )
    if n < 1:
        raise ValueError(f"n is {n}; it is the number of traces to draw, 1 or more")
    return decode(model, np.random.default_rng(seed).standard_normal((n, _latents(model))))


def traverse(
    model: Autoencoder, latent: int, span: tuple[float, float] = (-3, 3), steps: int = 9, *, at: Any = None
) -> xr.DataArray:
    """What one latent draws: decoded traces while it moves and the others stay.

    Parameters
    ----------
    model : Autoencoder
    latent : int
        The latent that moves.
    span : (float, float)
        From where to where; the prior has standard deviation 1.
    steps : int
        How many traces.
    at : array, shape (latent,), optional
        Where the others stay; 0, the prior's mean, if None.

    Returns
    -------
    traces : DataArray, dims (step, [channel,] time)
        With the moving latent's value as coordinate ``z``; ``attrs`` say which it is, and where the others
        are.
    """
    _needs_code(model)
    count = _latents(model)
    if not 0 <= latent < count:
        raise ValueError(f"latent is {latent}; this model has {count}, numbered 0 to {count - 1}")
    values = np.linspace(*span, steps)
    at = np.zeros(count) if at is None else np.asarray(at, float)
    z = np.tile(at, (steps, 1))
    z[:, latent] = values
    out = decode(model, z).rename(trace="step").assign_coords(z=("step", values))
    return out.assign_attrs(latent=latent, at=at)


def nearest(moved: xr.DataArray, data: xr.DataArray, model: Autoencoder) -> xr.DataArray:
    """True traces whose codes come nearest to those of a traversal, to hold beside what was decoded.

    Parameters
    ----------
    moved : DataArray, dims (step, [channel,] time)
        From `traverse`.
    data : DataArray, dims (trace, [channel,] time)
        Traces to choose from.
    model : Autoencoder

    Returns
    -------
    traces : DataArray, dims (step, [channel,] time)
        With their parameters, and ``distance``, how far their codes are, in standard deviations of the
        prior.
    """
    codes = encode(data, model)["mean"].values
    wanted = np.tile(moved.attrs["at"], (len(moved), 1))
    wanted[:, moved.attrs["latent"]] = moved["z"].values
    apart = np.linalg.norm(codes[None] - wanted[:, None], axis=-1)
    best = apart.argmin(1)
    return data.isel(trace=best).rename(trace="step").assign_coords(distance=("step", apart.min(1)))


def interpolate(
    first: xr.DataArray, second: xr.DataArray, model: Autoencoder, *, steps: int = 9
) -> xr.DataArray:
    """Decode the way between two traces' codes in equal steps.

    Parameters
    ----------
    first, second : DataArray, dims ([channel,] time)
        One trace each.
    model : Autoencoder
    steps : int
        Traces on the way, both ends included.

    Returns
    -------
    traces : DataArray, dims (step, [channel,] time)
        With the share of the way as coordinate ``share``.
    """
    ends = [encode(trace, model)["mean"].values for trace in (first, second)]
    if any(len(end) != 1 for end in ends):
        raise ValueError(
            f"give one trace for each end, found {len(ends[0])} and {len(ends[1])}; pick with .isel(trace=0)"
        )
    share = np.linspace(0, 1, steps)
    codes = ends[0] + share[:, None] * (ends[1] - ends[0])
    return decode(model, codes).rename(trace="step").assign_coords(share=("step", share))


# ------------------------------------------------------------------------------- how likely is a trace


def log_evidence(
    data: xr.DataArray, model: Autoencoder, *, samples: int = 100, seed: int = 0, batch: int = 256
) -> xr.DataArray:
    r"""Importance-weighted bound on the log evidence of each trace [nats].

    :math:`\ln \frac1K \sum_k p(x|z_k)\, p(z_k) / q(z_k|x)` with :math:`z_k \sim q(z|x)` (Burda et al., 2016):
    with one sample an estimate of the evidence lower bound, with more its mean rises towards
    :math:`\ln p(x)`. A density of the scaled trace.

    Parameters
    ----------
    data : DataArray, dims (trace, [channel,] time)
    model : Autoencoder
        Variational.
    samples : int
        Draws for each trace, K.
    seed : int
        Of the draws.
    batch : int
        Traces at a time; it changes the draws, not what they estimate.

    Returns
    -------
    bound : DataArray, dims (trace,)
        With the coordinates of ``trace``.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; it is the number of draws for each trace, 1 or more")
    return _by_trace(
        data,
        model,
        lambda x: torch.logsumexp(_log_weights(model, x, samples), 0) - np.log(samples),
        seed,
        batch,
    )


def anomaly(
    data: xr.DataArray,
    model: Autoencoder,
    measure: str = "reconstruction",
    *,
    samples: int = 100,
    seed: int = 0,
    batch: int = 256,
) -> xr.DataArray:
    """Score how little a trace resembles those the model was trained on; higher is stranger.

    Parameters
    ----------
    data : DataArray, dims (trace, [channel,] time)
    model : Autoencoder
    measure : str
        ``reconstruction``: mean squared error of the reconstruction, in scaled units; ``elbo``: minus the
        evidence lower bound [nats]; ``evidence``: minus the importance-weighted bound [nats].
    samples, seed, batch
        As in `log_evidence`.

    Returns
    -------
    score : DataArray, dims (trace,)
    """
    if measure == "reconstruction":
        return _by_trace(data, model, lambda x: _squared_error(model, x), seed, batch)
    if measure == "elbo":
        return -_by_trace(data, model, lambda x: _log_weights(model, x, samples).mean(0), seed, batch)
    if measure == "evidence":
        return -log_evidence(data, model, samples=samples, seed=seed, batch=batch)
    raise ValueError(f"unknown measure {measure!r}; choose from reconstruction, elbo, evidence")


def _by_trace(data: xr.DataArray, model: Autoencoder, score, seed: int, batch: int) -> xr.DataArray:
    """One number for each trace, with its coordinates."""
    _needs_code(model)
    model.eval()
    like = next(model.parameters())
    with torch.no_grad(), net.forked_rng(seed, model):
        parts = [score(torch.from_numpy(x).to(like)) for x in _split(_fitting(data, model), batch)]
    coords = {name: c for name, c in data.coords.items() if c.dims == ("trace",)}
    return xr.DataArray(torch.cat(parts).cpu().numpy(), coords, ("trace",))


def _log_weights(model: Autoencoder, x: Tensor, samples: int) -> Tensor:
    """Ln p(x, z) / q(z|x) for draws of z, shape (sample, trace)."""
    if not model.variational:
        raise ValueError("a plain autoencoder has no evidence; train one with posterior='diagonal'")
    trip: Any = model.trip(x, samples=samples)
    z = trip.z.unflatten(0, (samples, -1))
    likelihood = trip.p.log_prob(trip.target).unflatten(0, (samples, -1))
    return likelihood + prior(trip.q).log_prob(z) - trip.q.log_prob(z)


def _squared_error(model: Autoencoder, x: Tensor) -> Tensor:
    _, gain = model.scale(x)
    return ((model(x) - x) / gain).square().mean((1, 2))


def _needs_code(model: Any) -> None:
    if not isinstance(model, Autoencoder):
        raise TypeError(f"a {type(model).__name__} has no latents; build one with geoae.autoencoder(...)")


def _fitting(data: xr.DataArray, model: Autoencoder) -> np.ndarray:
    """Traces as a batch, if they are of the size that the model takes and have no gaps."""
    x = to_batch(data.transpose("trace", ...) if isinstance(data, xr.DataArray) else data)
    wanted = (model.config.get("channels", x.shape[1]), model.config.get("length", x.shape[2]))
    if x.shape[1:] != wanted:
        raise ValueError(
            f"data has {x.shape[1]} channels of {x.shape[2]} samples, the model expects {wanted[0]} of "
            f"{wanted[1]}"
        )
    check_finite(x)
    return x


def _split(x: np.ndarray, batch: int) -> list[np.ndarray]:
    return [x[start : start + batch] for start in range(0, len(x), batch)]


def _decoded(model: Autoencoder, z: Tensor) -> Tensor:
    mean = model.decode(z).mean
    return mean * model.scale.gain + model.scale.offset if isinstance(model.scale, net.SetScale) else mean


def _latents(model: Autoencoder) -> int:
    if "latent" in model.config:
        return model.config["latent"]
    linear = [m for m in model.decoder.modules() if isinstance(m, torch.nn.Linear)]
    return linear[0].in_features


def _sensitivity(model: Autoencoder, mean: np.ndarray, most: int = 256) -> np.ndarray:
    """Rms of d(trace)/d(latent) times the latent's spread, over at most `most` of the codes."""
    some = mean[:: -(-len(mean) // most)]
    z = torch.from_numpy(some).to(next(model.parameters()))
    rms = []
    for unit in torch.eye(z.shape[1], device=z.device, dtype=z.dtype):
        _, change = torch.autograd.functional.jvp(
            lambda code: _decoded(model, code), z, unit.expand_as(z).contiguous()
        )
        rms.append(change.square().mean().sqrt().item())
    return np.array(rms) * mean.std(0)


def _swept(model: Autoencoder, mean: np.ndarray, anchors: int = 16, steps: int = 9) -> np.ndarray:
    """Rms spread of the decoded trace while one latent sweeps, the others staying at some of the codes.

    At the mean of all codes alone a latent can look dead that moves the trace elsewhere.
    """
    some = mean[:: -(-len(mean) // anchors)]
    sweep = np.quantile(mean, np.linspace(0.05, 0.95, steps), axis=0)
    spread = []
    for i in range(mean.shape[1]):
        z = np.repeat(some[:, None], steps, 1)
        z[:, :, i] = sweep[:, i]
        with torch.no_grad():
            flat = torch.from_numpy(z.reshape(-1, z.shape[-1])).to(next(model.parameters()))
            traces = _decoded(model, flat).cpu().numpy().reshape(*z.shape[:2], -1)
        spread.append(np.sqrt(traces.var(1).mean()))
    return np.array(spread)


def _labelled(model: Autoencoder, values: np.ndarray, first: str) -> xr.DataArray:
    """Dims and coordinates for decoded values (trace, channel, time), from what the model was trained on."""
    about = model.trained
    start, stop = about.get("time", (0, values.shape[-1] - 1))
    time = np.linspace(start, stop, values.shape[-1])
    channels = about.get("channels", [])
    units = about.get("units", "") if isinstance(model.scale, net.SetScale) else "scaled"
    out = xr.DataArray(
        values,
        dims=(first, "channel", "time"),
        coords={"time": ("time", time, _called(about.get("time_units", "s"), about.get("time_name")))},
        attrs=_called(units, about.get("name")),
    )
    return out.assign_coords(channel=channels) if channels else out.isel(channel=0)


def _called(units: str, name: str | None) -> dict[str, str]:
    """Attributes that figures name an axis by; files of earlier versions tell units only."""
    return {"units": units, "long_name": name} if name else {"units": units}
