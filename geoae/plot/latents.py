"""Figures of a latent space: what each latent holds, and what it does."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from scipy.interpolate import make_lsq_spline

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
    dress,
    grid,
    label,
    minus,
    name_axes,
    panels,
    titled,
)

ACTIVE_NATS = 0.05  # below it a latent carries nothing; few latents ever fall between 0.01 and 0.2


class _Latent(NamedTuple):
    """One column of the code: its place, its name, its mean KL [nats] or None where nobody measured it."""

    place: int
    name: str
    kl: float | None

    @property
    def active(self) -> bool:
        return self.kl is None or self.kl > ACTIVE_NATS

    @property
    def label(self) -> str:
        return self.name if self.kl is None else f"{self.name} (KL {_nats(self.kl)} nats)"


def _nats(value: float) -> str:
    return f"{value:.2f}" if value >= 0.01 else f"{value:.3f}"


def _busiest_first(rank: xr.DataArray) -> np.ndarray:
    return np.argsort(-np.nan_to_num(rank.values), kind="stable")


def _latents(codes: xr.Dataset) -> list[_Latent]:
    """Latents, the busiest first."""
    if "mean" not in codes or set(codes["mean"].dims) != {"trace", "latent"}:
        raise ValueError(
            f"codes need 'mean' over (trace, latent), found {dict(codes.sizes)}; use geoae.encode(x, model)"
        )
    names = [f"z{number}" for number in codes["latent"].values]
    if "kl" not in codes:  # a point posterior has no KL: the spread of the code says which latents move
        return [_Latent(int(i), names[i], None) for i in _busiest_first(codes["mean"].std("trace"))]
    kl = codes["kl"].mean("trace") if "trace" in codes["kl"].dims else codes["kl"]
    return [_Latent(int(i), names[i], float(kl[i])) for i in _busiest_first(kl)]


def _parameters(codes: xr.Dataset, names: Iterable[str] | None = None) -> list[str]:
    """Return the numeric coordinates of the traces, or the named ones after a check."""
    have = [
        str(name)
        for name, coord in codes.coords.items()
        if coord.dims == ("trace",) and coord.dtype.kind in "fiu" and name != "trace"
    ]
    wanted = have if names is None else list(names)
    unknown = [name for name in wanted if name not in have]
    if unknown or not wanted:
        found = f"unknown parameter {unknown[0]!r}" if unknown else "the codes carry no parameter"
        raise ValueError(
            f"{found}; numeric coordinates of trace: {', '.join(have) or 'none'}; "
            "add one with codes.assign_coords(name=('trace', values))"
        )
    return wanted


def _dots(ax: Axes, x: np.ndarray, y: np.ndarray, colour: str | np.ndarray) -> Any:
    size = float(np.clip(6000 / max(len(x), 1), 4, 22))
    kwargs: dict[str, Any] = {"color": colour} if isinstance(colour, str) else {"c": colour, "cmap": VALUES}
    # many dots are pixels even in an SVG, which would otherwise weigh megabytes
    return ax.scatter(x, y, s=size, linewidths=0, rasterized=len(x) > 500, **kwargs)


def codes(codes: xr.Dataset, colour: str | None = None) -> Figure:
    """Draw the code, one dot per trace, coloured by a parameter.

    Parameters
    ----------
    codes : Dataset
        `mean` (and `kl` [nats]) over (trace, latent), parameters as coordinates of `trace`.
    colour : str, optional
        The parameter to colour by: one panel for each pair of active latents (six at most). Without it, one
        panel per parameter, of the two latents with the largest KL.

    Raises
    ------
    ValueError
        No such parameter, or `codes` are no codes.

    Examples
    --------
    >>> z = np.random.default_rng(0).normal(size=(20, 2))
    >>> q = xr.Dataset({"mean": (("trace", "latent"), z)}, coords={"k": ("trace", z[:, 0])})
    >>> len(codes(q, colour="k").axes)  # the panel and its colour bar
    2
    """
    latents = _latents(codes)
    parameters = _parameters(codes, None if colour is None else [colour])
    if len(latents) == 1:
        return codes_against(codes, parameters)
    active = [latent for latent in latents if latent.active]
    if colour is None or len(active) < 3:
        shown = [(latents[0], latents[1], name) for name in parameters]
    else:
        shown = [(a, b, colour) for i, a in enumerate(active) for b in active[i + 1 :]][:6]
    title = f"The code, coloured by {colour or 'each parameter'}"
    figure, axes, _ = panels(title, len(shown), 3.6, 3.0, most=2, sharex=False)
    mean = codes["mean"].transpose("trace", "latent").values
    for ax, (a, b, name) in zip(axes, shown, strict=True):
        dots = _dots(ax, mean[:, a.place], mean[:, b.place], codes[name].values)
        ax.set(xlabel=f"latent {a.label}", ylabel=f"latent {b.label}")
        if colour is None:
            colour_bar(figure, dots, ax, label(codes[name]))
    if colour is not None:
        colour_bar(figure, dots, axes, label(codes[colour]))
    return figure


def codes_against(codes: xr.Dataset, parameters: Sequence[str] | None = None) -> Figure:
    """Draw each latent against each parameter: one row per latent, the largest KL first.

    With two parameters each panel is coloured by the other one, which shows at once whether a latent holds
    one parameter, a mixture (a slanted rainbow) or a fan, where one parameter opens and closes the other. The
    line is a smooth fit, the latent's mean for each value of the parameter.

    Parameters
    ----------
    codes : Dataset
        `mean` (and `kl` [nats]) over (trace, latent), parameters as coordinates of `trace`.
    parameters : sequence of str, optional
        All numeric coordinates of `trace` unless given.

    Raises
    ------
    ValueError
        No such parameter, or `codes` are no codes.

    Examples
    --------
    >>> z = np.random.default_rng(0).normal(size=(20, 3))
    >>> q = xr.Dataset({"mean": (("trace", "latent"), z)}, coords={"k": ("trace", z[:, 0])})
    >>> len(codes_against(q, ["k"]).axes)
    3
    """
    latents, names = _latents(codes), _parameters(codes, parameters)
    figure = titled("Each latent against each parameter", 1.0 + 3.1 * len(names), 1.1 + 1.7 * len(latents))
    # beside a prior one scale is right for all, and an inactive latent lies flat; other codes have none
    axes = grid(figure, len(latents), len(names), sharex="col", sharey=True if "kl" in codes else "row")
    mean = codes["mean"].transpose("trace", "latent").values
    for j, name in enumerate(names):
        other = codes[names[1 - j]] if len(names) == 2 else None
        for ax, latent in zip(axes[:, j], latents, strict=True):
            plain = BLUE if latent.active else MUTED
            colour = plain if other is None else other.values
            dots = _dots(ax, codes[name].values, mean[:, latent.place], colour)
            if latent.active:
                ax.plot(*_smooth(codes[name].values, mean[:, latent.place]), color="white", linewidth=3.5)
                ax.plot(*_smooth(codes[name].values, mean[:, latent.place]), color=INK, linewidth=1.5)
            ax.set_facecolor("white" if latent.active else FAINT)
        axes[-1, j].set_xlabel(label(codes[name]))
        if other is not None:
            words = f"colour: {label(other)}"
            colour_bar(figure, dots, axes[:, j], words, location="bottom", aspect=30, shrink=0.9)
    for ax, latent in zip(axes[:, 0], latents, strict=True):
        state = "" if latent.active else ", inactive"
        words = latent.name if latent.kl is None else f"{latent.name}{state}\nKL {_nats(latent.kl)} nats"
        ax.set_ylabel(words, color=INK if latent.active else MUTED)
    return figure


def _smooth(x: np.ndarray, y: np.ndarray, pieces: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Curve through the middle of the dots: cubic splines by least squares, or means of few levels."""
    levels, where = np.unique(x, return_inverse=True)
    if len(levels) <= 2 * pieces:
        return levels, np.bincount(where, y) / np.bincount(where)
    order = np.argsort(x, kind="stable")
    inner = np.unique(np.quantile(x, np.linspace(0, 1, pieces + 1)))
    curve = make_lsq_spline(x[order], y[order], np.r_[[inner[0]] * 3, inner, [inner[-1]] * 3])
    at = np.linspace(inner[0], inner[-1], 200)
    return at, curve(at)


