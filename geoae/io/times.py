"""A time axis that is computed when asked for: exact to the nanosecond, and no bytes for long records."""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from xarray.core.indexes import CoordinateTransformIndex, IndexSelResult
from xarray.indexes import CoordinateTransform

from ..arrays import period_ns, sample_times

BLOCK = 65_536
DENSE = 5_000_000  # samples up to which the axis is written out, 40 MB


def time_axis(start: int, n: int, rate: float, *, dense: bool | None = None) -> xr.Coordinates:
    """Coordinate ``time``, start + round(i * 1e9 / rate) as datetime64[ns].

    Parameters
    ----------
    start : int [ns since 1970]
    n : int
    rate : float [Hz]
    dense : bool, optional
        Written out, or computed where it is looked at; if left out, written out up to ``DENSE`` samples.

    Examples
    --------
    >>> axis = time_axis(0, 10**9, 512.0)
    >>> axis["time"][-1].values
    np.datetime64('1970-01-23T14:32:04.998046875')
    """
    if n <= DENSE if dense is None else dense:
        return xr.Coordinates({"time": sample_times(np.datetime64(start, "ns"), n, rate)})
    return xr.Coordinates.from_xindex(TimeIndex(Times(start, n, rate)))


class Times(CoordinateTransform):
    """Sample numbers to times and back; `first` and `step` say which samples of a longer axis these are."""

    def __init__(self, start: int, n: int, rate: float, first: int = 0, step: int = 1) -> None:
        super().__init__(["time"], {"time": n}, dtype=np.dtype("datetime64[ns]"))
        self.start, self.n, self.rate, self.first, self.step = start, n, rate, first, step

    def forward(self, dim_positions: dict[str, Any]) -> dict[Hashable, Any]:
        """Times of samples."""
        number = self.first + np.asarray(dim_positions["time"]).astype(np.int64) * self.step
        period = period_ns(self.rate)
        if period.denominator == 1:
            ns = number * int(period)
        else:  # in blocks that begin at exact integers and are short enough for floats
            blocks, rest = np.divmod(number, BLOCK)
            some, back = np.unique(blocks, return_inverse=True)
            begins = [divmod(int(block) * BLOCK * period, 1) for block in some]
            whole = np.array([int(w) for w, _ in begins])[back].reshape(number.shape)
            part = np.array([float(p) for _, p in begins])[back].reshape(number.shape)
            ns = whole + np.floor(part + rest * float(period) + 0.5).astype(np.int64)
        return {"time": (self.start + ns).astype("datetime64[ns]")}

    def reverse(self, coord_labels: dict[Hashable, Any]) -> dict[str, Any]:
        """Sample numbers, with fractions, of times."""
        ns = np.asarray(coord_labels["time"]).astype("datetime64[ns]").astype(np.int64) - self.start
        return {"time": (ns / float(period_ns(self.rate)) - self.first) / self.step}

    def equals(self, other: CoordinateTransform, *, exclude: frozenset[Hashable] | None = None) -> bool:
        """Whether all times are the same."""
        return isinstance(other, Times) and self._key() == other._key()

    def part(self, piece: slice) -> "Times":
        """The axis of some of the samples."""
        kept = range(self.n)[piece]
        return Times(
            self.start, len(kept), self.rate, self.first + kept.start * self.step, self.step * kept.step
        )

    def _key(self) -> tuple:
        return self.start, self.n, self.rate, self.first, self.step


class TimeIndex(CoordinateTransformIndex):
    """An index over `Times` that slices by time as a pandas index does, both ends included."""

    transform: Times

    def isel(self, indexers: Mapping[Any, Any]) -> "TimeIndex | None":
        """The index of a slice; none of single samples."""
        piece = indexers["time"]
        return TimeIndex(self.transform.part(piece)) if isinstance(piece, slice) else None

    def sel(self, labels: dict[Any, Any], method: Any = None, tolerance: Any = None) -> IndexSelResult:
        """Places of a time or of a slice of times; a time between samples needs ``method="nearest"``."""
        label = labels["time"]
        if isinstance(label, slice):
            if label.step is not None:
                raise ValueError("a slice of times has no step; take every n-th sample with .isel")
            low = 0 if label.start is None else math.ceil(self._place(label.start, "left") - 1e-6)
            stop = self.transform.n
            high = stop if label.stop is None else math.floor(self._place(label.stop, "right") + 1e-6) + 1
            return IndexSelResult({"time": slice(min(max(low, 0), stop), min(max(high, 0), stop))})
        place = self.transform.reverse({"time": np.asarray(label).astype("datetime64[ns]")})["time"]
        nearest = np.rint(place).astype(np.int64)
        if method is None and np.any(np.abs(place - nearest) > 1e-3):
            raise KeyError(f"no sample at {label}; take the nearest with method='nearest'")
        if np.any((nearest < 0) | (nearest >= self.transform.n)):
            raise KeyError(f"{label} lies outside the record")
        return IndexSelResult({"time": nearest if np.ndim(nearest) else int(nearest)})

    def _place(self, moment: Any, side: str) -> float:
        """Where a moment lies; a date or an hour as text stands for the whole of it, as in pandas."""
        if isinstance(moment, str):
            period = pd.Period(moment)
            moment = period.start_time if side == "left" else period.end_time
        return float(self.transform.reverse({"time": pd.Timestamp(moment).to_datetime64()})["time"])

    def to_pandas_index(self) -> pd.DatetimeIndex:
        """The axis written out."""
        return pd.DatetimeIndex(self.transform.generate_coords()["time"], name="time")

    @classmethod
    def concat(cls, indexes: Any, dim: Hashable, positions: Any = None) -> Any:
        """One axis, if each goes on where the one before it ends; else they are written out."""
        parts = [index.transform for index in indexes]
        joined = parts[0]
        for part in parts[1:]:
            follows = joined.forward({"time": joined.n})["time"] == part.forward({"time": 0})["time"]
            if not follows or (part.rate, part.step) != (joined.rate, joined.step):
                raise ValueError("records do not follow one another without a gap; read them with geoae.read")
            joined = Times(joined.start, joined.n + part.n, joined.rate, joined.first, joined.step)
        return cls(joined)
