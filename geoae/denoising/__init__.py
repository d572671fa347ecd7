"""Run a model along continuous records: what comes in goes out, with its labels, gaps and headers.

The record is cut into overlapping windows on a grid that hangs on absolute time, each window is scaled by
itself and denoised, and the results are added up with weights that sum to one. So a sample's result depends
on nothing farther away than two windows: not on how the record was cut into pieces, not on a larger event
elsewhere. (The room is called denoising because `geoae.denoise` is the function.)
"""

from .archive import Summary, denoise_archive
from .classical import bandpass, spectral_gate
from .files import denoise_file
from .noisy import noisy_pairs
from .quality import quality, write_report
from .record import denoise

__all__ = [
    "Summary",
    "bandpass",
    "denoise",
    "denoise_archive",
    "denoise_file",
    "noisy_pairs",
    "quality",
    "spectral_gate",
    "write_report",
]
