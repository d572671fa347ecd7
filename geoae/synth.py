"""Signals with known parameters: damped oscillations, lines, wavelets, seismograms.

The plain functions (`damped_oscillation`, `ricker`) are the physics, in numpy. The plural ones draw
parameters, on a mesh or at random, and return labelled traces that carry them as coordinates.
"""

import operator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.fft import irfft, next_fast_len, rfft

FORMS = ("physical", "lecture", "cosine")
P_VELOCITY = 6.0  # km/s, upper crust
S_VELOCITY = P_VELOCITY / np.sqrt(3.0)  # a Poisson solid
SURFACE = 0.5  # velocity at the surface over velocity at depth: it bends rays towards the vertical


def damped_oscillation(
    t: ArrayLike,
    k: ArrayLike,
    b: ArrayLike,
    m: ArrayLike = 1.0,
    amplitude: ArrayLike = 1.0,
    form: str = "physical",
) -> np.ndarray:
    r"""Give the displacement of a released mass on a damped spring.

    With :math:`\delta = b/2m` and :math:`\omega^2 = k/m - \delta^2`, in the under-, critically and
    over-damped regime alike (the cosine of an imaginary angle is a hyperbolic cosine):

    physical
        :math:`A e^{-\delta t}[\cos\omega t + (\delta/\omega)\sin\omega t]`, the solution of
        :math:`m\ddot x + b\dot x + kx = 0` with :math:`x(0) = A,\ \dot x(0) = 0`.
    cosine
        :math:`A e^{-\delta t}\cos\omega t`: same frequency and decay, but released in motion
        (:math:`\dot x(0) = -\delta A`).
    lecture
        :math:`A e^{-bt/2}\cos[\sqrt k\,(1 - b^2/4k)\,t]` for m = 1, as printed on the lecture's slide. The
        bracket lacks a root, :math:`\omega = \sqrt k\sqrt{1 - b^2/4k}`. Past critical damping the printed
        frequency turns negative and the cosine cannot tell: b = 5 gives the same trace for k = 5 and
        k = 7.8125.

    "physical" is the default because it alone starts at rest and solves the equation of motion.

    Parameters
    ----------
    t : array [s], shape (time,)
    k, b, m, amplitude : float or array, shape (trace,) or any other that broadcasts
        Stiffness [N/m], damping [N s/m], mass [kg], release displacement [m].
    form : "physical", "cosine" or "lecture"

    Returns
    -------
    array [m], shape (..., time)
        The shape of the parameters, and time; (time,) where all are numbers.

    Raises
    ------
    ValueError
        Unless k > 0, b >= 0, m > 0, or for an unknown form.

    Examples
    --------
    >>> damped_oscillation(np.array([0.0, np.pi]), k=1.0, b=0.0).round(3)
    array([ 1., -1.])
    """
    if form not in FORMS:
        raise ValueError(f"unknown form {form!r}; choose from {', '.join(FORMS)}")
    t = np.asarray(t, float)
    k, b, m, amplitude = (np.asarray(p, float)[..., None] for p in (k, b, m, amplitude))
    for name, value, good in (("k", k, k > 0), ("b", b, b >= 0), ("m", m, m > 0)):
        if not np.all(good):
            limit = "at least 0" if name == "b" else "greater than 0"
            raise ValueError(f"{name} holds {value[~good].flat[0]:g}; it must be {limit}")
    decay = b / (2 * m)
    stiffness = k / m
    if form == "lecture":
        # sqrt(k)(1 - b^2/4k), written for any mass
        return amplitude * np.exp(-decay * t) * np.cos(np.sqrt(stiffness) * (1 - decay**2 / stiffness) * t)
    # One exponential for decay and swing, x ~ e^{(s - delta) t}: strong damping cannot overflow cosh.
    s = np.sqrt((decay**2 - stiffness).astype(complex))
    swing = (1 + np.exp(-2 * s * t)) / 2
    if form == "physical":
        swing = swing + decay * t * _decline(2 * s * t)
    return amplitude * (np.exp((s - decay) * t) * swing).real


def _decline(u: np.ndarray) -> np.ndarray:
    """(1 - e^-u) / u, finite at critical damping, where u = 0."""
    safe = np.where(u == 0, 1, u)
    return np.where(u == 0, 1, -np.expm1(-safe) / safe)


