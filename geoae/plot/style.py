"""What all figures share: the class, the colours, the axes and how things are named on them."""

import io
import math
from typing import Any

import matplotlib
import matplotlib.figure
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.mathtext import MathTextParser

INK, MUTED, FAINT, BLUE, ORANGE, GREEN = "#1c2733", "#6a7581", "#eceff2", "#1f5c99", "#c2541a", "#2f7d5b"
# Lightness is monotone in both, so they survive a grey printer. Of Blues the light part, on which ink can be
# read everywhere; of viridis not the yellow end, where thin lines would vanish on white.
SHADES: Colormap = ListedColormap(matplotlib.colormaps["Blues"](np.linspace(0, 0.6, 256)), name="shades")
VALUES: Colormap = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.88, 256)), name="values")
PAGE = 8.0  # inches: where a page leaves 800 px for it, the smallest text (8.3 points) is 11 px high


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure that a notebook shows without pyplot.

    Matplotlib's own class is drawn in a notebook only once pyplot has been imported there.

    Examples
    --------
    >>> Figure(figsize=(2, 1))._repr_png_()[1]
    {'width': 200, 'height': 100}
    """

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = (round(100 * inches) for inches in self.get_size_inches())
        return image(self, "png", dpi=160), {"width": width, "height": height}


def image(figure: matplotlib.figure.Figure, kind: str, dpi: float) -> bytes:
    """Draw a figure as a png or svg file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else None
    with matplotlib.rc_context({"svg.hashsalt": "geoae"}):
        figure.savefig(buffer, format=kind, dpi=dpi, facecolor="white", metadata=metadata)
    return buffer.getvalue()


def titled(title: str, width: float, height: float) -> Figure:
    """Make an empty figure under a title; sizes in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06)
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    figure.suptitle(drawable(title), x=0.01, ha="left", fontsize="large", fontweight="bold", color=INK)
    return figure


def grid(figure: Figure, rows: int, columns: int, sharex: Any = True, sharey: Any = False) -> np.ndarray:
    """Make rows and columns of dressed axes."""
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)
    for ax in axes.flat:
        dress(ax)
    return axes


def panels(
    title: str, count: int, width: float, height: float, most: int = 3, **share: Any
) -> tuple[Figure, list[Axes], int]:
    """Make panels of about this size, at most so many in a row (four make a square); return how many, too."""
    columns = 2 if count == 4 else min(count, most)
    rows = math.ceil(count / columns)
    figure = titled(title, min(0.8 + width * columns, PAGE), 0.7 + height * rows)
    axes = list(grid(figure, rows, columns, **share).flat)
    for ax in axes[count:]:
        ax.remove()
    for ax in axes[max(count - columns, 0) : count]:  # the lowest of each column
        ax.tick_params(labelbottom=True)
    return figure, axes[:count], columns


def dress(ax: Axes) -> Axes:
    """Leave of the frame what carries a scale."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(MUTED)
    ax.tick_params(labelsize="small", color=MUTED)
    return ax


def colour_bar(figure: Figure, artist: Any, ax: Any, words: str, **kwargs: Any) -> None:
    """Say what the colours mean."""
    bar = figure.colorbar(artist, ax=ax, label=words, **kwargs)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(labelsize="small", color=MUTED)


def minus(number: str) -> str:
    """Write a number with the minus that is as wide as a plus."""
    return number.replace("-", "−")


def drawable(words: object) -> str:
    """Text as matplotlib will draw it: good mathtext stays, and a stray dollar in a label is a dollar."""
    words = str(words)
    if "$" in words:
        try:
            MathTextParser("path").parse(words)
        except ValueError:
            return words.replace("$", r"\$")
    return words


def units(data: xr.DataArray) -> str:
    """Units of a quantity; a pure number has none."""
    words = str(data.attrs.get("units", ""))
    return "" if words == "1" else words


def label(data: xr.DataArray, default: str = "") -> str:
    """Name a quantity with its unit, such as "stiffness k [N/m]"."""
    name = str(data.name) if data.name is not None else ""
    words = str(data.attrs.get("long_name", "")) or name or default
    # the table and the verdict say "k", so the axis does too
    if len(name) <= 2 and name.lower() not in words.lower().split():
        words = f"{words} {name}".strip()
    return drawable(f"{words} [{units(data)}]" if units(data) else words)


def name_axes(figure: Figure, data: xr.DataArray, *, amplitude: bool = True) -> None:
    """Name the time axis and the amplitude once for all panels."""
    figure.supxlabel(_time(data["time"]), fontsize="medium")
    if amplitude:
        # a name without units or a long name is a variable's, not a quantity's
        named = data if {"long_name", "units"} & set(data.attrs) else data.rename(None)
        figure.supylabel(label(named, "amplitude"), fontsize="medium")


def _time(time: xr.DataArray) -> str:
    """Of dates it says the day, so that the ticks need only the hour."""
    if time.dtype.kind != "M":
        return label(time) if time.attrs else "time [s]"
    first, last = (str(when)[:10] for when in (time.values[0], time.values[-1]))
    return f"time {'on' if first == last else 'from'} {first} [UTC]"