def attribution(table: xr.Dataset) -> Figure:
    """Draw which latent holds which parameter: R2 with its interval in each cell, the KL beside it.

    Rows are latents, the largest KL first; an inactive latent is a grey row with a dash, because the R2 of
    a latent that says nothing can be anything. The last row asks all active latents together.

    Parameters
    ----------
    table : Dataset
        As :func:`geoae.latent.attribute` makes it: `kl` [nats] and `active` over latent; `r2`, `r2_low`,
        `r2_high` over (latent, parameter); `r2_all`, `r2_all_low`, `r2_all_high` over parameter.

    Raises
    ------
    ValueError
        A variable is missing.

    Examples
    --------
    >>> cell, whole = (("latent", "parameter"), [[0.9]]), ("parameter", [0.9])
    >>> both = {"r2": cell, "r2_all": whole}
    >>> limits = {f"{name}_{end}": value for name, value in both.items() for end in ("low", "high")}
    >>> table = xr.Dataset({**both, **limits, "kl": ("latent", [2.0]), "active": ("latent", [True])})
    >>> attribution(table.assign_coords(latent=[0], parameter=["k"])).axes[0].texts[0].get_text()
    '0.90'
    """
    answers = [f"r2{of}{end}" for of in ("", "_all") for end in ("", "_low", "_high")]
    missing = [name for name in ("kl", "active", *answers) if name not in table]
    if missing:
        raise ValueError(
            f"table has no {', '.join(missing)}; use geoae.latent.attribute(codes, ['k', 'b']) to make one"
        )
    if "run" in table.dims:  # the training that was kept
        table = table.isel(run=0)
    table = table.isel(latent=_busiest_first(table["kl"]))
    each, together = table[answers[:3]].to_array().values, table[answers[3:]].to_array().values
    active, (_, n, m) = table["active"].values, each.shape
    narrow = m > 5  # no room for an interval on one line
    height = 1.5 + (0.8 if narrow else 0.62) * (n + 1.3)
    figure = titled("Which latent holds which parameter?", min(3.6 + 1.45 * m, PAGE), height)
    cells, bars = figure.subplots(1, 2, sharey=True, width_ratios=[1.45 * m, 2.0])
    last = n + 0.3  # a gap sets the joint answer apart
    for j in range(m):
        for i in range(n):
            _cell(cells, j, i, each[:, i, j], active[i], narrow)
        _cell(cells, j, last, together[:, j], True, narrow)
    cells.set(xlim=(-0.5, m - 0.5), ylim=(last + 0.5, -0.5))
    slant = {"rotation": 30, "ha": "left", "rotation_mode": "anchor"} if narrow else {}
    cells.set_xticks(
        range(m), [_asked(table, name) for name in table["parameter"].values], fontsize="medium", **slant
    )
    rows = [
        f"z{i}" if on else f"z{i}\ninactive" for i, on in zip(table["latent"].values, active, strict=True)
    ]
    cells.set_yticks([*range(n), last], [*rows, "all active\ntogether"], fontsize="medium")
    for tick, on in zip(cells.get_yticklabels(), [*active, True], strict=True):
        tick.set_color(INK if on else MUTED)
    cells.tick_params(length=0, labeltop=True, labelbottom=False)
    cells.spines[:].set_visible(False)
    traces = f"\n{table.attrs['traces']} traces" if "traces" in table.attrs else ""
    cells.set(xlabel=f"R² [{100 * table.attrs.get('level', 0.95):.3g} % interval]{traces}", ylabel="latent")
    _kl_bars(bars, table["kl"].values, active)
    return figure


