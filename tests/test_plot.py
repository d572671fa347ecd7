"""Figures are read back from their artists; the report from its text."""

import base64
import os
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgba
from matplotlib.text import Text
from scipy.signal import spectrogram

from geoae import plot
from geoae.plot.style import SHADES, VALUES

HOSTILE = (
    """</title><script src="https://evil.example/x.js">alert(1)</script><img src=x onerror='a()'>&"$\\foo$"""
)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def drawn(figure):
    """Lay the figure out, so that whatever breaks only on drawing breaks here."""
    assert figure._repr_png_()[0].startswith(b"\x89PNG")
    return figure


@pytest.fixture(autouse=True)
def nothing_stays_open():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    yield
    assert pyplot.get_fignums() == before == []


@pytest.fixture
def table():
    """Hold k with z1 and b with z0 among three latents; z2 sleeps."""
    r2 = xr.DataArray([[0.07, 0.93], [0.84, 0.16], [np.nan, np.nan]], dims=("latent", "parameter"))
    whole = xr.DataArray([0.98, 0.97], dims="parameter")
    return xr.Dataset(
        {
            "kl": ("latent", [1.2, 2.4, 0.001]),
            "active": ("latent", [True, True, False]),
            "r2": r2,
            "r2_low": r2 - 0.02,
            "r2_high": r2 + 0.01,
            "r2_all": whole,
            "r2_all_low": whole - 0.01,
            "r2_all_high": whole + 0.01,
        },
        coords={"latent": [0, 1, 2], "parameter": ["k", "b"]},
        attrs={"traces": 900, "level": 0.95, "seed": 0},
    )


@pytest.fixture
def codes():
    rng = np.random.default_rng(0)
    k, b = rng.uniform(5, 10, 40), rng.uniform(0.5, 1, 40)
    return xr.Dataset(
        {
            "mean": (("trace", "latent"), np.stack([0.01 * k, b, k], axis=1)),
            "kl": (("trace", "latent"), np.tile([0.001, 1.2, 2.4], (40, 1))),
        },
        coords={
            "k": ("trace", k, {"units": "N/m", "long_name": "stiffness"}),
            "b": ("trace", b, {"units": "N s/m", "long_name": "damping"}),
            "station": ("trace", ["A"] * 40),
        },
    )


@pytest.fixture
def record():
    """Three components of ten seconds at 100 Hz, a gap in the middle."""
    start = np.datetime64("2009-08-24T00:20:03", "ns")
    values = np.random.default_rng(1).normal(size=(3, 1000)) * np.array([[1.0], [2.0], [3.0]])
    values[:, 400:500] = np.nan
    return xr.DataArray(
        values,
        dims=("channel", "time"),
        coords={
            "channel": ["BW.RJOB..EHE", "BW.RJOB..EHN", "BW.RJOB..EHZ"],
            "time": start + np.arange(1000) * np.timedelta64(10_000_000, "ns"),
        },
        attrs={"units": "counts"},
    )


def moved(latent, channels=0):
    time, z = np.arange(20) / 10, np.linspace(-3, 3, 5)
    waves = np.sin(time * (2 + z[:, None] / 10))
    if channels:
        waves = np.stack([waves] * channels, axis=1)
    return xr.DataArray(
        waves,
        dims=("step", "channel", "time") if channels else ("step", "time"),
        coords={"z": ("step", z), "time": ("time", time, {"units": "s", "long_name": "time"})},
        attrs={"latent": latent, "units": "m", "long_name": "displacement"},
    )


def traces_of(record, pieces=((0, None),)):
    """Return what a Stream is to plot: things with id, times and data."""
    posix = record["time"].values.astype("int64") / 1e9
    return [
        SimpleNamespace(id=str(name), data=row[a:b], times=lambda kind, a=a, b=b: posix[a:b])
        for name, row in zip(record["channel"].values, record.values, strict=True)
        for a, b in pieces
    ]


# figures


def test_a_figure_shows_itself_in_a_notebook_at_its_own_size():
    png, size = plot.Figure(figsize=(3, 2))._repr_png_()
    assert size == {"width": 300, "height": 200}
    assert int.from_bytes(png[16:20]) == 480  # the PNG header's width: sharp on a fine screen


