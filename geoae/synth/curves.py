"""Damped oscillations and straight lines: the simplest signals with two parameters."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from .draws import axis, coordinates, draw

FORMS = ("physical", "lecture", "cosine")


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
    return np.real(oscillation(t, k, b, m, amplitude, form))


def oscillation(
    t: np.ndarray, k: np.ndarray, b: np.ndarray, m: Any = 1.0, amplitude: Any = 1.0, form: str = "physical"
) -> np.ndarray:
    """Evaluate the formulas of `damped_oscillation`, analytic in k and b: complex values are welcome."""
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
    return amplitude * np.exp((s - decay) * t) * swing


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
        With `k` and `b` as coordinates of ``trace``; what noise leaves of them to be known is told by
        `cramer_rao` and `ceiling`.

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
    time = np.linspace(0, 10, 50) if t is None else axis(t, "t")
    drawn = draw(n, {"k": k, "b": b}, seed)
    labels = {"k": ("N m-1", "stiffness"), "b": ("N s m-1", "damping")}
    return xr.DataArray(
        damped_oscillation(time, drawn["k"], drawn["b"], form=form),
        dims=("trace", "time"),
        coords=coordinates(drawn, labels, time, {"units": "s", "long_name": "time"}),
        name="displacement",
        attrs={"units": "m", "signal": "damped oscillation", "form": form},
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
    along = np.linspace(-10, 10, 50) if x is None else axis(x, "x")
    drawn = draw(n, {"slope": slope, "intercept": intercept}, seed)
    labels = {"slope": ("1", "slope"), "intercept": ("1", "intercept")}
    return xr.DataArray(
        drawn["slope"][:, None] * along + drawn["intercept"][:, None],
        dims=("trace", "time"),
        coords=coordinates(drawn, labels, along, {"units": "1", "long_name": "x"}),
        name="y",
        attrs={"units": "1", "signal": "line"},
    )
