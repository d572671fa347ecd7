"""Waveform files and ObsPy Streams to labelled records, and back with nothing lost.

A record is a DataArray of dims ("channel", "time"): SEED ids, times in whole nanoseconds, NaN where there is
nothing.
"""

from .decode import ReadError
from .reading import ENZ, files, read, read_stream, read_traces, read_tree
from .segments import from_stream, to_stream
from .writing import SUFFIXES, write, written_format

__all__ = [
    "ENZ",
    "SUFFIXES",
    "ReadError",
    "files",
    "from_stream",
    "read",
    "read_stream",
    "read_traces",
    "read_tree",
    "to_stream",
    "write",
    "written_format",
]
