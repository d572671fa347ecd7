import numpy as np
import pytest
from scipy.integrate import solve_ivp

from geoae.synth import (
    P_VELOCITY,
    S_VELOCITY,
    damped_oscillation,
    damped_oscillations,
    lines,
    ricker,
    seismograms,
)

# ---------------------------------------------------------------- oscillations


@pytest.mark.parametrize(
    ("k", "b", "m", "amplitude"),
    [
        (4.0, 0.0, 1.0, 1.0),
        (7.0, 0.8, 1.0, 2.0),
        (4.0, 4.0, 1.0, 1.0),
        (4.0, 4.0 * (1 + 1e-9), 1.0, 1.0),
        (4.0, 4.0 * (1 - 1e-9), 1.0, 1.0),
        (1.0, 5.0, 1.0, -3.0),
        (9.0, 1.0, 2.5, 1.0),
        (10.0, 10.0, 2.5, 1.0),
    ],
    ids=["undamped", "under", "critical", "just over", "just under", "over", "heavy", "heavy and critical"],
)
def test_the_physical_form_solves_the_equation_of_motion(k, b, m, amplitude):
    t = np.linspace(0, 10, 101)

    def motion(_, y):
        return [y[1], -(k * y[0] + b * y[1]) / m]

    ode = solve_ivp(motion, (0, 10), [amplitude, 0], t_eval=t, method="DOP853", rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(damped_oscillation(t, k, b, m, amplitude), ode.y[0], rtol=0, atol=1e-8)


def test_strong_damping_stays_finite():
    x = damped_oscillation(np.array([0.0, 1.0, 1000.0]), k=1.0, b=5000.0)
    np.testing.assert_allclose(x, np.exp(-np.array([0.0, 1.0, 1000.0]) / 5000), rtol=1e-6)


def test_the_lecture_form_is_the_slide_and_has_its_alias():
    t = np.linspace(0, 10, 50)
    k, b = np.array([5.0, 7.0, 5.0]), np.array([0.5, 2.0, 5.0])
    slide = np.exp(-b[:, None] * t / 2) * np.cos(
        np.sqrt(k[:, None]) * (1 - b[:, None] ** 2 / (4 * k[:, None])) * t
    )
    np.testing.assert_allclose(damped_oscillation(t, k, b, form="lecture"), slide, atol=1e-13)
    twins = damped_oscillation(t, k=np.array([5, 7.8125]), b=5.0, form="lecture")
    np.testing.assert_allclose(twins[0], twins[1], atol=1e-13)
    apart = damped_oscillation(t, k=np.array([5, 7.8125]), b=5.0)
    assert np.abs(apart[0] - apart[1]).max() > 0.01


def test_the_cosine_form_is_an_envelope_times_a_cosine():
    t = np.linspace(0, 10, 50)
    under = np.exp(-t) * np.cos(np.sqrt(7 - 1.0) * t)
    np.testing.assert_allclose(damped_oscillation(t, 7.0, 2.0, form="cosine"), under, atol=1e-13)
    over = np.exp(-2.5 * t) * np.cosh(np.sqrt(6.25 - 5) * t)
    np.testing.assert_allclose(damped_oscillation(t, 5.0, 5.0, form="cosine"), over, atol=1e-13)


def test_shapes_follow_the_parameters():
    t = np.linspace(0, 1, 7)
    assert damped_oscillation(t, 5.0, 1.0).shape == (7,)
    assert damped_oscillation(t, np.full(4, 5.0), 1.0).shape == (4, 7)
    assert damped_oscillation(t, np.full((2, 1), 5.0), np.ones(3)).shape == (2, 3, 7)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"form": "exact"}, "unknown form 'exact'; choose from physical, lecture, cosine"),
        ({"k": 0.0}, "k holds 0; it must be greater than 0"),
        ({"k": np.array([5.0, -2.0])}, "k holds -2; it must be greater than 0"),
        ({"k": np.nan}, "k holds nan; it must be greater than 0"),
        ({"b": -0.1}, "b holds -0.1; it must be at least 0"),
        ({"m": 0.0}, "m holds 0; it must be greater than 0"),
    ],
)
def test_impossible_oscillators_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        damped_oscillation(**{"t": np.arange(3.0), "k": 5.0, "b": 1.0} | words)


