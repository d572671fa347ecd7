from fractions import Fraction
from itertools import permutations

import numpy as np
import obspy
import pytest
import xarray as xr
from scipy.signal import resample_poly

from geoae.arrays import cut, from_batch, resample, sample_times, sampling_rate, through_windows, to_batch


def identity(windows):
    return windows


def axis(values):
    return xr.DataArray(np.zeros(len(values)), coords={"time": values})


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize("dims", list(permutations(("trace", "channel", "time"))))
def test_a_batch_comes_back_in_any_order_of_dims(dims):
    sizes = {"trace": 4, "channel": 3, "time": 5}
    numbers = np.random.default_rng(0).standard_normal([sizes[d] for d in dims])
    da = xr.DataArray(numbers, dims=dims, coords={"channel": ["E", "N", "Z"], "time": np.arange(5) / 10})
    batch = to_batch(da)
    assert batch.shape == (4, 3, 5)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    np.testing.assert_array_equal(batch[2, 1], da.isel(trace=2, channel=1).values.astype(np.float32))
    xr.testing.assert_allclose(from_batch(batch, da), da, rtol=1e-6)
    assert from_batch(batch, da).dims == dims


@pytest.mark.parametrize(
    "dims", [("time",), ("time", "trace"), ("time", "event", "station"), ("time", "channel")]
)
def test_missing_channels_and_extra_dims_come_back_too(dims):
    da = xr.DataArray(np.random.default_rng(0).random(range(2, 2 + len(dims))), dims=dims)
    assert to_batch(da).ndim == 3
    xr.testing.assert_allclose(from_batch(to_batch(da), da), da, rtol=1e-6)


def test_an_empty_batch_keeps_its_shape():
    da = xr.DataArray(np.zeros((0, 3, 7)), dims=("trace", "channel", "time"))
    assert to_batch(da).shape == (0, 3, 7)


def test_integers_are_not_rounded_into():
    da = xr.DataArray(np.arange(4), dims="time")
    assert from_batch(np.full((1, 1, 4), 0.5, np.float32), da).values.tolist() == [0.5] * 4


def test_batches_say_what_is_wrong():
    da = xr.DataArray(np.zeros((2, 3)), dims=("trace", "x"))
    with pytest.raises(ValueError, match=r"needs a 'time' dimension, found \('trace', 'x'\)"):
        to_batch(da)
    with pytest.raises(ValueError, match=r"shape \(2, 1, 4\), the labels need \(2, 1, 3\)"):
        from_batch(np.zeros((2, 1, 4)), da.rename(x="time"))


# ---------------------------------------------------------------- time


@pytest.mark.parametrize(
    "rate", [0.1, 1 / 3, 1.0, 12.8, 20.0, 62.5, 99.99998, 100.0, 128.0, 512.0, 1024.0, 4000.0]
)
@pytest.mark.parametrize("n", [2, 3, 100, 100_000])
def test_sampling_rate_is_measured_on_either_kind_of_axis(rate, n):
    assert sampling_rate(axis(np.arange(n) / rate)) == pytest.approx(rate, rel=1e-12)
    exact = sampling_rate(axis(sample_times(np.datetime64("2020-01-01T00:00:00.123456789"), n, rate)))
    assert exact == pytest.approx(rate, rel=2e-9 * rate / (n - 1))
    if rate != 99.99998:
        assert exact == rate


def test_the_lecture_axis_has_its_rate():
    assert sampling_rate(axis(np.linspace(0, 10, 50))) == 4.9
    assert sampling_rate(axis(np.linspace(-10, 10, 50))) == 2.45


def test_uneven_steps_are_refused_with_their_index():
    time = np.arange(100) / 10
    time[61:] += 0.02
    with pytest.raises(ValueError, match=r"uneven time steps: 0.12 s after sample 60, elsewhere 0.1 s"):
        sampling_rate(axis(time))
    stamps = sample_times(np.datetime64("2020-01-01", "ns"), 100, 10.0)
    stamps[7:] += np.timedelta64(1, "s")
    with pytest.raises(ValueError, match=r"1.1 s after sample 6, elsewhere 0.1 s"):
        sampling_rate(axis(stamps))
    time[3] = np.nan
    with pytest.raises(ValueError, match="not a number at sample 3"):
        sampling_rate(axis(time))


def test_the_stated_tolerance_is_a_thousandth_of_a_step():
    time = np.arange(100) * 1.0
    time[50] += 0.0009
    assert sampling_rate(axis(time)) == 1.0
    time[50] += 0.0002
    with pytest.raises(ValueError, match="after sample 49"):
        sampling_rate(axis(time))


