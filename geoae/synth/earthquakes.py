"""Seismograms of local earthquakes: three components with coda, and a small set with two parameters."""

from typing import Any

import numpy as np
import xarray as xr
from scipy.fft import irfft, next_fast_len, rfft

from .draws import coordinates, draw, number
from .wavelets import pulse, ricker

P_VELOCITY = 6.0  # km/s, upper crust
S_VELOCITY = P_VELOCITY / np.sqrt(3.0)  # a Poisson solid
SURFACE = 0.5  # velocity at the surface over velocity at depth: it bends rays towards the vertical


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
      back-azimuth, and is bent towards the vertical below the station (Snell's law, half the velocity), so
      P is mostly on Z, S on E and N.
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
    n = number(n)
    _check_rate(rate, frequency)
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
    coords = coordinates(table, labels, t, {"units": "s", "long_name": "time"})
    coords["back_azimuth"][2]["period"] = 360.0  # 359 and 1 degree are neighbours
    coords["channel"] = ("channel", ["E", "N", "Z"])
    return xr.DataArray(data, coords, ("trace", "channel", "time"), "velocity", {"units": "1"})


def arrivals(
    n: int | tuple[int, int],
    *,
    sp: tuple[float, float] = (1.0, 4.0),
    frequency: tuple[float, float] = (1.5, 4.0),
    rate: float = 25.0,
    duration: float = 10.24,
    seed: int = 0,
) -> xr.DataArray:
    r"""Draw P and S arrivals on one component: a small labelled set for the question of latents.

    A Ricker wavelet of `frequency` begins at P, after a tenth of the duration, and one of 2/3 of it at S,
    `sp` later; P has 0.4 of the amplitude of S. Two parameters make the whole trace, so a code of two
    numbers can hold it: `seismograms` with their random coda have no such code. Noise as a third parameter
    comes from `geoae.noise.add_white`, which labels traces with its level and the SNR.

    Parameters
    ----------
    n : int or (int, int)
        A number draws that many at random; a pair is a mesh of S-P times by frequencies.
    sp : (low, high) [s]
        Time from P to S.
    frequency : (low, high) [Hz]
        Of the P wavelet.
    rate : float [Hz]
    duration : float [s]
    seed : int

    Returns
    -------
    DataArray, dims ("trace", "time")
        With `sp`, `frequency` and `distance` (of the hypocentre [km], which is `sp` times 8.2 km/s) as
        coordinates of ``trace``.

    Raises
    ------
    ValueError
        When `duration` leaves no room for S, or `rate` does not resolve `frequency`.

    Examples
    --------
    >>> x = arrivals((10, 10))
    >>> dict(x.sizes), x.distance.values[[0, -1]].round(1)
    ({'trace': 100, 'time': 256}, array([ 8.2, 32.8]))
    """
    drawn = draw(n, {"sp": sp, "frequency": frequency}, seed)
    _check_rate(rate, frequency)
    least = (sp[1] + 3 / frequency[0]) / 0.9
    if duration < least:
        raise ValueError(f"{duration:g} s leave no room for S; use duration={least:.3g} or more")
    p = duration / 10
    time = np.arange(round(duration * rate)) / rate
    words = {
        "sp": ("s", "time from P to S"),
        "frequency": ("Hz", "frequency of the P wave"),
        "distance": ("km", "distance of the hypocentre"),
    }
    table = drawn | {"distance": drawn["sp"] / _SLOWNESS}
    values = arrival(time, drawn["sp"][:, None], drawn["frequency"][:, None], p=p)
    attrs = {"units": "1", "signal": "arrival", "p": p}
    coords = coordinates(table, words, time, {"units": "s", "long_name": "time"})
    return xr.DataArray(values, coords, ("trace", "time"), "velocity", attrs)


def arrival(t: np.ndarray, sp: np.ndarray, frequency: np.ndarray, p: float) -> np.ndarray:
    """Evaluate the formula of `arrivals`, analytic in its parameters: complex values are welcome."""
    lower = frequency / 1.5
    return 0.4 * pulse(t - p - 1 / frequency, frequency) + pulse(t - p - sp - 1 / lower, lower)


def _check_rate(rate: float, frequency: tuple[float, float]) -> None:
    if not 0 < 2.5 * max(frequency) <= rate:
        raise ValueError(
            f"{rate:g} Hz does not resolve {max(frequency):g} Hz; use rate={2.5 * max(frequency):g}"
        )


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
