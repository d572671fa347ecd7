"""How good a denoised record is, as far as that can be told without the truth."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import obspy
import xarray as xr
from scipy.ndimage import uniform_filter1d

from ..arrays import sampling_rate

EVENT = 10.0  # s, the loudest stretch of the signal, where its SNR is told
LOCAL = 1.0  # s, over which signal and noise are compared


def quality(before: Any, signal: Any, std: Any = None, *, rate: float | None = None) -> xr.Dataset:
    r"""Estimate what a denoising did, channel by channel.

    In the loudest ten seconds of the signal estimate :math:`\hat s`, of the record :math:`x`:

    - ``snr_before`` :math:`= 10 \log_{10} \sum \hat s^2 / \sum (x - \hat s)^2`,
    - ``snr_after`` :math:`= 10 \log_{10} \sum \hat s^2 / \sum \sigma^2`, NaN without `std`.

    Over the whole record:

    - ``removed`` :math:`= 10 \log_{10} \sum x^2 / \sum \hat s^2`, means taken off [dB],
    - ``leakage``: the squared correlation of :math:`\hat s` and :math:`x - \hat s` over one second, averaged
      with the weight :math:`\hat s^2`. Noise that knows nothing of the signal gives about the inverse of the
      number of independent samples in a second; signal in what was taken off, or noise in what was kept,
      gives more,
    - ``missing``: share of samples that are missing,
    - ``dead``: whether the channel is constant.

    Parameters
    ----------
    before, signal, std : Stream, Trace, DataArray ([channel,] time) or array
        What went into `geoae.denoise`, and what came out.
    rate : float
        Samples per second, of arrays.

    Returns
    -------
    Dataset over ``channel``
    """
    names, rows = [], []
    errors = _channels(std, rate) if std is not None else iter(lambda: None, 0)
    for (name, pieces, hertz), (_, kept, _), error in zip(
        _channels(before, rate), _channels(signal, rate), errors, strict=False
    ):
        names.append(name)
        rows.append(_measures(pieces, kept, error[1] if error else [None] * len(kept), hertz))
    values = {key: ("channel", [row[key] for row in rows]) for key in rows[0]}
    units = {"snr_before": "dB", "snr_after": "dB", "removed": "dB"}
    out = xr.Dataset(values, {"channel": names})
    for key, unit in units.items():
        out[key].attrs["units"] = unit
    return out


def _channels(data: Any, rate: float | None) -> Iterator[tuple[str, list[np.ndarray], float]]:
    """Name, pieces and sampling rate of each channel."""
    if isinstance(data, obspy.Trace | obspy.Stream):
        traces = [data] if isinstance(data, obspy.Trace) else list(data)
        for name in dict.fromkeys(trace.id for trace in traces):
            own = [trace for trace in traces if trace.id == name]
            pieces = [np.ma.filled(np.ma.asarray(trace.data).astype(float), np.nan) for trace in own]
            yield name, pieces, own[0].stats.sampling_rate
        return
    if isinstance(data, xr.DataArray):
        rate = sampling_rate(data)
        names = [str(name) for name in data["channel"].values] if "channel" in data.coords else []
        data = data.transpose(..., "time").values
    else:
        names = []
    values = np.ma.filled(np.ma.asarray(data).astype(float), np.nan)
    if values.ndim > 2 or rate is None:
        raise ValueError(f"quality needs one record of ([channel,] time) and its rate, found {values.shape}")
    for i, row in enumerate(np.atleast_2d(values)):
        yield names[i] if names else f"channel {i}", [row], rate


def _measures(before: list, signal: list, std: list, rate: float) -> dict[str, float]:
    total = {"x": 0.0, "s": 0.0, "missing": 0, "n": 0, "leaked": 0.0}
    loudest = (0.0, np.nan, np.nan)  # of a stretch: power of the signal, of what was taken off, of sigma
    for x, s, sigma in zip(before, signal, std, strict=True):
        known = np.isfinite(x)
        total["n"] += len(x)
        total["missing"] += int((~known).sum())
        if not known.any():
            continue
        x, s = (np.where(known, v - v[known].mean(), 0) for v in (x, s))
        noise = x - s
        total["x"] += float(x @ x)
        total["s"] += float(s @ s)
        total["leaked"] += float(_similarity(s, noise, rate) ** 2 @ s**2)
        power = _mean(s * s, EVENT * rate)
        at = int(power.argmax())
        if power[at] > loudest[0]:
            error = np.nan if sigma is None else _mean(np.where(known, sigma, 0) ** 2, EVENT * rate)[at]
            loudest = (float(power[at]), float(_mean(noise * noise, EVENT * rate)[at]), float(error))
    return {
        "snr_before": _decibel(loudest[0], loudest[1]),
        "snr_after": _decibel(loudest[0], loudest[2]),
        "removed": _decibel(total["x"], total["s"]),
        "leakage": total["leaked"] / total["s"] if total["s"] else np.nan,
        "missing": total["missing"] / max(total["n"], 1),
        "dead": total["x"] == 0,
    }


def _similarity(s: np.ndarray, noise: np.ndarray, rate: float) -> np.ndarray:
    """Correlation coefficient of two series over one second around each sample."""
    cross, one, other = (_mean(v, LOCAL * rate) for v in (s * noise, s * s, noise * noise))
    scale = np.sqrt(one * other)
    return np.divide(cross, scale, out=np.zeros_like(cross), where=scale > 1e-12 * scale.max(initial=0))


def _mean(values: np.ndarray, samples: float) -> np.ndarray:
    return uniform_filter1d(values, max(1, min(round(samples), len(values))), mode="constant").clip(
        0 if values.min(initial=0) >= 0 else None
    )


def _decibel(a: float, b: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(10 * np.log10(np.float64(a) / np.float64(b)))


def write_report(path: str | os.PathLike, before: Any, signal: Any, table: xr.Dataset) -> Path:
    """Write what a denoising did as one HTML page: estimates, before and after, spectrograms.

    Parameters
    ----------
    path : path
    before, signal : Stream, Trace or DataArray
        What went into `geoae.denoise`, and what came out.
    table : Dataset
        From `quality`.
    """
    from .. import plot  # and Matplotlib, 25 MB that who asks for no report does without

    header = ("channel", "SNR before [dB]", "SNR after [dB]", "taken off [dB]", "leakage", "missing")
    keys = ("snr_before", "snr_after", "removed", "leakage", "missing")
    rows = [
        (str(name), *(float(table[key].sel(channel=name)) for key in keys)) for name in table.channel.values
    ]
    caption = (
        "Estimates without the truth. SNR: of the loudest ten seconds of what was kept, over what was "
        "taken off there (before) and over the error that the model predicts of itself (after). "
        "Taken off: power in over power out. Leakage: squared correlation, second by second, of what was "
        "kept and what was taken off; near 0 is good, and where it is high, signal was taken off, or noise "
        "was kept."
    )
    gain = float((table["snr_after"] - table["snr_before"]).median())
    facts = [
        plot.Fact("Channels", len(rows), f"{int(table['dead'].sum())} of them dead"),
        plot.Fact("SNR before", f"{float(table['snr_before'].median()):.1f} dB", "median, estimated"),
        plot.Fact("Gain", f"{gain:+.1f} dB" if np.isfinite(gain) else "-", "median, estimated"),
        plot.Fact("Leakage", f"{float(table['leakage'].median()):.3f}", "median"),
    ]
    figures = [(plot.before_after(before, signal), "Input, output and their difference, channel by channel")]
    spectra = [(plot.spectrograms(before, signal), "Spectrograms before and after")]
    sections = [
        plot.Section("What was done", "", (), (plot.Table(header, rows, caption),)),
        plot.Section("Before and after", "What was taken off should look like noise.", figures),
        plot.Section("Spectrograms", "", spectra),
    ]
    return plot.report(path, "Denoised record", sections, summary=facts)
