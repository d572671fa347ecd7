"""Files that hold labels or plain arrays, no recorder's own format: NetCDF, zarr, npz, CSV, SeisBench."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..arrays import sample_times
from .formats import LABELLED, detect
from .hearing import ReadError, line

LARGE = 2**31  # bytes; beyond it a file must hold at least a thousandth of what it says
STEP = {
    "rate": 1,
    "sampling_rate": 1,
    "fs": 1,
    "dt": -1,
    "delta": -1,
}  # names in npz files


def labelled_format(path: str | os.PathLike) -> str | None:
    """Name the format of a file or folder that holds labels or plain arrays, None for a recorder's.

    Parameters
    ----------
    path : path
        It need not exist.

    Returns
    -------
    str or None
        ZARR, SEISBENCH, HDF5, NETCDF, NPZ or CSV.

    Examples
    --------
    >>> labelled_format("day.mseed") is None
    True
    """
    path = Path(path).expanduser()
    if path.is_dir():
        if (path / "zarr.json").is_file() or (path / ".zgroup").is_file():
            return "ZARR"
        if (path / "metadata.csv").is_file() and (path / "waveforms.hdf5").is_file():
            return "SEISBENCH"
        return None
    form = detect(path) if path.is_file() and path.stat().st_size else None
    return form if form in LABELLED else None


def read_labelled(path: Path, form: str, *, lazy: bool = False) -> xr.DataArray:
    """Read one of these as a labelled array; nothing in it is executed.

    Raises
    ------
    ReadError
        If it is damaged, holds no traces, or says that it holds far more than its bytes can.
    """
    readers = {"NPZ": _npz, "CSV": _csv, "SEISBENCH": _seisbench}
    try:
        record = readers[form](path) if form in readers else _xarray(path, form, lazy)
    except ReadError:
        raise
    except ImportError as error:
        raise ImportError(f"{path} ({form}) needs more: pip install 'geoae[all]' ({line(error)})") from error
    except Exception as error:
        raise ReadError(f"{path} looks like {form} but cannot be read: {line(error)}") from error
    record.attrs.setdefault("history", f"read: {path.name}")
    return record


def _xarray(path: Path, form: str, lazy: bool) -> xr.DataArray:
    engine = {"ZARR": "zarr", "HDF5": "h5netcdf", "NETCDF": "scipy"}[form]
    options: dict[str, Any] = {"consolidated": False} if form == "ZARR" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = xr.open_dataset(path, engine=engine, chunks={} if lazy else None, **options)
    names = [name for name, da in dataset.data_vars.items() if "time" in da.dims and da.dtype.kind in "iuf"]
    if not names:
        raise ReadError(f"{path} ({form}) holds no variable of numbers along 'time'")
    record = dataset["waveform" if "waveform" in names else names[0]]
    size = sum(p.stat().st_size for p in path.rglob("*")) if path.is_dir() else path.stat().st_size
    if record.nbytes > max(LARGE, 1000 * size):
        raise ReadError(f"{path} ({form}) says that it holds {record.nbytes} bytes, it has {size}")
    record.name = None
    return record if lazy else record.load()


def _npz(path: Path) -> xr.DataArray:
    """The largest array; its last dim is time, or its first if that is longer and there are only two."""
    with np.load(path, allow_pickle=False) as held:
        arrays = {name: held[name] for name in held.files}
    numbers = {name: x for name, x in arrays.items() if x.dtype.kind in "iuf" and 1 <= x.ndim <= 3}
    if not numbers:
        raise ReadError(f"{path} (NPZ) holds no array of numbers")
    values = np.atleast_2d(max(numbers.values(), key=np.size))
    told = {key: power for key, power in STEP.items() if key in arrays and arrays[key].size == 1}
    rates = [float(arrays[key].item()) ** power for key, power in told.items()]
    if not rates:
        raise ReadError(f"{path} (NPZ) tells no sampling rate; it needs one of {', '.join(STEP)}")
    values = values.T if values.ndim == 2 and values.shape[0] > values.shape[1] else values
    dims = ("trace", "channel", "time")[-values.ndim :]
    return xr.DataArray(values, {"time": sample_times(0.0, values.shape[-1], rates[0])}, dims)


def _csv(path: Path) -> xr.DataArray:
    """A column ``time`` (s or dates), and one for each channel."""
    table = pd.read_csv(path)
    table.columns = [str(name).strip() for name in table.columns]
    (name,) = [name for name in table.columns if name.lower() == "time"]
    time = table.pop(name)
    dates = time.dtype.kind not in "if"
    times = pd.to_datetime(time).to_numpy("datetime64[ns]") if dates else time.to_numpy(float)
    values = table.to_numpy().T
    if values.dtype.kind not in "if":
        raise ReadError(f"{path} (CSV) holds words beside its numbers")
    return xr.DataArray(values, {"channel": list(table.columns), "time": times}, ("channel", "time"))


def _seisbench(path: Path) -> xr.DataArray:
    """A SeisBench data set: traces of one rate, with the columns of metadata.csv as coordinates."""
    import h5py

    table = pd.read_csv(path / "metadata.csv", low_memory=False)
    with h5py.File(path / "waveforms.hdf5") as file:
        settings = {key: value[()] for key, value in file.get("data_format", {}).items()}
        pieces = [_bucket(file["data"], str(name)) for name in table["trace_name"]]
    order = _text(settings.get("dimension_order", "CW"))
    if order == "WC":
        pieces = [piece.T for piece in pieces]
    rate = float(settings["sampling_rate"]) if "sampling_rate" in settings else _one_rate(table, path)
    size = max(piece.shape[-1] for piece in pieces)
    values = np.full((len(pieces), pieces[0].shape[0], size), np.nan, np.float32)
    for row, piece in zip(values, pieces, strict=True):
        row[:, : piece.shape[-1]] = piece
    components = list(_text(settings.get("component_order", "ZNE")))[: values.shape[1]]
    coords = {name: ("trace", column.to_numpy()) for name, column in table.items()}
    axes = {"channel": components, "time": sample_times(0.0, size, rate)}
    return xr.DataArray(values, {**coords, **axes}, ("trace", "channel", "time"))


def _bucket(data: Any, name: str) -> np.ndarray:
    """A trace, or its part of a bucket: "bucket0$5,:3,:6000" is the first 3 x 6000 numbers of its sixth."""
    bucket, _, place = name.partition("$")
    if not place:
        return data[name][()]
    number, *ends = place.split(",")
    return data[bucket][(int(number), *(slice(int(end.lstrip(":"))) for end in ends))]


def _one_rate(table: pd.DataFrame, path: Path) -> float:
    rates = set(table["trace_sampling_rate_hz"])
    if len(rates) != 1:
        raise ReadError(f"{path} (SEISBENCH) holds several sampling rates: {sorted(rates)}")
    return float(rates.pop())


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