def _asked(table: xr.Dataset, name: str) -> str:
    """A parameter's name, with the most that the signals let anybody know of it."""
    ceiling = float(table["ceiling"].sel(parameter=name)) if "ceiling" in table else math.nan
    return drawable(name) + ("" if math.isnan(ceiling) else f"\n(at best {ceiling:.2f})")


def _cell(ax: Axes, x: float, y: float, r2: np.ndarray, active: bool, narrow: bool) -> None:
    value, low, high = r2
    known = active and math.isfinite(value)
    shade = SHADES(np.clip(value, 0, 1)) if known else FAINT
    ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=shade, edgecolor="white", linewidth=2))
    style: dict[str, Any] = {"ha": "center", "va": "center", "color": INK if known else MUTED}
    if not known:
        ax.text(x, y, "–", **style)
        return
    ax.text(x, y - (0.22 if narrow else 0.13), minus(f"{value:z.2f}"), fontsize="large", **style)
    interval = minus(f"[{low:z.2f}, {high:z.2f}]")
    if narrow:
        interval = interval.replace(" ", "\n")
    ax.text(x, y + (0.18 if narrow else 0.25), interval, fontsize="small", **style)


def _kl_bars(ax: Axes, kl: np.ndarray, active: np.ndarray) -> None:
    if np.isnan(kl).all():
        ax.axis("off")
        ax.text(0.05, 0.5, "no KL: the code\nis a point", transform=ax.transAxes, color=MUTED, va="center")
        return
    ax.barh(range(kl.size), kl, height=0.5, color=[BLUE if on else MUTED for on in active])
    beside: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
    for y, value in enumerate(kl):
        ax.annotate(_nats(value), (value, y), fontsize="small", **beside)
    dress(ax).set(xlabel="KL [nats]", xlim=(0, 1.3 * max(float(np.nanmax(kl)), ACTIVE_NATS)))
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.tick_params(axis="y", length=0, labelleft=False)