def test_attribution_writes_value_and_interval_of_each_cell_the_busiest_latent_first(table):
    figure = drawn(plot.attribution(table))
    cells, bars = figure.axes
    assert texts(cells)[:4] == ["0.84", "[0.82, 0.85]", "0.07", "[0.05, 0.08]"]  # column k: z1 then z0
    assert texts(cells)[4:7] == ["–", "0.98", "[0.97, 0.99]"]  # z2, then all together
    labels = [label.get_text() for label in cells.get_yticklabels()]
    assert labels == ["z1", "z0", "z2\ninactive", "all active\ntogether"]
    assert [bar.get_width() for bar in bars.patches] == [2.4, 1.2, 0.001]
    assert texts(bars) == ["2.40", "1.20", "0.001"]
    assert bars.get_xlabel() == "KL [nats]"
    assert "R²" in cells.get_xlabel()
    assert "95 %" in cells.get_xlabel()
    assert figure.get_suptitle() == "Which latent holds which parameter?"


def test_attribution_greys_an_inactive_latent_even_where_its_r2_is_high(table):
    table["r2"][2] = 0.83  # seen in trained models at KL 0.000
    cells, bars = plot.attribution(table).axes
    assert texts(cells).count("–") == 2
    assert "0.83" not in texts(cells)
    red, green, blue, _ = cells.patches[2].get_facecolor()
    assert max(red, green, blue) - min(red, green, blue) < 0.05  # grey, and a pale one
    assert min(red, green, blue) > 0.85
    assert bars.patches[2].get_facecolor() != bars.patches[0].get_facecolor()


def test_attribution_darkens_with_r2(table):
    patches = plot.attribution(table).axes[0].patches
    light = [float(np.mean(patch.get_facecolor()[:3])) for patch in (patches[1], patches[0], patches[3])]
    assert light[0] > light[1] > light[2]  # 0.07, 0.84, 0.98


def luminance(colour):
    """Relative luminance, as the guidelines for web content define it."""
    rgb = np.array(to_rgba(colour))[:3]
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("r2", np.linspace(0, 1, 11))
def test_numbers_can_be_read_on_every_shade(table, r2):
    """A contrast of 4.5 between text and ground is what the guidelines ask."""
    table["r2"][:] = r2
    cells = plot.attribution(table).axes[0]
    ground, text = luminance(cells.patches[0].get_facecolor()), luminance(cells.texts[0].get_color())
    assert (max(ground, text) + 0.05) / (min(ground, text) + 0.05) >= 4.5


@pytest.mark.parametrize("colours", [SHADES, VALUES])
def test_colours_are_told_apart_in_grey(colours):
    """Lightness goes one way, and far: black to white is 1."""
    lightness = np.cbrt([luminance(colour) for colour in colours(np.linspace(0, 1, 50))])
    steps = np.diff(lightness)
    assert (steps > 0).all() or (steps < 0).all()
    assert np.ptp(lightness) > 0.3


def test_attribution_names_what_a_table_lacks(table):
    with pytest.raises(ValueError, match=r"table has no r2_all_low; use geoae\.latent\.attribute"):
        plot.attribution(table.drop_vars("r2_all_low"))


def test_codes_draws_the_two_busiest_latents_coloured_by_the_parameter(codes):
    panel, bar = drawn(plot.codes(codes, colour="k")).axes
    dots = panel.collections[0]
    np.testing.assert_array_equal(dots.get_offsets()[:, 0], codes["mean"][:, 2])
    np.testing.assert_array_equal(dots.get_offsets()[:, 1], codes["mean"][:, 1])
    np.testing.assert_array_equal(dots.get_array(), codes["k"])
    assert panel.get_xlabel() == "latent z2 (KL 2.40 nats)"
    assert bar.get_ylabel() == "stiffness k [N/m]"


def test_codes_without_a_colour_has_one_panel_for_each_numeric_parameter(codes):
    axes = drawn(plot.codes(codes)).axes
    assert [ax.get_ylabel() for ax in axes[2:]] == ["stiffness k [N/m]", "damping b [N s/m]"]


def test_codes_draws_every_pair_of_three_active_latents(codes):
    codes["kl"][:, 0] = 0.5
    axes = drawn(plot.codes(codes, colour="b")).axes
    pairs = [(ax.get_xlabel()[7:9], ax.get_ylabel()[7:9]) for ax in axes[:-1]]
    assert pairs == [("z2", "z1"), ("z2", "z0"), ("z1", "z0")]


