"""Reflections from layered ground: coefficients, seismograms, thin beds, gathers with moveout."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from .draws import coordinates, draw, number
from .wavelets import pulse

LAYERS = ("velocity", "density", "thickness")


def reflectivity(thickness: ArrayLike, velocity: ArrayLike, density: ArrayLike) -> tuple[Any, Any]:
    r"""Give the reflection coefficients of flat layers and when they are seen, at normal incidence.

    :math:`r_i = (Z_{i+1} - Z_i)/(Z_{i+1} + Z_i)` with the impedance :math:`Z = \rho v`, at the two-way time
    :math:`t_i = \sum_{j \le i} 2 h_j / v_j`.

    Parameters
    ----------
    thickness : array [m], shape (..., layer)
        Of all layers but the last, which goes down for ever.
    velocity, density : array [m/s], [kg/m³], shape (..., layer + 1)

    Returns
    -------
    time, coefficient : arrays [s], [1], shape (..., layer)

    Raises
    ------
    ValueError
        Unless there is one thickness less than velocities and densities, all above 0.

    Examples
    --------
    >>> time, coefficient = reflectivity([100, 50], [2000, 2500, 2000], [2000, 2000, 2000])
    >>> time, coefficient.round(3)
    (array([0.1 , 0.14]), array([ 0.111, -0.111]))
    """
    h, v, rho = (np.asarray(values, float) for values in (thickness, velocity, density))
    if v.shape != rho.shape or v.shape[-1:] != (h.shape[-1] + 1,) or v.shape[:-1] != h.shape[:-1]:
        found = f"{h.shape} thicknesses, {v.shape} velocities and {rho.shape} densities"
        raise ValueError(
            f"found {found}; the last layer has no thickness, so there must be one less of those"
        )
    for name, values in zip(LAYERS, (v, rho, h), strict=True):
        if not np.all(values > 0):
            raise ValueError(f"{name} holds {values[~(values > 0)].flat[0]:g}; it must be greater than 0")
    z = v * rho
    return np.cumsum(2 * h / v[..., :-1], axis=-1), np.diff(z) / (z[..., 1:] + z[..., :-1])


def layered(
    t: ArrayLike,
    thickness: ArrayLike,
    velocity: ArrayLike,
    density: ArrayLike,
    frequency: ArrayLike,
    *,
    multiples: bool = False,
) -> np.ndarray:
    r"""Give the seismogram of layered ground at normal incidence, for a Ricker wavelet.

    Primaries are exact: each reflection of `reflectivity` loses :math:`1 - r^2` at every interface that it
    crosses twice. With `multiples`, all paths between the interfaces are summed by the recursion of the
    reflected field :math:`R_i = (r_i + R_{i+1} e^{-2i\omega h_{i+1}/v_{i+1}})/(1 + r_i R_{i+1} e^{-2i\omega
    h_{i+1}/v_{i+1}})` from the bottom up (Kennett, 1974), without a free surface above.

    Parameters
    ----------
    t : array [s], shape (time,)
        With `multiples`, evenly spaced from 0 on.
    thickness, velocity, density : arrays as in `reflectivity`
    frequency : float or array [Hz], shape (...)
        At which the wavelet's spectrum peaks.
    multiples : bool

    Returns
    -------
    array, shape (..., time)
        Relative to the wavelet sent down, whose peak is one.

    Raises
    ------
    ValueError
        As in `reflectivity`, or for a time axis that `multiples` cannot use.

    Examples
    --------
    >>> x = layered(np.arange(100) / 500, [100], [2000, 2500], [2000, 2000], frequency=40.0)
    >>> x.argmax(), x.max().round(3)
    (np.int64(50), np.float64(0.111))
    """
    t = np.asarray(t, float)
    time, r = reflectivity(thickness, velocity, density)
    f = np.asarray(frequency, float)[..., None]
    if multiples:
        return _all_paths(t, np.diff(time, axis=-1, prepend=0), r, f)
    through = np.cumprod(1 - r**2, axis=-1) / (1 - r**2)
    pulses = pulse(t - time[..., None], f[..., None])
    return ((r * through)[..., None] * pulses).sum(axis=-2)


def _all_paths(t: np.ndarray, crossing: np.ndarray, r: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Seismogram with every multiple; `crossing` is the two-way time through each layer."""
    n = len(t)
    if n < 2 or t[0] != 0 or not np.allclose(np.diff(t), t[-1] / (n - 1)):
        raise ValueError(
            "multiples need a time axis that starts at 0 and has even steps; use np.arange(n) / rate"
        )
    rate = (n - 1) / t[-1]
    # What comes after the end would wrap around; a small imaginary frequency fades it (Bouchon, 1981).
    size = 4 * n
    fade = np.log(1e6) * rate / size
    omega = 2 * np.pi * np.fft.rfftfreq(size, 1 / rate) - 1j * fade
    up = np.zeros(1)
    for i in reversed(range(r.shape[-1])):
        one = r[..., i, None]
        up = np.exp(-1j * omega * crossing[..., i, None]) * (one + up) / (1 + one * up)
    ratio = (omega / (2 * np.pi * f)) ** 2
    wavelet = 2 / np.sqrt(np.pi) * ratio / f * np.exp(-ratio)  # transform of the Ricker wavelet
    return np.fft.irfft(up * wavelet, size)[..., :n] * rate * np.exp(fade * t)


