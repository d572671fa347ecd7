import numpy as np
import pytest
import xarray as xr
from obspy.signal.spectral_estimation import get_nhnm, get_nlnm
from scipy.signal import hilbert, welch

from geoae.noise import (
    Spikes,
    add_white,
    background,
    coloured,
    hum,
    mix,
    peterson,
    spikes,
    surrogates,
    wind_turbine,
)
from geoae.synth import arrivals

# ---------------------------------------------------------------- the Earth's background


@pytest.mark.parametrize(("level", "model"), [(0.0, get_nlnm), (1.0, get_nhnm)])
def test_the_noise_models_are_those_of_obspy(level, model):
    period, db = model()
    np.testing.assert_allclose(peterson(1 / period, level), db, atol=0.01)
    omega = 2 * np.pi / period
    np.testing.assert_allclose(peterson(1 / period, level, "velocity"), db - 20 * np.log10(omega), atol=0.01)
    np.testing.assert_allclose(
        peterson(1 / period, level, "displacement"), db - 40 * np.log10(omega), atol=0.01
    )


def decibels(x, rate, length):
    f, density = welch(x, fs=rate, nperseg=length, detrend="constant")
    return f, 10 * np.log10(density.mean(axis=0))


def sorted_by_first(a, b):
    return a[np.argsort(a)], b[np.argsort(a)]


@pytest.mark.parametrize(("level", "model"), [(0.0, get_nlnm), (1.0, get_nhnm)])
@pytest.mark.parametrize(("rate", "low", "high"), [(50.0, 0.3, 10.0), (1.0, 0.005, 0.45)])
def test_the_background_has_the_spectrum_of_the_models_within_a_decibel(level, model, rate, low, high):
    period, db = model()
    x = background((40, 20_000), level=level, rate=rate, motion="acceleration", seed=3)
    f, found = decibels(x, rate, 4000)
    band = (f > low) & (f < high)
    wanted = np.interp(-np.log(f[band]), *sorted_by_first(np.log(period), db))
    assert np.abs(found[band] - wanted).max() < 1


def test_velocity_and_displacement_are_the_acceleration_integrated():
    f, a = decibels(background((40, 8000), rate=20.0, motion="acceleration"), 20.0, 2000)
    band = (f > 0.2) & (f < 9)
    for motion, times in (("velocity", 1), ("displacement", 2)):
        x = background((40, 8000), rate=20.0, motion=motion)
        found = decibels(x, 20.0, 2000)[1] + times * 20 * np.log10(2 * np.pi * np.maximum(f, 1e-9))
        assert np.abs(found - a)[band].max() < 1


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 1.0, 2.0])
def test_a_power_law_is_one_within_a_decibel(exponent):
    f, found = decibels(coloured((60, 16_384), exponent=exponent, rate=50.0), 50.0, 2048)
    band = (f > 0.3) & (f < 24)
    excess = found[band] + 10 * exponent * np.log10(f[band])
    assert np.abs(excess - excess.mean()).max() < 1


def test_impossible_backgrounds_are_refused():
    with pytest.raises(ValueError, match="unknown motion 'speed'; choose from acceleration, velocity"):
        background(100, motion="speed")
    with pytest.raises(ValueError, match="frequency is 0 Hz; it must be greater than 0"):
        peterson([0.0, 1.0])
    with pytest.raises(ValueError, match=r"shape is \(1,\); coloured noise needs at least two samples"):
        background(1)


# ---------------------------------------------------------------- machines


def shares(x, rate, centres, width):
    """Share of the power within a width of each frequency."""
    f, density = welch(x, fs=rate, nperseg=min(x.shape[-1], 4096))
    density = density.mean(axis=0) if x.ndim > 1 else density
    return [density[np.abs(f - c) <= width].sum() / density.sum() for c in centres]


def test_hum_stands_at_the_multiples_and_falls_with_them():
    x = hum((5, 20_000), frequency=50.0, harmonics=9, rate=400.0)
    found = shares(x, 400.0, [50, 100, 150], 1.5)
    expected = np.array([1, 1 / 4, 1 / 9])
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=0.02)  # 200 Hz and up are left out
    np.testing.assert_allclose((x**2).mean(-1), 1)