def test_codes_of_one_latent_are_drawn_against_the_parameter(codes):
    (panel,) = drawn(plot.codes(codes.isel(latent=[2]), colour="k")).axes
    assert panel.get_xlabel() == "stiffness k [N/m]"
    assert panel.get_ylabel() == "z0\nKL 2.40 nats"


def test_codes_of_a_point_posterior_are_ordered_by_their_spread(codes):
    panel = drawn(plot.codes(codes.drop_vars("kl"), colour="k")).axes[0]
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("latent z2", "latent z1")


@pytest.mark.parametrize(
    "draw", [lambda c: plot.codes(c, colour="mass"), lambda c: plot.codes_against(c, ["mass"])]
)
def test_an_unknown_parameter_is_answered_with_those_there_are(codes, draw):
    with pytest.raises(ValueError, match="unknown parameter 'mass'; numeric coordinates of trace: k, b;"):
        draw(codes)


def test_codes_must_be_codes(codes):
    with pytest.raises(ValueError, match=r"use geoae\.encode"):
        plot.codes(codes.rename(latent="unit"))


def test_codes_against_has_a_row_per_latent_and_colours_by_the_other_parameter(codes):
    axes = drawn(plot.codes_against(codes, ["k", "b"])).axes
    assert len(axes) == 3 * 2 + 2
    assert [ax.get_ylabel().split("\n")[0] for ax in axes[:6:2]] == ["z2", "z1", "z0, inactive"]
    assert [ax.get_xlabel() for ax in axes[4:6]] == ["stiffness k [N/m]", "damping b [N s/m]"]
    np.testing.assert_array_equal(axes[0].collections[0].get_array(), codes["b"])
    assert axes[6].get_xlabel() == "colour: damping b [N s/m]"
    assert axes[4].get_facecolor() != axes[0].get_facecolor()


def test_traversal_has_one_panel_per_latent_and_a_line_per_step():
    figure = drawn(plot.traversal([moved(latent) for latent in (2, 0, 1)]))
    *panels, bar = figure.axes
    assert [ax.get_title() for ax in panels] == ["z2", "z0", "z1"]
    assert [len(ax.lines) for ax in panels] == [5, 5, 5]
    assert len({line.get_color() for line in panels[0].lines}) == 5
    assert (bar.get_ylabel(), bar.get_ylim()) == ("value of the latent", (-3, 3))
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("time [s]", "displacement [m]")


@pytest.mark.parametrize(("count", "channels"), [(1, 0), (4, 0), (5, 0), (2, 3)])
def test_traversal_leaves_no_empty_panel(count, channels):
    *panels, _ = drawn(plot.traversal([moved(i, channels) for i in range(count)])).axes
    assert len(panels) == count * max(channels, 1)
    assert all(ax.lines for ax in panels)


def wide_table(latents, parameters):
    r2 = xr.DataArray(np.full((latents, parameters), 0.845), dims=("latent", "parameter"))
    cells = {f"r2{end}": r2 for end in ("", "_low", "_high")}
    whole = {f"r2_all{end}": r2[0] for end in ("", "_low", "_high")}
    sizes = {"kl": ("latent", np.ones(latents)), "active": ("latent", np.ones(latents, bool))}
    names = ["frequency", "distance", "azimuth", "p", "s", "depth", "magnitude", "dip", "strike"][:parameters]
    return xr.Dataset({**cells, **whole, **sizes}, coords={"latent": range(latents), "parameter": names})


def assert_legible(figure):
    """No word is lower than 11 pixels and none lies on another."""
    figure.set_dpi(min(100, 800 / figure.get_figwidth()))
    figure.draw_without_rendering()
    words = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    assert min(text.get_fontsize() * figure.dpi / 72 for text in words) > 11
    # of a slanted name the corner of the box is empty, and ticks beyond an axis' end are not drawn
    level = [text for ax in figure.axes for text in [*ax.texts, ax.title] if text in words]
    level += [figure._suptitle, *(text for ax in figure.axes for text in (ax.xaxis.label, ax.yaxis.label))]
    boxes = [text.get_window_extent() for text in level if text.get_text()]
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]


@pytest.mark.parametrize(("latents", "columns"), [(1, 1), (3, 5), (4, 6), (8, 9)])
def test_attribution_is_legible_at_800_pixels(latents, columns):
    assert_legible(plot.attribution(wide_table(latents, columns)))


