"""Labels and plain numbers: batches, sampling rate, resampling, cutting, windows.

A *batch* is a float32, C-contiguous array of shape (trace, channel, time), made from labelled data by
`to_batch` and undone by `from_batch`. The ``time`` coordinate is the only source of the sampling rate.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.signal import resample_poly

NS = 1_000_000_000
BLOCK = 65_536


def to_batch(da: xr.DataArray) -> np.ndarray:
    """Float32 batch of shape (trace, channel, time) from a labelled array, whatever the order of its dims.

    All dims but ``channel`` and ``time`` are flattened, in their order, to traces; without a ``channel``
    dim there is one channel.

    Raises
    ------
    ValueError
        Without a ``time`` dim.

    Examples
    --------
    >>> to_batch(xr.DataArray(np.zeros((50, 3, 2)), dims=("time", "channel", "event"))).shape
    (2, 3, 50)
    """
    dims = _batch_dims(da)
    values = da.transpose(*dims).values
    traces = math.prod(da.sizes[d] for d in dims if d not in ("channel", "time"))
    channels = da.sizes.get("channel", 1)
    return np.ascontiguousarray(values.reshape(traces, channels, da.sizes["time"]), dtype=np.float32)


def from_batch(values: np.ndarray, like: xr.DataArray) -> xr.DataArray:
    """Labelled array with the labels, dims and order of `like` and the numbers of a batch.

    The inverse of `to_batch`. Floating dtypes are kept as in `like`; where `like` holds integers the dtype
    of `values` stays, so that nothing is rounded.

    Raises
    ------
    ValueError
        When `values` does not have the shape that ``to_batch(like)`` has.

    Examples
    --------
    >>> da = xr.DataArray(np.arange(6.0).reshape(2, 3), dims=("time", "trace"))
    >>> from_batch(2 * to_batch(da), da).values
    array([[ 0.,  2.,  4.],
           [ 6.,  8., 10.]])
    """
    dims = _batch_dims(like)
    shape = [like.sizes[d] for d in dims]
    traces = math.prod(like.sizes[d] for d in dims if d not in ("channel", "time"))
    wanted = (traces, like.sizes.get("channel", 1), like.sizes["time"])
    if np.shape(values) != wanted:
        raise ValueError(f"values have shape {np.shape(values)}, the labels need {wanted}")
    dtype = like.dtype if like.dtype.kind == "f" else values.dtype
    numbers = xr.DataArray(np.reshape(values, shape), dims=dims).transpose(*like.dims)
    return like.copy(data=numbers.values.astype(dtype))


def _batch_dims(da: xr.DataArray) -> list:
    if "time" not in da.dims:
        raise ValueError(f"data needs a 'time' dimension, found {da.dims}; rename one: data.rename(x='time')")
    last = [d for d in ("channel", "time") if d in da.dims]
    return [d for d in da.dims if d not in last] + last


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
    time = _time_axis(da)
    if len(time) < 2:
        raise ValueError(f"a sampling rate needs at least two samples, found {len(time)}")
    if time.dtype.kind == "M":
        time, unit, rounding = time.astype("datetime64[ns]").astype(np.int64), NS, 1.0
    else:
        unit, rounding = 1, 2 * float(np.finfo(time.dtype).eps * np.abs(time[[0, -1]]).max())
        time = time.astype(float)
    if not np.isfinite(time).all():
        raise ValueError(f"time is not a number at sample {int(np.argmin(np.isfinite(time)))}")
    steps = np.diff(time)
    median = float(np.median(steps))
    uneven = ~(np.abs(steps - median) <= 1e-3 * abs(median) + 2 * rounding)  # ~ so that NaN is uneven too
    if uneven.any():
        i = int(np.argmax(uneven))
        raise ValueError(
            f"uneven time steps: {steps[i] / unit:.9g} s after sample {i}, elsewhere {median / unit:.9g} s; "
            "select an even piece with .isel(time=slice(start, stop))"
        )
    if median <= 0:
        raise ValueError("time does not increase; sort it with .sortby('time')")
    span = Fraction((time[-1] - time[0]).item())
    slack = min(Fraction(rounding), span / 2)
    count = (len(time) - 1) * unit
    return float(_simplest_between(count / (span + slack), count / (span - slack)))


def _time_axis(da: xr.DataArray) -> np.ndarray:
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


def resample(da: xr.DataArray, rate: float) -> xr.DataArray:
    """Bring data to another sampling rate [Hz], without phase shift.

    Polyphase filtering (`scipy.signal.resample_poly`, a linear-phase FIR low-pass at the lower of the two
    Nyquist frequencies, centred). The first sample keeps its time; the mean of each row is set aside
    meanwhile, so that the ends of a record with an offset do not ring. A gap (NaN) grows on either side by
    the filter's half length, ten samples of the slower rate.

    Raises
    ------
    ValueError
        When the ratio of the rates is no fraction with numbers up to 10 000.

    Examples
    --------
    >>> da = xr.DataArray(np.ones(200), coords={"time": np.arange(200) / 100})
    >>> resample(da, 50).sizes["time"], sampling_rate(resample(da, 50))
    (100, 50.0)
    """
    old = sampling_rate(da)
    if rate == old:
        return da.copy()
    if not 0 < rate < math.inf:
        raise ValueError(f"rate is {rate}, it must be a positive number of samples per second")
    ratio = Fraction(rate / old).limit_denominator(10_000)
    if ratio.numerator > 10_000 or abs(float(ratio) * old / rate - 1) > 1e-9:
        raise ValueError(f"no small fraction leads from {old:g} Hz to {rate:.12g} Hz; choose a rounder rate")
    values = da.transpose(..., "time").values
    values = values if values.dtype.kind == "f" else values.astype(float)
    valid = np.isfinite(values)
    count = np.maximum(valid.sum(-1, keepdims=True), 1)
    mean = np.where(valid, values, 0).sum(-1, keepdims=True) / count
    values = resample_poly(values - mean, ratio.numerator, ratio.denominator, axis=-1) + mean
    dims = [d for d in da.dims if d != "time"]
    coords: dict[Any, Any] = {name: c for name, c in da.coords.items() if "time" not in c.dims}
    coords["time"] = ("time", sample_times(da["time"].values[0], values.shape[-1], rate), da["time"].attrs)
    out = xr.DataArray(
        values, coords, [*dims, "time"], da.name, _noted(da, f"resample: {old:g} to {rate:g} Hz")
    )
    return out.transpose(*da.dims)


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


def cut(da: xr.DataArray, starts: Sequence, length: int | str | np.timedelta64) -> xr.DataArray:
    """Cut equal pieces out of a record: dims ("trace", ["channel",] "time") with a coordinate ``start``.

    Parameters
    ----------
    da : DataArray with a ``time`` dim
    starts : sequence of times, of the kind of the time axis
        Each piece begins at the sample nearest to its start (an obspy UTCDateTime will do).
    length : int [samples] or a duration such as "30s"

    Returns
    -------
    DataArray
        ``time`` in s from each piece's first sample, whose own time is ``start``. A piece that reaches
        beyond the record is filled with NaN there.

    Raises
    ------
    ValueError
        When a piece lies outside the record altogether, or `length` is shorter than one sample.

    Examples
    --------
    >>> day = xr.DataArray(np.arange(100.0), coords={"time": np.arange(100) / 10})
    >>> cut(day, [2.0, 5.0], 3).values
    array([[20., 21., 22.],
           [50., 51., 52.]])
    """
    rate = sampling_rate(da)
    n = length if isinstance(length, int | np.integer) else round(pd.Timedelta(length).total_seconds() * rate)
    if n < 1:
        raise ValueError(f"length {length!r} is {n} samples at {rate:g} Hz; it must be at least one")
    axis, size = _time_axis(da), da.sizes["time"]
    first = np.array([_position(axis[0], start, rate) for start in starts], dtype=np.int64)
    for start, i in zip(starts, first.tolist(), strict=True):
        if i + n <= 0 or i >= size:
            raise ValueError(
                f"start {start} lies outside the record, which runs from {axis[0]} to {axis[-1]}"
            )
    columns = first[:, None] + np.arange(n)
    known = (columns >= 0) & (columns < size)
    pieces = da.drop_vars("time").isel(time=xr.DataArray(columns.clip(0, size - 1), dims=("trace", "time")))
    if not known.all():
        pieces = pieces.where(xr.DataArray(known, dims=("trace", "time")))
    begins = np.array([_moment(axis[0], i, rate) for i in first.tolist()], dtype=axis.dtype)
    pieces = pieces.assign_coords(
        start=("trace", begins, {"long_name": "time of the first sample"}),
        time=("time", np.arange(n) / rate, {"units": "s"}),
    )
    pieces.attrs = _noted(da, f"cut: {len(first)} pieces of {n} samples")
    return pieces.transpose("trace", ..., "time")


def _position(origin: Any, moment: Any, rate: float) -> int:
    """Index of the sample nearest to a moment, counted from `origin`."""
    if not isinstance(origin, np.datetime64):
        return round((float(moment) - float(origin)) * rate)
    ns = moment.ns if hasattr(moment, "ns") else _ns(np.datetime64(moment, "ns"))  # UTCDateTime has .ns
    return round((ns - _ns(origin)) / period_ns(rate))


def _moment(origin: Any, i: int, rate: float) -> Any:
    """Time of sample i, counted from `origin`; the inverse of `_position`."""
    if not isinstance(origin, np.datetime64):
        return origin + i / rate
    return np.datetime64(_ns(origin) + math.floor(i * period_ns(rate) + Fraction(1, 2)), "ns")


def _ns(moment: np.datetime64) -> int:
    return moment.astype("datetime64[ns]").astype(np.int64).item()


def through_windows(
    function: Callable[[np.ndarray], np.ndarray],
    values: np.ndarray,
    length: int,
    hop: int,
    *,
    phase: int = 0,
    batch: int = 256,
    aligned: bool = False,
) -> np.ndarray:
    r"""Apply a function to overlapping windows of a record and add the results up again.

    Window :math:`j` covers the absolute samples :math:`jh, \dots, jh + L - 1`; each result is weighted by
    :math:`\sin^2(\pi (i + \frac12) / L)` divided by the sum of all weights there, so the weights sum to one
    and the identity gives the record back. At its two ends the record is mirrored.

    The grid of windows hangs on the absolute sample index, not on the piece at hand: a piece of a record
    with one window (`length` samples) of context on either side equals the whole, bit for bit, if `phase`
    says where it lies (and if `function` treats each window alone).

    Parameters
    ----------
    function : callable
        Maps (window, channel, length) to as many windows of that length; at most `batch` at a time.
    values : array, shape (channel, n)
    length, hop : int [samples]
    phase : int
        Absolute index of ``values[:, 0]``, or that index modulo `hop`.
    aligned : bool
        Let batches hang on absolute time too: `phase` is no modulus then, and window :math:`j` always comes
        at place :math:`j` modulo `batch` of exactly `batch`, among zeros where the piece has no windows. For
        functions such as networks, whose last bits depend on where in a batch a window stands.

    Returns
    -------
    array, shape (channel, n)
        In the dtype of `values`, or float64 where those are integers; as many channels as `function` makes.
        NaN in what `function` returns stays where it is.

    Examples
    --------
    >>> through_windows(lambda w: 2 * w, np.arange(5.0)[None], length=4, hop=2).round(12)
    array([[0., 2., 4., 6., 8.]])
    """
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[-1] == 0:
        raise ValueError(f"values need shape (channel, n) with n > 0, found {values.shape}")
    if not 1 <= hop <= length:
        raise ValueError(f"hop is {hop}, it must be from 1 to the window length {length}")
    if batch < 1:
        raise ValueError(f"batch is {batch}, it must be at least 1")
    n = values.shape[-1]
    weights = _weights(length, hop)
    starts = np.arange(-((length - 1 - phase) // hop) * hop - phase, n, hop)  # all that reach a sample
    first = (starts[0] + phase) // hop % batch if aligned else 0  # place of the first window in its batch
    out = None
    for some in np.split(starts, range(batch - first, len(starts), batch)):
        index = some[:, None] + np.arange(length)
        index %= 2 * n  # mirrored: 0 1 2 2 1 0 0 1 2 ...
        index = np.where(index < n, index, 2 * n - 1 - index)
        windows = np.ascontiguousarray(values[:, index].swapaxes(0, 1))
        if aligned:
            windows, alone = np.zeros((batch, *windows.shape[1:]), values.dtype), windows
            windows[first : first + len(alone)] = alone
        results = np.asarray(function(windows))
        if results.shape != (len(windows), results.shape[1], length):
            raise ValueError(f"function made shape {results.shape} of windows of shape {windows.shape}")
        if out is None:
            out = np.zeros((results.shape[1], n), values.dtype if values.dtype.kind == "f" else float)
        for start, result in zip(some.tolist(), results[first:], strict=not aligned):
            inside = slice(max(-start, 0), n - start)
            out[:, max(start, 0) : start + length] += (weights * result)[:, inside]
        first = 0
    assert out is not None  # every sample is in some window
    return out


def _weights(length: int, hop: int) -> np.ndarray:
    """Divide the taper by the sum of all tapers that overlap at the same place."""
    taper = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
    folded = np.zeros(-(-length // hop) * hop)
    folded[:length] = taper
    total = folded.reshape(-1, hop).sum(axis=0)
    return taper / total[np.arange(length) % hop]


def _noted(da: xr.DataArray, line: str) -> dict:
    """Attributes of `da` with one more line of history."""
    old = da.attrs.get("history")
    return {**da.attrs, "history": f"{old}\n{line}" if old else line}