@pytest.mark.parametrize(
    ("da", "words"),
    [
        (axis([0.0]), "at least two samples, found 1"),
        (axis([2.0, 1.0, 0.0]), "does not increase"),
        (axis([0.0, 0.0, 0.0]), "does not increase"),
        (xr.DataArray(np.zeros(3), dims="time"), "no 'time' coordinate"),
    ],
)
def test_axes_without_a_rate_say_so(da, words):
    with pytest.raises(ValueError, match=words):
        sampling_rate(da)


@pytest.mark.parametrize("rate", [512.0, 100.0, 1 / 3, 99.99998, 333.3])
def test_times_never_drift(rate):
    n = min(int(86400 * rate), 3_000_000)
    times = sample_times(np.datetime64(0, "ns"), n, rate).astype(np.int64)
    rational = Fraction(rate).limit_denominator(1_000_000)
    period = 10**9 / (rational if float(rational) == rate else Fraction(rate))
    for i in {0, 1, 65_535, 65_536, 65_537, *np.linspace(0, n - 1, 200).astype(int).tolist()}:
        if i < n:
            assert times[i] == int(i * period + Fraction(1, 2))


def test_a_day_at_512_hz_is_exact_to_the_nanosecond():
    times = sample_times(np.datetime64("2020-01-01", "ns"), 512 * 86400 + 1, 512.0)
    assert times[-1] == np.datetime64("2020-01-02", "ns")
    assert times[12_345_678] - times[0] == np.timedelta64(1953125 * 12_345_678, "ns")


# ---------------------------------------------------------------- resample, cut


def test_resampling_moves_no_wave():
    t = np.arange(4000) / 100
    wave = xr.DataArray(7000 + np.sin(2 * np.pi * 3 * t), coords={"time": t})
    for rate in (40.0, 50.0, 250.0):
        out = resample(wave, rate)
        middle = slice(int(5 * rate), int(35 * rate))
        expected = 7000 + np.sin(2 * np.pi * 3 * out.time.values)
        np.testing.assert_allclose(out.values[middle], expected[middle], atol=2e-3)
        assert sampling_rate(out) == rate
        assert np.abs(out.values - 7000).max() < 1.2  # the offset does not ring at the ends
        assert out.attrs["history"] == f"resample: 100 to {rate:g} Hz"


def test_resampling_is_scipys_along_time_whatever_the_order():
    x = np.random.default_rng(0).standard_normal((300, 2))
    x -= x.mean(axis=0)
    stamps = sample_times(np.datetime64("2020-01-01", "ns"), 300, 20.0)
    da = xr.DataArray(x, dims=("time", "channel"), coords={"time": stamps, "channel": ["E", "N"]})
    out = resample(da, 25.0)
    np.testing.assert_allclose(out.values, resample_poly(x, 5, 4, axis=0), atol=1e-12)
    assert out.dims == da.dims
    assert out.time.values[0] == stamps[0]


def test_resampling_keeps_gaps_and_the_rest_apart():
    t = np.arange(2000) / 100
    da = xr.DataArray(
        np.stack([np.sin(t), np.full(2000, np.nan)]), dims=("channel", "time"), coords={"time": t}
    )
    da[0, 1000:1100] = np.nan
    out = resample(da, 50.0)
    assert np.isnan(out[1]).all()
    missing = np.flatnonzero(np.isnan(out[0].values))
    assert missing.min() >= 500 - 11
    assert missing.max() <= 550 + 11


def test_resampling_says_what_is_wrong():
    da = axis(np.arange(100) / 100)
    xr.testing.assert_identical(resample(da, 100.0), da)
    with pytest.raises(ValueError, match="positive number"):
        resample(da, -1.0)
    with pytest.raises(ValueError, match="no small fraction leads from 100 Hz"):
        resample(da, 100 * np.pi / 3)


def test_pieces_hold_what_the_record_holds_at_their_time():
    start = np.datetime64("2020-01-01", "ns")
    numbers = np.arange(2000).reshape(2, 1000)
    da = xr.DataArray(
        numbers,
        dims=("channel", "time"),
        coords={"channel": ["E", "Z"], "time": sample_times(start, 1000, 512.0), "station": "A"},
        attrs={"history": "read: a file"},
    )
    picks = [start + np.timedelta64(1, "s"), obspy.UTCDateTime(2020, 1, 1) + 0.5, "2020-01-01T00:00:00.001"]
    pieces = cut(da, picks, "250ms")
    assert dict(pieces.sizes) == {"trace": 3, "channel": 2, "time": 128}
    np.testing.assert_array_equal(pieces.values[1], numbers[:, 256:384])
    np.testing.assert_array_equal(pieces.values[2], numbers[:, 1:129])
    assert pieces.dtype == da.dtype
    assert pieces.start.values[2] == da.time.values[1]
    assert sampling_rate(pieces) == 512.0
    assert str(pieces.station.values) == "A"
    assert pieces.attrs["history"] == "read: a file\ncut: 3 pieces of 128 samples"


