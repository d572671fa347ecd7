"""xarray's own door: ``xr.open_dataarray("day.mseed", engine="obspy")``."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint

from .formats import GUESSED, detect
from .lazy import Span, lazy_record, spans
from .segments import by_rate


class ObsPyBackend(BackendEntrypoint):
    """Waveform files of all formats that geoae reads, as the variable ``waveform``, lazily.

    Examples
    --------
    >>> import obspy, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     obspy.read().write(f"{folder}/event.mseed", format="MSEED")
    ...     record = xr.open_dataarray(f"{folder}/event.mseed", engine=ObsPyBackend).load()
    >>> dict(record.sizes)
    {'channel': 3, 'time': 3000}
    """

    description = "Seismic waveforms through ObsPy: MiniSEED, SAC, GSE2, SEG2, K-NET, WIN, ..."
    url = "https://docs.obspy.org/packages/autogen/obspy.core.stream.read.html"
    open_dataset_parameters = ("filename_or_obj", "drop_variables")
    supports_groups = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether a file's own bytes say clearly that it is a waveform; its name says nothing."""
        try:
            path = Path(os.fspath(filename_or_obj))
            return path.is_file() and detect(path) in GUESSED
        except (TypeError, OSError):
            return False

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: Iterable[str] | None = None
    ) -> xr.Dataset:
        """Open a file of one sampling rate."""
        record = lazy_record(spans(_path(filename_or_obj)))
        return record.to_dataset(name="waveform").drop_vars(drop_variables or ())

    def open_groups_as_dict(
        self, filename_or_obj: Any, *, drop_variables: Iterable[str] | None = None
    ) -> dict[str, xr.Dataset]:
        """Open a file of any sampling rates, one group for each."""
        found = spans(_path(filename_or_obj))
        place = {id(span): i for i, span in enumerate(found)}

        def group(some: list[Span]) -> xr.Dataset:
            record = lazy_record(some, [place[id(span)] for span in some])
            return record.to_dataset(name="waveform").drop_vars(drop_variables or ())

        return {f"/{rate:.12g}Hz": group(some) for rate, some in by_rate(found).items()}

    def open_datatree(self, filename_or_obj: Any, **options: Any) -> xr.DataTree:
        """Open a file of any sampling rates as a tree."""
        return xr.DataTree.from_dict(self.open_groups_as_dict(filename_or_obj, **options))


def _path(source: Any) -> Path:
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"engine 'obspy' opens files by name, found a {type(source).__name__}")
    return Path(source).expanduser()
