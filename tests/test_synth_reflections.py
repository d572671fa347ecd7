import numpy as np
import pytest

from geoae.synth import (
    arrivals,
    brune,
    ceiling,
    cramer_rao,
    gather,
    gathers,
    layered,
    ormsby,
    reflections,
    reflectivity,
    ricker,
    seismograms,
    thin_beds,
)

# ---------------------------------------------------------------- wavelets


def spectrum(x, rate):
    """Amplitude spectrum of a pulse that has died away at both ends."""
    return np.fft.rfftfreq(len(x), 1 / rate), np.abs(np.fft.rfft(x)) / rate


def test_the_ormsby_spectrum_is_a_trapezoid():
    t = np.arange(-50_000, 50_000) / 500
    f, amplitude = spectrum(ormsby(t, (5, 10, 40, 60)), 500)
    trapezoid = np.interp(f, (0, 5, 10, 40, 60, 250), (0, 0, 1, 1, 0, 0))
    np.testing.assert_allclose(amplitude / amplitude.max(), trapezoid, atol=2e-3)
    assert ormsby([0.0], (0, 10, 40, 60)) == 1


@pytest.mark.parametrize("corners", [(5, 10, 40), (10, 5, 40, 60), (5, 5, 40, 60), (-1, 5, 40, 60)])
def test_ormsby_wants_four_corners_in_order(corners):
    with pytest.raises(ValueError, match="they must be four frequencies, each above the one before"):
        ormsby([0.0], corners)


@pytest.mark.parametrize("corner", [0.5, 3.0])
def test_the_brune_spectrum_falls_with_the_square_above_the_corner(corner):
    t = np.arange(200_000) / 2000
    f, amplitude = spectrum(brune(t, corner), 2000)
    near = f < 15 * corner
    np.testing.assert_allclose(amplitude[near], 1 / (1 + (f[near] / corner) ** 2), rtol=5e-3)
    moving = brune(t, corner, "velocity")
    np.testing.assert_allclose(
        moving[1:-1], np.gradient(brune(t, corner), t)[1:-1], atol=1e-3 * moving.max() * corner
    )
    f, amplitude = spectrum(moving, 2000)
    assert f[amplitude.argmax()] == pytest.approx(corner, rel=0.02)


def test_brune_is_causal_and_takes_many_corners():
    for motion in ("displacement", "velocity"):
        assert np.all(brune(np.arange(-5.0, 0), [1.0, 2.0], motion) == 0)
    assert brune(np.arange(5.0), [1.0, 2.0]).shape == (2, 5)
    with pytest.raises(ValueError, match="unknown motion 'jerk'; choose from displacement, velocity"):
        brune([0.0], 1.0, "jerk")
    with pytest.raises(ValueError, match="corner is 0 Hz; it must be greater than 0"):
        brune([0.0], 0.0)


# ---------------------------------------------------------------- layers


def test_one_interface_gives_one_wavelet_at_its_time():
    t = np.arange(300) / 500
    r = (2500 * 2200 - 2000 * 2000) / (2500 * 2200 + 2000 * 2000)
    for multiples in (False, True):
        x = layered(t, [300.0], [2000, 2500], [2000, 2200], 30.0, multiples=multiples)
        np.testing.assert_allclose(x, r * ricker(t - 0.3, 30.0), atol=1e-6)


def test_a_plate_reverberates_as_the_geometric_series():
    t = np.arange(600) / 500
    v, rho, h = [1500, 4500, 1500], [1000, 2500, 1000], [300.0, 180.0]
    (first, second), (r, below) = reflectivity(h, v, rho)
    assert below == -r
    closed = r * ricker(t - first, 30.0)
    for bounce in range(40):
        # down through the top, 2 bounce + 1 reflections within the plate, up through the top
        arrival = second + bounce * (second - first)
        closed += (1 - r**2) * below * (below * -r) ** bounce * ricker(t - arrival, 30.0)
    np.testing.assert_allclose(layered(t, h, v, rho, 30.0, multiples=True), closed, atol=1e-5)
    primaries = r * ricker(t - first, 30.0) + (1 - r**2) * below * ricker(t - second, 30.0)
    np.testing.assert_allclose(layered(t, h, v, rho, 30.0), primaries, atol=1e-12)


def test_what_rings_beyond_the_end_does_not_come_back_at_the_start():
    t, v, rho, h = np.arange(150) / 500, [1500, 1500, 1500], [5, 1000, 5], [300.0, 60.0]  # r = 0.99
    long = layered(np.arange(3000) / 500, h, v, rho, 30.0, multiples=True)[:150]
    np.testing.assert_allclose(layered(t, h, v, rho, 30.0, multiples=True), long, atol=1e-5)


def test_the_reflectivity_is_that_of_the_impedances():
    time, r = reflectivity([100, 50], [2000, 2500, 2000], [2000, 2000, 2500])
    np.testing.assert_allclose(time, [0.1, 0.14])
    np.testing.assert_allclose(r, [1 / 9, 0.0], atol=1e-15)


def test_impossible_layers_are_refused():
    with pytest.raises(ValueError, match="the last layer has no thickness, so there must be one less"):
        reflectivity([100, 50], [2000, 2500], [2000, 2000])
    with pytest.raises(ValueError, match="density holds -1; it must be greater than 0"):
        reflectivity([100], [2000, 2500], [2000, -1])
    with pytest.raises(ValueError, match="multiples need a time axis that starts at 0"):
        layered(np.arange(1, 9) / 10, [100], [2000, 2500], [2000, 2000], 2.0, multiples=True)
    with pytest.raises(ValueError, match="layers is 0"):
        reflections(1, layers=0)