def traversal(data: xr.DataArray | Sequence[xr.DataArray]) -> Figure:
    """Draw what the decoder makes of each latent as it is moved, one panel per latent.

    Parameters
    ----------
    data : DataArray or sequence of DataArray
        Each over (step, [channel,] time) with a coordinate `z` (step) and `attrs["latent"]`. Several
        channels become rows.

    Raises
    ------
    ValueError
        Nothing to draw, or an array without `step`, `time` and `z`.

    Examples
    --------
    >>> waves = np.outer([1.0, 2.0], np.sin(np.arange(9.0)))
    >>> moved = xr.DataArray(waves, dims=("step", "time"), coords={"z": ("step", [-1.0, 1.0])})
    >>> len(traversal([moved, moved]).axes)  # two latents and the colour bar
    3
    """
    arrays = [data] if isinstance(data, xr.DataArray) else list(data)
    wrong = [a.dims for a in arrays if not {"step", "time"} <= set(a.dims) or "z" not in a.coords]
    if wrong or not arrays:
        raise ValueError(
            "traversal needs (step, [channel,] time) with a coordinate z, "
            f"found {wrong[0] if wrong else 'none'}; use geoae.latent.traverse(model, latent=0)"
        )
    arrays = [a if "channel" in a.dims else a.expand_dims("channel") for a in arrays]
    title, channels = "What each latent does to the signal", arrays[0].sizes["channel"]
    if channels > 1:
        figure = titled(title, min(1.4 + 2.9 * len(arrays), PAGE), 0.9 + 1.9 * channels)
        axes = grid(figure, channels, len(arrays), sharey="row")
        for ax, name in zip(axes[:, 0], arrays[0]["channel"].values, strict=True):
            ax.set_ylabel(drawable(name))
    else:
        figure, row, _ = panels(title, len(arrays), 2.9, 1.9, sharey=True)
        axes = np.array([row])
    ends = [float(end) for a in arrays for end in (a["z"].min(), a["z"].max())]
    norm = Normalize(min(ends), max(ends))
    for i, (array, column) in enumerate(zip(arrays, axes.T, strict=True)):
        column[0].set_title(f"z{array.attrs.get('latent', i)}", fontsize="medium", color=INK)
        for moved, ax in zip(array.transpose("channel", "step", "time").values, column, strict=True):
            for z, line in zip(array["z"].values, moved, strict=True):
                ax.plot(array["time"].values, line, color=VALUES(norm(z)), linewidth=1.2)
            ax.margins(x=0)
    name_axes(figure, arrays[0])
    colour_bar(figure, ScalarMappable(norm, VALUES), [*axes.flat], "value of the latent", aspect=30)
    return figure
