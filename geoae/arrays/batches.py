"""Labelled arrays to plain batches and back."""

import math

import numpy as np
import xarray as xr


def to_batch(da: xr.DataArray) -> np.ndarray:
    """Float32 batch of shape (trace, channel, time) from a labelled array, whatever the order of its dims.

    All dims but ``channel`` and ``time`` are flattened, in their order, to traces; without a ``channel``
    dim there is one channel.

    Raises
    ------
    TypeError
        If it is no labelled array.
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


def check_finite(batch: np.ndarray, name: str = "data", *, first: int = 0) -> None:
    """Refuse a batch with samples that are no numbers.

    Parameters
    ----------
    batch : array, shape (trace, channel, time)
    name : str
        What the message calls it.
    first : int
        Number of the first trace, if the batch is a piece of more.

    Raises
    ------
    ValueError
        When a sample is NaN or inf, naming the trace and how to leave it out.

    Examples
    --------
    >>> check_finite(np.array([[[0.0, 1.0]], [[np.nan, 1.0]]]))
    Traceback (most recent call last):
        ...
    ValueError: data has NaN or inf in 1 of 2 traces, ... data.where(np.isfinite(data)).dropna('trace')
    """
    bad = np.flatnonzero(~np.isfinite(batch).all((1, 2)))
    if len(bad):
        raise ValueError(
            f"{name} has NaN or inf in {len(bad)} of {len(batch)} traces, the first being trace "
            f"{first + bad[0]}; leave them out: {name}.where(np.isfinite({name})).dropna('trace')"
        )


def _batch_dims(da: xr.DataArray) -> list:
    if not isinstance(da, xr.DataArray):
        wanted = "xr.DataArray(values, dims=('trace', 'time'))"
        raise TypeError(f"data is a {type(da).__name__}; wanted labelled traces, such as {wanted}")
    if "time" not in da.dims:
        raise ValueError(f"data needs a 'time' dimension, found {da.dims}; rename one: data.rename(x='time')")
    last = [d for d in ("channel", "time") if d in da.dims]
    return [d for d in da.dims if d not in last] + last