@pytest.mark.parametrize(("latents", "channels"), [(1, 0), (3, 0), (7, 0), (6, 3)])
def test_traversal_is_legible_at_800_pixels(latents, channels):
    assert_legible(plot.traversal([moved(i, channels) for i in range(latents)]))


def test_traversals_put_the_true_trace_under_the_decoded_one():
    rows, truth = [moved(0), moved(1)], [moved(0) + 0.1, moved(1) + 0.2]
    figure = plot.traversals(rows, truth)
    assert_legible(figure)
    panels = [ax for ax in figure.axes if ax.lines]
    assert [len(ax.lines) for ax in panels] == [2] * len(panels)
    for ax, step in zip(panels, range(len(rows[0])), strict=False):
        under, over = ax.lines
        np.testing.assert_allclose(over.get_ydata(), rows[0].isel(step=step))
        np.testing.assert_allclose(under.get_ydata(), truth[0].isel(step=step))
        assert under.get_linewidth() > over.get_linewidth()
        assert f"z0 = {float(rows[0].z[step]):.2g}".replace("-", "−") == ax.get_title()
    with pytest.raises(ValueError, match="pick a channel of several with"):
        plot.traversals(moved(0, channels=2))


def test_contributions_pile_up_to_the_decoded_signal():
    time, rng = np.linspace(0, 1, 20), np.random.default_rng(0)
    added, base = rng.standard_normal((3, 20)), rng.standard_normal(20)
    parts = xr.Dataset(
        {
            "base": ("time", base),
            "added": (("latent", "time"), added),
            "decoded": ("time", base + added.sum(0), {"units": "m"}),
        },
        {"time": time},
    )
    figure = plot.contributions(parts, parts["base"])
    assert_legible(figure)
    for i, ax in enumerate(figure.axes[1:-1]):
        np.testing.assert_allclose(ax.lines[-1].get_ydata(), base + added[: i + 1].sum(0))
    np.testing.assert_allclose(figure.axes[-1].lines[-1].get_ydata(), figure.axes[-2].lines[-1].get_ydata())
    assert figure.get_supylabel() == "amplitude [m]"
    with pytest.raises(ValueError, match="draws one trace of one channel"):
        plot.contributions(parts.expand_dims("trace"))


def test_widths_share_one_scale_that_reaches_the_prior(codes):
    q = codes.assign(std=codes["mean"] * 0 + 0.3).assign_coords(b=("trace", np.arange(codes.sizes["trace"])))
    name = next(name for name in q.coords if q[name].dims == ("trace",) and q[name].dtype.kind == "f")
    figure = plot.widths(q, name, "b")
    assert_legible(figure)
    assert {ax.collections[0].norm.vmax for ax in figure.axes[:-1] if ax.collections} == {1.0}
    with pytest.raises(ValueError, match="the codes carry no parameter 'nothing'"):
        plot.widths(q, "nothing", "b")
    with pytest.raises(ValueError, match="these codes are points"):
        plot.widths(q.assign(std=q["std"] * 0), name, "b")


def test_several_trainings_stand_side_by_side_with_their_answers_framed():
    runs = xr.Dataset(
        {
            "r2": (("run", "latent", "parameter"), [[[0.9, 0.1], [0.0, 0.8]], [[0.7, 0.1], [np.nan] * 2]]),
            "answer": (("run", "latent", "parameter"), [[[1, 0], [0, 1]], [[1, 0], [0, 0]]]),
            "active": (("run", "latent"), [[True, True], [True, False]]),
            "order": (("run", "latent"), [[0, 1], [1, 0]]),
            "agreement": ("parameter", [1.0, 0.5]),
        },
        {"parameter": ["k", "b"]},
    )
    figure = plot.over_runs(runs)
    assert_legible(figure)
    first, second = figure.axes
    assert texts(first) == ["0.90", "0.10", "0.00", "0.80"]
    assert texts(second) == ["0.70", "0.10"]
    assert [len(ax.patches) for ax in (first, second)] == [2, 1]
    assert [t.get_text() for t in second.get_yticklabels()] == ["z1", "z0 inactive"]
    assert "k in 2 of 2, b in 1 of 2" in figure.get_supxlabel()
    with pytest.raises(ValueError, match="this table is of one training"):
        plot.over_runs(runs.isel(run=0))