def reflections(
    n: int,
    *,
    layers: int = 6,
    velocity: tuple[float, float] = (1500.0, 4500.0),
    frequency: tuple[float, float] = (20.0, 50.0),
    rate: float = 500.0,
    duration: float = 1.0,
    multiples: bool = False,
    seed: int = 0,
) -> xr.Dataset:
    r"""Draw seismograms of layered ground at normal incidence, and keep the layers with them.

    Velocities are even in their range, densities follow :math:`\rho = 310\,v^{1/4}` (Gardner et al., 1974)
    within 5 %, and the reflections come at random times, wherever in the trace.

    Parameters
    ----------
    n : int
    layers : int
        Number of reflecting interfaces, so one less than velocities.
    velocity : (low, high) [m/s]
    frequency : (low, high) [Hz]
        Of the Ricker wavelet.
    rate : float [Hz]
    duration : float [s]
    multiples : bool
        As in `layered`.
    seed : int

    Returns
    -------
    Dataset
        ``seismogram`` and ``spikes``, the coefficients at their nearest samples, over ("trace", "time");
        ``coefficient``, ``seen`` (two-way time [s]) and ``thickness`` [m] over ("trace", "interface");
        ``velocity`` [m/s] and ``density`` [kg/m³] over ("trace", "layer"). The wavelet's `frequency` [Hz]
        is a coordinate of ``trace``.

    Examples
    --------
    >>> x = reflections(10, layers=3)
    >>> dict(x.sizes), x.seismogram.dims
    ({'trace': 10, 'time': 500, 'interface': 3, 'layer': 4}, ('trace', 'time'))
    """
    if layers < 1:
        raise ValueError(f"layers is {layers}; there must be at least one that reflects")
    n = number(n)
    drawn = draw(n, {"frequency": frequency}, seed)
    rng = np.random.default_rng((seed, 1))
    v = rng.uniform(*velocity, (n, layers + 1))
    rho = 310 * v**0.25 * rng.uniform(0.95, 1.05, v.shape)
    seen = np.sort(rng.uniform(0.05, 0.95, (n, layers)), axis=-1) * duration
    thickness = np.diff(seen, axis=-1, prepend=0) * v[:, :-1] / 2
    coefficient = reflectivity(thickness, v, rho)[1]
    time = np.arange(round(duration * rate)) / rate
    spikes = np.zeros((n, len(time)))
    np.add.at(spikes, (np.arange(n)[:, None], np.rint(seen * rate).astype(int)), coefficient)
    seismogram = layered(time, thickness, v, rho, drawn["frequency"], multiples=multiples)
    rows = {
        "seismogram": ("time", seismogram, "1"),
        "spikes": ("time", spikes, "1"),
        "coefficient": ("interface", coefficient, "1"),
        "seen": ("interface", seen, "s"),
        "thickness": ("interface", thickness, "m"),
        "velocity": ("layer", v, "m s-1"),
        "density": ("layer", rho, "kg m-3"),
    }
    words = {"frequency": ("Hz", "frequency of the wavelet")}
    return xr.Dataset(
        {name: (("trace", dim), values, {"units": units}) for name, (dim, values, units) in rows.items()},
        coordinates(drawn, words, time, {"units": "s", "long_name": "two-way time"}),
    )


