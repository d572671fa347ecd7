"""Figures and the one-file report, from labelled arrays only.

Every function takes what another room hands out (traces, codes, a table, a history) and gives back a
:class:`Figure`. Nothing here touches pyplot: no backend is chosen, no window opens, no figure stays behind.

Examples
--------
>>> import xarray as xr
>>> from geoae import plot
>>> waves = xr.DataArray([[0.0, 1.0, 0.0]], dims=("trace", "time"))
>>> figure = plot.traces(waves)
>>> section = plot.Section("Data", figures=[(figure, "A trace that rises and falls.")])  # for plot.report
"""

from .archive import coverage
from .effects import contributions, over_runs, traversals, widths
from .latents import attribution, codes, codes_against, traversal
from .page import Fact, Section, Table, report
from .signals import before_after, history, spectrograms, traces
from .style import Figure

__all__ = [
    "Fact",
    "Figure",
    "Section",
    "Table",
    "attribution",
    "before_after",
    "codes",
    "codes_against",
    "contributions",
    "coverage",
    "history",
    "over_runs",
    "report",
    "spectrograms",
    "traces",
    "traversal",
    "traversals",
    "widths",
]