def test_the_curve_through_the_dots_is_the_mean_of_the_latent():
    k = np.repeat(np.linspace(5, 10, 40), 25)
    z = np.sin(k) + np.tile(np.linspace(-1, 1, 25), 40)  # symmetric about the curve
    q = xr.Dataset({"mean": (("trace", "latent"), z[:, None])}, {"k": ("trace", k)})
    curve = plot.codes_against(q, ["k"]).axes[0].lines[-1]
    np.testing.assert_allclose(curve.get_ydata(), np.sin(curve.get_xdata()), atol=0.02)


def test_traversal_refuses_what_is_none():
    with pytest.raises(ValueError, match=r"use geoae\.latent\.traverse"):
        plot.traversal(moved(0).rename(step="trace"))
    with pytest.raises(ValueError, match="found none"):
        plot.traversal([])


def test_history_draws_each_term_and_leaves_out_a_validation_that_never_was():
    epoch = np.arange(1, 11)
    falls = np.stack([2000.0 / epoch**2, 2100.0 / epoch**2], axis=1)
    history = xr.Dataset(
        {
            "sigma": ("epoch", 1.0 / epoch),
            "loss": (("epoch", "split"), falls),
            "kl": (
                ("epoch", "split"),
                np.stack([epoch**2 * 0.3, np.full(10, np.nan)], axis=1),
                {"units": "nats"},
            ),
            "reconstruction": (("epoch", "split"), falls - 100),
        },
        coords={"epoch": epoch, "split": ["train", "valid"]},
    )
    loss, kl, reconstruction, sigma = drawn(plot.history(history)).axes
    assert [line.get_label() for line in loss.lines] == ["train", "valid"]
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), falls[:, 1])
    assert len(kl.lines) == 1
    # positive and falling is drawn on a log scale; rising or negative is not
    assert [ax.get_yscale() for ax in (loss, kl, reconstruction, sigma)] == [
        "log",
        "linear",
        "linear",
        "linear",
    ]
    assert [ax.get_ylabel() for ax in (loss, kl, sigma)] == ["loss", "kl [nats]", "sigma"]
    assert sigma.get_xlabel() == "epoch"


def test_history_of_nothing_is_refused():
    with pytest.raises(ValueError, match="history needs terms over epoch"):
        plot.history(xr.Dataset())


def test_traces_draws_some_from_first_to_last_and_says_what_they_are():
    waves = xr.DataArray(
        np.arange(90.0).reshape(9, 10),
        dims=("trace", "time"),
        coords={"time": np.arange(10) / 10, "k": ("trace", np.arange(9.0), {"units": "N/m"})},
    )
    figure = drawn(plot.traces(waves, count=3))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["k = 0 N/m", "k = 4 N/m", "k = 8 N/m"]
    np.testing.assert_array_equal(figure.axes[2].lines[0].get_ydata(), waves[8])
    assert (figure.get_suptitle(), figure.get_supxlabel()) == ("3 of 9 traces", "time [s]")


def test_traces_of_three_components_share_a_scale_so_that_polarisation_is_seen():
    waves = xr.DataArray(
        np.ones((2, 3, 10)), dims=("trace", "channel", "time"), coords={"channel": list("ENZ")}
    )
    waves[:, 2] *= 7
    axes = drawn(plot.traces(waves)).axes
    assert len(axes) == 6
    assert axes[0].get_ylim() == axes[2].get_ylim()
    assert texts(axes[2]) == ["Z"]


def test_traces_of_a_record_are_its_components_over_dates(record):
    figure = drawn(plot.traces(record))
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(record["channel"].values)
    assert figure.get_supxlabel() == "time on 2009-08-24 [UTC]"
    assert figure.get_supylabel() == "amplitude [counts]"
    ticks = [label.get_text() for label in figure.axes[2].get_xticklabels()]
    assert all(re.fullmatch(r"00:20:\d\d", tick) for tick in ticks if tick)
    assert any(ticks)


def test_a_long_record_is_thinned_to_its_extremes_and_keeps_the_one_spike():
    values = np.zeros(1_000_003)
    values[777_777], values[300_000:400_000] = 5.0, np.nan
    line = plot.traces(xr.DataArray(values, dims="time")).axes[0].lines[0].get_ydata()
    assert line.size < 5000
    assert np.nanmax(line) == 5.0
    assert np.isnan(line).mean() == pytest.approx(0.1, abs=0.01)


