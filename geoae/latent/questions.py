"""What is asked about, as columns of numbers: parameters that are numbers, whole numbers or categories."""

from dataclasses import dataclass

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
        Each parameter's values; the number of its level, if it is a category.
    category : list of bool
    columns : array (trace, column)
        One column for a number; one for each level of a category. Those of a parameter add up to variance 1.
    owner : array (column,)
        Which parameter a column belongs to, ascending.
    """

    names: list[str]
    label: list[np.ndarray]
    category: list[bool]
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
        label, category = zip(*[_checked(name, codes[name].values) for name in names], strict=True)
        columns = [_columns(v, group) for v, group in zip(label, category, strict=True)]
        owner = np.repeat(np.arange(len(names)), [c.shape[1] for c in columns])
        return cls(names, list(label), list(category), np.hstack(columns), owner)

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
        if level is None and not self.category[j]:
            errors = statistics.unexplained(statistics.curve(self.label[j]), z, np.arange(z.shape[1]))
            return np.clip(errors.r2, 0, 1)
        level = np.unique(self.label[j], return_inverse=True)[1] if level is None else level
        share = statistics.between_levels(level, z)
        if exact:
            return share
        n, m = len(level), level.max() + 1
        return np.clip(1 - (1 - share) * (n - 1) / max(n - m, 1), 0, 1)

    def design(self) -> np.ndarray:
        """R2 (parameter, other) of one parameter from another: how far the design ties them together."""
        out = np.eye(len(self.names))
        for j, (values, category) in enumerate(zip(self.label, self.category, strict=True)):
            basis = _indicators(values) if category else statistics.curve(values)
            r2 = statistics.unexplained(basis, self.columns, self.owner).r2
            out[:, j] = np.clip(r2, 0, 1)
            out[j, j] = 1.0
        return out


def askable(codes: xr.Dataset) -> list[str]:
    """Coordinates of `trace` that can be asked about."""
    good = []
    for name in _along(codes):
        try:
            _checked(name, codes[name].values)
        except ValueError:
            continue
        good.append(name)
    return good


def _along(codes: xr.Dataset) -> list[str]:
    return [str(c) for c, v in codes.coords.items() if v.dims == ("trace",) and c != "trace"]


def _checked(name: str, values: np.ndarray) -> tuple[np.ndarray, bool]:
    """A parameter's values as numbers, and whether these stand for categories."""
    if values.dtype.kind in "OUSb":
        if any(v is None or v != v for v in values.tolist()):
            raise ValueError(f"parameter {name!r} is missing on some traces; leave them out")
        words, number = np.unique(values.astype(str), return_inverse=True)
        if len(words) > len(values) / 5:
            raise ValueError(
                f"parameter {name!r} holds {len(words)} different words on {len(values)} traces, such as "
                f"{words[0]!r}; a category needs five traces for each, and a number must be given as a number"
            )
        values, category = number, True
    elif values.dtype.kind in "iuf":
        values, category = values.astype(float), False
    else:
        raise ValueError(
            f"parameter {name!r} holds {values.dtype}, neither numbers nor words; give it as numbers"
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"parameter {name!r} is NaN or inf on {(~np.isfinite(values)).sum()} traces; leave them out"
        )
    if np.ptp(values) == 0:
        what = "the same word" if category else f"{values[0]:g}"
        raise ValueError(f"parameter {name!r} is {what} on every trace; there is nothing to attribute")
    return values, category


def _columns(values: np.ndarray, category: bool) -> np.ndarray:
    columns = (values[:, None] == np.unique(values)).astype(float) if category else values[:, None]
    columns = columns - columns.mean(0)
    return columns / np.sqrt(columns.var(0).sum())


def _indicators(values: np.ndarray) -> statistics.Basis:
    columns = (values[:, None] == np.unique(values)).astype(float)
    return statistics.Basis(columns, np.zeros((columns.shape[1],) * 2))
