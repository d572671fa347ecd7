"""Waveform files and ObsPy Streams to labelled records, and back with nothing lost.

A record is a DataArray of dims ("channel", "time"): SEED ids, times in whole nanoseconds, NaN where there is
nothing. The public names stand in ``__init__.pyi`` and load when first used, so that the process which reads
fragile formats starts with little.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
