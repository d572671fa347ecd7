import numpy as np
import pytest
import xarray as xr
from scipy.signal import welch

from geoae.noise import AddNoise, Compose, GaussianNoise, Mask, coloured, mix, white


def ratio(signal, noise):
    return 10 * np.log10(np.mean(signal**2) / np.mean(noise**2))


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
    noise = white(traces.shape, seed=1) * np.array([1.0, 2.0, 7.0])[:, None]
    added = mix(traces.values, noise, 3.0) - traces.values
    gain = added / noise
    for g in gain[:3]:
        np.testing.assert_allclose(g, g.flat[0], rtol=1e-9)


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
    known = np.isfinite(x[0])
    gain = (added[0] / noise[0])[known]
    assert 10 * np.log10(np.mean(x[0][known] ** 2) / np.mean((gain[0] * noise[0]) ** 2)) == pytest.approx(5.0)
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
    for spoil in (AddNoise(), AddNoise(noise), GaussianNoise(0.1), Mask(0.3), AddNoise(noise) | Mask(0.3)):
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
    # the value says which noise trace and channel it is, the slope in time where it was taken
    where = np.arange(1000.0)
    noise = (1 + np.arange(4))[:, None, None] * np.array([1.0, 10.0, 100.0])[:, None] * (5000 + where)
    x = np.ones((300, 3, 50))
    added = AddNoise(noise, snr_db=(0, 0))(x, np.random.default_rng(0)) - x
    np.testing.assert_allclose(added[:, 1] / added[:, 0], 10, rtol=1e-6)
    np.testing.assert_allclose(added[:, 2] / added[:, 0], 100, rtol=1e-6)
    starts = (added[:, 0, 0] / np.diff(added[:, 0, :2]).ravel()).round() - 5000
    assert (starts.min() >= 0) & (starts.min() < 50) & (starts.max() > 900) & (starts.max() <= 950)
    assert 0.4 < np.mean(added[:, 0, 0] > 0) < 0.6


def test_noise_may_carry_labels_in_any_order():
    noise = xr.DataArray(white((5, 3, 80)), dims=("trace", "channel", "time"))
    x = np.ones((2, 3, 50), np.float32)
    plain = AddNoise(noise.values)(x, np.random.default_rng(0))
    turned = AddNoise(noise.transpose("time", "channel", "trace"))(x, np.random.default_rng(0))
    np.testing.assert_array_equal(plain, turned)


def test_a_silent_trace_gets_the_noise_as_it_is():
    x = np.zeros((1, 1, 50))
    x_noisy = AddNoise(np.full((1, 1, 50), 3.0))(x, np.random.default_rng(0))
    np.testing.assert_array_equal(np.abs(x_noisy), 3.0)


def test_gaussian_noise_has_its_sigma_and_masks_their_fraction():
    x = np.ones((50, 2, 500))
    assert (GaussianNoise(0.3)(x, np.random.default_rng(0)) - x).std() == pytest.approx(0.3, rel=0.02)
    masked = Mask(0.25)(x, np.random.default_rng(0))
    assert set(np.unique(masked)) == {0.0, 1.0}
    assert masked.mean() == pytest.approx(0.75, abs=0.01)
    np.testing.assert_array_equal(Mask(0.0)(x, np.random.default_rng(0)), x)
    np.testing.assert_array_equal(Mask(1.0)(x, np.random.default_rng(0)), 0 * x)


def test_corruptions_compose_from_left_to_right():
    x = np.ones((3, 1, 100))
    both = GaussianNoise(1.0) | Mask(0.5)
    assert (both(x, np.random.default_rng(0)) == 0).sum() > 100  # noise first, so the masked stay zero
    assert (GaussianNoise(1.0) | Mask(0.5)) | Mask(0.1) == Compose((GaussianNoise(1.0), Mask(0.5), Mask(0.1)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Mask(1.5), "fraction is 1.5; it must be between 0 and 1"),
        (lambda: GaussianNoise(-1.0), "sigma is -1.0; it must be at least 0"),
        (lambda: AddNoise(snr_db=(5, -5)), r"snr_db is \(5, -5\); it must be a range"),
        (lambda: AddNoise(snr_db=5), "snr_db is 5; it must be a range"),
        (lambda: AddNoise(np.full((2, 1, 9), np.nan)), "noise holds NaN"),
        (lambda: AddNoise(np.zeros(9)), r"noise has shape \(9,\); it must be \(trace, channel, time\)"),
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