def test_before_after_stacks_input_output_truth_and_difference(record):
    after, clean = record * 0.75, record * 0.5
    figure = drawn(plot.before_after(record, after, clean))
    assert len(figure.axes) == 3 * 4
    input_, output, truth, difference = (ax.lines[0].get_ydata() for ax in figure.axes[8:])
    for line, wanted in ((input_, record), (output, after), (truth, clean), (difference, record * 0.25)):
        np.testing.assert_allclose(line, wanted[2])
    assert [texts(ax) for ax in figure.axes[8:]] == [["input"], ["output"], ["clean"], ["input − output"]]
    assert len({ax.get_ylim() for ax in figure.axes[8:]}) == 1
    assert figure.get_supylabel() == "amplitude [counts]"


def test_before_after_says_by_how_much_a_small_output_is_enlarged(record):
    axes = plot.before_after(record, record / 8).axes
    assert texts(axes[1]) == ["output\n8 × enlarged"]
    assert axes[0].get_ylim()[1] == pytest.approx(8 * axes[1].get_ylim()[1])


@pytest.mark.parametrize("scale", [1e-9, 1e4])
def test_before_after_of_a_silent_output_keeps_the_scale_of_the_input(record, scale):
    axes = plot.before_after(scale * record, 0 * record).axes
    assert texts(axes[1]) == ["output"]
    assert (
        axes[0].get_ylim()[1] == axes[1].get_ylim()[1] == pytest.approx(1.05 * scale * abs(record[0]).max())
    )


def test_before_after_takes_a_stream_and_joins_its_pieces_at_the_gap(record):
    stream = traces_of(record, pieces=((500, None), (0, 400)))  # in no order
    figure = drawn(plot.before_after(stream, stream))
    assert [ax.get_title(loc="left") for ax in figure.axes[::3]] == list(record["channel"].values)
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), record[0])
    late = figure.axes[0].lines[0].get_xdata() - record["time"].values
    assert np.abs(late).max() < np.timedelta64(1, "us")  # as far as float seconds of our day reach
    assert figure.get_supxlabel() == "time on 2009-08-24 [UTC]"


def test_a_masked_trace_has_a_hole_where_it_is_masked(record):
    (trace, *_) = traces_of(record)
    trace.data = np.ma.masked_greater(np.arange(1000), 989)  # integers, as files hold them
    line = plot.before_after(trace, trace).axes[0].lines[0].get_ydata()
    assert np.isnan(line).sum() == 10


@pytest.mark.parametrize("draw", [plot.before_after, plot.spectrograms])
def test_before_and_after_must_be_the_same_stretch(record, draw):
    with pytest.raises(ValueError, match=r"before has 1000 samples in channel '.*EHE', after has 900"):
        draw(record, record.isel(time=slice(900)))
    with pytest.raises(ValueError, match=r"after has \['BW.RJOB..EHE'\]; want the same"):
        draw(record, record.isel(channel=[0]))
    with pytest.raises(ValueError, match=r"use .isel\(trace=0\)"):
        draw(record.expand_dims("trace"), record)


def test_spectrograms_agree_with_scipy_on_one_scale_for_both():
    time = np.arange(6000) / 100
    signal = 3 * np.sin(2 * np.pi * 12.5 * time) + np.random.default_rng(2).normal(size=6000)
    noisy = xr.DataArray(
        signal[None],
        dims=("channel", "time"),
        coords={"time": time, "channel": ["Z"]},
        attrs={"units": "m/s"},
    )
    before, after, bar = drawn(plot.spectrograms(noisy, noisy / 10, window=0.64)).axes
    power = before.collections[0].get_array()
    frequency, _, wanted = spectrogram(signal, 100, window=np.hanning(64), noverlap=32, detrend=False)
    np.testing.assert_allclose(power, 10 * np.log10(wanted), atol=1e-6)
    assert frequency[power.mean(axis=1).argmax()] == 12.5
    np.testing.assert_allclose(power - after.collections[0].get_array(), 20, atol=1e-6)
    assert before.collections[0].norm is after.collections[0].norm
    assert before.get_ylabel() == "Z\nfrequency [Hz]"
    assert bar.get_ylabel() == "power [dB re 1 (m/s)²/Hz]"


def test_spectrograms_leave_a_gap_empty_and_bear_silence(record):
    figure = drawn(plot.spectrograms(record, 0 * record))
    power = np.asarray(figure.axes[0].collections[0].get_array())
    assert np.isnan(power).any()
    assert np.isfinite(power).any()