def test_hum_wanders_as_far_as_told():
    x = hum((20, 60_000), frequency=50.0, harmonics=1, wander=2e-3, rate=200.0)
    turning = np.diff(np.unwrap(np.angle(hilbert(x))), axis=-1)[:, 500:-500] * 200 / (2 * np.pi)
    assert turning.mean() == pytest.approx(50, abs=0.02)
    assert turning.std() == pytest.approx(0.1, rel=0.15)


def test_a_wind_turbine_has_harmonics_that_fade_on_their_own():
    x = wind_turbine((10, 60_000), blade_pass=1.0, harmonics=3, wander=0.0, fading=0.5)
    assert sum(shares(x, 100.0, [1, 2, 3], 0.1)) > 0.98
    f = np.fft.rfftfreq(60_000, 0.01)
    loud = []
    for line in (1, 2, 3):
        alone = np.fft.irfft(np.fft.rfft(x) * (np.abs(f - line) < 0.4))
        loud.append(np.log(np.abs(hilbert(alone)))[:, 1000:-1000])
    assert np.std(loud[0]) == pytest.approx(0.5, rel=0.2)
    assert np.exp(loud[0] - loud[1]).mean() == pytest.approx(np.sqrt(2) * np.exp(0.25), rel=0.2)
    assert abs(np.corrcoef(loud[0].ravel(), loud[1].ravel())[0, 1]) < 0.25
    steady = wind_turbine(60_000, blade_pass=1.0, harmonics=1, wander=0.0, fading=0.0)
    assert np.ptp(np.abs(hilbert(steady))[1000:-1000]) < 0.01


@pytest.mark.parametrize("machine", [hum, wind_turbine])
def test_machines_follow_their_seed_and_need_a_rate(machine):
    assert np.array_equal(machine((2, 500), seed=1), machine((2, 500), seed=1))
    assert not np.array_equal(machine((2, 500), seed=1), machine((2, 500), seed=2))
    with pytest.raises(ValueError, match=r"1 Hz does not resolve \S+ Hz; use a rate above"):
        machine(500, rate=1.0)


def test_spikes_come_in_their_share_with_a_median_of_one():
    x = spikes((10, 100_000), share=0.01, seed=2)
    heights = np.abs(x[x != 0])
    assert len(heights) == pytest.approx(10_000, rel=0.05)
    assert np.median(heights) == pytest.approx(1, abs=0.05)
    assert np.log(heights).std() == pytest.approx(1, abs=0.03)
    assert (x > 0).sum() == pytest.approx((x < 0).sum(), rel=0.1)
    with pytest.raises(ValueError, match="share is 2; it must be between 0 and 1"):
        spikes(10, share=2)


def test_the_corruption_spikes_stand_out_by_their_size():
    rng = np.random.default_rng(0)
    x = 100 + rng.standard_normal((300, 3, 200)) * 7.0
    jumps = Spikes(count=(2, 4), size=(10, 20))(x, rng) - x
    height = np.abs(jumps) / x.reshape(300, -1).std(-1)[:, None, None]
    number = (height > 0).sum((1, 2))
    assert set(number) <= {1, 2, 3, 4}  # two may fall on one sample
    assert np.mean(number) == pytest.approx(3, abs=0.15)
    single = height[(height > 0) & (height < 20.5)]
    assert (single > 9.5).mean() > 0.99
    assert np.array_equal(Spikes(count=(0, 0))(x, rng), x)
    gap = np.full((1, 1, 10), np.nan)
    assert np.isnan(Spikes()(gap, rng)).all()
    with pytest.raises(ValueError, match=r"count is \(3, 1\); it must be a range"):
        Spikes(count=(3, 1))
    with pytest.raises(ValueError, match=r"size is \(3, 1\); it must be a range"):
        Spikes(size=(3, 1))


# ---------------------------------------------------------------- copies of real noise


@pytest.mark.parametrize("length", [1000, 1001])
def test_surrogates_keep_spectra_and_coherence_but_not_the_trace(length):
    one, other = coloured((2, length), exponent=1.0, seed=1)
    real = np.stack([one, np.roll(one, 3) + 0.3 * other]) + 5.0
    copies = surrogates(real, 4, seed=1)
    assert copies.shape == (4, 2, length)
    np.testing.assert_allclose(
        np.abs(np.fft.rfft(copies)), np.abs(np.fft.rfft(real))[None].repeat(4, 0), atol=1e-8
    )
    cross = [np.fft.rfft(x[0]) * np.fft.rfft(x[1]).conj() for x in (real, copies[0])]
    np.testing.assert_allclose(cross[1], cross[0], atol=1e-6)
    np.testing.assert_allclose(copies.mean(-1), np.tile(real.mean(-1), (4, 1)))
    for i in range(4):
        assert abs(np.corrcoef(copies[i, 0], real[0])[0, 1]) < 0.5
        assert abs(np.corrcoef(copies[i, 0], copies[i - 1, 0])[0, 1]) < 0.5
    assert not np.array_equal(surrogates(real, 1, seed=2)[0], copies[0])