def damped_oscillations(
    n: int | tuple[int, int],
    *,
    k: tuple[float, float] = (5, 10),
    b: tuple[float, float] = (0.5, 1.0),
    t: ArrayLike | None = None,
    form: str = "physical",
    seed: int = 0,
) -> xr.DataArray:
    """Draw damped oscillations whose stiffness and damping are known.

    Parameters
    ----------
    n : int or (int, int)
        A number draws that many at random, k and b uniform and independent. A pair is a mesh: so many k
        by so many b, evenly spaced, ends included, flattened to traces with b running fastest.
    k, b : (low, high)
        Ranges of stiffness [N/m] and damping [N s/m]; the defaults are the lecture's.
    t : array [s], shape (time,), optional
        ``np.linspace(0, 10, 50)`` if not given, the lecture's.
    form : see `damped_oscillation`
    seed : int

    Returns
    -------
    DataArray, dims ("trace", "time")
        With `k` and `b` as coordinates of ``trace``.

    Raises
    ------
    ValueError
        When `n` is neither a positive number nor a pair of them, or a range is not (low, high).

    Examples
    --------
    >>> x = damped_oscillations((30, 20))
    >>> dict(x.sizes), x.k.values[[0, -1]], x.b.values[:2].round(3)
    ({'trace': 600, 'time': 50}, array([ 5., 10.]), array([0.5  , 0.526]))
    """
    time = np.linspace(0, 10, 50) if t is None else _axis(t, "t")
    drawn = _draw(n, {"k": k, "b": b}, seed)
    labels = {"k": ("N m-1", "stiffness"), "b": ("N s m-1", "damping")}
    return xr.DataArray(
        damped_oscillation(time, drawn["k"], drawn["b"], form=form),
        dims=("trace", "time"),
        coords=_coords(drawn, labels, time, {"units": "s", "long_name": "time"}),
        name="displacement",
        attrs={"units": "m", "form": form},
    )


def lines(
    n: int | tuple[int, int],
    *,
    slope: tuple[float, float] = (0.5, 1),
    intercept: tuple[float, float] = (5, 10),
    x: ArrayLike | None = None,
    seed: int = 0,
) -> xr.DataArray:
    """Draw straight lines y = slope x + intercept, the simplest signals with two parameters.

    Parameters
    ----------
    n : int or (int, int)
        As in `damped_oscillations`; a pair is a mesh of slopes by intercepts.
    slope, intercept : (low, high)
    x : array, shape (time,), optional
        ``np.linspace(-10, 10, 50)`` if not given. On an x symmetric about zero the two parameters have
        orthogonal effects.
    seed : int

    Returns
    -------
    DataArray, dims ("trace", "time")
        The ``time`` coordinate holds x; `slope` and `intercept` are coordinates of ``trace``.

    Examples
    --------
    >>> lines((2, 2), x=[0, 1]).values
    array([[ 5. ,  5.5],
           [10. , 10.5],
           [ 5. ,  6. ],
           [10. , 11. ]])
    """
    axis = np.linspace(-10, 10, 50) if x is None else _axis(x, "x")
    drawn = _draw(n, {"slope": slope, "intercept": intercept}, seed)
    labels = {"slope": ("1", "slope"), "intercept": ("1", "intercept")}
    return xr.DataArray(
        drawn["slope"][:, None] * axis + drawn["intercept"][:, None],
        dims=("trace", "time"),
        coords=_coords(drawn, labels, axis, {"units": "1", "long_name": "x"}),
        name="y",
        attrs={"units": "1"},
    )


def _axis(values: ArrayLike, name: str) -> np.ndarray:
    axis = np.asarray(values, float)
    if axis.ndim != 1 or axis.size == 0:
        raise ValueError(f"{name} has shape {axis.shape}; it must be one row of numbers, shape (time,)")
    return axis


def _draw(n: Any, ranges: dict[str, tuple[float, float]], seed: int) -> dict[str, np.ndarray]:
    """Parameters on a mesh (n a tuple, one count per range) or at random (n a number)."""
    for name, limits in ranges.items():
        if np.shape(limits) != (2,) or not limits[0] <= limits[1]:
            raise ValueError(f"{name} is {limits}; it must be a range (low, high)")
    if not isinstance(n, tuple):
        if (count := operator.index(n)) < 1:
            raise ValueError(f"n is {n}; draw at least one trace")
        rng = np.random.default_rng(seed)
        return {name: rng.uniform(*limits, count) for name, limits in ranges.items()}
    if len(n) != len(ranges) or min(map(operator.index, n)) < 1:
        wanted = f"{len(ranges)} positive numbers, one each for {', '.join(ranges)}"
        raise ValueError(f"n is {n}; a mesh needs {wanted}")
    axes = [np.linspace(*limits, count) for limits, count in zip(ranges.values(), n, strict=True)]
    mesh = np.meshgrid(*axes, indexing="ij")
    return {name: values.ravel() for name, values in zip(ranges, mesh, strict=True)}


def _coords(parameters: dict, labels: dict, time: np.ndarray, attrs: dict) -> dict[str, Any]:
    """Coordinates of traces: the time axis, and each parameter with its unit and name."""
    return {"time": ("time", time, attrs)} | {
        name: ("trace", np.asarray(parameters[name]), {"units": units, "long_name": words})
        for name, (units, words) in labels.items()
    }