def thin_bed(
    t: np.ndarray,
    thickness: np.ndarray,
    contrast: np.ndarray,
    frequency: np.ndarray,
    top: float,
    velocity: float,
) -> np.ndarray:
    """Evaluate the formula of `thin_beds`, analytic in its parameters: complex values are welcome."""
    r = (contrast - 1) / (contrast + 1)
    bottom = top + 2 * thickness / velocity
    return r * pulse(t - top, frequency) - r * (1 - r**2) * pulse(t - bottom, frequency)


def thin_beds(
    n: int | tuple[int, int, int],
    *,
    thickness: tuple[float, float] = (5.0, 60.0),
    contrast: tuple[float, float] = (1.1, 2.0),
    frequency: tuple[float, float] = (20.0, 40.0),
    velocity: float = 3000.0,
    rate: float = 500.0,
    duration: float = 0.256,
    seed: int = 0,
) -> xr.DataArray:
    r"""Draw reflections of a single bed in uniform ground: a small labelled set for the question of latents.

    :math:`r\,w(t - t_0) - r(1 - r^2)\,w(t - t_0 - 2h/v)` with the Ricker wavelet w and
    :math:`r = (c - 1)/(c + 1)`: thickness h, contrast of impedance c, frequency f. Beds thinner than a
    quarter wavelength, v/4f, change the amplitude rather than the shape (Widess, 1973), so there thickness
    and contrast are hard to tell apart; `cramer_rao` says how hard.

    Parameters
    ----------
    n : int or (int, int, int)
        A number draws that many at random; three numbers are a mesh of thickness by contrast by frequency.
    thickness : (low, high) [m]
    contrast : (low, high)
        Impedance of the bed over that of the ground around it.
    frequency : (low, high) [Hz]
        Of the Ricker wavelet.
    velocity : float [m/s]
        In the bed.
    rate : float [Hz]
    duration : float [s]
        The top is seen after a quarter of it.
    seed : int

    Returns
    -------
    DataArray, dims ("trace", "time")
        With `thickness`, `contrast` and `frequency` as coordinates of ``trace``.

    Raises
    ------
    ValueError
        When the deepest bottom would be seen after 90 % of the duration, or as in `damped_oscillations`.

    Examples
    --------
    >>> x = thin_beds(100)
    >>> dict(x.sizes), sorted(set(x.coords) - {"time"})
    ({'trace': 100, 'time': 128}, ['contrast', 'frequency', 'thickness'])
    """
    drawn = draw(n, {"thickness": thickness, "contrast": contrast, "frequency": frequency}, seed)
    top = duration / 4
    if not top + 2 * thickness[1] / velocity <= 0.9 * duration:
        least = 2 * thickness[1] / velocity / 0.65
        raise ValueError(
            f"{duration:g} s are too short for {thickness[1]:g} m; use duration={least:.3g} or more"
        )
    time = np.arange(round(duration * rate)) / rate
    words = {
        "thickness": ("m", "thickness"),
        "contrast": ("1", "impedance contrast"),
        "frequency": ("Hz", "frequency"),
    }
    attrs = {"units": "1", "signal": "thin bed", "top": top, "velocity": velocity}
    h, c, f = (drawn[name][:, None] for name in words)
    values = thin_bed(time, h, c, f, top=top, velocity=velocity)
    coords = coordinates(drawn, words, time, {"units": "s", "long_name": "two-way time"})
    return xr.DataArray(values, coords, ("trace", "time"), "reflection", attrs)


