"""How well noise lets parameters be known: by any reader at all, before any network is trained."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from .curves import oscillation
from .earthquakes import arrival
from .reflections import thin_bed

# What attrs["signal"] says: the parameters, and how to compute the signal from them, complex ones too. The
# function takes the time axis, the parameters by name, each of shape (trace, 1), and the traces' attributes.
SIGNALS: dict[str, tuple[tuple[str, ...], Callable]] = {
    "damped oscillation": (
        ("k", "b"),
        lambda t, p, attrs: oscillation(t, p["k"], p["b"], form=attrs["form"]),
    ),
    "line": (("slope", "intercept"), lambda t, p, attrs: p["slope"] * t + p["intercept"]),
    "arrival": (("sp", "frequency"), lambda t, p, attrs: arrival(t, p["sp"], p["frequency"], attrs["p"])),
    "thin bed": (
        ("thickness", "contrast", "frequency"),
        lambda t, p, attrs: thin_bed(t, **p, top=attrs["top"], velocity=attrs["velocity"]),
    ),
}

CIRCLE = np.exp(1j * np.pi * np.array([1, 3, 5]) / 6)  # half of one: the other half gives the conjugate
NODES = 10_000  # of the grid that stands for the prior
PAIRS = 1500  # of a trace and a draw of noise


def cramer_rao(traces: xr.DataArray, noise: float) -> xr.Dataset:
    r"""Tell how well each parameter of each trace can be known, and where not at all.

    White Gaussian noise of standard deviation :math:`\sigma` leaves an unbiased estimate of parameter p
    with no less than the Cramér-Rao bound :math:`\sqrt{(F^{-1})_{pp}}`, where
    :math:`F = J^\top J / \sigma^2` and J holds the derivatives of the trace by its parameters. These are
    Cauchy integrals on a small circle in the complex plane, exact to rounding (Fornberg, 1981).

    Parameters
    ----------
    traces : DataArray, dims ("trace", "time")
        From `damped_oscillations`, `lines`, `arrivals` or `thin_beds`; only their labels are used, so noisy
        ones will do.
    noise : float
        Standard deviation of the noise, in the units of the traces; 0 asks for exact twins alone.

    Returns
    -------
    Dataset over (trace, parameter), the parameters along
        ``bound``, a standard deviation, in the units of the parameter; infinite where the trace does not
        depend on it. ``identifiable``: the bound is less than half the standard deviation of an even draw
        from the range that the parameter has on these traces, and no other value in that range gives the
        same trace. The lecture's form has such twins, k and :math:`b^4/16k`.

    Raises
    ------
    ValueError
        For traces that do not say how they were made, or negative noise.

    Examples
    --------
    >>> from geoae.synth import damped_oscillations
    >>> x = damped_oscillations((30, 30), b=(0, 5), form="lecture")
    >>> limits = cramer_rao(x, noise=0.05)
    >>> limits.identifiable.mean("trace").sel(parameter=["k", "b"]).values.round(2)
    array([0.63, 0.99])
    """
    _check(noise)
    names, signal = _signal(traces)
    values = _values(traces, names)
    scale = np.where(values == 0, 1, np.abs(values))
    slopes = _derivatives(signal, values, scale, traces["time"].values.astype(float))
    std = np.stack([scale[j] * _bound(slopes, j, noise) for j in range(len(names))], axis=-1)
    width = [float(traces[name].max() - traces[name].min()) / np.sqrt(12) for name in names]
    known = std < np.array(width) / 2
    if traces.attrs["signal"] == "damped oscillation" and traces.attrs["form"] == "lecture":
        known[:, names.index("k")] &= ~_has_twin(traces["k"].values, traces["b"].values)
    return xr.Dataset(
        {"bound": (("trace", "parameter"), std), "identifiable": (("trace", "parameter"), known)},
        coords={"parameter": list(names)} | {name: traces[name] for name in names},
        attrs={"noise": float(noise)},
    )


def _has_twin(k: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether another stiffness in the range of k gives the same cosine, of frequency -sqrt(k)(1 - b²/4k)."""
    twin = b**4 / (16 * k)
    return (twin >= k.min()) & (twin <= k.max()) & ~np.isclose(twin, k)