def test_spectrograms_refuse_a_record_of_less_than_two_windows(record):
    with pytest.raises(ValueError, match="40 samples is too short for windows of 32 samples"):
        plot.spectrograms(record[:, :40], record[:, :40])


def test_channels_of_one_name_are_refused_because_one_would_hide_the_other(record):
    twice = record.assign_coords(channel=["Z", "Z", "E"])
    with pytest.raises(ValueError, match=r"before has channels \['Z', 'Z', 'E'\]; each needs a name"):
        plot.before_after(twice, twice)


def test_traces_of_nameless_channels_are_all_drawn():
    axes = drawn(plot.traces(xr.DataArray(np.ones((3, 10)), dims=("channel", "time")))).axes
    assert [ax.get_title(loc="left") for ax in axes] == ["channel 0", "channel 1", "channel 2"]
    assert all(ax.lines for ax in axes)


def test_text_of_a_file_cannot_break_a_figure(record, codes):
    record = record.assign_coords(channel=[HOSTILE, "cost $5", r"$\omega$"])
    for figure in (drawn(plot.before_after(record, record)), drawn(plot.traces(record))):
        assert any("cost" in text.get_text() and "5" in text.get_text() for text in figure.findobj(Text))
    codes["k"].attrs["long_name"] = HOSTILE
    assert drawn(plot.codes(codes, colour="k")).axes


# report