def ricker(t: ArrayLike, frequency: ArrayLike) -> np.ndarray:
    r"""Give the Ricker wavelet, the second derivative of a Gaussian with its sign turned.

    :math:`(1 - 2\pi^2 f^2 t^2)\,e^{-\pi^2 f^2 t^2}`: one at t = 0, zero mean, with an amplitude spectrum
    proportional to :math:`\nu^2 e^{-\nu^2/f^2}`, which is largest at :math:`\nu = f` (Ricker 1953).

    Parameters
    ----------
    t : array [s], shape (time,)
    frequency : float or array [Hz], shape (...)

    Returns
    -------
    array, shape (..., time)

    Examples
    --------
    >>> ricker([0.0, 0.1], frequency=5.0).round(4)
    array([ 1.    , -0.3337])
    """
    frequency = np.asarray(frequency, float)[..., None]
    if not np.all(frequency > 0):
        raise ValueError(f"frequency is {np.min(frequency):g} Hz; it must be greater than 0")
    square = (np.pi * frequency * np.asarray(t, float)) ** 2
    return (1 - 2 * square) * np.exp(-square)


def seismograms(
    n: int,
    *,
    rate: float = 100.0,
    duration: float = 60.0,
    distance: tuple[float, float] = (3.0, 80.0),
    depth: tuple[float, float] = (2.0, 12.0),
    frequency: tuple[float, float] = (4.0, 14.0),
    coda: float = 1.0,
    seed: int = 0,
) -> xr.DataArray:
    r"""Draw three-component seismograms of local earthquakes, noise-free.

    A sketch of a seismogram with the parts that matter to a denoiser, not a simulation:

    - P arrives after 10 to 40 % of the duration, S later by :math:`r (1/v_S - 1/v_P)`, with r the straight
      distance to the hypocentre, :math:`v_P` = 6 km/s and :math:`v_S = v_P/\sqrt3`.
    - The direct waves are Ricker wavelets that begin at p and s, of `frequency` for P and 2/3 of it for S.
      P moves along the ray, S at right angles to it, its direction drawn. The ray comes from the
      back-azimuth, and is bent towards the vertical below the station (Snell's law, half the velocity),
      so P is mostly on Z, S on E and N.
    - Each drags a coda: scattered waves of random phase on all components, in three octaves of which the
      lower ones last longer, so that the tone sinks with time (attenuation). Their spectrum falls off as
      :math:`f^{-3}` above the corner (ground velocity of a Brune source, seen through attenuation).
    - Exactly zero before P; largest value of each trace one.

    Parameters
    ----------
    n : int
    rate : float [Hz]
    duration : float [s]
        Far epicentres are left out where S would come after 70 % of it.
    distance, depth : (low, high) [km]
        Epicentral distance, drawn evenly in its logarithm; depth of the hypocentre.
    frequency : (low, high) [Hz]
        Of the direct P wave, drawn evenly in its logarithm.
    coda : float
        Strength of the coda; 0 leaves the direct waves alone.
    seed : int
        Trace i depends on (seed, i) alone, not on n.

    Returns
    -------
    DataArray, dims ("trace", "channel", "time"), float32
        Channels E, N, Z. Coordinates of ``trace``: p, s [s], frequency [Hz], distance, depth [km],
        back_azimuth [degree] (from the station to the epicentre, clockwise from north) and incidence
        [degree] (of the ray at the surface, from the vertical).

    Raises
    ------
    ValueError
        When `duration` leaves no room for S, or `rate` does not resolve `frequency`.

    Examples
    --------
    >>> x = seismograms(4, duration=20.0)
    >>> dict(x.sizes), bool((x.p < x.s).all())
    ({'trace': 4, 'channel': 3, 'time': 2000}, True)
    """
    if operator.index(n) < 1:
        raise ValueError(f"n is {n}; draw at least one trace")
    if not 0 < 2.5 * max(frequency) <= rate:
        raise ValueError(
            f"{rate:g} Hz does not resolve {max(frequency):g} Hz; use rate={2.5 * max(frequency):g}"
        )
    reach = 0.3 * duration / _SLOWNESS  # farthest hypocentre whose S still comes in time
    if np.hypot(distance[0], depth[1]) >= reach:
        least = np.hypot(distance[0], depth[1]) * _SLOWNESS / 0.3
        raise ValueError(f"{duration:g} s leave no room for P and S; use duration={np.ceil(least + 1):g}")
    t = np.arange(round(duration * rate)) / rate
    data, drawn = np.zeros((n, 3, len(t)), np.float32), []
    for i in range(n):
        rng = np.random.default_rng((seed, i))
        event = _event(rng, duration, distance, depth, frequency, reach)
        data[i] = _ground_motion(rng, t, event, coda)
        drawn.append(event)
    labels = {
        "p": ("s", "P onset"),
        "s": ("s", "S onset"),
        "frequency": ("Hz", "frequency of the direct P wave"),
        "distance": ("km", "epicentral distance"),
        "depth": ("km", "depth of the hypocentre"),
        "back_azimuth": ("degree", "back-azimuth, station to epicentre, clockwise from north"),
        "incidence": ("degree", "incidence of the ray at the surface, from the vertical"),
    }
    table = {name: np.array([event[name] for event in drawn]) for name in labels}
    coords = _coords(table, labels, t, {"units": "s", "long_name": "time"})
    coords["channel"] = ("channel", ["E", "N", "Z"])
    return xr.DataArray(data, coords, ("trace", "channel", "time"), "velocity", {"units": "1"})


