import numpy as np
import obspy
import pandas as pd
import pytest
import scipy.signal
import xarray as xr
from obspy.core.event import Catalog, Event, Magnitude, Origin, Pick, WaveformStreamID

from geoae.arrays import cut, detrend, normalise, quality, resample, sample_times, sampling_rate, taper
from geoae.io import read
from geoae.synth import seismograms

START = np.datetime64("2020-01-01", "ns")


@pytest.fixture
def record():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 4000)).cumsum(-1) + 500
    return xr.DataArray(
        values,
        dims=("channel", "time"),
        coords={"channel": ["E", "N", "Z"], "time": sample_times(START, 4000, 100.0)},
        name="counts",
        attrs={"units": "1", "history": "read: a file"},
    )


def gappy(record):
    holes = record.copy()
    holes[0, 1000:1200] = np.nan
    holes[2, :50] = np.nan
    return holes


# ---------------------------------------------------------------- lazily


@pytest.mark.parametrize("rate", [40.0, 50.0, 62.5, 250.0])
@pytest.mark.parametrize("chunk", [333, 1000])
def test_resampling_a_lazy_record_is_lazy_and_equals_the_whole(record, rate, chunk):
    for data in (record, gappy(record)):
        lazy = resample(data.chunk(time=chunk), rate)
        assert len(lazy.chunks[1]) > 3
        xr.testing.assert_allclose(lazy.compute(), resample(data, rate), rtol=1e-12)
        assert lazy.attrs == resample(data, rate).attrs


@pytest.mark.parametrize(
    "change",
    [
        detrend,
        lambda x: detrend(x, "constant"),
        lambda x: taper(x, "1s"),
        normalise,
        lambda x: normalise(x, "rms"),
    ],
    ids=["linear", "constant", "taper", "peak", "rms"],
)
def test_what_is_done_to_lazy_data_is_lazy_and_the_same(record, change):
    lazy = change(gappy(record).chunk(time=777))
    assert lazy.chunks
    xr.testing.assert_allclose(lazy.compute(), change(gappy(record)))
    assert lazy.attrs["history"].startswith("read: a file\n")
    assert lazy.attrs["units"] == "1"
    assert lazy.name == "counts"
    assert record.attrs["history"] == "read: a file"


def test_pieces_of_a_lazy_record_are_lazy_and_touch_only_their_chunks(record):
    touched = []

    def note(block, block_info=None):
        touched.append(block_info[0]["chunk-location"][1])
        return block

    lazy = record.chunk(time=500)
    lazy = lazy.copy(data=lazy.data.map_blocks(note, dtype=lazy.dtype, meta=lazy.data._meta))
    starts = [START + np.timedelta64(s, "ms") for s in (-1000, 5100, 39_500)]
    pieces = cut(lazy, starts, "2s")
    assert pieces.chunks
    assert touched == []
    xr.testing.assert_identical(pieces.compute(), cut(record, starts, "2s"))
    assert set(touched) == {0, 1, 7}


# ---------------------------------------------------------------- pieces


def test_regular_windows_lie_wholly_inside(record):
    pieces = cut(record, length="10s", every="7s")
    begins = (pieces.start - START) / np.timedelta64(1, "s")
    assert begins.values.tolist() == [0, 7, 14, 21, 28]
    np.testing.assert_array_equal(pieces.values[2], record.values[:, 1400:2400])
    assert cut(record, length=4000, every=1).sizes["trace"] == 1
    assert cut(record, length=4001, every=1).sizes["trace"] == 0


def test_pieces_of_a_record_do_not_pass_for_it():
    day = read(obspy.read())
    assert "segments" in day.attrs
    assert "segments" not in cut(day, length="5s", every="5s").attrs
    assert "segments" in day.attrs


def test_picks_and_time_before_them(record):
    station = WaveformStreamID("XX", "AAA")
    picks = [Pick(time=obspy.UTCDateTime(2020, 1, 1) + s, waveform_id=station) for s in (5, 10.25)]
    pieces = cut(record, picks, "2s", before="500ms")
    begins = (pieces.start - START) / np.timedelta64(1, "ms")
    assert begins.values.tolist() == [4500, 9750]
    np.testing.assert_array_equal(pieces.values[1], record.values[:, 975:1175])