class Page(HTMLParser):
    """Tags with attributes, and the text, as a browser sees them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def page_of(tmp_path, *args, **kwargs):
    path = plot.report(tmp_path / "report.html", *args, **kwargs)
    return Page(path.read_text(encoding="utf-8"))


def test_report_asks_for_nothing_outside_itself(tmp_path, table):
    section = plot.Section("One", "Text.", figures=[(plot.attribution(table), "R2 of two parameters")])
    page = page_of(tmp_path, "Title", [section])
    sources = [
        attrs[key] for _, attrs in page.tags for key in ("src", "href", "action", "data") if key in attrs
    ]
    assert sources
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert not page.all("script")
    assert not page.all("link")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert not re.search(r"url\(", text)
    assert "default-src 'none'" in page.all("meta")[-1]["content"]
    assert "prefers-color-scheme:dark" in text
    assert page.all("meta")[1]["content"] == "width=device-width, initial-scale=1"


def test_report_escapes_whatever_it_is_given(tmp_path, table):
    section = plot.Section(
        HOSTILE,
        HOSTILE,
        figures=[(plot.attribution(table), HOSTILE, HOSTILE)],
        tables=[plot.Table((HOSTILE, "b"), [(HOSTILE, 1.0), ("x", HOSTILE)], HOSTILE)],
    )
    fact = plot.Fact(HOSTILE, HOSTILE, HOSTILE)
    page = page_of(tmp_path, HOSTILE, [section] * 3, summary=[fact], subtitle=HOSTILE)
    assert not page.all("script")
    assert len(page.all("img")) == 3
    assert all(set(attrs) == {"alt", "width", "height", "style", "src"} for attrs in page.all("img"))
    assert page.all("img")[0]["alt"] == HOSTILE
    # title, heading, subtitle, a fact's three, three links, and seven places in each section: word for word
    assert page.words.count(HOSTILE) == 3 + 3 + 3 + 3 * 7


def test_report_holds_small_figures_as_svg_and_heavy_ones_as_png(tmp_path, table):
    heavy = plot.Figure()
    heavy.subplots().scatter(*np.random.default_rng(0).normal(size=(2, 5000)))
    section = plot.Section("Two", figures=[(plot.attribution(table), "light"), (heavy, "heavy")])
    light, dense = page_of(tmp_path, "Title", [section]).all("img")
    assert b"<svg" in base64.b64decode(light["src"].removeprefix("data:image/svg+xml;base64,"))
    assert base64.b64decode(dense["src"].removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    assert (dense["width"], dense["height"]) == ("614", "461")  # 6.4 by 4.8 inches


def test_report_makes_heavy_pictures_coarser_to_stay_small(tmp_path, monkeypatch):
    noise = plot.Figure()
    noise.subplots().imshow(np.random.default_rng(0).normal(size=(900, 900)), aspect="auto")
    section = plot.Section("Noise", figures=[(noise, "noise")])
    fine = plot.report(tmp_path / "fine.html", "Title", [section]).stat().st_size
    monkeypatch.setattr(plot.page, "REPORT_BYTES", fine)
    coarse = plot.report(tmp_path / "coarse.html", "Title", [section]).stat().st_size
    assert coarse < fine


def test_report_wants_a_description_of_each_figure_and_rows_of_one_length(tmp_path, table):
    figure = plot.attribution(table)
    with pytest.raises(ValueError, match="figure 2 of section 'One' has no alt text"):
        page_of(tmp_path, "Title", [plot.Section("One", figures=[(figure, "fine"), (figure, " ")])])
    with pytest.raises(ValueError, match="row 2 of table 'Gains' has 1 cells, its header 2"):
        page_of(tmp_path, "Title", [plot.Section("One", tables=[plot.Table("ab", ["cd", "e"], "Gains")])])
    assert list(tmp_path.iterdir()) == []  # nothing half written


def test_report_says_that_a_figure_came_without_words(tmp_path, table):
    section = plot.Section("One", figures=[plot.attribution(table)])
    with pytest.raises(TypeError, match=r"figure 1 of section 'One' is a Figure; give it as \(figure, alt\)"):
        plot.report(tmp_path / "r.html", "Title", [section])


def test_report_takes_one_section_and_no_bare_figures(tmp_path, table):
    assert page_of(tmp_path, "Title", plot.Section("Only")).words.count("Only") == 1
    figure = plot.attribution(table)
    for sections in (figure, [figure]):
        with pytest.raises(TypeError, match=r"sections holds a Figure; wanted Section\('a title', figures="):
            plot.report(tmp_path / "r.html", "Title", sections)


def test_report_has_no_negative_zero(tmp_path):
    rows = plot.Table(("R²",), [(-0.0001,), (0.999,)])
    page = plot.report(tmp_path / "r.html", "Title", [plot.Section("One", tables=[rows])]).read_text("utf-8")
    assert ">0.000<" in page
    assert "−0.000" not in page


def test_report_says_that_the_folder_is_missing(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no folder .*out to write report\.html into; make it with: mkdir -p"
    ):
        plot.report(tmp_path / "out" / "report.html", "Title", [])


def test_report_takes_the_place_of_the_old_file_at_once(tmp_path):
    path = plot.report(tmp_path / "report.html", "Old", [])
    (tmp_path / "reader").hardlink_to(path)  # someone still reads the old one
    plot.report(path, "New", [])
    assert "<h1>New</h1>" in path.read_text(encoding="utf-8")
    assert "<h1>Old</h1>" in (tmp_path / "reader").read_text(encoding="utf-8")


def test_report_keeps_the_old_file_when_writing_fails(tmp_path, monkeypatch):
    path = plot.report(tmp_path / "report.html", "Old", [])

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        plot.report(path, "New", [])
    assert "<h1>Old</h1>" in path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("values", "cells", "number"),
    [
        ([2.404, 0.001, float("nan")], ["2.40", "0.00", "–"], True),
        ([-0.5, 12.345], ["−0.5", "12.3"], True),
        ([np.float32(0.25), 1], ["0.250", "1"], True),
        ([1e-9, 2e-12], ["1.00e−09", "2.00e−12"], True),
        (["0.93 [0.92, 0.94]", "–"], ["0.93 [0.92, 0.94]", "–"], True),
        (["2009-08-24T00:20:03"], ["2009-08-24T00:20:03"], False),
        (["band-pass 1-20 Hz", "geoae"], ["band-pass 1-20 Hz", "geoae"], False),
        ([float("nan")], ["–"], False),
    ],
)
def test_cells_of_a_column_get_the_same_decimals_and_numbers_stand_flush_right(
    tmp_path, values, cells, number
):
    table = plot.Table(("name", "value"), [("x", value) for value in values])
    page = page_of(tmp_path, "Title", [plot.Section("One", tables=[table])])
    assert [word for word in page.words if word in cells] == cells
    assert all((attrs.get("class") == "n") == number for attrs in page.all("td"))


def test_the_room_needs_neither_pyplot_nor_torch_nor_obspy():
    import subprocess
    import sys

    lines = "import sys; from geoae import plot; plot.Figure()._repr_png_(); print(*sorted(sys.modules))"
    names = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True).stdout
    assert not {"matplotlib.pyplot", "torch", "obspy"} & set(names.split())
