"""Where the traces of a training come from: memory, or a shuffled cache on disk."""

import json
import math
import mmap
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ..arrays import check_finite, to_batch
from ..model import Model

# What the random numbers are for, so that no two uses share a stream.
ORDER, CORRUPTION, SPLIT, RESTART, JUDGE, CACHE = range(6)

Source = (
    Tensor | np.ndarray
)  # traces (trace, channel, time): a tensor where the model is, or a file mapped into memory
Pair = tuple[Source, Source]  # what the model sees, and what should come out


def seed_of(*key: int) -> int:
    """One 63-bit seed out of several numbers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


# ------------------------------------------------------------------------------------------------ cache


@dataclass(frozen=True)
class Cache:
    """Traces on disk in random order, for training on more than memory holds; see `cache`.

    Attributes
    ----------
    path : Path
        Folder with ``traces.npy`` (trace, channel, time; float32) and ``about.json``.
    about : dict
        Time axis, channels and units of the traces.
    """

    path: Path
    about: dict[str, Any]

    @property
    def traces(self) -> np.ndarray:
        """The traces, mapped into memory."""
        return np.load(self.path / "traces.npy", mmap_mode="r")


def cache(
    data: xr.DataArray | str | os.PathLike, path: str | os.PathLike | None = None, *, seed: int = 0
) -> Cache:
    """Write traces once, shuffled, to a file that `geoae.fit` streams from; or open what was written before.

    Reading random windows out of zarr or NetCDF is a hundred to a thousand times slower than memory; this
    file is nearly as fast, and as it is in random order, neighbours in it make a batch.

    Parameters
    ----------
    data : DataArray or path
        Traces, lazy ones (dask) read piece by piece; or alone, the folder of a cache that is there.
    path : path
        Folder to write; it must not exist.
    seed : int
        Of the order.

    Returns
    -------
    Cache
        To be given to `geoae.fit` in place of the traces.

    Raises
    ------
    FileExistsError
        If the folder exists.
    ValueError
        If a trace holds NaN or inf; nothing is left behind.
    """
    if path is None:
        return _open(Path(data))  # type: ignore[arg-type]
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists; open it with geoae.cache('{path}'), or choose another name")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.mkdir()
    try:
        about = _write(data, part, seed)  # type: ignore[arg-type]
        (part / "about.json").write_text(json.dumps(about))
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Cache(path, about)


def _open(path: Path) -> Cache:
    if not (path / "about.json").is_file():
        raise FileNotFoundError(f"no cache {path}; write one with geoae.cache(data, '{path}')")
    return Cache(path, json.loads((path / "about.json").read_text()))


def _write(data: xr.DataArray, folder: Path, seed: int) -> dict[str, Any]:
    first = next(d for d in data.dims if d not in ("channel", "time"))
    count, channels, length = data.sizes[first], data.sizes.get("channel", 1), data.sizes["time"]
    places = np.random.default_rng([seed, CACHE]).permutation(count)
    file = np.lib.format.open_memmap(folder / "traces.npy", "w+", np.float32, (count, channels, length))
    step = max(1, 2**22 // (channels * length))  # 16 MB at a time
    for start in range(0, count, step):
        piece = to_batch(data.isel({first: slice(start, start + step)}))
        check_finite(piece, first=start)
        file[places[start : start + step]] = piece
        file.flush()
        _forget(file)
    return describe(data)


def describe(data: Any) -> dict[str, Any]:
    """What a model file says of the traces it was trained on."""
    if isinstance(data, Cache):
        return data.about
    if "time" not in data.coords:
        return {
            "time": [0.0, data.sizes["time"] - 1.0],
            "rate": None,
            "channels": [],
            "units": "",
            "time_units": "samples",
        }
    at = data["time"].values
    seconds = (at - at[0]) / np.timedelta64(1, "s") if np.issubdtype(at.dtype, np.datetime64) else at
    return {
        "time": [float(seconds[0]), float(seconds[-1])],
        "rate": float((len(seconds) - 1) / (seconds[-1] - seconds[0])) if len(seconds) > 1 else None,
        "channels": [str(c) for c in data["channel"].values] if "channel" in data.coords else [],
        "units": str(data.attrs.get("units", "")),
        "time_units": str(data["time"].attrs.get("units", "s")),
        "name": _name(data),
        "time_name": _name(data["time"]),
    }


def _name(data: xr.DataArray) -> str:
    """What a quantity is called in a figure; a bare name without units is a variable's."""
    return str(data.attrs.get("long_name") or (data.name if "units" in data.attrs else None) or "")


# ------------------------------------------------------------------------------------- sources and batches