def test_a_mesh_has_every_pair_and_each_trace_its_own_parameters():
    x = damped_oscillations((4, 3))
    assert x.dims == ("trace", "time")
    np.testing.assert_allclose(x.time, np.linspace(0, 10, 50))
    pairs = {(k, b) for k in np.linspace(5, 10, 4) for b in np.linspace(0.5, 1, 3)}
    assert set(zip(x.k.values, x.b.values, strict=True)) == pairs
    np.testing.assert_allclose(x.b[:3], np.linspace(0.5, 1, 3))  # b runs fastest
    for trace in x:
        expected = damped_oscillation(x.time, float(trace.k), float(trace.b))
        np.testing.assert_allclose(trace, expected, atol=1e-14)
    assert (x.k.attrs["units"], x.b.attrs["long_name"]) == ("N m-1", "damping")


def test_random_draws_fill_their_ranges_and_follow_the_seed():
    x = damped_oscillations(500, k=(2, 3), b=(0, 9), t=np.arange(4.0), form="lecture", seed=3)
    assert (x.k.min() >= 2) & (x.k.max() <= 3) & (x.b.max() > 8) & (x.b.min() < 1)
    assert abs(np.corrcoef(x.k, x.b)[0, 1]) < 0.15
    again = damped_oscillations(500, k=(2, 3), b=(0, 9), t=np.arange(4.0), form="lecture", seed=3)
    other = damped_oscillations(500, k=(2, 3), b=(0, 9), t=np.arange(4.0), form="lecture", seed=4)
    assert again.identical(x)
    assert not other.identical(x)


def test_lines_are_straight_and_carry_slope_and_intercept():
    y = lines((3, 2))
    np.testing.assert_allclose(y.time, np.linspace(-10, 10, 50))
    for trace in y:
        slope, intercept = np.polyfit(y.time, trace, 1)
        np.testing.assert_allclose([slope, intercept], [trace.slope, trace.intercept], atol=1e-12)
    assert (float(y.slope.min()), float(y.slope.max())) == (0.5, 1.0)
    assert (float(y.intercept.min()), float(y.intercept.max())) == (5.0, 10.0)


@pytest.mark.parametrize("draw", [damped_oscillations, lines])
@pytest.mark.parametrize(
    ("n", "message"),
    [
        (0, "n is 0; draw at least one trace"),
        (-3, "n is -3"),
        ((3,), r"n is \(3,\); a mesh needs 2 positive numbers, one each for"),
        ((3, 3, 3), "a mesh needs 2 positive numbers"),
        ((3, 0), "a mesh needs 2 positive numbers"),
    ],
)
def test_impossible_counts_are_refused(draw, n, message):
    with pytest.raises(ValueError, match=message):
        draw(n)


def test_impossible_ranges_and_axes_are_refused():
    with pytest.raises(ValueError, match=r"k is \(10, 5\); it must be a range \(low, high\)"):
        damped_oscillations(3, k=(10, 5))
    with pytest.raises(ValueError, match="slope is 3; it must be a range"):
        lines(3, slope=3)
    with pytest.raises(ValueError, match=r"t has shape \(0,\)"):
        damped_oscillations(3, t=[])


# ---------------------------------------------------------------- wavelets and seismograms


def test_the_ricker_wavelet_is_the_second_derivative_of_a_gaussian():
    t = np.linspace(-1, 1, 20_001)
    f = 4.0
    gaussian = np.exp(-((np.pi * f * t) ** 2))
    curvature = np.gradient(np.gradient(gaussian, t), t)
    np.testing.assert_allclose(ricker(t, f)[2:-2], -curvature[2:-2] / (2 * (np.pi * f) ** 2), atol=1e-5)
    assert abs(np.trapezoid(ricker(t, f), t)) < 1e-12
    assert ricker(0.0 * t, f).max() == 1


@pytest.mark.parametrize("frequency", [2.0, 5.0, 12.5])
def test_the_ricker_spectrum_peaks_at_its_frequency(frequency):
    t = np.arange(-500, 500) / 100
    spectrum = np.abs(np.fft.rfft(ricker(t, frequency), 100_000))
    assert np.fft.rfftfreq(100_000, 0.01)[spectrum.argmax()] == pytest.approx(frequency, abs=0.002)


def test_ricker_takes_many_frequencies_and_refuses_none():
    assert ricker(np.arange(5.0), [1.0, 2.0]).shape == (2, 5)
    with pytest.raises(ValueError, match="frequency is 0 Hz"):
        ricker(np.arange(5.0), 0.0)