def test_surrogates_of_labelled_noise_keep_their_labels():
    values = coloured((2, 3, 400), exponent=1.0).astype(np.float32)
    coords = {"channel": ["E", "N", "Z"], "time": np.arange(400) / 100, "station": ("trace", ["A", "B"])}
    real = xr.DataArray(values, coords, ("trace", "channel", "time"), attrs={"units": "m s-1"})
    copies = surrogates(real, 5)
    assert dict(copies.sizes) == {"trace": 5, "channel": 3, "time": 400}
    assert copies.station.values.tolist() == ["A", "B", "A", "B", "A"]
    assert copies.dtype == np.float32
    assert copies.attrs == {"units": "m s-1", "history": "surrogates: 5 copies with random phases"}
    np.testing.assert_allclose(
        np.abs(np.fft.rfft(copies.values[3])), np.abs(np.fft.rfft(values[1])), rtol=1e-3, atol=1e-3
    )
    assert surrogates(real[0].transpose("time", "channel"), 2).dims == ("trace", "channel", "time")
    with pytest.raises(ValueError, match="noise holds NaN or infinity; take a piece without gaps"):
        surrogates(real.where(real.time > 1), 2)
    with pytest.raises(ValueError, match="n is 0; make at least one copy"):
        surrogates(real, 0)


# ---------------------------------------------------------------- noise of a stated size


def test_noise_from_the_seed_of_the_traces_has_nothing_to_do_with_them():
    x = add_white(arrivals(200, seed=0), (0.01, 0.2), seed=0)
    parameters = [name for name in x.coords if x[name].dims == ("trace",) and name not in ("noise", "snr_db")]
    assert all(abs(np.corrcoef(x.noise, x[name])[0, 1]) < 0.25 for name in parameters)


def test_white_noise_is_added_at_its_level_and_says_so():
    clean = xr.DataArray(
        np.sin(np.arange(4000) / 5) * np.array([[1.0], [10.0], [0.0]]),
        dims=("trace", "time"),
        coords={"k": ("trace", [1, 2, 3])},
        attrs={"units": "m", "history": "made"},
    )
    noisy = add_white(clean, 0.5, seed=1)
    np.testing.assert_allclose((noisy - clean).std("time"), 0.5, rtol=0.05)
    np.testing.assert_allclose(noisy.snr_db[:2], [10 * np.log10(2), 10 * np.log10(200)], atol=0.05)
    assert noisy.snr_db[2] == -np.inf
    assert noisy.attrs["history"] == "made\nadd_white: noise of standard deviation 0.5 added"
    assert noisy.noise.attrs["units"] == "m"
    assert "k" in noisy.coords
    assert clean.attrs["history"] == "made"


def test_a_range_of_levels_is_drawn_from_for_each_trace_and_all_its_channels():
    clean = xr.DataArray(np.zeros((2000, 500, 2), np.float32), dims=("trace", "time", "channel"))
    noisy = add_white(clean, (1.0, 3.0))
    assert noisy.dims == clean.dims
    assert noisy.dtype == np.float32
    np.testing.assert_allclose(noisy.std(("channel", "time")), noisy.noise, rtol=0.15)
    assert float(noisy.noise.min()) < 1.01
    assert float(noisy.noise.max()) > 2.99
    assert float(noisy.noise.mean()) == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("sigma", [-1, (2, 1), (1, 2, 3), np.nan])
def test_impossible_levels_are_refused(sigma):
    with pytest.raises(ValueError, match="it must be a number from 0 up or a range"):
        add_white(xr.DataArray(np.zeros((2, 3)), dims=("trace", "time")), sigma)


def test_mix_wants_one_ratio_or_one_for_each_trace():
    x = np.random.default_rng(0).standard_normal((4, 100))
    with pytest.raises(
        ValueError, match=r"snr_db has shape \(2,\), the signal \(4,\) traces; give one number"
    ):
        mix(x, x, (0, 10))
