"""What latents do: to a signal, over the plane of two parameters, and from training to training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from .style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    PAGE,
    SHADES,
    VALUES,
    Figure,
    colour_bar,
    drawable,
    grid,
    label,
    minus,
    name_axes,
    titled,
)

MOST_STEPS = 7  # panels in a row


def traversals(
    moved: xr.DataArray | Sequence[xr.DataArray], truth: Sequence[xr.DataArray] | xr.DataArray | None = None
) -> Figure:
    """Draw what one latent after the other does to the signal: a row each, a panel for each of its values.

    Under each decoded trace lies, in grey, the true trace whose code is nearest.

    Parameters
    ----------
    moved : DataArray or sequence of DataArray
        Each over (step, time), from :func:`geoae.latent.traverse`.
    truth : likewise, optional
        From :func:`geoae.latent.nearest`.

    Raises
    ------
    ValueError
        An array without `step`, `time` and `z`, or of several channels.

    Examples
    --------
    >>> waves = np.outer([1.0, 2.0], np.sin(np.arange(9.0)))
    >>> moved = xr.DataArray(waves, dims=("step", "time"), coords={"z": ("step", [-1.0, 1.0])})
    >>> len(traversals([moved, moved], [moved, moved]).axes)
    4
    """
    rows = [moved] if isinstance(moved, xr.DataArray) else list(moved)
    below: list[Any] = [truth] if isinstance(truth, xr.DataArray) else list(truth or ())
    below += [None] * (len(rows) - len(below))
    wrong = [row.dims for row in rows if set(row.dims) != {"step", "time"} or "z" not in row.coords]
    if wrong or not rows:
        raise ValueError(
            f"traversals needs (step, time) with a coordinate z, found {wrong[0] if wrong else 'none'}; use "
            "geoae.latent.traverse(model, latent=0), and pick a channel of several with .isel(channel=0)"
        )
    steps = [np.unique(np.linspace(0, len(row) - 1, MOST_STEPS).round().astype(int)) for row in rows]
    columns = max(map(len, steps))
    figure = titled("What each latent does to the signal", PAGE, 0.9 + 1.25 * len(rows))
    axes = grid(figure, len(rows), columns, sharey=True)
    for row, under, places, panels in zip(rows, below, steps, axes, strict=True):
        for ax, step in zip(panels, places, strict=False):
            one = row.transpose("step", "time").isel(step=step)
            if under is not None:
                true = under.transpose("step", "time").isel(step=step)
                ax.plot(true["time"], true, color=MUTED, alpha=0.6, linewidth=3.5, solid_capstyle="round")
            ax.plot(one["time"], one, color=INK, linewidth=1.1)
            ax.set_title(minus(f"z{row.attrs.get('latent', '')} = {float(one['z']):.2g}"), fontsize="small")
            ax.margins(x=0)
            ax.locator_params(nbins=3)
    name_axes(figure, rows[0])
    if truth is not None:
        words = "black: decoded; grey: the true trace whose code is nearest"
        figure.text(0.99, 0.995, words, ha="right", va="top", fontsize="small", color=INK)
    return figure


def contributions(parts: xr.Dataset, signal: xr.DataArray | None = None) -> Figure:
    """Draw how a decoded signal is put together: the base, what each latent adds to it, and the signal.

    Parameters
    ----------
    parts : Dataset
        From :func:`geoae.latent.contributions` of one trace: `base`, `decoded` (time), `added` (latent,
        time).
    signal : DataArray, optional
        The trace itself, to compare with.

    Raises
    ------
    ValueError
        If `parts` are of several traces or channels.

    Examples
    --------
    >>> wave = ("time", np.sin(np.arange(9.0)))
    >>> added = (("latent", "time"), np.ones((2, 9)))
    >>> len(contributions(xr.Dataset({"base": wave, "decoded": wave, "added": added})).axes)
    4
    """
    if "added" not in parts or set(parts["added"].dims) != {"latent", "time"}:
        raise ValueError(
            f"contributions draws one trace of one channel, found dims {dict(parts.sizes)}; pick with "
            ".isel(trace=0)"
        )
    count = parts.sizes["latent"]
    figure = titled("What each latent adds to the signal", 6.5, 0.8 + 1.15 * (count + 2))
    axes = grid(figure, count + 2, 1, sharey=True)[:, 0]
    time, so_far = parts["time"], parts["base"].values
    axes[0].plot(time, so_far, color=INK)
    _say(axes[0], "base")
    for i, ax in enumerate(axes[1:-1]):
        grown = so_far + parts["added"].transpose("latent", "time").values[i]
        ax.fill_between(time, so_far, grown, color=BLUE, alpha=0.35, linewidth=0)
        ax.plot(time, so_far, color=MUTED, linestyle=":", linewidth=1.2)
        ax.plot(time, grown, color=INK, linewidth=1.2)
        _say(ax, f"+ z{i}")
        so_far = grown
    if signal is not None:
        axes[-1].plot(signal["time"], signal, color=MUTED, alpha=0.6, linewidth=4)
    axes[-1].plot(time, parts["decoded"], color=INK, linewidth=1.2)
    _say(axes[-1], "decoded" + ("" if signal is None else ", over the signal (grey)"))
    for ax in axes:
        ax.margins(x=0)
    name_axes(figure, parts["decoded"].rename(None))
    return figure


def _say(ax: Axes, words: str) -> None:
    ax.set_title(words, loc="left", fontsize="small", color=INK)


def widths(codes: xr.Dataset, x: str, y: str) -> Figure:
    """Draw how wide the posterior of each latent is over the plane of two parameters.

    Where it is as wide as the prior (1), the trace says nothing about what the latent holds.

    Parameters
    ----------
    codes : Dataset
        `std` (and `kl`) over (trace, latent), parameters as coordinates of `trace`.
    x, y : str
        Two parameters.

    Raises
    ------
    ValueError
        No such parameter, or codes without a width.

    Examples
    --------
    >>> q = xr.Dataset({"std": (("trace", "latent"), np.ones((4, 2)))})
    >>> q = q.assign_coords(k=("trace", [0, 0, 1, 1]), b=("trace", [0, 1, 0, 1]))
    >>> len(widths(q, "k", "b").axes)
    3
    """
    for name in (x, y):
        if name not in codes.coords:
            raise ValueError(
                f"the codes carry no parameter {name!r}; they carry {', '.join(map(str, codes.coords))}"
            )
    if "std" not in codes or not float(codes["std"].max()) > 0:
        raise ValueError("these codes are points, without a width; train with posterior='diagonal'")
    count = codes.sizes["latent"]
    figure = titled("How sure each latent is", min(1.5 + 2.5 * count, PAGE), 3.2)
    axes = grid(figure, 1, count, sharey=True)[0]
    norm = Normalize(0, max(1.0, float(codes["std"].max())))
    for i, ax in enumerate(axes):
        values = codes["std"].isel(latent=i)
        size = float(np.clip(30000 / len(values), 4, 60))
        ax.scatter(
            codes[x],
            codes[y],
            c=values,
            cmap=VALUES,
            norm=norm,
            s=size,
            marker="s",
            linewidths=0,
            rasterized=True,
        )
        nats = f", KL {float(codes['kl'].isel(latent=i).mean()):.2f} nats" if "kl" in codes else ""
        ax.set_title(f"z{i}{nats}", fontsize="medium", color=INK)
        ax.set_xlabel(label(codes[x]))
    axes[0].set_ylabel(label(codes[y]))
    colour_bar(figure, ScalarMappable(norm, VALUES), list(axes), "posterior std (prior: 1)")
    return figure


def over_runs(table: xr.Dataset) -> Figure:
    """Draw the same question over several trainings: R2 of each parameter by each latent, a panel a training.

    Latents stand in the order of the first training, by what they capture; beside each its number there.
    What the answer consists of is framed.

    Parameters
    ----------
    table : Dataset
        From :func:`geoae.latent.attribute` of ``encode(x, model.runs)``.

    Raises
    ------
    ValueError
        If the table is of one training.

    Examples
    --------
    >>> r2 = (("run", "latent", "parameter"), np.ones((2, 3, 2)))
    >>> table = xr.Dataset({"r2": r2, "answer": r2, "active": (("run", "latent"), np.ones((2, 3), bool))})
    >>> table["order"] = ("run", "latent"), np.tile(np.arange(3), (2, 1))
    >>> table["agreement"] = "parameter", [1.0, 0.5]
    >>> len(over_runs(table.assign_coords(parameter=["k", "b"])).axes)
    2
    """
    if "run" not in table.dims:
        raise ValueError("this table is of one training; ask several with encode(x, model.runs)")
    count, names = table.sizes["run"], [drawable(name) for name in table["parameter"].values]
    columns = min(count, 4)
    lines = -(-count // columns)
    height = 1.2 + lines * (0.8 + 0.42 * table.sizes["latent"])
    figure = titled("The same question of each training", min(1.2 + 1.9 * columns, PAGE), height)
    axes = figure.subplots(lines, columns, squeeze=False)
    for ax in axes.flat[count:]:
        ax.remove()
    for run, ax in zip(range(count), axes.flat, strict=False):
        _one_run(ax, table.isel(run=run), names)
        ax.set_title("kept" if run == 0 else f"training {run + 1}", fontsize="medium", color=INK)
    said = ", ".join(
        f"{name} in {round(float(share) * count)} of {count}"
        for name, share in zip(names, table["agreement"].values, strict=True)
    )
    figure.supxlabel(f"R² of each parameter; same answer as the kept one:\n{said}", fontsize="medium")
    return figure


def _one_run(ax: Axes, table: xr.Dataset, names: list[str]) -> None:
    r2 = table["r2"].transpose("latent", "parameter").values
    answer = table["answer"].transpose("latent", "parameter").values.astype(bool)
    active = table["active"].values
    shown = np.where(active[:, None], np.clip(np.nan_to_num(r2), 0, 1), np.nan)
    ax.set_facecolor(FAINT)
    ax.imshow(shown, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": "small"}
    for i, j in np.ndindex(r2.shape):
        if active[i]:
            ax.text(j, i, f"{r2[i, j]:z.2f}", color=INK, **style)
        if answer[i, j]:
            ax.add_patch(Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, fill=False, edgecolor=INK, linewidth=2))
    rows = [f"z{n}" if on else f"z{n} inactive" for n, on in zip(table["order"].values, active, strict=True)]
    ax.set_yticks(range(len(rows)), rows, fontsize="small")
    ax.set_xticks(range(len(names)), names, fontsize="small")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