@pytest.mark.parametrize("multiples", [False, True])
def test_drawn_layers_make_their_trace_and_travel_with_it(multiples):
    x = reflections(6, layers=4, multiples=multiples, seed=2)
    one = x.isel(trace=3)
    time, r = reflectivity(one.thickness, one.velocity, one.density)
    np.testing.assert_allclose(time, one.seen)
    np.testing.assert_allclose(r, one.coefficient)
    words = one.thickness, one.velocity, one.density, float(one.frequency)
    np.testing.assert_allclose(one.seismogram, layered(one.time, *words, multiples=multiples), atol=1e-12)
    places = np.rint(one.seen.values * 500).astype(int)
    assert set(np.flatnonzero(one.spikes)) == set(places)
    assert one.spikes.sum().item() == pytest.approx(one.coefficient.sum().item())
    assert x.identical(reflections(6, layers=4, multiples=multiples, seed=2))
    assert not x.identical(reflections(6, layers=4, multiples=multiples, seed=3))
    np.testing.assert_allclose(x.density, 310 * x.velocity**0.25, rtol=0.0501)


def test_a_thin_bed_is_a_bed_in_layered_ground():
    x = thin_beds((3, 2, 2))
    for trace in x:
        v, h, c = 3000.0, float(trace.thickness), float(trace.contrast)
        above = x.attrs["top"] * v / 2
        same = layered(x.time, [above, h], [v] * 3, [2000, 2000 * c, 2000], float(trace.frequency))
        np.testing.assert_allclose(trace, same, atol=1e-12)
    with pytest.raises(ValueError, match=r"0.256 s are too short for 900 m; use duration=0.923 or more"):
        thin_beds(3, thickness=(5, 900))


def test_a_bed_below_tuning_hides_its_thickness():
    x = thin_beds((12, 6, 6), thickness=(2, 60))
    bound = cramer_rao(x, 0.01).bound.sel(parameter="thickness") / x.thickness
    thin, thick = x.thickness < 10, x.thickness > 40  # a quarter wavelength is 19 to 38 m
    assert float(bound.where(thin).median()) > 10 * float(bound.where(thick).median())
    found = ceiling(x, 0.05)
    assert 0 < found["contrast"] < found["thickness"] < 1


# ---------------------------------------------------------------- gathers and arrivals


def test_moveout_is_a_hyperbola():
    t, offset = np.arange(1000) / 1000, np.arange(10) * 150.0
    x = gather(t, offset, t0=0.3, v=2000.0)
    np.testing.assert_allclose(t[x.argmax(axis=1)], np.sqrt(0.3**2 + (offset / 2000) ** 2), atol=6e-4)
    both = gather(t, offset, t0=[0.3, 0.5], v=[2000.0, 2500.0], strength=[1.0, -0.5])
    np.testing.assert_allclose(both, x - 0.5 * gather(t, offset, 0.5, 2500.0), atol=1e-12)


def test_the_stack_is_largest_along_the_velocity_that_each_gather_carries():
    x = gathers((2, 3), rate=500.0)
    assert x.sizes["trace"] == 6 * 24
    for i in range(6):
        one = x[x.gather == i]
        t0, v = float(one.t0[0]), float(one.v[0])
        scan = np.linspace(0.8, 1.2, 41) * v
        seen = np.sqrt(t0**2 + (one.offset.values / scan[:, None]) ** 2)
        stack = [
            sum(np.interp(s, x.time, trace) for s, trace in zip(row, one.values, strict=True)) for row in seen
        ]
        assert scan[np.argmax(stack)] == pytest.approx(v, rel=0.011)


def test_arrivals_have_their_times_frequencies_and_distances():
    x = arrivals((4, 3), sp=(2.0, 4.0), rate=200.0)
    p = x.attrs["p"]
    for trace in x:
        f = float(trace.frequency)
        first = trace.sel(time=slice(p, p + 2 / f))
        assert float(first.time[first.values.argmax()]) == pytest.approx(p + 1 / f, abs=0.006)
        s = p + float(trace.sp) + 1.5 / f
        assert float(trace.time[trace.values.argmax()]) == pytest.approx(s, abs=0.006)
    np.testing.assert_allclose(x.sp, x.distance / 6 * (np.sqrt(3) - 1))  # vp 6 km/s, a Poisson solid
    assert ceiling(arrivals(100), 0.01) == pytest.approx({"sp": 1.0, "frequency": 1.0}, abs=0.01)
    with pytest.raises(ValueError, match="leave no room for S; use duration=13.6 or more"):
        arrivals(3, sp=(1, 10), frequency=(1.3333, 4))
    with pytest.raises(ValueError, match="5 Hz does not resolve 4 Hz; use rate=10"):
        arrivals(3, rate=5.0)


@pytest.mark.parametrize("draw", [arrivals, thin_beds, reflections, gathers])
def test_draws_follow_their_seed(draw):
    assert draw(4, seed=1).identical(draw(4, seed=1))
    assert not draw(4, seed=1).identical(draw(4, seed=2))


@pytest.mark.parametrize("draw", [reflections, seismograms])
def test_what_comes_in_no_mesh_says_so(draw):
    with pytest.raises(ValueError, match=r"n is \(3, 3\), but these come in no mesh; give one number"):
        draw((3, 3))
