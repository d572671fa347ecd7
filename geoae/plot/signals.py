"""Figures over time: training, traces, and records before and after."""

import math
from collections.abc import Iterable
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.mlab import specgram
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from .style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PAGE,
    Figure,
    colour_bar,
    drawable,
    grid,
    label,
    minus,
    name_axes,
    panels,
    titled,
    units,
)

SPLITS: dict[str, dict[str, Any]] = {"train": {"color": BLUE}, "valid": {"color": ORANGE, "linestyle": "--"}}


def history(history: xr.Dataset) -> Figure:
    """Draw how training went: one panel per term, training and validation.

    A panel is logarithmic where its values are positive and fall by more than a factor of ten.

    Parameters
    ----------
    history : Dataset
        Terms over (epoch, split), as :func:`geoae.fit` gives them; `sigma`, `lr` over epoch alone.

    Raises
    ------
    ValueError
        There is no epoch to draw.

    Examples
    --------
    >>> loss = (("epoch", "split"), [[3.0, 4.0], [1.0, 2.0]])
    >>> epochs = xr.Dataset({"loss": loss}, coords={"epoch": [1, 2], "split": ["train", "valid"]})
    >>> [line.get_label() for line in history(epochs).axes[0].lines]
    ['train', 'valid']
    """
    terms = [term for term in history.values() if "epoch" in term.dims]
    if not terms or not history.sizes["epoch"]:
        raise ValueError(
            f"history needs terms over epoch, found {dict(history.sizes)}; use geoae.fit(model, x)"
        )
    terms.sort(key=lambda term: "split" not in term.dims)  # the loss first, sigma and lr last
    figure, axes, columns = panels("Training", len(terms), 3.1, 2.2)
    for ax, term in zip(axes, terms, strict=True):
        _curves(ax, term, history["epoch"].values)
        ax.set_ylabel(label(term))
    for ax in axes[-columns:]:
        ax.set_xlabel("epoch")
    axes[0].xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if len(axes[0].lines) > 1:
        axes[0].legend(frameon=False, fontsize="small")
    return figure


def _curves(ax: Axes, term: xr.DataArray, epoch: np.ndarray) -> None:
    curves = {str(s): term.sel(split=s) for s in term["split"].values} if "split" in term.dims else {"": term}
    for split, values in curves.items():
        if np.isfinite(values).any():
            style = SPLITS.get(split, {"color": INK})
            ax.plot(epoch, values, label=split, marker="o" if epoch.size == 1 else "", **style)
    drawn = term.values[np.isfinite(term.values)]  # in the order of epochs
    if drawn.size and drawn.min() > 0 and drawn.max() > 10 * drawn.min() and drawn.argmin() > drawn.argmax():
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if drawn.max() < 1000 * drawn.min() else (1,)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())


def traces(data: xr.DataArray, count: int = 5) -> Figure:
    """Draw a few traces of a set, or the components of a record, one below the other.

    Every row has its own scale; the channels of one trace share theirs, so that polarisation is seen.

    Parameters
    ----------
    data : DataArray
        (trace, time), (trace, channel, time), (channel, time) or (time). Time in s, or dates.
    count : int
        How many traces of a set, evenly spaced from first to last.

    Raises
    ------
    ValueError
        There is no time axis, or nothing along one of the others.

    Examples
    --------
    >>> waves = xr.DataArray(np.ones((9, 50)), dims=("trace", "time"))
    >>> len(traces(waves, count=3).axes)
    3
    """
    if "time" not in data.dims or not data.size or set(data.dims) - {"trace", "channel", "time"}:
        raise ValueError(f"traces needs ([trace,] [channel,] time), found {dict(data.sizes)}")
    cells = data if "channel" in data.dims else data.expand_dims("channel")
    if "trace" in data.dims:
        total = data.sizes["trace"]
        places = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
        cells = cells.isel(trace=places).transpose("trace", "channel", "time")
        title = f"{places.size} of {total} traces" if total > count else f"{total} trace{'s' * (total > 1)}"
        rows, columns = _trace_labels(cells), _channels(cells)
    else:
        cells = cells.transpose("channel", "time").expand_dims("column", 1)
        title, rows, columns = "Record", _channels(cells), [""]
    figure = titled(title, max(PAGE, 2.4 * len(columns)), 0.9 + 1.05 * len(rows))
    axes = grid(figure, len(rows), len(columns), sharey="row")
    for row, values, words in zip(axes, cells.values, rows, strict=True):
        row[0].set_title(drawable(words), fontsize="small", loc="left", color=INK)
        for ax, line in zip(row, values, strict=True):
            _wiggle(ax, cells["time"].values, line, INK)
            _few_ticks(ax, MaxNLocator(3, steps=[1, 2, 5, 10], min_n_ticks=2))
    if len(columns) > 1:
        for ax, name in zip(axes[0], columns, strict=True):
            ax.text(
                0.98, 0.95, drawable(name), transform=ax.transAxes, ha="right", va="top", fontweight="bold"
            )
    name_axes(figure, cells)
    return figure


