"""Equal pieces cut out of a record: at picks, at the events of a catalogue, or one after the other."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .time import moment_of, noted, position, samples, sampling_rate, time_axis


def cut(
    da: xr.DataArray, starts: Any = None, length: Any = None, *, before: Any = 0, every: Any = None
) -> xr.DataArray:
    """Cut equal pieces out of a record: dims ("trace", ["channel",] "time") with a coordinate ``start``.

    Parameters
    ----------
    da : DataArray with a ``time`` dim
        A lazy record gives lazy pieces.
    starts : sequence of times, picks, catalogue or table
        Times of the kind of the time axis (an obspy UTCDateTime will do); obspy Picks; an obspy Catalog or a
        list of Events, whose origin times count; or a table (`pandas.DataFrame`) with a column ``time``.
        Each piece begins at the sample nearest to its start. The other columns of a table, and
        ``latitude``, ``longitude``, ``depth`` [m] and ``magnitude`` of events, become coordinates of
        ``trace``.
    length : int [samples] or a duration such as "30s"
    before : int [samples] or a duration
        Start so much earlier.
    every : int [samples] or a duration
        Instead of `starts`: a piece every so often from the first sample on, as many as lie wholly inside.

    Returns
    -------
    DataArray
        ``time`` in s from each piece's first sample, whose own time is ``start``. A piece that reaches
        beyond the record is filled with NaN there.

    Raises
    ------
    ValueError
        When a piece lies outside the record altogether, `length` is shorter than one sample, or there is
        neither `starts` nor `every`.

    Examples
    --------
    >>> day = xr.DataArray(np.arange(100.0), coords={"time": np.arange(100) / 10})
    >>> cut(day, [2.0, 5.0], 3).values
    array([[20., 21., 22.],
           [50., 51., 52.]])
    >>> cut(day, length="1s", every="4s").start.values
    array([0., 4., 8.])
    """
    rate = sampling_rate(da)
    if length is None:
        raise ValueError("a piece needs a length; use length='30s', or a number of samples")
    n = samples(length, rate)
    if n < 1:
        raise ValueError(f"length {length!r} is {n} samples at {rate:g} Hz; it must be at least one")
    axis, size = time_axis(da), da.sizes["time"]
    if (starts is None) == (every is None):
        raise ValueError(
            "a cut needs starts (times, picks, a catalogue, a table) or every='30s', one of them"
        )
    labels: dict[str, Any] = {}
    if every is not None:
        if (hop := samples(every, rate, "every")) < 1:
            raise ValueError(f"every {every!r} is {hop} samples at {rate:g} Hz; it must be at least one")
        first = np.arange(0, size - n + 1, hop)
    else:
        times, labels = _table(starts)
        first = np.array([position(axis[0], start, rate) for start in times], dtype=np.int64)
        first -= samples(before, rate, "before")
        for start, i in zip(times, first.tolist(), strict=True):
            if i + n <= 0 or i >= size:
                raise ValueError(
                    f"start {start} lies outside the record, which runs from {axis[0]} to {axis[-1]}"
                )
    pieces = _pieces(da.drop_vars([c for c in da.coords if "time" in da[c].dims]), first, n)
    begins = np.array([moment_of(axis[0], i, rate) for i in first.tolist()], dtype=axis.dtype)
    coords: dict[str, Any] = {name: ("trace", np.asarray(values)) for name, values in labels.items()}
    coords["start"] = ("trace", begins, {"long_name": "time of the first sample"})
    pieces = pieces.assign_coords(coords | {"time": ("time", np.arange(n) / rate, {"units": "s"})})
    pieces.attrs = noted(da, f"cut: {len(first)} pieces of {n} samples")
    pieces.attrs.pop("segments", None)  # the record's way back to its file: no longer true of pieces
    return pieces.transpose("trace", ..., "time")


def _pieces(da: xr.DataArray, first: np.ndarray, n: int) -> xr.DataArray:
    """Samples first to first + n - 1 of each piece, with NaN beyond the ends."""
    size = da.sizes["time"]
    columns = first[:, None] + np.arange(n)
    known = (columns >= 0) & (columns < size)
    if da.chunks and len(first):
        # dask's indexing by a table gathers single samples; slices read the chunks that they touch.
        inside = [da.isel(time=slice(max(i, 0), i + n)) for i in first.tolist()]
        ends = [(int(np.argmax(row)), int(row[::-1].argmax())) for row in known]
        padded = [piece.pad(time=end) if any(end) else piece for piece, end in zip(inside, ends, strict=True)]
        return xr.concat(padded, "trace").chunk(time=-1)
    places = xr.DataArray(columns.clip(0, size - 1), dims=("trace", "time"))
    pieces = da.isel(time=places)
    return pieces if known.all() else pieces.where(xr.DataArray(known, dims=("trace", "time")))


def _table(starts: Any) -> tuple[list, dict[str, Any]]:
    """Times, and what else is known of each."""
    if isinstance(starts, pd.DataFrame):
        if "time" not in starts:
            raise ValueError(f"the table has columns {', '.join(map(str, starts))}; it needs one called time")
        others = {str(name): starts[name].values for name in starts if name != "time"}
        return list(starts["time"]), others
    if isinstance(starts, xr.DataArray | pd.Series | pd.Index):
        starts = np.asarray(starts)
    rows = [starts] if isinstance(starts, str) or np.ndim(starts) == 0 else list(starts)
    if rows and all(hasattr(row, "origins") for row in rows):
        return _catalogue(rows)
    return [row.time if hasattr(row, "waveform_id") else row for row in rows], {}


def _catalogue(events: list) -> tuple[list, dict[str, Any]]:
    """Origin times of obspy events, and where and how large they were."""
    origins = [event.preferred_origin() or (event.origins or [None])[0] for event in events]
    if None in origins:
        raise ValueError(f"event {origins.index(None)} of the catalogue has no origin, so no time to cut at")
    sizes = [event.preferred_magnitude() or (event.magnitudes or [None])[0] for event in events]
    columns = {
        name: [np.nan if (value := getattr(origin, name)) is None else value for origin in origins]
        for name in ("latitude", "longitude", "depth")
    }
    columns["magnitude"] = [np.nan if size is None else size.mag for size in sizes]
    return [origin.time for origin in origins], columns
