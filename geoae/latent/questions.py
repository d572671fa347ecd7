"""What is asked about, as columns of numbers: parameters that are numbers, angles or categories."""

from dataclasses import dataclass
from numbers import Real

import numpy as np
import xarray as xr

from . import statistics


@dataclass(frozen=True)
class Questions:
    """Parameters of traces, ready to be fitted.

    Attributes
    ----------
    names : list of str
    label : list of array (trace,)
        Each parameter's values; the number of its level, if it is a category; radians, if it is an angle.
    kind : list of str
        ``number``, ``category``, or ``angle`` where the coordinate tells its ``period``.
    columns : array (trace, column)
        One column for a number; one for each level of a category; cosine and sine of an angle. Those of a
        parameter add up to variance 1.
    owner : array (column,)
        Which parameter a column belongs to, ascending.
    """

    names: list[str]
    label: list[np.ndarray]
    kind: list[str]
    columns: np.ndarray
    owner: np.ndarray

    @classmethod
    def of(cls, codes: xr.Dataset, names: list[str], fewest: int) -> "Questions":
        """Take the named coordinates of `trace`, after a check."""
        known = _along(codes)
        for name in names:
            if name not in known:
                raise KeyError(
                    f"the codes carry no parameter {name!r}; they carry {', '.join(known) or 'none'}"
                )
        if not names:
            raise ValueError(f"no parameter to ask about; the codes carry {', '.join(known) or 'none'}")
        if codes.sizes["trace"] < fewest:
            raise ValueError(
                f"{codes.sizes['trace']} traces are too few to tell anything; give {fewest} or more"
            )
        label, kind = zip(*[_checked(codes[name]) for name in names], strict=True)
        columns = [_scaled(_columns(values, of)) for values, of in zip(label, kind, strict=True)]
        owner = np.repeat(np.arange(len(names)), [c.shape[1] for c in columns])
        return cls(names, list(label), list(kind), np.hstack(columns), owner)

    def levels(self, j: int) -> np.ndarray | None:
        """Number of each trace's level, where levels have five traces or more on average."""
        values, level = np.unique(self.label[j], return_inverse=True)
        return level if len(values) <= len(level) / 5 else None

    def mesh(self) -> list[int]:
        """Parameters that span a mesh on which each combination is there equally often; if any."""
        axes = [j for j in range(len(self.names)) if self.levels(j) is not None]
        return (
            axes if statistics.is_mesh([level for j in axes if (level := self.levels(j)) is not None]) else []
        )

    def share_of(self, z: np.ndarray, j: int, exact: bool) -> np.ndarray:
        """First-order Sobol index of a parameter on each latent, Var(E[z|y]) / Var(z).

        On a mesh of all that varies it is exact; between the levels of another design, corrected for their
        number; else by a smooth curve.
        """
        level = self.levels(j)
        if level is None and self.kind[j] != "category":
            errors = statistics.unexplained(self.basis(j), z, np.arange(z.shape[1]))
            return np.clip(errors.r2, 0, 1)
        level = np.unique(self.label[j], return_inverse=True)[1] if level is None else level
        share = statistics.between_levels(level, z)
        if exact:
            return share
        n, m = len(level), level.max() + 1
        return np.clip(1 - (1 - share) * (n - 1) / max(n - m, 1), 0, 1)

    def basis(self, j: int) -> statistics.Basis:
        """Functions of a parameter: smooth ones, of a category any."""
        if self.kind[j] == "category":
            columns = _columns(self.label[j], "category")
            return statistics.Basis(columns, np.zeros((columns.shape[1],) * 2))
        return statistics.curve(self.label[j])

    def design(self) -> np.ndarray:
        """R2 (parameter, other) of one parameter from another: how far the design ties them together."""
        out = np.eye(len(self.names))
        for j in range(len(self.names)):
            r2 = statistics.unexplained(self.basis(j), self.columns, self.owner).r2
            out[:, j] = np.clip(r2, 0, 1)
            out[j, j] = 1.0
        return out


def askable(codes: xr.Dataset) -> list[str]:
    """Coordinates of `trace` that can be asked about."""
    good = []
    for name in _along(codes):
        try:
            _checked(codes[name])
        except ValueError:
            continue
        good.append(name)
    return good


def _along(codes: xr.Dataset) -> list[str]:
    return [str(c) for c, v in codes.coords.items() if v.dims == ("trace",) and c != "trace"]


def _checked(parameter: xr.DataArray) -> tuple[np.ndarray, str]:
    """A parameter's values as numbers, and what kind of question these are."""
    name, values, kind = str(parameter.name), parameter.values, "number"
    if values.dtype.kind in "OUSb":
        if any(v is None or v != v for v in values.tolist()):
            raise ValueError(f"parameter {name!r} is missing on some traces; leave them out")
        words, number = np.unique(values.astype(str), return_inverse=True)
        if len(words) > len(values) / 5:
            raise ValueError(
                f"parameter {name!r} holds {len(words)} different words on {len(values)} traces, such as "
                f"{words[0]!r}; a category needs five traces for each, and a number must be given as a number"
            )
        values, kind = number, "category"
    elif values.dtype.kind not in "iuf":
        raise ValueError(
            f"parameter {name!r} holds {values.dtype}, neither numbers nor words; give it as numbers"
        )
    values = values.astype(float)
    if not np.isfinite(values).all():
        raise ValueError(
            f"parameter {name!r} is NaN or inf on {(~np.isfinite(values)).sum()} traces; leave them out"
        )
    if np.ptp(values) == 0:
        what = "the same word" if kind == "category" else f"{values[0]:g}"
        raise ValueError(f"parameter {name!r} is {what} on every trace; there is nothing to attribute")
    if kind == "number" and "period" in parameter.attrs:
        period = parameter.attrs["period"]
        if not isinstance(period, Real) or not float(period) > 0:
            raise ValueError(
                f"parameter {name!r} goes round in {period!r}; give a number above 0, such as 360"
            )
        return 2 * np.pi * (values / float(period) % 1), "angle"
    return values, kind


def _columns(values: np.ndarray, kind: str) -> np.ndarray:
    if kind == "category":
        return (values[:, None] == np.unique(values)).astype(float)
    return np.stack([np.cos(values), np.sin(values)], 1) if kind == "angle" else values[:, None]


def _scaled(columns: np.ndarray) -> np.ndarray:
    columns = columns - columns.mean(0)
    return columns / np.sqrt(columns.var(0).sum())