def gather(
    t: ArrayLike,
    offset: ArrayLike,
    t0: ArrayLike,
    v: ArrayLike,
    frequency: float = 30.0,
    strength: ArrayLike = 1.0,
) -> np.ndarray:
    r"""Give a gather of reflections with normal moveout, :math:`t(x) = \sqrt{t_0^2 + x^2/v^2}`.

    Parameters
    ----------
    t : array [s], shape (time,)
    offset : array [m], shape (trace,)
        Distance between source and receiver.
    t0, v, strength : float or array, shape (event,)
        Time at zero offset [s], moveout velocity [m/s], amplitude.
    frequency : float [Hz]
        Of the Ricker wavelet, the same at all offsets.

    Returns
    -------
    array, shape (trace, time)

    Examples
    --------
    >>> x = gather(np.arange(500) / 500, [0.0, 800.0], t0=[0.3, 0.6], v=2000.0)
    >>> x.shape, x[1, 250].round(3)
    ((2, 500), np.float64(1.0))
    """
    t, offset = np.asarray(t, float), np.asarray(offset, float)
    t0, v, strength = np.broadcast_arrays(*(np.atleast_1d(np.asarray(p, float)) for p in (t0, v, strength)))
    seen = np.sqrt(t0**2 + (offset[:, None] / v) ** 2)
    return (strength[:, None] * pulse(t - seen[..., None], np.asarray(frequency))).sum(axis=1)


def gathers(
    n: int | tuple[int, int],
    *,
    t0: tuple[float, float] = (0.2, 0.6),
    v: tuple[float, float] = (1500.0, 4000.0),
    offset: ArrayLike | None = None,
    frequency: float = 30.0,
    rate: float = 250.0,
    duration: float = 1.024,
    seed: int = 0,
) -> xr.DataArray:
    """Draw gathers of one reflection with normal moveout, every trace with its offset, t0 and v.

    Parameters
    ----------
    n : int or (int, int)
        A number draws that many gathers at random; a pair is a mesh of times by velocities.
    t0 : (low, high) [s]
    v : (low, high) [m/s]
    offset : array [m], shape (receiver,), optional
        ``np.arange(24) * 50`` if not given.
    frequency, rate : float [Hz]
    duration : float [s]
    seed : int

    Returns
    -------
    DataArray, dims ("trace", "time")
        Gather by gather, with `gather` (its number), `offset`, `t0` and `v` as coordinates of ``trace``.
        One gather is ``x[x.gather == 3]``.

    Examples
    --------
    >>> x = gathers(5)
    >>> dict(x.sizes), x.offset.values[:3], int(x.gather[-1])
    ({'trace': 120, 'time': 256}, array([ 0., 50., 100.]), 4)
    """
    along = np.arange(24) * 50.0 if offset is None else np.atleast_1d(np.asarray(offset, float))
    drawn = draw(n, {"t0": t0, "v": v}, seed)
    count = len(drawn["t0"])
    time = np.arange(round(duration * rate)) / rate
    table = {name: np.repeat(values, len(along)) for name, values in drawn.items()}
    table |= {"offset": np.tile(along, count), "gather": np.repeat(np.arange(count), len(along))}
    seen = np.sqrt(table["t0"] ** 2 + (table["offset"] / table["v"]) ** 2)
    words = {
        "gather": ("1", "number of the gather"),
        "offset": ("m", "offset"),
        "t0": ("s", "time at zero offset"),
        "v": ("m s-1", "moveout velocity"),
    }
    coords = coordinates(table, words, time, {"units": "s", "long_name": "two-way time"})
    data = pulse(time - seen[:, None], np.asarray(frequency))
    return xr.DataArray(data, coords, ("trace", "time"), "reflection", {"units": "1"})