def test_a_catalogue_lends_its_origins_and_magnitudes(record):
    def event(s, magnitude):
        origin = Origin(
            time=obspy.UTCDateTime(2020, 1, 1) + s, latitude=48.0 + s, longitude=9.0, depth=5000.0
        )
        sizes = [Magnitude(mag=magnitude)] if magnitude else []
        return Event(origins=[origin], magnitudes=sizes)

    pieces = cut(record, Catalog([event(3, 2.5), event(20, None)]), 100)
    np.testing.assert_array_equal(pieces.values[1], record.values[:, 2000:2100])
    assert pieces.magnitude.values[0] == 2.5
    assert np.isnan(pieces.magnitude.values[1])
    assert pieces.latitude.values.tolist() == [51.0, 68.0]
    assert pieces.depth.values.tolist() == [5000.0, 5000.0]
    with pytest.raises(ValueError, match="event 1 of the catalogue has no origin, so no time to cut at"):
        cut(record, [event(3, 1.0), Event()], 100)


def test_a_table_lends_its_columns(record):
    table = pd.DataFrame(
        {"time": pd.to_datetime(["2020-01-01T00:00:02", "2020-01-01T00:00:30"]), "kind": ["a", "b"]}
    )
    pieces = cut(record, table, "1s")
    np.testing.assert_array_equal(pieces.values[1], record.values[:, 3000:3100])
    assert pieces.kind.values.tolist() == ["a", "b"]
    assert sampling_rate(pieces) == 100
    with pytest.raises(ValueError, match="the table has columns kind; it needs one called time"):
        cut(record, table[["kind"]], "1s")


def test_times_come_in_any_wrapping(record):
    picks = record.time[[100, 300]]
    for same in (picks, picks.values, picks.to_index(), pd.Series(picks.values), list(picks.values)):
        np.testing.assert_array_equal(cut(record, same, 10).start, picks)
    one = cut(record, obspy.UTCDateTime(2020, 1, 1) + 1, 10)
    xr.testing.assert_identical(one, cut(record, "2020-01-01T00:00:01", 10))
    assert one.start.item() == picks[0].item()


def test_cuts_say_what_they_lack(record):
    for wrong in (5.0, "nonsense"):
        with pytest.raises(
            ValueError, match=f"{wrong!r} is no time; this record has dates, so write '2020-01-01T"
        ):
            cut(record, [wrong], 10)
    with pytest.raises(ValueError, match="a piece needs a length; use length='30s'"):
        cut(record, [START])
    for words in ({}, {"starts": [START], "every": "1s"}):
        with pytest.raises(ValueError, match=r"a cut needs starts .* or every='30s', one of them"):
            cut(record, length=10, **words)
    with pytest.raises(ValueError, match="every is 'often'; it must be a number of samples, or a duration"):
        cut(record, length=10, every="often")
    with pytest.raises(ValueError, match="every '1ms' is 0 samples at 100 Hz"):
        cut(record, length=10, every="1ms")


# ---------------------------------------------------------------- trends, tapers, sizes


@pytest.mark.parametrize("kind", ["linear", "constant"])
def test_detrending_is_scipys_and_passes_over_gaps(record, kind):
    out = detrend(record.transpose("time", "channel"), kind)
    assert out.dims == ("time", "channel")
    np.testing.assert_allclose(out.values.T, scipy.signal.detrend(record.values, type=kind), atol=1e-8)
    holes = gappy(record)
    found = detrend(holes, kind).values[0]
    t = np.arange(4000)
    known = np.isfinite(holes.values[0])
    line = np.polyval(np.polyfit(t[known], holes.values[0, known], {"linear": 1, "constant": 0}[kind]), t)
    np.testing.assert_allclose(found[known], (record.values[0] - line)[known], atol=1e-8)
    assert np.isnan(found[~known]).all()


def test_a_taper_is_half_a_cosine_at_each_end(record):
    out = taper(record, "2s") / record
    fade = scipy.signal.windows.hann(801)[1:400:2]
    np.testing.assert_allclose(out.values[1, :200], fade, atol=1e-12)
    np.testing.assert_allclose(out.values[1, -200:], fade[::-1], atol=1e-12)
    assert (out[:, 200:-200] == 1).all()
    xr.testing.assert_equal(taper(record, 0), record)
    with pytest.raises(
        ValueError, match="a taper of 2001 samples at each end does not fit into 4000; use at most"
    ):
        taper(record, 2001)


def test_normalising_keeps_the_ratios_between_channels():
    x = seismograms(4, duration=20.0) * np.array([1, 5, 100, 0])[:, None, None]
    for by, size in (
        ("peak", lambda v: np.abs(v).max((1, 2))),
        ("rms", lambda v: np.sqrt((v**2).mean((1, 2)))),
    ):
        out = normalise(x.astype("float32"), by)
        assert out.dtype == np.float32
        np.testing.assert_allclose(size(out.values), [1, 1, 1, 0], rtol=1e-5)
        ratio = out.values[1] / np.where(x.values[1] == 0, 1, x.values[1])
        assert np.ptp(ratio[x.values[1] != 0]) < 1e-4 * ratio.max()
        assert out.attrs["history"].endswith(f"normalise: by {by}")


