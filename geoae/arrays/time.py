"""The time axis: its rate, its samples, the sample nearest to a moment."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

NS = 1_000_000_000
BLOCK = 65_536


def sampling_rate(da: xr.DataArray) -> float:
    """Measure the samples per second [Hz] on the ``time`` coordinate (float seconds or datetime64).

    Steps count as even when each is within a thousandth of the median step, plus the rounding of the axis
    itself (2 ns for datetimes, 4 machine epsilons of the largest time for floats). Of all rates the rounded
    first and last time allow, the simplest fraction is returned: a 512 Hz axis in whole nanoseconds, whose
    steps are 1953125 ns, and one of 3 Hz, whose steps are 333333333 or 333333334 ns, give 512.0 and 3.0.

    Raises
    ------
    ValueError
        Without a ``time`` coordinate, with fewer than two samples, or with uneven steps (the message names
        the index of the sample before the first one).

    Examples
    --------
    >>> sampling_rate(xr.DataArray(np.zeros(50), coords={"time": np.linspace(0, 10, 50)}))
    4.9
    """
    time = time_axis(da)
    if len(time) < 2:
        raise ValueError(f"a sampling rate needs at least two samples, found {len(time)}")
    if time.dtype.kind == "M":
        time, unit, rounding = time.astype("datetime64[ns]", copy=False).view(np.int64), NS, 1.0
    else:
        unit, rounding = 1, 2 * float(np.finfo(time.dtype).eps * np.abs(time[[0, -1]]).max())
        time = time.astype(float, copy=False)
    if not np.isfinite(time).all():
        raise ValueError(f"time is not a number at sample {int(np.argmin(np.isfinite(time)))}")
    # a day of samples is many: one array of steps at a time
    median = float(np.median(np.diff(time), overwrite_input=True))
    off = np.diff(time).astype(float, copy=False)
    off -= median
    uneven = ~(np.abs(off, out=off) <= 1e-3 * abs(median) + 2 * rounding)  # ~ so that NaN is uneven too
    if uneven.any():
        i = int(np.argmax(uneven))
        step = (time[i + 1] - time[i]) / unit
        raise ValueError(
            f"uneven time steps: {step:.9g} s after sample {i}, elsewhere {median / unit:.9g} s; "
            "select an even piece with .isel(time=slice(start, stop))"
        )
    if median <= 0:
        raise ValueError("time does not increase; sort it with .sortby('time')")
    span = Fraction((time[-1] - time[0]).item())
    slack = min(Fraction(rounding), span / 2)
    count = (len(time) - 1) * unit
    return float(_simplest_between(count / (span + slack), count / (span - slack)))


def time_axis(da: xr.DataArray) -> np.ndarray:
    """Values of the time coordinate: datetimes or floats."""
    if "time" not in da.coords or da["time"].ndim != 1:
        raise ValueError("data has no 'time' coordinate; give it one: data.assign_coords(time=...)")
    time = da["time"].values
    return time if time.dtype.kind in "Mf" else time.astype(float)


def _simplest_between(low: Fraction, high: Fraction) -> Fraction:
    """Fraction with the smallest denominator in [low, high], by continued fractions."""
    whole = math.floor(low)
    if low == whole or whole + 1 <= high:
        return Fraction(whole if low == whole else whole + 1)
    return whole + 1 / _simplest_between(1 / (high - whole), 1 / (low - whole))


def sample_times(start: Any, n: int, rate: float) -> np.ndarray:
    """Give the times of n samples from `start` on: floats in s, or datetime64[ns] where `start` is one.

    Datetimes are start + round(i * 1e9 / rate), each rounded once from the exact product, so that a long
    record never drifts from its rate.

    Examples
    --------
    >>> sample_times(np.datetime64("2020-01-01"), 3, 3.0).astype("datetime64[ms]")[-1]
    np.datetime64('2020-01-01T00:00:00.666')
    """
    if not isinstance(start, np.datetime64):
        return start + np.arange(n) / rate
    period = period_ns(rate)
    if period.denominator == 1:
        return start.astype("datetime64[ns]") + (np.arange(n) * int(period)).view("timedelta64[ns]")
    # Blocks start at exact integers and are short enough for float64 to be exact within each.
    starts = [divmod(i * period, 1) for i in range(0, n, BLOCK)]
    whole = np.array([[int(w)] for w, _ in starts], dtype=np.int64).reshape(-1, 1)
    part = np.array([[float(p)] for _, p in starts]).reshape(-1, 1)
    within = np.floor(part + np.arange(min(n, BLOCK)) * float(period) + 0.5).astype(np.int64)
    within += whole
    ns = within.ravel()[:n]
    return start.astype("datetime64[ns]") + ns.view("timedelta64[ns]")


def period_ns(rate: float) -> Fraction:
    """Give the exact nanoseconds per sample at a rate [Hz]; 1/3 Hz means a third, not its nearest float.

    Examples
    --------
    >>> period_ns(512.0), period_ns(1 / 3)
    (Fraction(1953125, 1), Fraction(3000000000, 1))
    """
    rational = Fraction(rate).limit_denominator(1_000_000)
    return NS / (rational if float(rational) == rate else Fraction(rate))


def position(origin: Any, moment: Any, rate: float) -> int:
    """Index of the sample nearest to a moment, counted from `origin`."""
    if not isinstance(origin, np.datetime64):
        return round((float(moment) - float(origin)) * rate)
    if hasattr(moment, "ns"):  # an obspy UTCDateTime
        ns = moment.ns
    else:
        try:
            ns = nanoseconds(np.datetime64(moment, "ns"))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{moment!r} is no time; this record has dates, so write {str(origin)[:19]!r}"
            ) from error
    return round((ns - nanoseconds(origin)) / period_ns(rate))


def moment_of(origin: Any, i: int, rate: float) -> Any:
    """Time of sample i, counted from `origin`; the inverse of `position`."""
    if not isinstance(origin, np.datetime64):
        return origin + i / rate
    return np.datetime64(nanoseconds(origin) + math.floor(i * period_ns(rate) + Fraction(1, 2)), "ns")


def nanoseconds(moment: np.datetime64) -> int:
    """Nanoseconds since 1970, a whole number."""
    return moment.astype("datetime64[ns]").astype(np.int64).item()


def samples(length: Any, rate: float, name: str = "length") -> int:
    """Number of samples in a length: a whole number of them, or a duration such as "30s"."""
    if isinstance(length, int | np.integer):
        return int(length)
    try:
        return round(pd.Timedelta(length).total_seconds() * rate)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name} is {length!r}; it must be a number of samples, or a duration such as '30s'"
        ) from error


def noted(da: xr.DataArray, line: str) -> dict:
    """Attributes of `da` with one more line of history."""
    old = da.attrs.get("history")
    return {**da.attrs, "history": f"{old}\n{line}" if old else line}