def split(model: Model, data: Any, target: Any, valid: Any, seed: int) -> tuple[Pair, Pair | None]:
    """Training and held-out (input, target) pairs."""
    x = source(model, data, "data")
    y = x if target is None else source(model, target, "target")
    if len(x) != len(y):
        raise ValueError(f"data has {len(x)} traces and target {len(y)}; they must go in pairs")
    if isinstance(data, Cache) and target is not None:
        raise ValueError("a cache is in an order of its own, so a target cannot go with it; leave target out")
    if not isinstance(valid, Real):
        return (x, y), _held_out(model, valid, target is not None)
    valid = float(valid)
    if not 0 <= valid < 1:
        raise ValueError(f"valid is {valid}; it is the share of traces held out, from 0 to below 1")
    if not valid:
        return (x, y), None
    count = math.ceil(valid * len(x))
    if count >= len(x):
        raise ValueError(f"valid={valid} of {len(x)} traces leaves none to train on")
    if isinstance(x, np.ndarray):  # already in random order
        return (x[count:], x[count:]), (x[:count], x[:count])
    order = np.random.default_rng([seed, SPLIT]).permutation(len(x))
    held, kept = order[:count], np.sort(order[count:])
    seen = x[kept]
    return (seen, seen if y is x else y[kept]), (x[held], y[held])


def _held_out(model: Model, valid: Any, paired: bool) -> Pair:
    """Held-out traces of their own: alone, or where there are targets as (data, target)."""
    if paired != isinstance(valid, tuple):
        wanted = (
            "valid=(data, target), as training has targets"
            if paired
            else "valid=data, as training has no targets"
        )
        raise ValueError(f"give held-out traces as {wanted}; or valid=0.1 for a share")
    seen, goal = valid if paired else (valid, valid)
    x = source(model, seen, "valid")
    y = x if goal is seen else source(model, goal, "valid target")
    if len(x) != len(y):
        raise ValueError(f"valid has {len(x)} traces and its target {len(y)}; they must go in pairs")
    return x, y


def source(model: Model, data: Any, name: str) -> Source:
    """Traces (trace, channel, time), if they are ones that the model can be trained on."""
    if isinstance(data, Cache):
        traces = data.traces
        _check_shape(model, traces.shape, name)
        return traces
    return in_memory(model, data, name)


def in_memory(model: Model, data: xr.DataArray, name: str) -> Tensor:
    """Traces as a tensor where the model is."""
    x = to_batch(data)
    if not len(x):
        raise ValueError(f"{name} holds no traces")
    check_finite(x, name)
    _check_shape(model, x.shape, name)
    return torch.from_numpy(x).to(next(model.parameters()))


def _check_shape(model: Model, shape: tuple[int, ...], name: str) -> None:
    wanted = (model.config.get("channels", shape[1]), model.config.get("length", shape[2]))
    if shape[1:] != wanted:
        raise ValueError(
            f"{name} has {shape[1]} channels of {shape[2]} samples, "
            f"the model expects {wanted[0]} of {wanted[1]}; build it with like={name}"
        )


def batches(x: Source, size: int, seed: int, epoch: int) -> Sequence[Tensor]:
    """Rows of each step of an epoch: all traces once, in an order that depends on (seed, epoch) alone.

    A file is read in runs of neighbours, which are in random order already, beginning somewhere else
    each time.
    """
    rng = np.random.default_rng([seed, ORDER, epoch])
    if isinstance(x, Tensor):
        return torch.from_numpy(rng.permutation(len(x))).to(x.device).split(size)
    runs = torch.from_numpy((np.arange(len(x)) + rng.integers(len(x))) % len(x)).split(size)
    return [runs[i] for i in rng.permutation(len(runs))]


def take(x: Source, rows: Tensor, like: Tensor) -> Tensor:
    """Some traces as a tensor of the same type and in the same place as another."""
    if isinstance(x, Tensor):
        return x.index_select(0, rows)
    some = np.ascontiguousarray(x[rows.numpy()])
    _forget(x)
    return torch.from_numpy(some).to(like)


def _forget(x: np.ndarray) -> None:
    """Let go of the pages of a mapped file that were read, or they count as this process's memory."""
    mapped = getattr(x, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def pieces(x: Source, like: Tensor, most: int | None = None) -> Iterator[Tensor]:
    """All traces in order, `most` at a time or 2 MB of them: of larger pieces the heap would keep some."""
    size = max(1, 2**19 // (x.shape[1] * x.shape[2]))
    for rows in torch.arange(len(x)).split(min(size, most or size)):
        yield take(x, rows.to(x.device) if isinstance(x, Tensor) else rows, like)


def sample(x: Source, like: Tensor, most: int = 1024) -> Tensor:
    """Traces spread evenly over all: a mesh, say, begins with one end of a parameter's range."""
    place = x.device if isinstance(x, Tensor) else None
    rows = torch.linspace(0, len(x) - 1, min(len(x), most), dtype=torch.float64).long().to(place)
    return take(x, rows, like)
