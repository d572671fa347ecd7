"""Figures of what waveform archives hold."""

import xarray as xr
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

from .style import BLUE, INK, PAGE, Figure, drawable, grid, titled

MOST = 60  # rows that can still be read


def coverage(table: xr.Dataset) -> Figure:
    """Draw what waveforms cover: a row for each channel, a bar for each segment, nothing in gaps.

    Parameters
    ----------
    table : Dataset
        Of `geoae.io.coverage`: ``id``, ``start`` and ``end`` over ``segment``.

    Examples
    --------
    >>> import numpy as np
    >>> start = np.array(["2020-01-01", "2020-01-03"], "M8[ns]")
    >>> day = np.timedelta64(1, "D")
    >>> columns = {"id": ["XX.A..HHZ"] * 2, "start": start, "end": start + day, "rate": [1.0, 1.0]}
    >>> figure = coverage(xr.Dataset({name: ("segment", column) for name, column in columns.items()}))
    >>> len(figure.axes[0].collections[0].get_paths())
    2
    """
    ids = sorted(set(table["id"].values.tolist()))
    shown = ids[:MOST]
    title = f"{table.sizes['segment']} segments of {len(ids)} channels"
    title += f", the first {MOST} shown" if len(ids) > MOST else ""
    figure = titled(title, PAGE, 1.2 + 0.28 * len(shown))
    ax = grid(figure, 1, 1)[0, 0]
    begin, end = (date2num(table[name].values) for name in ("start", "end"))
    for row, seed_id in enumerate(shown):
        some = table["id"].values == seed_id
        bars = list(zip(begin[some], end[some] - begin[some], strict=True))
        ax.broken_barh(bars, (row - 0.3, 0.6), facecolors=BLUE, linewidth=0)
    ax.set_yticks(range(len(shown)), [drawable(seed_id) for seed_id in shown], color=INK)
    ax.set_ylim(len(shown) - 0.5, -0.5)
    locator = AutoDateLocator()
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    ax.set_xlabel("time (UTC)")
    return figure