def test_pieces_over_the_edge_are_filled_with_nan():
    da = xr.DataArray(np.arange(10.0), coords={"time": 5 + np.arange(10) / 2})
    pieces = cut(da, [4.0, 9.0], 4)
    np.testing.assert_array_equal(pieces.values, [[np.nan, np.nan, 0, 1], [8, 9, np.nan, np.nan]])
    np.testing.assert_array_equal(pieces.start, [4.0, 9.0])
    with pytest.raises(ValueError, match=r"start 20.0 lies outside the record, which runs from 5.0 to 9.5"):
        cut(da, [6.0, 20.0], 4)
    with pytest.raises(ValueError, match="at least one"):
        cut(da, [6.0], "1ms")


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize("n", [1, 63, 64, 65, 1000])
@pytest.mark.parametrize("hop", [1, 16, 23, 32, 64])
def test_windows_of_the_identity_give_the_record_back(n, hop):
    x = np.random.default_rng(n).standard_normal((3, n))
    for phase in (0, 5, -7, 10**9 + 1):
        y = through_windows(identity, x, 64, hop, phase=phase)
        assert np.abs(y - x).max() < 1e-12
        assert y.dtype == x.dtype


@pytest.mark.parametrize("hop", [16, 23, 64])
@pytest.mark.parametrize("edge", [300, 333])
def test_pieces_with_a_halo_equal_the_whole_bit_for_bit(hop, edge):
    def function(w):  # each window on its own, but not each sample
        return np.cumsum(w, axis=-1) / (1 + np.abs(w).max((1, 2), keepdims=True))

    x = np.random.default_rng(0).standard_normal((2, 700))
    length = 64
    whole = through_windows(function, x, length, hop, phase=3)
    left = through_windows(function, x[:, : edge + length], length, hop, phase=3)[:, :edge]
    begin = edge - length
    right = through_windows(function, x[:, begin:], length, hop, phase=3 + begin)[:, length:]
    np.testing.assert_array_equal(np.concatenate([left, right], axis=-1), whole)


def test_the_batch_size_does_not_matter():
    seen = []

    def function(w):
        seen.append(len(w))
        return w**2

    x = np.random.default_rng(0).standard_normal((1, 500))
    results = [through_windows(function, x, 50, 20, batch=b) for b in (1, 7, 1000)]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    assert seen[0] == 1
    assert 7 in seen


def test_the_grid_hangs_on_the_absolute_index():
    starts = []

    def function(w):
        starts.extend(w[:, 0, 0])
        return w

    absolute = np.arange(1000.0, 1300.0)[None]
    through_windows(function, absolute, 40, 15, phase=1000)
    inside = [s for s in starts if 1000 + 40 <= s <= 1300 - 80]
    assert inside
    assert all(s % 15 == 0 for s in inside)


def test_no_window_hangs_over_an_end():
    """A function of the whole window sees the record alone: one window of it, where that is all there is."""
    x = np.random.default_rng(0).standard_normal((1, 40))
    y = through_windows(lambda w: w.cumsum(-1), x, 40, 30, phase=7)
    np.testing.assert_allclose(y, x.cumsum(-1))
    seen = []
    through_windows(lambda w: seen.extend(w[:, 0]) or w, np.arange(100.0)[None], 40, 30, phase=7)
    assert all((np.diff(w) == 1).all() for w in seen)


def test_a_record_shorter_than_a_window_is_mirrored():
    seen = []

    def function(w):
        seen.append(w[0, 0].tolist())
        return w

    through_windows(function, np.arange(3.0)[None], 8, 8, phase=6)
    assert seen[0] == [0, 1, 2, 2, 1, 0, 0, 1]


def test_gaps_stay_gaps_and_dtypes_stay():
    x = np.random.default_rng(0).standard_normal((2, 200)).astype(np.float32)
    x[1, 50:60] = np.nan
    y = through_windows(identity, x, 32, 12)
    np.testing.assert_allclose(y, x, atol=1e-6)
    assert y.dtype == np.float32
    assert through_windows(identity, np.arange(10)[None], 4, 2).dtype == float


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((identity, np.zeros((3, 0)), 8, 4), r"shape \(channel, n\) with n > 0, found \(3, 0\)"),
        ((identity, np.zeros(9), 8, 4), r"found \(9,\)"),
        ((identity, np.zeros((1, 9)), 8, 9), "hop is 9, it must be from 1 to the window length 8"),
        (
            (lambda w: w[..., 1:], np.zeros((1, 9)), 8, 4),
            r"function made shape \(4, 1, 7\) of windows of shape",
        ),
    ],
)
def test_windows_say_what_is_wrong(arguments, words):
    with pytest.raises(ValueError, match=words):
        through_windows(*arguments)
    with pytest.raises(ValueError, match="batch is 0"):
        through_windows(identity, np.zeros((1, 9)), 8, 4, batch=0)