def _channels(data: xr.DataArray) -> list[str]:
    """Names of the channels; a lone one without a name needs none."""
    if "channel" in data.coords:
        return [str(name) for name in data["channel"].values]
    return [f"channel {i}" for i in range(data.sizes["channel"])] if data.sizes["channel"] > 1 else [""]


def _trace_labels(data: xr.DataArray) -> list[str]:
    """Say of each trace what it is: up to four of its parameters with units."""
    coords = [
        coord
        for name, coord in data.coords.items()
        if coord.dims == ("trace",) and coord.dtype.kind in "fiuU" and name != "trace"
    ][:4]
    words = [
        [str(v) if c.dtype.kind == "U" else f"{c.name} = {v:.3g} {units(c)}".strip() for v in c.values]
        for c in coords
    ]
    return [",  ".join(of) for of in zip(*words, strict=True)] or [f"trace {i}" for i in data["trace"].values]


def _wiggle(ax: Axes, time: np.ndarray, values: np.ndarray, colour: str) -> None:
    ax.plot(*_thin(time, values), color=colour, linewidth=0.8)
    ax.margins(x=0)
    _dates(ax, time)


def _thin(time: np.ndarray, values: np.ndarray, pixels: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest value per pixel: a day at 100 Hz looks the same and draws at once."""
    block = values.size // pixels
    if block < 4:
        return time, values
    starts = np.arange(0, values.size, block)
    # fmin and fmax pass over NaN, so only a gap wider than a pixel is seen as one
    low, high = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
    return np.repeat(time[starts], 2), np.stack([low, high], axis=1).ravel()


def _dates(ax: Axes, time: np.ndarray, most: int = 7) -> None:
    """Tick dates by the clock, without the offset text that the axis label already says."""
    if time.dtype.kind != "M":
        return
    locator = AutoDateLocator(minticks=3, maxticks=most)
    day, clock = ["%Y", "%b %Y", "%b %d"], ["%H:%M", "%H:%M", "%H:%M:%S"]
    formats, zeros = [*day, *clock[:2], "%H:%M:%S.%f"], [*day, "%b %d", *clock[1:]]
    formatter = ConciseDateFormatter(locator, formats=formats, zero_formats=zeros, show_offset=False)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(formatter)


def _few_ticks(ax: Axes, locator: MaxNLocator) -> None:
    """Ticks for a low panel, without the offset text that would run into the panel above."""
    ax.yaxis.set_major_locator(locator)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: minus(f"{value:g}")))


def _signals(data: Any, what: str) -> dict[str, xr.DataArray]:
    """Regular signals by channel, out of a record or of anything that iterates like a Stream."""
    if isinstance(data, xr.DataArray):
        if "time" not in data.dims or set(data.dims) - {"channel", "time"}:
            raise ValueError(f"{what} needs ([channel,] time), found {dict(data.sizes)}; use .isel(trace=0)")
        data = data if "channel" in data.dims else data.expand_dims("channel")
        names = _channels(data)
        if len(set(names)) < len(names):
            raise ValueError(f"{what} has channels {names}; each needs a name of its own")
        return dict(zip(names, data.transpose("channel", "time").astype(float), strict=True))
    pieces: dict[str, list[Any]] = {}
    for piece in [data] if hasattr(data, "id") else data:  # a lone Trace iterates over its samples
        pieces.setdefault(piece.id, []).append(piece)
    return {name: _joined(parts) for name, parts in pieces.items()}


def _joined(parts: Iterable[Any]) -> xr.DataArray:
    """Pieces of one channel on one grid, NaN between them and where the data are masked."""
    parts = [part for part in parts if len(part.data)]
    seconds = [np.asarray(part.times("timestamp"), float) for part in parts]
    start, steps = min(s[0] for s in seconds), np.concatenate([np.diff(s) for s in seconds])
    step = steps.mean() if steps.size else 1.0
    places = [np.round((s - start) / step).astype(int) for s in seconds]
    values = np.full(max(p[-1] for p in places) + 1, np.nan)
    for part, place in zip(parts, places, strict=True):
        values[place] = np.ma.filled(np.ma.asarray(part.data).astype(float), np.nan)
    # whole nanoseconds, added up in integers: float timestamps of our day resolve a quarter of a microsecond
    since = np.round(np.arange(values.size) * (step * 1e9)).astype("m8[ns]")
    time = np.datetime64(round(start * 1e6), "us").astype("M8[ns]") + since
    return xr.DataArray(values, dims="time", coords={"time": time})


def _pairs(before: Any, after: Any) -> dict[str, tuple[xr.DataArray, xr.DataArray]]:
    """Signals of both by name, after checking that they are the same stretch."""
    first, second = _signals(before, "before"), _signals(after, "after")
    if not first or first.keys() != second.keys():
        raise ValueError(f"before has channels {[*first]}, after has {[*second]}; want the same")
    for name in first:
        n, other = first[name].size, second[name].size
        if n != other:
            raise ValueError(f"before has {n} samples in channel {name!r}, after has {other}; cut both alike")
    return {name: (first[name], second[name]) for name in first}


def before_after(before: Any, after: Any, clean: Any = None) -> Figure:
    """Draw what went in, what came out and the difference, channel by channel.

    All rows of a channel share one scale; when the output is below a fifth of the input, it (and the truth)
    are enlarged and say so.

    Parameters
    ----------
    before, after : DataArray (channel, time), Stream or Trace
        The same channels and samples.
    clean : like `before`, optional
        The truth, where it is known: a row beneath the output.

    Raises
    ------
    ValueError
        Channels or lengths differ, or there is a dimension too many.

    Examples
    --------
    >>> noisy = xr.DataArray([[0.0, 3.0, 0.0]], dims=("channel", "time"))
    >>> len(before_after(noisy, noisy / 2).axes)  # input, output, difference
    3
    """
    pairs = _pairs(before, after)
    truth = {} if clean is None else _pairs(before, clean)
    kinds = 3 if clean is None else 4
    figure = titled("Before and after", PAGE, 1.0 + len(pairs) * (0.2 + 0.62 * kinds))
    axes = grid(figure, len(pairs) * kinds, 1).reshape(len(pairs), kinds)
    for group, (name, (noisy, out)) in zip(axes, pairs.items(), strict=True):
        _group(group, noisy, out.values, truth[name][1].values if truth else None)
        group[0].set_title(drawable(name), fontsize="medium", loc="left", fontweight="bold", color=INK)
    for ax in axes.flat[:-1]:
        ax.spines["bottom"].set_visible(False)
        ax.tick_params(axis="x", length=0)
    name_axes(figure, noisy)
    return figure


def _group(axes: np.ndarray, noisy: xr.DataArray, out: np.ndarray, truth: np.ndarray | None) -> None:
    difference = noisy.values - out
    small = max(_peak(out), 0.0 if truth is None else _peak(truth))
    large = max(_peak(noisy.values), _peak(difference), small) or 1.0
    enlarged = 0 < small < large / 5
    note, limit = (f"\n{large / small:.0f} × enlarged", small) if enlarged else ("", large)
    rows = [("input", noisy.values, MUTED, large), (f"output{note}", out, BLUE, limit)]
    if truth is not None:
        rows.append((f"clean{note}", truth, GREEN, limit))
    rows.append(("input − output", difference, ORANGE, large))
    for ax, (words, values, colour, top) in zip(axes, rows, strict=True):
        _wiggle(ax, noisy["time"].values, values, colour)
        ax.set_ylim(-1.05 * top, 1.05 * top)
        _few_ticks(ax, MaxNLocator(2, symmetric=True))
        ax.text(1.01, 0.5, words, transform=ax.transAxes, va="center", fontsize="small", color=colour)


def _peak(values: np.ndarray) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def spectrograms(before: Any, after: Any, *, window: float | None = None) -> Figure:
    """Draw the power of both over time and frequency, on one colour scale.

    The scale runs over the 60 dB below the greatest power of the input, or less where all of it lies higher.

    Parameters
    ----------
    before, after : DataArray (channel, time), Stream or Trace
        The same channels and samples.
    window : float, optional
        Length of the Hann window [s], half overlapping with its neighbours; otherwise 1/40 of the record,
        between 32 and 512 samples.

    Raises
    ------
    ValueError
        Channels or lengths differ, or the record is shorter than two windows.

    Examples
    --------
    >>> t = np.arange(1000) / 100
    >>> tone = xr.DataArray(np.sin(60 * t)[None], dims=("channel", "time"), coords={"time": t})
    >>> [ax.get_title() for ax in spectrograms(tone, tone / 2).axes[:2]]
    ['before', 'after']
    """
    pairs = _pairs(before, after)
    spectra = [[_power(signal, window) for signal in pair] for pair in pairs.values()]
    seen = np.concatenate([noisy[2][np.isfinite(noisy[2])] for noisy, _ in spectra])
    top = float(seen.max(initial=-300.0))
    norm = Normalize(max(top - 60, float(np.percentile(seen, 2))) if seen.size else top - 60, top)
    # cells are pixels even in an SVG; a gap is grey
    colours = matplotlib.colormaps["magma"].with_extremes(bad="0.8")
    style: dict[str, Any] = {"norm": norm, "cmap": colours, "shading": "nearest", "rasterized": True}
    figure = titled("Spectrograms", PAGE, 1.3 + 1.75 * len(pairs))
    axes = grid(figure, len(pairs), 2, sharey="row")
    for row, pair, name in zip(axes, spectra, pairs, strict=True):
        for ax, (time, frequency, power) in zip(row, pair, strict=True):
            mesh = ax.pcolormesh(time, frequency, power, **style)
            _dates(ax, time, most=5)
        row[0].set_ylabel(f"{drawable(name)}\nfrequency [Hz]".lstrip())
    for ax, words in zip(axes[0], ("before", "after"), strict=True):
        ax.set_title(words, fontsize="medium", color=INK)
    signal = next(iter(pairs.values()))[0]
    name_axes(figure, signal, amplitude=False)
    unit = f"({units(signal)})²" if units(signal) else "unit²"
    colour_bar(figure, mesh, axes, drawable(f"power [dB re 1 {unit}/Hz]"), aspect=30)
    return figure


def _power(signal: xr.DataArray, window: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time, frequency [Hz] and power density [dB] of one signal; NaN where a window meets a gap."""
    n, time = signal.size, signal["time"].values
    span = time[-1] - time[0]
    seconds = span / np.timedelta64(1, "s") if time.dtype.kind == "M" else float(span)
    rate = (n - 1) / seconds if seconds > 0 else math.nan
    length = int(np.clip(n // 40, 32, 512)) if window is None else round(window * rate) if n > 1 else 0
    if length < 2 or n < 2 * length:
        raise ValueError(
            f"record of {n} samples is too short for windows of {length} samples; "
            "give a longer record, or a window [s] of at least 2 samples and at most half of it"
        )
    power, frequency, middle = specgram(signal.values, NFFT=length, Fs=rate, noverlap=length // 2)
    with np.errstate(divide="ignore"):  # silence is minus infinity dB, drawn as the floor
        level = np.maximum(10 * np.log10(power), -300)
    place = np.round(np.asarray(middle, float) * rate).astype(int)
    return time[np.minimum(place, n - 1)], np.asarray(frequency), level
