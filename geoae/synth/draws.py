"""Parameters on a mesh or at random, and the coordinates that carry them."""

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def axis(values: ArrayLike, name: str) -> np.ndarray:
    """One row of numbers, such as times."""
    row = np.asarray(values, float)
    if row.ndim != 1 or row.size == 0:
        raise ValueError(f"{name} has shape {row.shape}; it must be one row of numbers, shape (time,)")
    return row


def number(n: Any) -> int:
    """How many to draw at random."""
    if isinstance(n, tuple):
        raise ValueError(f"n is {n}, but these come in no mesh; give one number")
    if (count := operator.index(n)) < 1:
        raise ValueError(f"n is {n}; draw at least one trace")
    return count


def draw(n: Any, ranges: dict[str, tuple[float, float]], seed: int) -> dict[str, np.ndarray]:
    """Parameters on a mesh (n a tuple, one count per range) or at random (n a number)."""
    for name, limits in ranges.items():
        if np.shape(limits) != (2,) or not limits[0] <= limits[1]:
            raise ValueError(f"{name} is {limits}; it must be a range (low, high)")
    if not isinstance(n, tuple):
        count = number(n)
        rng = np.random.default_rng(seed)
        return {name: rng.uniform(*limits, count) for name, limits in ranges.items()}
    if len(n) != len(ranges) or min(map(operator.index, n)) < 1:
        wanted = f"{len(ranges)} positive numbers, one each for {', '.join(ranges)}"
        raise ValueError(f"n is {n}; a mesh needs {wanted}")
    axes = [np.linspace(*limits, count) for limits, count in zip(ranges.values(), n, strict=True)]
    mesh = np.meshgrid(*axes, indexing="ij")
    return {name: values.ravel() for name, values in zip(ranges, mesh, strict=True)}


def coordinates(parameters: dict, labels: dict, time: np.ndarray, attrs: dict) -> dict[str, Any]:
    """Coordinates of traces: the time axis, and each parameter with its unit and name."""
    return {"time": ("time", time, attrs)} | {
        name: ("trace", np.asarray(parameters[name]), {"units": units, "long_name": words})
        for name, (units, words) in labels.items()
    }
