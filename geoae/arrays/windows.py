"""Functions applied to overlapping windows of a record."""

from collections.abc import Callable

import numpy as np


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
    and the identity gives the record back. A window that would reach over one of the two ends is moved
    inwards, and what it makes counts where it would have stood; a record shorter than a window is mirrored.

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
        sources = np.clip(some, 0, max(n - length, 0))
        index = sources[:, None] + np.arange(length)
        index %= 2 * n  # mirrored, where a window is longer: 0 1 2 2 1 0 0 1 2 ...
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
        for start, source, result in zip(some, sources, results[first:], strict=not aligned):
            low, high = max(start, 0), min(start + length, n)
            out[:, low:high] += weights[low - start : high - start] * result[:, low - source : high - source]
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