@pytest.mark.parametrize("change", [detrend, lambda x: taper(x, 1), normalise, quality])
def test_what_has_no_time_is_refused(change):
    with pytest.raises(ValueError, match=r"data needs a 'time' dimension, found \('x',\)"):
        change(xr.DataArray(np.zeros(3), dims="x"))


def test_unknown_kinds_are_refused(record):
    with pytest.raises(ValueError, match="unknown kind 'spline'; choose from linear, constant"):
        detrend(record, "spline")
    with pytest.raises(ValueError, match="unknown size 'energy'; choose from peak, rms"):
        normalise(record, "energy")


# ---------------------------------------------------------------- quality

FLAGS = ["dead", "constant", "clipped", "spiky", "gappy"]


def flags_of(values, **words):
    found = quality(xr.DataArray(values, dims="time"), **words)
    return {name for name in FLAGS if found[name]}


def test_each_defect_raises_its_flag_and_no_other():
    rng = np.random.default_rng(0)
    clean = rng.standard_normal(20_000) * 1000
    assert flags_of(clean) == set()
    assert flags_of(np.full(500, 12_345)) == {"dead"}
    assert flags_of(np.full(500, np.nan)) == {"dead", "gappy"}
    assert flags_of(np.where(np.arange(20_000) // 60 == 7, clean[0], clean)) == {"constant"}
    slow = 1000 * np.sin(np.arange(20_000) / 15)
    assert flags_of(slow) == set()
    assert flags_of(np.clip(slow, -800, 1500)) == {"clipped"}
    assert flags_of(clean + 1e6 * (np.arange(20_000) == 555)) == {"spiky"}
    assert flags_of(np.where(np.arange(20_000) == 555, np.nan, clean)) == {"gappy"}
    assert flags_of(np.where(np.arange(20_000) == 555, np.nan, clean), missing=0.01) == set()
    quiet = np.zeros(500)
    quiet[100] = 1
    assert flags_of(quiet) == {"constant"}  # one count up and down is no spike


def test_quality_measures_are_counts_that_one_can_check():
    rng = np.random.default_rng(1)
    x = rng.standard_normal(1000)
    x[100:150] = np.nan
    x[300:320] = 0.25
    found = quality(xr.DataArray(x, dims="time"))
    assert float(found.missing) == 0.05
    assert int(found.longest_constant) == 20
    sine = np.round(1000 * np.sin(np.arange(1000) * 2 * np.pi / 100))
    clipped = np.minimum(sine, 900)
    found = quality(xr.DataArray(clipped, dims="time"))
    assert float(found.at_limit) == (clipped == 900).mean()


def test_quality_knows_neither_offset_nor_sign():
    counts = np.random.default_rng(0).integers(-99, 99, 1000)
    counts[500] = 7000
    found, *others = (quality(xr.DataArray(x, dims="time")) for x in (counts, counts + 10_000, -counts))
    assert found.largest_spike > 50
    for other in others:
        xr.testing.assert_identical(other, found)


def test_earthquakes_and_small_counts_are_no_defects():
    events = seismograms(30, duration=30.0, seed=4).astype(float)
    noise = 1e-3 * np.random.default_rng(0).standard_normal(events.shape)
    found = quality(events + noise)
    for name in FLAGS:
        assert not found[name].any(), name
    counts = np.random.default_rng(0).integers(-2, 3, (5, 5000))
    assert not quality(xr.DataArray(counts, dims=("channel", "time"))).clipped.any()
    real = np.stack([trace.data for trace in obspy.read()])  # ObsPy's example: a local earthquake
    found = quality(xr.DataArray(real, dims=("channel", "time")))
    assert not any(found[name].any() for name in FLAGS)


def test_quality_leaves_the_data_alone_and_is_lazy_where_they_are(record):
    before = gappy(record)
    found = quality(before.chunk(time=500))
    assert found.spiky.chunks
    xr.testing.assert_identical(found.compute(), quality(before))
    xr.testing.assert_identical(before, gappy(record))
    assert found.gappy.values.tolist() == [True, False, True]
    assert found.channel.values.tolist() == ["E", "N", "Z"]
    assert found.attrs["stuck"] == 50