def test_p_comes_before_s_by_the_distance():
    x = seismograms(50, duration=30.0, distance=(3.0, 200.0))
    assert x.dims == ("trace", "channel", "time")
    assert x.channel.values.tolist() == ["E", "N", "Z"]
    hypocentral = np.hypot(x.distance, x.depth)
    np.testing.assert_allclose(x.s - x.p, hypocentral / S_VELOCITY - hypocentral / P_VELOCITY, rtol=1e-12)
    assert float(x.s.max()) <= 0.7 * 30
    assert np.ptp(x.distance.values) > 20
    for name in ("p", "s", "frequency", "distance", "depth", "back_azimuth", "incidence"):
        assert x[name].dims == ("trace",)
        assert set(x[name].attrs) == {"units", "long_name"} | (
            {"period"} if name == "back_azimuth" else set()
        )
    assert "azimuth" not in x.coords  # that one leads the other way, from the epicentre to the station


def test_it_is_quiet_before_p_and_one_at_most():
    x = seismograms(20, duration=30.0)
    before = x.where(x.time < x.p, 0.0)
    assert float(np.abs(before).max()) == 0
    np.testing.assert_allclose(np.abs(x).max(("channel", "time")), 1, rtol=1e-6)
    assert np.isfinite(x).all()


def test_p_moves_along_the_ray_and_s_across_it():
    x = seismograms(20, duration=30.0, coda=0.0).astype(float)
    i, a = np.radians(x.incidence.values), np.radians(x.back_azimuth.values)
    # upwards and away from the epicentre, which lies in direction a
    ray = np.stack([-np.sin(i) * np.sin(a), -np.sin(i) * np.cos(a), np.cos(i)], axis=-1)
    for trace, along in zip(x, ray, strict=True):
        p = trace.where((trace.time >= trace.p) & (trace.time < trace.s), drop=True).values
        s = trace.where(trace.time > trace.s + 1e-9, drop=True).values
        energy = (p**2).sum()
        assert ((along @ p) ** 2).sum() == pytest.approx(energy, rel=1e-4)
        late = trace.s > trace.p + 3 / trace.frequency  # P has died away when S begins
        if late:
            assert np.abs(along @ s).max() < 1e-3 * np.abs(s).max()


def test_the_direct_wave_is_a_ricker_wavelet():
    x = seismograms(1, duration=30.0, coda=0.0)[0].astype(float)
    t = x.time.values
    window = (t >= float(x.p)) & (t < float(x.s))
    wavelet = ricker(t - float(x.p) - 1 / float(x.frequency), float(x.frequency))[window]
    z = x.sel(channel="Z").values[window]
    np.testing.assert_allclose(z, wavelet * (z @ wavelet) / (wavelet @ wavelet), atol=1e-6)


def test_p_is_strongest_on_z_and_s_on_the_horizontals():
    x = seismograms(100, duration=30.0).astype(float)
    energy_p = (x.where(x.time < x.s, 0) ** 2).sum("time").sum("trace")
    energy_s = (x.where(x.time >= x.s, 0) ** 2).sum("time").sum("trace")
    assert energy_p.sel(channel="Z") > 1.2 * energy_p.sel(channel="E")
    assert energy_s.sel(channel="E") > 1.2 * energy_s.sel(channel="Z")


def test_the_spectrum_falls_off_above_its_corner_as_real_ones_do():
    x = seismograms(50, duration=30.0, frequency=(6.0, 7.0)).astype(float)
    power = (np.abs(np.fft.rfft(x * np.hanning(x.sizes["time"]), axis=-1)) ** 2).mean((0, 1))
    f = np.fft.rfftfreq(x.sizes["time"], 0.01)
    band = power[(f > 2) & (f < 8)].mean()
    assert power[(f > 20) & (f < 25)].mean() < 0.03 * band
    assert power[(f > 40) & (f < 50)].mean() < 0.003 * band
    assert power[f < 0.2].mean() < 0.1 * band


def test_a_seed_gives_the_same_earthquakes_however_many():
    few, many = seismograms(3, duration=20.0, seed=5), seismograms(6, duration=20.0, seed=5)
    assert few.identical(many[:3])
    assert not few.identical(seismograms(3, duration=20.0, seed=6))


def test_impossible_seismograms_are_refused():
    with pytest.raises(ValueError, match="n is 0; draw at least one"):
        seismograms(0)
    with pytest.raises(ValueError, match=r"2 s leave no room for P and S; use duration=\d+"):
        seismograms(1, duration=2.0)
    with pytest.raises(ValueError, match="20 Hz does not resolve 14 Hz; use rate=35"):
        seismograms(1, rate=20.0)
