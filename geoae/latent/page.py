"""What an attribution found, as a section of a report."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..model import Autoencoder
from .codes import encode, nearest, traverse
from .effects import contributions
from .verdict import verdict

if TYPE_CHECKING:
    from .. import plot


def section(
    title: str,
    data: xr.DataArray,
    model: Autoencoder,
    table: xr.Dataset,
    *,
    text: str = "",
    more: Sequence[Any] = (),
) -> "plot.Section":
    """Put an attribution into words, figures and a table, for `geoae.plot.report`.

    Parameters
    ----------
    title : str
    data : DataArray, dims (trace, [channel,] time)
        The traces that were asked about.
    model : Autoencoder
        That made their codes; the first of several runs.
    table : Dataset
        From `attribute`. Parameters that `data` does not carry are told of, but not drawn against the codes.
    text : str
        What to say before the verdict.
    more : sequence of (figure, caption)
        Figures to put at the end.
    """
    from .. import plot

    codes = encode(data, model)
    said = verdict(table)
    names = [str(name) for name in table["parameter"].values]
    numbers = [name for name in names if name in codes.coords and codes[name].dtype.kind in "iuf"]
    figures: list[Any] = [
        (plot.attribution(table), f"R2 of each parameter by each latent, with its interval. {said}")
    ]
    if "run" in table.dims:
        figures.append((plot.over_runs(table), "R2 over several trainings, the answers framed"))
    figures += _what_latents_do(data, model, codes)
    if numbers:
        figures.append((plot.codes_against(codes, numbers[:3]), "Each latent against each parameter"))
        if codes.sizes["latent"] > 1:
            figures.append((plot.codes(codes, colour=numbers[0]), f"The code, coloured by {numbers[0]}"))
    if len(numbers) > 1 and model.variational and codes.sizes["latent"] <= 4:
        caption = "Width of each latent's posterior: at 1, the prior's, the trace says nothing"
        figures.append((plot.widths(codes, numbers[1], numbers[0]), caption))
    words = "\n\n".join([*([text] if text else []), *str(said).splitlines()])
    return plot.Section(title, words, (*figures, *more), (rows(table),))


def _what_latents_do(data: xr.DataArray, model: Autoencoder, codes: xr.Dataset) -> list[Any]:
    """Traversals from a code in the middle that the model is sure of; what latents add to one far from it."""
    from .. import plot

    mean = codes["mean"].values
    far = np.linalg.norm((mean - mean.mean(0)) / np.where(mean.std(0) > 1e-6, mean.std(0), np.inf), axis=1)
    if model.variational:  # of the quarter of codes that are surest, the one in the middle
        doubt = codes["std"].mean("latent").values
        far[doubt > np.quantile(doubt, 0.25)] = np.inf
    sure = int(far.argmin())
    at, count = mean[sure], min(codes.sizes["latent"], 6)
    spread = mean.std(0)
    spans = [
        (-3, 3) if model.variational else (a - 3 * s, a + 3 * s) for a, s in zip(at, spread, strict=True)
    ]
    moved = [traverse(model, i, spans[i], 7, at=at) for i in range(count)]
    if "channel" in moved[0].dims:
        return [(plot.traversal(moved), "Decoded traces while one latent moves and the others stay")]
    if "channel" in data.dims:  # of one channel, which the decoder does not name
        data = data.isel(channel=0)
    odd = int(np.where(np.isfinite(far), far, -1).argmax())  # to a trace in the middle latents add nothing
    parts, trace = contributions(data.isel(trace=[odd]), model).isel(trace=0), data.isel(trace=odd)
    drawn = plot.traversals(moved, [nearest(one, data, model) for one in moved])
    return [
        (drawn, "Decoded traces (black) while one latent moves; grey, the true trace whose code is nearest"),
        (plot.contributions(parts, trace), "How a decoded signal is put together from what each latent adds"),
    ]


def rows(table: xr.Dataset) -> "plot.Table":
    """Tell the numbers of an attribution, the busiest latent first, as a table of a report."""
    from .. import plot

    if "run" in table.dims:
        table = table.isel(run=0)
    out = []
    for i in np.argsort(-np.nan_to_num(table["kl"].values), kind="stable"):
        for name in table["parameter"].values:
            cell = table.isel(latent=i).sel(parameter=name)
            interval = f"{float(cell.r2_low):z.2f}–{float(cell.r2_high):z.2f}" if cell.active else "–"
            values = [
                float(cell[v]) for v in ("kl", "r2", "p_value", "mutual_information", "spearman", "share")
            ]
            p = values[2]
            shown = "–" if np.isnan(p) else f"{p:.3f}" if p >= 0.0005 else "< 0.001"
            out.append((f"z{int(cell.latent)}", str(name), *values[:2], interval, shown, *values[3:]))
    level = f"{100 * table.attrs.get('level', 0.95):.3g} % interval"
    header = ("latent", "parameter", "KL [nats]", "R²", level, "p", "MI [nats]", "Spearman", "share")
    note = "p: corrected for all questions; MI: mutual information; share: of the latent's variance that the "
    return plot.Table(header, out, note + "parameter explains. Inactive latents are not asked.")