def ceiling(traces: xr.DataArray, noise: float, *, seed: int = 0) -> dict[str, float]:
    r"""Share of each parameter's variance that the best possible reader of noisy traces explains.

    That reader gives the mean of the exact posterior, by Bayes' rule over a grid of 10 000 parameter values
    spread evenly over the ranges that the parameters have on these traces. Its :math:`R^2` is
    :math:`1 - \overline{\mathrm{Var}(p | x)} / \mathrm{Var}\,p`, the posterior's variance averaged over
    traces with noise added. What a latent tells is to be held against it: with much noise, 0.7 may be a
    perfect answer. Good to 0.01.

    Parameters
    ----------
    traces : DataArray, dims ("trace", "time")
        From `damped_oscillations`, `lines`, `arrivals` or `thin_beds`; only their labels are used, so noisy
        ones will do.
    noise : float
        Standard deviation of the noise, in the units of the traces, above 0.
    seed : int
        Of the noise.

    Returns
    -------
    dict
        From the parameter to its :math:`R^2`; NaN for one that is the same on all traces.

    Raises
    ------
    ValueError
        For traces that do not say how they were made, or noise that is not above 0.

    Examples
    --------
    >>> from geoae.synth import damped_oscillations
    >>> x = damped_oscillations((30, 30), b=(0, 5))
    >>> {name: round(r2, 1) for name, r2 in ceiling(x, noise=0.12).items()}
    {'k': 0.7, 'b': 0.9}
    """
    _check(noise, above=True)
    names, signal = _signal(traces)
    time = traces["time"].values.astype(float)
    values = _values(traces, names)
    nodes = _grid(values)
    shapes = np.real(signal(nodes, time))
    energy = (shapes**2).sum(-1) / 2
    rng = np.random.default_rng(seed)
    count = values.shape[1]
    drawn = rng.choice(count, PAIRS, replace=False) if count > PAIRS else np.resize(np.arange(count), PAIRS)
    truth = values[:, drawn]
    left = np.zeros(len(names))
    for block in np.array_split(truth, PAIRS // 200, axis=1):
        clean = np.real(signal(block, time))
        noisy = clean + noise * rng.standard_normal(clean.shape)
        score = (noisy @ shapes.T - energy) / noise**2  # log posterior, up to what all nodes share
        weight = np.exp(score - score.max(axis=1, keepdims=True))
        total = weight.sum(axis=1, keepdims=True)
        best = weight @ nodes.T / total
        left += (weight @ nodes.T**2 / total - best**2).sum(axis=0)
    spread = values.var(axis=1)
    r2 = np.where(spread > 0, 1 - left / PAIRS / np.where(spread > 0, spread, 1), np.nan)
    return dict(zip(names, r2.tolist(), strict=True))


def _grid(truth: np.ndarray) -> np.ndarray:
    """Evenly spaced parameters (parameter, node) over the ranges of the true ones."""
    ranges = list(zip(truth.min(axis=1), truth.max(axis=1), strict=True))
    varied = sum(low < high for low, high in ranges)
    count = round(NODES ** (1 / max(varied, 1)))
    axes = [np.linspace(low, high, count if low < high else 1) for low, high in ranges]
    return np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")])


def _check(noise: float, above: bool = False) -> None:
    if not (noise > 0 if above else noise >= 0):
        raise ValueError(f"noise is {noise}; it must be {'above' if above else 'at least'} 0")


def _signal(traces: xr.DataArray) -> tuple[tuple[str, ...], Callable]:
    """Names of the parameters, and the function from those (parameter, trace) and time to traces."""
    kind = traces.attrs.get("signal")
    if kind not in SIGNALS:
        raise ValueError(
            f"these traces say signal={kind!r} in their attrs; it must be one of {', '.join(SIGNALS)}: "
            "use traces as geoae.synth made them"
        )
    names, formula = SIGNALS[kind]
    missing = [name for name in names if name not in traces.coords]
    if missing:
        raise ValueError(f"the traces carry no {', '.join(missing)}; use traces as geoae.synth made them")

    def signal(values: np.ndarray, time: np.ndarray) -> np.ndarray:
        return formula(time, dict(zip(names, values[..., None], strict=True)), traces.attrs)

    return names, signal


def _values(traces: xr.DataArray, names: tuple[str, ...]) -> np.ndarray:
    return np.stack([np.atleast_1d(traces[name].values).astype(float) for name in names])


def _derivatives(signal: Callable, values: np.ndarray, scale: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Derivative of each trace by each parameter, in units of its scale: (trace, time, parameter)."""
    slopes = np.zeros((values.shape[1], len(time), len(values)))
    radius = 0.01
    for j in range(len(values)):
        for point in CIRCLE:
            moved = values.astype(complex)
            moved[j] += radius * scale[j] * point
            slopes[..., j] += np.real(signal(moved, time) / point) / (len(CIRCLE) * radius)
    return slopes


def _bound(slopes: np.ndarray, j: int, noise: float) -> np.ndarray:
    """Bound of one parameter: the noise over that part of its effect that no other parameter can make."""
    size = np.linalg.norm(slopes, axis=1, keepdims=True)
    unit = slopes / np.where(size > 0, size, 1)
    own, others = unit[..., j], np.delete(unit, j, axis=-1)
    overlap = others.swapaxes(1, 2)
    shared = others @ np.linalg.pinv(overlap @ others, 1e-12, hermitian=True) @ (overlap @ own[..., None])
    alone = np.linalg.norm(own - shared[..., 0], axis=-1) * size[:, 0, j]
    seen = alone > 1e-9 * size.max()
    return np.where(seen, noise / np.where(seen, alone, 1), np.inf)