_SLOWNESS = 1 / S_VELOCITY - 1 / P_VELOCITY  # s of S-P time per km


def _event(
    rng: np.random.Generator, duration: float, distance: Any, depth: Any, frequency: Any, reach: float
) -> dict[str, float]:
    """Draw the parameters of one earthquake as its station sees it."""
    down = rng.uniform(*depth)
    far = min(distance[1], np.sqrt(reach**2 - down**2))
    away = np.exp(rng.uniform(np.log(distance[0]), np.log(far)))
    p = rng.uniform(0.1, 0.4) * duration
    return {
        "p": p,
        "s": p + np.hypot(away, down) * _SLOWNESS,
        "frequency": np.exp(rng.uniform(*np.log(frequency))),
        "distance": away,
        "depth": down,
        "back_azimuth": rng.uniform(0, 360),
        "incidence": np.degrees(np.arcsin(SURFACE * away / np.hypot(away, down))),
    }


def _ground_motion(rng: np.random.Generator, t: np.ndarray, event: dict, coda: float) -> np.ndarray:
    """Motion at the station, (channel, time): direct P and S, and what is scattered behind each."""
    ray, vertical, horizontal = _ray_frame(event["back_azimuth"], event["incidence"])
    turn = rng.uniform(0, 2 * np.pi)
    across = np.cos(turn) * vertical + np.sin(turn) * horizontal
    f, lag = event["frequency"], event["s"] - event["p"]
    # P is the smaller one: its source radiates (vp/vs)^3 = 5 times less, unless S is near a node.
    strength = np.exp(rng.normal(np.log(0.3), 0.4))
    waves = (
        (event["p"], f, strength * ray, strength * np.array([0.7, 0.7, 1.0]), 0.3 + 0.4 * lag),
        (event["s"], f / 1.5, across, np.array([1.0, 1.0, 0.7]), 0.6 + 0.2 * lag),
    )
    out = np.zeros((3, len(t)))
    for onset, peak, direct, scattered, last in waves:
        after = t - onset
        out += direct[:, None] * np.where(after >= 0, ricker(after - 1 / peak, peak), 0)
        last = last * np.exp(rng.normal(0, 0.3))
        out += coda * scattered[:, None] * _coda(rng, after, peak, last)
    return out / np.abs(out).max()


def _ray_frame(back_azimuth: float, incidence: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return unit vectors (E, N, Z) along the ray and the two across it, in its vertical plane and level."""
    a, i = np.radians([back_azimuth, incidence])
    away = np.array([-np.sin(a), -np.cos(a), 0])  # from the epicentre to the station and on
    up = np.array([0, 0, 1.0])
    level = np.array([np.cos(a), -np.sin(a), 0])
    return np.sin(i) * away + np.cos(i) * up, np.cos(i) * away - np.sin(i) * up, level


def _coda(rng: np.random.Generator, after: np.ndarray, peak: float, last: float) -> np.ndarray:
    """Scattered waves behind an onset: in each octave noise that decays, the lower the slower."""
    since = after[after >= 0]
    out = np.zeros((3, len(after)))
    if len(since) < 2:
        return out
    octave = np.array([1, 2, 4])[:, None]
    share = np.array([0.6, 0.4, 0.15])[:, None]
    angle = 2 * np.pi * np.sqrt(3) * (peak / octave) * (since - since[0])
    pulse = (3 * angle**2 - angle**3) * np.exp(-angle)  # causal, its spectrum peaks at peak / octave
    pulse *= share / np.sqrt(np.sum(pulse**2, axis=-1, keepdims=True))
    fade = (1 - np.exp(-since * peak)) * np.exp(-since / (last * octave))
    spikes = rng.standard_normal((3, *fade.shape)) * fade  # (channel, octave, time)
    size = next_fast_len(2 * len(since), real=True)
    spectrum = (rfft(spikes, size) * rfft(pulse, size)).sum(axis=1)
    out[:, after >= 0] = irfft(spectrum, size)[:, : len(since)]
    return out
