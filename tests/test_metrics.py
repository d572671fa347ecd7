import numpy as np
import pytest
import xarray as xr
from obspy.signal.trigger import aic_simple
from scipy.signal import welch

from geoae.metrics import correlation, onset_shift, peak_error, si_snr_db, snr_db, spectral_distance

MEASURES = [snr_db, si_snr_db, correlation, peak_error, onset_shift, spectral_distance]


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    s = rng.standard_normal((5, 3, 400))
    return s, 0.7 * s + 0.3 * rng.standard_normal(s.shape)


def by_hand(s, y):
    """The measures of one trace (channel, time), with plain loops."""
    onsets = [1 + np.argmin(sum(aic_simple(c) for c in x)[1:-2]) for x in (s, y)]
    powers = [welch(x, window="hann", nperseg=256)[1] for x in (s, y)]
    fits = [np.dot(a, b) / np.dot(a, a) * a for a, b in zip(s, y, strict=True)]
    return {
        snr_db: 10 * np.log10(np.sum(s**2) / np.sum((s - y) ** 2)),
        si_snr_db: 10 * np.log10(np.sum(np.square(fits)) / np.sum((y - fits) ** 2)),
        correlation: np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(s, y, strict=True)]),
        peak_error: np.median(
            [100 * abs(abs(b).max() - abs(a).max()) / abs(a).max() for a, b in zip(s, y, strict=True)]
        ),
        onset_shift: onsets[1] - onsets[0],
        spectral_distance: np.mean(np.sqrt(np.mean((10 * np.log10(powers[1] / powers[0])) ** 2, -1))),
    }


@pytest.mark.parametrize("measure", MEASURES)
def test_each_measure_is_its_formula_on_every_trace(measure, pair):
    s, y = pair
    np.testing.assert_allclose(measure(s, y), [by_hand(a, b)[measure] for a, b in zip(s, y, strict=True)])
    np.testing.assert_allclose(measure(s[0, 0], y[0, 0]), by_hand(s[0, :1], y[0, :1])[measure])


@pytest.mark.parametrize("measure", MEASURES)
def test_labels_say_which_axes_count_together(measure, pair):
    s, y = (
        xr.DataArray(x, dims=("trace", "channel", "time"), coords={"k": ("trace", np.arange(5))})
        for x in pair
    )
    result = measure(s, y)
    assert result.dims == ("trace",)
    assert "k" in result.coords
    np.testing.assert_allclose(result, measure(*pair))
    np.testing.assert_allclose(measure(s.transpose("time", "trace", "channel"), y), result)
    np.testing.assert_allclose(
        measure(s.isel(channel=1), y.isel(channel=1)), measure(pair[0][:, 1], pair[1][:, 1])
    )
    assert measure(s.isel(trace=2), y.isel(trace=2)).ndim == 0


@pytest.mark.parametrize("measure", MEASURES)
def test_gaps_in_either_are_left_out(measure, pair):
    s, y = pair
    s_gap, y_gap = s.copy(), y.copy()
    s_gap[..., 300:350] = np.nan
    y_gap[..., 350:] = np.nan
    np.testing.assert_allclose(measure(s_gap, y_gap), measure(s[..., :300], y[..., :300]))


def test_the_known_answers(pair):
    s, _ = pair
    np.testing.assert_allclose(snr_db(s, 0 * s), 0)
    assert np.all(snr_db(s, s) == np.inf)
    np.testing.assert_allclose(snr_db(s, 1.1 * s), 20)
    assert np.all(si_snr_db(s, -3 * s) > 250)
    assert np.all(si_snr_db(s, 0 * s) == -np.inf)
    np.testing.assert_allclose(correlation(s, 5 - 2 * s), -1)
    np.testing.assert_array_equal(correlation(s, 0 * s), 0)
    np.testing.assert_allclose(peak_error(s, 0.8 * s), 20)
    np.testing.assert_allclose(peak_error(s, -1.2 * s), 20)


def test_an_onset_is_where_the_signal_begins_whatever_its_size():
    wave = np.sin(np.arange(300.0)) * np.exp(-np.arange(300) / 100)
    noise = 1e-3 * np.random.default_rng(1).standard_normal((3, 500))
    early, late = noise.copy(), noise.copy()
    early[:, 120:420] += wave
    late[:, 137:437] += 5 * wave
    assert onset_shift(early[None], late[None]) == 17
    assert onset_shift(late[None], early[None]) == -17
    assert np.isnan(onset_shift(early[None], np.ones((1, 3, 500))))
    early[0] = 7.0  # a component without a signal says nothing
    assert onset_shift(early[None], late[None]) == 17


def test_a_spectrum_is_off_by_the_gain_of_a_filter_where_there_is_power():
    rng = np.random.default_rng(2)
    s = rng.standard_normal((2, 3, 4096))
    np.testing.assert_allclose(spectral_distance(s, -10 * s), 20)
    np.testing.assert_array_equal(spectral_distance(s, 0 * s), np.inf)
    assert np.isnan(spectral_distance(0 * s, 0 * s)).all()
    gain = 1.25 + np.cos(np.linspace(0, np.pi, 33))  # |1 + exp(-i w) / 2|^2
    wanted = np.sqrt(np.mean((10 * np.log10(gain)) ** 2))
    y = s[..., 1:] + s[..., :-1] / 2
    np.testing.assert_allclose(spectral_distance(s[..., 1:], y, length=64), wanted, rtol=0.03)
    low = np.fft.irfft(np.fft.rfft(s) * (np.arange(2049) < 500), axis=-1)
    y = low + 1e-3 * s
    assert (spectral_distance(low, y) < 0.1).all()
    assert (spectral_distance(low, y, down_to=-200) > 5).all()


def test_the_scale_invariant_ratio_ignores_the_scale_of_each_component(pair):
    s, y = pair
    np.testing.assert_allclose(si_snr_db(s, 100 * y), si_snr_db(s, y))
    np.testing.assert_allclose(si_snr_db(100 * s, y), si_snr_db(s, y))


@pytest.mark.parametrize("measure", MEASURES)
def test_what_cannot_be_compared_is_refused(measure):
    with pytest.raises(ValueError, match=r"clean has shape \(3, 4\), the estimate \(3, 5\)"):
        measure(np.zeros((3, 4)), np.zeros((3, 5)))
    with pytest.raises(ValueError, match="both need the same, with 'time'"):
        measure(xr.DataArray(np.zeros(3), dims="x"), xr.DataArray(np.zeros(3), dims="x"))
