"""Labels and plain numbers: batches, sampling rate, resampling, cutting, quality, windows.

A *batch* is a float32, C-contiguous array of shape (trace, channel, time), made from labelled data by
`to_batch` and undone by `from_batch`. The ``time`` coordinate is the only source of the sampling rate.
"""

from .batches import check_finite, from_batch, to_batch
from .pieces import cut
from .processing import detrend, normalise, resample, taper
from .quality import quality
from .time import period_ns, sample_times, sampling_rate
from .windows import through_windows

__all__ = [
    "check_finite",
    "cut",
    "detrend",
    "from_batch",
    "normalise",
    "period_ns",
    "quality",
    "resample",
    "sample_times",
    "sampling_rate",
    "taper",
    "through_windows",
    "to_batch",
]
