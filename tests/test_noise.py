import numpy as np
import pytest
import torch
import xarray as xr
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter, welch

from geoae.model import autoencoder
from geoae.noise import (
    AddNoise,
    Blur,
    Compose,
    DropChannels,
    Gaps,
    GaussianNoise,
    Mask,
    Shift,
    coloured,
    mix,
    white,
)


def ratio(signal, noise):
    """Ratio of the powers about each channel's mean [dB]."""
    return 10 * np.log10(np.mean(signal.var(-1)) / np.mean(noise.var(-1)))


@pytest.fixture
def traces():
    rng = np.random.default_rng(7)
    values = rng.standard_normal((4, 3, 500)) * np.array([1.0, 5.0, 100.0, 1e-6])[:, None, None]
    return xr.DataArray(
        values,
        dims=("trace", "channel", "time"),
        coords={"channel": ["E", "N", "Z"], "time": np.arange(500) / 100, "k": ("trace", np.arange(4.0))},
        name="velocity",
        attrs={"units": "m s-1"},
    )


# ---------------------------------------------------------------- noise


def test_white_noise_is_white_and_follows_its_seed():
    x = white((4, 20_000), seed=1)
    assert x.std() == pytest.approx(1, abs=0.01)
    assert np.array_equal(x, white((4, 20_000), seed=1))
    assert not np.array_equal(x, white((4, 20_000), seed=2))


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.5, 1.0, 2.0, 3.0])
def test_the_periodogram_slope_is_the_exponent(exponent):
    x = coloured((20, 16_384), exponent=exponent, rate=50.0)
    f, power = welch(x, fs=50.0, nperseg=2048)
    band = (f > 0.3) & (f < 20)
    slope = np.polyfit(np.log(f[band]), np.log(power.mean(0)[band]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.05)


@pytest.mark.parametrize("shape", [2, 333, (2, 333), (2, 3, 64)])
def test_coloured_noise_has_unit_rms_and_no_offset(shape):
    x = coloured(shape, exponent=1.5)
    np.testing.assert_allclose((x**2).mean(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(x.mean(-1), 0, atol=1e-12)


def test_coloured_noise_follows_its_seed():
    x = coloured((2, 100), exponent=1.0, seed=1)
    assert np.array_equal(x, coloured((2, 100), exponent=1.0, seed=1))
    assert not np.array_equal(x, coloured((2, 100), exponent=1.0, seed=2))


def test_coloured_noise_does_not_join_its_own_end():
    x = coloured((500, 256), exponent=2.0)
    assert np.abs(x[:, -1] - x[:, 0]).mean() > 5 * np.abs(np.diff(x)).mean()


def test_a_single_sample_has_no_colour():
    with pytest.raises(ValueError, match=r"shape is \(3, 1\); coloured noise needs at least two samples"):
        coloured((3, 1), exponent=1.0)


# ---------------------------------------------------------------- mixing


@pytest.mark.parametrize("snr", [-10.0, 0.0, 17.3])
def test_mix_hits_the_ratio_on_every_trace(traces, snr):
    noise = white(traces.shape, seed=1)
    for i in range(4):
        added = mix(traces.values, noise, snr)[i] - traces.values[i]
        assert ratio(traces.values[i], added) == pytest.approx(snr, abs=1e-8)


def test_each_trace_can_have_its_own_ratio(traces):
    wanted = np.array([-5.0, 0.0, 5.0, 10.0])
    added = mix(traces, white(traces.shape), wanted) - traces
    found = [ratio(s, n) for s, n in zip(traces.values, added.values, strict=True)]
    np.testing.assert_allclose(found, wanted, atol=1e-8)


def test_one_gain_for_all_components_keeps_the_polarisation(traces):
    noise = coloured(traces.shape, exponent=0.0, seed=1) * np.array([1.0, 2.0, 7.0])[:, None]  # no offset
    added = mix(traces.values, noise, 3.0) - traces.values
    gain = added / noise
    for g in gain[:3]:
        np.testing.assert_allclose(g, g.flat[0], rtol=1e-7)


def test_an_offset_is_neither_signal_nor_noise(traces):
    x, noise = traces.values[:3], white((3, 3, 500), seed=1)
    offset = np.array([1e3, -1e5, 0.0])[:, None]
    plain, shifted = mix(x, noise, 3.0), mix(x + offset, noise - 7 * offset, 3.0)
    np.testing.assert_allclose(shifted - offset, plain, atol=1e-7)
    np.testing.assert_allclose((plain - x).mean(-1), 0, atol=1e-13 * np.abs(x).max())
    for data, loud in ((x + offset, np.full_like(x, 1e5)), (np.full_like(x, 0.1), noise)):
        with pytest.raises(ValueError, match="trace 0 of the (signal|noise) is silent"):
            mix(data, loud, 3.0)


def test_labels_stay_and_history_grows_by_one_line(traces):
    traces.attrs["history"] = "read: a file"
    mixed = mix(traces, xr.DataArray(white(traces.shape), dims=traces.dims), 6.0)
    assert mixed.attrs == {"units": "m s-1", "history": "read: a file\nmix: noise added at 6 dB"}
    assert traces.attrs["history"] == "read: a file"
    assert mixed.name == "velocity"
    xr.testing.assert_identical(mixed.drop_attrs() * 0, traces.drop_attrs() * 0)


def test_the_order_of_dims_does_not_matter(traces):
    noise = xr.DataArray(white(traces.shape), dims=traces.dims)
    turned = mix(
        traces.transpose("time", "trace", "channel"), noise.transpose("channel", "time", "trace"), 6.0
    )
    assert turned.dims == ("time", "trace", "channel")
    xr.testing.assert_allclose(turned.transpose(*traces.dims), mix(traces, noise, 6.0))


def test_a_record_and_a_single_trace_have_one_gain(traces):
    record = traces.isel(trace=0)
    added = (mix(record, white(record.shape), 4.0) - record).values
    assert ratio(record.values, added) == pytest.approx(4.0)
    single = record.values[0]
    assert ratio(single, mix(single, white(500), 4.0) - single) == pytest.approx(4.0)


def test_gaps_are_not_counted(traces):
    x = traces.values.copy()
    x[0, :, 100:300] = np.nan
    noise = white(x.shape)
    added = mix(x, noise, 5.0) - x
    known = np.isfinite(x[0, 0])
    gain = np.ptp(added[0, 0][known]) / np.ptp(noise[0, 0][known])
    assert ratio(x[0][:, known], gain * noise[0]) == pytest.approx(5.0)
    assert np.array_equal(np.isnan(added), np.isnan(x))


def test_mix_keeps_single_precision_and_promotes_integers(traces):
    assert mix(traces.values.astype(np.float32), white(traces.shape), 0.0).dtype == np.float32
    assert mix(np.arange(1, 9)[None], white((1, 8)), 0.0).dtype == np.float64


def test_mix_says_what_is_wrong(traces):
    with pytest.raises(ValueError, match=r"noise has shape \(2, 3\), the signal \(4, 3, 500\)"):
        mix(traces.values, np.ones((2, 3)), 0.0)
    with pytest.raises(ValueError, match="noise has dims"):
        mix(traces, xr.DataArray(np.ones((3, 500)), dims=("channel", "time")), 0.0)
    silent = traces.values.copy()
    silent[2] = 0
    with pytest.raises(ValueError, match="trace 2 of the signal is silent"):
        mix(silent, white(silent.shape), 0.0)
    with pytest.raises(ValueError, match="trace 2 of the noise is silent"):
        mix(traces.values, silent, 0.0)


# ---------------------------------------------------------------- corruptions


def test_corruptions_keep_the_batch_and_draw_all_chance_from_the_generator(traces):
    x = traces.values.astype(np.float32)
    before = x.copy()
    noise = white((5, 3, 800))
    single = (AddNoise(), AddNoise(noise), GaussianNoise(0.1), Mask(0.3), DropChannels(0.5), Gaps(), Shift(9))
    blurs = (Blur(), Blur(shape="causal"))
    for spoil in (
        *single,
        *blurs,
        AddNoise(noise) | Mask(0.3),
        Blur() | Shift(9) | Gaps() | DropChannels(0.5),
    ):
        y = spoil(x, np.random.default_rng(1))
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        assert not np.array_equal(y, x)
        np.testing.assert_array_equal(y, spoil(x, np.random.default_rng(1)))
        assert not np.array_equal(y, spoil(x, np.random.default_rng(2)))
        np.testing.assert_array_equal(x, before)


def test_add_noise_draws_the_ratio_evenly():
    x = np.random.default_rng(0).standard_normal((2000, 1, 200))
    added = AddNoise(snr_db=(-10, 20))(x, np.random.default_rng(0)) - x
    found = np.array([ratio(s, n) for s, n in zip(x, added, strict=True)])
    assert (found.min() >= -10 - 1e-9) & (found.max() <= 20 + 1e-9)
    assert np.mean(found) == pytest.approx(5, abs=0.6)
    assert np.std(found) == pytest.approx(30 / np.sqrt(12), abs=0.3)


def test_add_noise_takes_pieces_of_real_noise_with_its_polarisation():
    # a parabola: its slope over its curvature says where it was taken, its size from which channel
    noise = (1 + np.arange(4))[:, None, None] * np.array([1.0, 10.0, 100.0])[:, None] * np.arange(1000.0) ** 2
    x = np.random.default_rng(1).standard_normal((300, 3, 50))
    added = AddNoise(noise, snr_db=(0, 0))(x, np.random.default_rng(0)) - x
    np.testing.assert_allclose(added[:, 1] / added[:, 0], 10, rtol=1e-6)
    np.testing.assert_allclose(added[:, 2] / added[:, 0], 100, rtol=1e-6)
    slope, curvature = added[:, 0, 1] - added[:, 0, 0], added[:, 0, 2] - 2 * added[:, 0, 1] + added[:, 0, 0]
    starts = (slope / curvature - 0.5).round()
    assert (starts.min() >= 0) & (starts.min() < 50) & (starts.max() > 900) & (starts.max() <= 950)
    assert 0.4 < np.mean(slope > 0) < 0.6
    np.testing.assert_allclose(added.mean(-1), 0, atol=1e-12)


def test_noise_may_carry_labels_in_any_order():
    noise = xr.DataArray(white((5, 3, 80)), dims=("trace", "channel", "time"))
    x = np.ones((2, 3, 50), np.float32)
    plain = AddNoise(noise.values)(x, np.random.default_rng(0))
    turned = AddNoise(noise.transpose("time", "channel", "trace"))(x, np.random.default_rng(0))
    np.testing.assert_array_equal(plain, turned)


@pytest.mark.parametrize("offset", [0.0, 0.1, 1e6])
def test_a_silent_trace_gets_the_noise_as_it_is_but_for_its_offset(offset):
    noise = np.tile([3.0, -3.0], 25)[None, None]
    y = AddNoise(noise + 1000)(np.full((1, 1, 50), offset), np.random.default_rng(0))
    np.testing.assert_allclose(np.abs(y - offset), 3.0, rtol=1e-9)


def test_an_offset_of_counts_is_no_signal():
    event = 1000 * np.random.default_rng(1).standard_normal((20, 3, 400))
    noise = white((5, 3, 800)) + np.array([1e6, -1e6, 0.0])[:, None]
    y = AddNoise(noise, snr_db=(10, 10))(event + 1e6, np.random.default_rng(0))
    for clean, added in zip(event, y - event - 1e6, strict=True):
        assert ratio(clean, added) == pytest.approx(10, abs=1e-6)
        np.testing.assert_allclose(added.mean(-1), 0, atol=1e-6)


def within_three_errors(found, wanted, n):
    """Whether a share of n independent draws is the wanted one."""
    return abs(found - wanted) <= 3 * np.sqrt(wanted * (1 - wanted) / n)


def test_gaussian_noise_has_its_sigma():
    x = np.ones((50, 2, 500))
    assert (GaussianNoise(0.3)(x, np.random.default_rng(0)) - x).std() == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize("q", [0.05, 0.3, 0.9])
def test_a_mask_takes_each_sample_with_its_probability(q):
    x = np.ones((50, 2, 500))
    masked = Mask(q)(x, np.random.default_rng(0))
    assert set(np.unique(masked)) == {0.0, 1.0}
    assert within_three_errors(masked.mean(), 1 - q, x.size)
    # on its own: two neighbours, in time or across channels, stay with probability (1 - q)²
    for pair in (masked[..., ::2] * masked[..., 1::2], masked[:, 0] * masked[:, 1]):
        assert within_three_errors(pair.mean(), (1 - q) ** 2, pair.size)


def test_a_mask_has_the_second_moments_that_make_the_linear_denoiser():
    # E[x~ x~'] = (1-q)² C + q (1-q) diag C, E[x x~'] = (1-q) C
    q, draws = 0.3, 100_000
    x = np.random.default_rng(1).standard_normal((draws, 1, 3)) @ np.array(
        [[1.0, 2, 0], [0, 1, -1], [0, 0, 1]]
    )
    clean, masked = x[:, 0], Mask(q)(x, np.random.default_rng(0))[:, 0]
    c = clean.T @ clean / draws
    wanted = (1 - q) ** 2 * c + q * (1 - q) * np.diag(np.diag(c))
    np.testing.assert_allclose(masked.T @ masked / draws, wanted, atol=0.05)
    np.testing.assert_allclose(clean.T @ masked / draws, (1 - q) * c, atol=0.05)


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("p", [0.1, 0.6, 1.0])
def test_channels_drop_with_their_probability_but_never_all(p, channels):
    x = np.ones((20_000, channels, 2))
    y = DropChannels(p)(x, np.random.default_rng(0))
    alive = y[..., 0]
    np.testing.assert_array_equal(y, alive[..., None] * x)
    assert set(np.unique(alive)) == {0.0, 1.0}
    assert alive.any(axis=1).all()
    share = p - p**channels / channels
    for channel in range(channels):
        assert within_three_errors(1 - alive[:, channel].mean(), share, len(x))


def test_a_single_channel_is_never_dropped():
    x = white((10, 1, 5))
    np.testing.assert_array_equal(DropChannels(1.0)(x, np.random.default_rng(0)), x)


def runs(missing):
    """Lengths of the unbroken stretches of True."""
    edge = np.flatnonzero(np.diff(np.concatenate([[0], missing.astype(int), [0]])))
    return edge[1::2] - edge[::2]


def test_a_gap_is_one_stretch_in_all_channels():
    x = np.ones((5000, 3, 40), np.float32)
    y = Gaps(count=(1, 1), length=(2, 5))(x, np.random.default_rng(0))
    missing = np.isnan(y)
    assert (missing == missing[:, :1]).all()
    assert (y[~missing] == 1).all()
    lengths = [runs(m) for m in missing[:, 0]]
    assert {len(found) for found in lengths} == {1}
    lengths = np.concatenate(lengths)
    assert set(lengths) == {2, 3, 4, 5}
    for length in (2, 3, 4, 5):
        assert within_three_errors(np.mean(lengths == length), 0.25, len(lengths))


def test_a_gap_is_anywhere_with_the_same_chance_and_reaches_both_ends():
    missing = np.isnan(Gaps((1, 1), (5, 5))(np.ones((20_000, 1, 24)), np.random.default_rng(0)))[:, 0]
    first = missing.argmax(axis=1)
    for start in range(20):
        assert within_three_errors(np.mean(first == start), 1 / 20, len(first))


def test_gaps_come_in_their_number_and_may_run_into_each_other():
    y = Gaps(count=(0, 3), length=(1, 1))(np.ones((5000, 1, 1000)), np.random.default_rng(0))
    found = np.isnan(y).sum((1, 2))
    for count in range(4):  # two of three single samples meet with a chance of 0.3 percent
        assert np.mean(found == count) == pytest.approx(0.25, abs=0.02)
    merged = Gaps(count=(3, 3), length=(3, 3))(np.ones((1000, 1, 12)), np.random.default_rng(0))
    assert {3, 4, 5, 6, 7, 8, 9} == set(np.isnan(merged).sum((1, 2)))


def test_a_model_sees_no_more_of_a_gap_than_of_its_mean():
    model = autoencoder(40, channels=2, scale="std", seed=0)
    x = np.float32(white((4, 2, 40)))
    y = Gaps((1, 1), (4, 4))(x, np.random.default_rng(0))
    with torch.no_grad():
        seen = model.trip(torch.from_numpy(y)).x.numpy()
    assert (seen[np.isnan(y)] == 0).all()
    assert np.isfinite(seen).all()


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_a_shift_moves_all_channels_of_a_trace_together(fill):
    x = 1 + np.arange(20_000 * 2 * 9.0).reshape(20_000, 2, 9)
    y = Shift(3, fill=fill)(x, np.random.default_rng(0))
    shifts = np.full(len(x), 99)
    for s in range(-3, 4):
        # the same by hand: pad, then slice
        padded = np.pad(x, ((0, 0), (0, 0), (3, 3)), constant_values=fill)[..., 3 - s : 12 - s]
        same = (np.nan_to_num(padded, nan=-1) == np.nan_to_num(y, nan=-1)).all((1, 2))
        shifts[same] = s
    for s in range(-3, 4):
        assert within_three_errors(np.mean(shifts == s), 1 / 7, len(x))
    assert set(shifts) == set(range(-3, 4))


@pytest.mark.parametrize("kernel", [[1.0], [1, 2, 1], [3.0, 1.0], [0.5, 2, -0.3, 0.1], np.hanning(9)])
def test_a_stated_kernel_is_that_of_numpy_away_from_the_ends(kernel):
    x = white((3, 2, 60))
    y = Blur(kernel=kernel)(x, np.random.default_rng(0))
    k = np.asarray(kernel) / np.sum(kernel)
    for mine, trace in zip(y.reshape(-1, 60), x.reshape(-1, 60), strict=True):
        np.testing.assert_allclose(mine[5:-5], np.convolve(trace, k, "same")[5:-5], atol=1e-14)
        mirrored = np.convolve(np.pad(trace, 20, mode="symmetric"), k, "same")[20:-20]
        np.testing.assert_allclose(mine, mirrored, atol=1e-14)


def test_a_gaussian_blur_is_that_of_scipy():
    x = white((3, 2, 60))
    y = Blur(width=(2.5, 2.5))(x, np.random.default_rng(0))
    np.testing.assert_allclose(y, gaussian_filter1d(x, 2.5, axis=2, truncate=4, mode="reflect"), atol=1e-14)


def test_a_causal_blur_is_a_critically_damped_instrument():
    x = np.zeros((1, 1, 200))
    x[0, 0, 60] = 1
    y = Blur(width=(4, 4), shape="causal")(x, np.random.default_rng(0))[0, 0]
    (a,) = (r for r in np.roots([16, -2 * 16 - 2, 16]) if abs(r) < 1)  # width² (1 - a)² = 2 a
    instrument = lfilter(
        [(1 - a) ** 2], [1, -2 * a, a * a], x[0, 0]
    )  # a double pole and no zero: minimum phase
    np.testing.assert_allclose(y, instrument, atol=1e-5)
    assert (y[:60] == 0).all()
    n = np.arange(200)
    assert np.sqrt((y * n**2).sum() - (y * n).sum() ** 2) == pytest.approx(4, rel=1e-3)


def test_the_width_of_a_blur_is_drawn_evenly_for_each_trace():
    x = np.zeros((4000, 2, 101))
    x[..., 50] = 1
    y = Blur(width=(2, 6))(x, np.random.default_rng(0))
    np.testing.assert_array_equal(y[:, 0], y[:, 1])
    width = np.sqrt((y[:, 0] * (np.arange(101) - 50) ** 2).sum(-1))
    assert (width.min() > 1.9) & (width.max() < 6.0)
    assert width.mean() == pytest.approx(
        4, abs=3 * 4 / np.sqrt(12 * 4000) + 0.01
    )  # cut at 4 widths: 0.1 % less
    assert width.std() == pytest.approx(4 / np.sqrt(12), abs=0.03)


@pytest.mark.parametrize("blur", [Blur(), Blur(shape="causal", width=(0, 30)), Blur(kernel=[5, 1, 1, -2])])
def test_a_blur_leaves_a_constant_as_it_is(blur):
    x = np.full((20, 3, 40), 7.0)
    np.testing.assert_allclose(blur(x, np.random.default_rng(0)), x, rtol=1e-13)


def test_a_sample_blurred_from_a_missing_one_is_missing():
    x = np.ones((1, 1, 20))
    x[..., 10] = np.nan
    y = Blur(kernel=[1, 1, 1])(x, np.random.default_rng(0))[0, 0]
    assert np.flatnonzero(np.isnan(y)).tolist() == [9, 10, 11]


NOTHING = [
    GaussianNoise(0.0),
    Mask(0.0),
    DropChannels(0.0),
    Gaps(count=(0, 0)),
    Shift(0),
    Blur(width=(0, 0)),
    Blur(width=(0, 0), shape="causal"),
    Blur(kernel=[3.0]),
]


@pytest.mark.parametrize("spoil", NOTHING, ids=repr)
def test_at_zero_strength_nothing_happens(spoil, traces):
    np.testing.assert_array_equal(spoil(traces.values, np.random.default_rng(0)), traces.values)
    assert spoil(traces.values[:0], np.random.default_rng(0)).shape == (0, 3, 500)


def test_at_full_strength_a_mask_leaves_silence(traces):
    np.testing.assert_array_equal(Mask(1.0)(traces.values, np.random.default_rng(0)), 0 * traces.values)


@pytest.mark.parametrize(
    "spoil", [AddNoise(), GaussianNoise(1.0), Mask(1.0), DropChannels(1.0), Gaps(), Blur()]
)
def test_what_is_missing_stays_missing(spoil, traces):
    x = traces.values.copy()
    x[:, :, 100:110] = np.nan
    assert np.isnan(spoil(x, np.random.default_rng(0))[:, :, 100:110]).all()


def test_corruptions_compose_from_left_to_right():
    x = np.ones((3, 1, 100))
    both = GaussianNoise(1.0) | Mask(0.5)
    assert (both(x, np.random.default_rng(0)) == 0).sum() > 100  # noise first, so the masked stay zero
    assert (GaussianNoise(1.0) | Mask(0.5)) | Mask(0.1) == Compose((GaussianNoise(1.0), Mask(0.5), Mask(0.1)))
    smooth, gap = Blur(kernel=[1, 1, 1]), Gaps((1, 1), (2, 2))
    assert np.isnan((smooth | gap)(x, np.random.default_rng(0))).sum() == 3 * 2
    assert np.isnan((gap | smooth)(x, np.random.default_rng(0))).sum() > 3 * 2  # the blur spreads the gap


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Mask(1.5), "fraction is 1.5; it must be between 0 and 1"),
        (lambda: GaussianNoise(-1.0), "sigma is -1.0; it must be at least 0"),
        (lambda: AddNoise(snr_db=(5, -5)), r"snr_db is \(5, -5\); it must be a range"),
        (lambda: AddNoise(snr_db=5), "snr_db is 5; it must be a range"),
        (lambda: AddNoise(np.full((2, 1, 9), np.nan)), "noise holds NaN"),
        (lambda: AddNoise(np.zeros(9)), r"noise has shape \(9,\); it must be \(trace, channel, time\)"),
        (lambda: DropChannels(-0.1), "probability is -0.1; it must be between 0 and 1"),
        (lambda: Gaps(count=2), r"count is 2; it must be a range \(low, high\) of whole numbers from 0 up"),
        (lambda: Gaps(length=(0, 3)), r"length is \(0, 3\); .* whole numbers from 1 up"),
        (lambda: Gaps(length=(5, 3)), r"length is \(5, 3\); it must be a range"),
        (lambda: Gaps(count=(0, 1.5)), r"count is \(0, 1.5\); it must be a range"),
        (lambda: Shift(-1), "samples is -1; it must be a whole number from 0 up"),
        (lambda: Shift(1.5), "samples is 1.5; it must be a whole number from 0 up"),
        (lambda: Blur(width=3), "width is 3; it must be a range"),
        (lambda: Blur(width=(-1, 3)), r"width is \(-1, 3\); it must be a range \(low, high\) from 0 up"),
        (lambda: Blur(shape="box"), "unknown shape 'box'; choose from gaussian, causal"),
        (lambda: Blur(kernel=[[1.0]]), r"kernel has shape \(1, 1\); it must be finite numbers"),
        (lambda: Blur(kernel=[1.0, np.nan]), r"kernel has shape \(2,\); it must be finite numbers"),
        (lambda: Blur(kernel=[-1, 2, -1]), "kernel sums to 0"),
    ],
)
def test_impossible_corruptions_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_noise_that_does_not_fit_is_refused():
    x = np.ones((2, 3, 50))
    with pytest.raises(ValueError, match="noise has 1 channels and 80 samples, the data 3 and 50"):
        AddNoise(white((5, 80)))(x, np.random.default_rng(0))
    with pytest.raises(ValueError, match="noise has 3 channels and 40 samples, the data 3 and 50"):
        AddNoise(white((5, 3, 40)))(x, np.random.default_rng(0))


def test_corruptions_that_would_leave_nothing_are_refused():
    x = np.ones((2, 3, 50))
    with pytest.raises(ValueError, match="a shift by 50 samples would empty a trace of 50; take fewer"):
        Shift(50)(x, np.random.default_rng(0))
    with pytest.raises(ValueError, match="5 gaps of 10 samples could swallow a trace of 50"):
        Gaps((0, 5), (1, 10))(x, np.random.default_rng(0))
    assert Shift(49)(x, np.random.default_rng(0)).any(axis=(1, 2)).all()
    assert np.isfinite(Gaps((7, 7), (7, 7))(x, np.random.default_rng(0))).any(axis=(1, 2)).all()
