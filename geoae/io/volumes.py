"""SEG-Y through segyio: volumes that ObsPy cannot unpack, and surveys too large to be read at once."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from ..arrays import sample_times
from .hearing import ReadError, line

# Names of coordinates, and the byte of the trace header at which the field begins (SEG-Y revision 1).
FIELDS = {
    "offset": 37,
    "cdp": 21,
    "shot": 9,
    "trace_number": 13,
    "inline": 189,
    "crossline": 193,
    "source_x": 73,
    "source_y": 77,
    "receiver_x": 81,
    "receiver_y": 85,
    "cdp_x": 181,
    "cdp_y": 185,
    "elevation": 41,
}
SCALES = {"x": 71, "y": 71, "elevation": 69}  # by the end of the name


def volume(path: Path, *, lazy: bool = True) -> xr.DataArray:
    """Open a SEG-Y file whatever its geometry, trace by trace; only what is looked at is read.

    Parameters
    ----------
    path : Path
    lazy : bool
        Read the samples when they are looked at.

    Returns
    -------
    DataArray, dims ("trace", "time")
        ``time`` in s; header fields that are not zero throughout as coordinates of ``trace``, scaled as the
        header says; the textual header in ``attrs["text"]``.

    Raises
    ------
    ImportError
        Without segyio: pip install 'geoae[segy]'.
    ReadError
        If it is no SEG-Y file.
    """
    segyio = _segyio()
    try:
        with segyio.open(str(path), ignore_geometry=True) as file:
            samples, step = len(file.samples), segyio.tools.dt(file, fallback_dt=0) / 1e6
            traces, dtype = file.tracecount, file.dtype
            fields = {name: np.array(file.attributes(at)[:]) for name, at in {**FIELDS, **_scales()}.items()}
            text = segyio.tools.wrap(file.text[0]) if file.text else ""
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        raise ReadError(f"{path} looks like SEGY but cannot be read: {line(error)}") from error
    if not step > 0:
        raise ReadError(f"{path} (SEGY) tells no sampling interval")
    coords: dict[str, Any] = {"time": ("time", sample_times(0.0, samples, 1 / step), {"units": "s"})}
    for name in FIELDS:
        values = fields[name].astype(np.int64)
        if values.any():
            scale = fields.get("scale of " + name, np.zeros(traces, int)).astype(np.int64)
            factor = np.where(scale < 0, 1 / np.maximum(-scale, 1), np.maximum(scale, 1))
            coords[name] = ("trace", values if (factor == 1).all() else values * factor)
    samples_of = indexing.LazilyIndexedArray(Traces(path, (traces, samples), np.dtype(dtype)))
    variable = xr.Variable(("trace", "time"), samples_of, {"text": text, "history": f"read: {path.name}"})
    gather = xr.Dataset({"waveform": variable}, coords)["waveform"]
    gather.name = None
    return gather if lazy else gather.load()


def _scales() -> dict[str, int]:
    return {"scale of " + name: at for name in FIELDS for end, at in SCALES.items() if name.endswith(end)}


def _segyio() -> Any:
    try:
        import segyio
    except ImportError as error:
        raise ImportError("this SEG-Y file needs segyio: pip install 'geoae[segy]'") from error
    return segyio


class Traces(BackendArray):
    """Samples of a SEG-Y file, read trace by trace."""

    def __init__(self, path: Path, shape: tuple[int, int], dtype: np.dtype) -> None:
        self.path, self.shape, self.dtype = path, shape, dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        """Values at an index of xarray's."""
        basic = indexing.IndexingSupport.BASIC
        return indexing.explicit_indexing_adapter(key, self.shape, basic, self._values)

    def _values(self, key: tuple) -> np.ndarray:
        rows = np.arange(self.shape[0])[key[0]]
        with _segyio().open(str(self.path), ignore_geometry=True) as file:
            if np.ndim(rows) == 0:
                return file.trace[int(rows)][key[1]]
            found = [file.trace[int(row)][key[1]] for row in rows]
        shape = np.empty(self.shape[1])[key[1]].shape
        return np.stack(found) if found else np.empty((0, *shape), self.dtype)
