"""What is wrong with traces, as labelled answers: nothing is repaired here."""

import numpy as np
import xarray as xr
from scipy.ndimage import median_filter

MEASURES = ("missing", "longest_constant", "at_limit", "largest_spike", "moves")
NEAR = 9  # samples on either side that a spike is compared with


def quality(
    da: xr.DataArray, *, missing: float = 0.0, stuck: int = 50, limit: float = 1e-3, spike: float = 30.0
) -> xr.Dataset:
    r"""Flag traces that are dead, stuck, clipped, spiky or gappy; leave the data as they are.

    ====================  ==========================================================  ===================
    flag                  measure                                                     raised when
    ====================  ==========================================================  ===================
    ``dead``              nothing known, or all of it equal                           always
    ``constant``          ``longest_constant``, equal samples in a row                `stuck` or more
    ``clipped``           ``at_limit``, share of samples in rows of three or more at  `limit` or more
                          the largest or smallest value
    ``spiky``             ``largest_spike``, how far a sample stands out from both    more than `spike`
                          its neighbours, over what is usual for those around it
    ``gappy``             ``missing``, share of samples not known                     more than `missing`
    ====================  ==========================================================  ===================

    What is usual is the median distance of a sample from the middle of its neighbours, in the nine samples
    before or after, whichever is more, but no less than the smallest step of the trace: the onset of an
    earthquake is no spike. Data of a few counts cannot be told from clipped ones, so ``at_limit`` is 0
    where less than 16 smallest steps lie between the extremes. A trace that is not dead may be several
    things at once.

    Parameters
    ----------
    da : DataArray with a ``time`` dim
        A lazy record gives lazy flags, a row at a time.
    missing, limit : float
        Shares of the samples.
    stuck : int [samples]
    spike : float

    Returns
    -------
    Dataset
        Flags and measures over all dims but ``time``, with the coordinates of the data.

    Raises
    ------
    ValueError
        Without a ``time`` dim.

    Examples
    --------
    >>> t = np.arange(1000) / 100
    >>> rows = [np.sin(t), np.clip(np.sin(t), -0.5, 0.9), 0 * t + 3]
    >>> flags = quality(xr.DataArray(rows, dims=("channel", "time")))
    >>> flags.clipped.values, flags.dead.values
    (array([False,  True, False]), array([False, False,  True]))
    """
    if "time" not in da.dims:
        raise ValueError(f"data needs a 'time' dimension, found {da.dims}; rename one: data.rename(x='time')")
    whole = da.chunk(time=-1) if da.chunks else da
    table = xr.apply_ufunc(
        _measures,
        whole,
        input_core_dims=[["time"]],
        output_core_dims=[["measure"]],
        dask="parallelized",
        output_dtypes=[float],
        dask_gufunc_kwargs={"output_sizes": {"measure": len(MEASURES)}},
    )
    measured = {name: table.isel(measure=i) for i, name in enumerate(MEASURES)}
    alive = measured.pop("moves") > 0
    flags = {
        "dead": ~alive,
        "constant": alive & (measured["longest_constant"] >= stuck),
        "clipped": alive & (measured["at_limit"] >= limit),
        "spiky": alive & (measured["largest_spike"] > spike),
        "gappy": measured["missing"] > missing,
    }
    thresholds = {"missing": missing, "stuck": stuck, "limit": limit, "spike": spike}
    return xr.Dataset(flags | measured, attrs=thresholds)


def _measures(x: np.ndarray) -> np.ndarray:
    """Measures of each row, (..., time) to (..., measure)."""
    rows = x.reshape(-1, x.shape[-1]).astype(float)
    return np.array([_measure(row) for row in rows]).reshape(*x.shape[:-1], len(MEASURES))


def _measure(x: np.ndarray) -> tuple[float, ...]:
    known = np.isfinite(x)
    gone = (~known).mean()
    if not known.any() or np.ptp(x[known]) == 0:
        return gone, float(known.sum()), 0.0, 0.0, 0.0
    steps = np.abs(np.diff(x))
    smallest = steps[steps > 0].min() if (steps > 0).any() else np.inf
    starts, lengths = _runs(x)
    low, high = x[known].min(), x[known].max()
    flat = lengths[(lengths >= 3) & ((x[starts] == low) | (x[starts] == high))].sum()
    fine = high - low >= 16 * smallest
    return gone, float(lengths.max()), flat / known.sum() if fine else 0.0, _spike(x, smallest), 1.0


def _runs(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First sample and length of every run of equal known samples."""
    new = np.flatnonzero(np.concatenate([[True], x[1:] != x[:-1]]))  # NaN differs from itself
    lengths = np.diff(np.append(new, len(x)))
    known = np.isfinite(x[new])
    return new[known], lengths[known]


def _spike(x: np.ndarray, smallest: float) -> float:
    """How far a sample stands out from both its neighbours, over what is usual around it: the largest."""
    if len(x) < 3:
        return 0.0
    before, after = x[1:-1] - x[:-2], x[1:-1] - x[2:]
    out = np.where(before * after > 0, np.minimum(np.abs(before), np.abs(after)), 0)
    usual = np.abs(before + after) / 2  # from the middle of the neighbours; NaN beside a gap
    usual = median_filter(np.where(np.isfinite(usual), usual, 0), NEAR, mode="nearest")
    shift = NEAR // 2 + 2  # its own neighbours see a spike too
    sides = np.pad(usual, shift, mode="edge")
    usual = np.maximum(sides[: len(out)], sides[2 * shift :])
    return float((out / np.maximum(usual, smallest)).max())
