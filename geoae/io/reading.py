"""Waveform files to labelled records."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from glob import glob, has_magic
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import obspy
import xarray as xr

from ..arrays import sampling_rate
from .decode import Decoded, ReadError, decode, plain_traces
from .formats import GATHERS, detect
from .gathers import gather
from .labelled import labelled_format, read_labelled
from .lazy import Span, in_chunks, lazy_record, spans
from .segment import Segment, Segments
from .segments import by_rate, from_segments, one_rate
from .stations import from_data_centre, placed
from .volumes import volume

T = TypeVar("T")
S = TypeVar("S", Segment, Span)
ENZ = {"E": 0, "2": 0, "T": 0, "N": 1, "1": 1, "R": 1, "Z": 2, "3": 2}  # the order of components in a window


def read(
    source: Any,
    *,
    select: str | None = None,
    overlap: str | None = None,
    strict: bool = False,
    lazy: bool = False,
    inventory: Any = None,
) -> xr.DataArray:
    """Read waveforms of any format ObsPy knows, one file or many, as one labelled record.

    The format is found from the content, whatever the file's name. ObsPy's PICKLE format is never read nor
    even tried, because a pickle runs the code it contains. Compressed files are unpacked. Readers that are
    known to crash or hang on damaged files run in a process of their own, with a limit of time and memory.

    Parameters
    ----------
    source : path, glob pattern, folder, list of these, obspy Stream or Trace
        A pattern is such as ``archive/**/*.mseed``. A folder stands for every waveform file in it, an SDS
        archive for instance. An address such as
        ``fdsn://IRIS/IU.ANMO.00.BH?/2020-01-01T00:00:00/2020-01-01T01:00:00`` asks a data centre.
    select : str, optional
        Keep only the SEED ids (network.station.location.channel) that match a pattern such as
        ``BW.RJOB..EH?``; one with fewer dots matches the end of the id: ``*.HH?``, ``HHZ``.
    overlap : {"first", "last", "mean", "layers"}, optional
        What to do where segments of one channel overlap with different values; if left out that is an error.
        The value of the segment that comes first or last in the files, the mean of all, or a row of the
        record for each layer of segments, with a coordinate ``layer``, so that nothing is lost.
    strict : bool
        Refuse a file that ObsPy warned of, a folder with a file that cannot be read, and an inventory that
        lacks a channel. Otherwise the warnings stand in ``attrs["warnings"]``, and what could not be read in
        ``attrs["unread"]``.
    lazy : bool
        Read the headers only; samples are read when they are looked at, in dask chunks of an hour where dask
        is installed: of MiniSEED with records of one length just those that hold them. Other files are read
        whole, two at a time are kept. The files must stay as they are.
    inventory : obspy Inventory or path, optional
        Gives each channel of a record its latitude, longitude, elevation, depth, azimuth and dip; NaN, and a
        warning, for those it lacks.

    Returns
    -------
    DataArray, dims ("channel", "time")
        Channels in the order of the files. Coordinates of ``channel``: its SEED id, network, station,
        location, code ("HHZ") and component ("Z"). ``time`` is datetime64[ns], start + round(i * 1e9 / rate).
        A segment between two grid points goes to the nearer one, half a sample off at most; a clock that
        jumped farther starts a segment of its own. Its own time comes back on the way to a Stream.
        Rates that differ by no more than 1e-6 of themselves (one was kept in single precision) are one, that
        of most samples; the others come back on the way to a Stream.
        Integers stay integers where there are no gaps; otherwise they become float64 (float32 if 16 bits
        wide) with NaN in the gaps.
        SEG-Y and SU files are gathers of dims ("trace", "time"), time in s from the start of each trace,
        with the fields of the trace headers as coordinates of ``trace``. NetCDF files, zarr folders, npz and
        CSV files and SeisBench data sets (a folder with metadata.csv and waveforms.hdf5) keep their labels.

    Raises
    ------
    FileNotFoundError
        When there is no such file, or none that matches.
    ReadError
        When a file is no waveform, is empty or damaged, or what was read makes no single record: several
        sampling rates (see `read_tree`), a rate of zero, or two different values for one channel and time.

    Examples
    --------
    >>> record = read(obspy.read(), select="EH[ZN]")
    >>> dict(record.sizes), record.channel.values
    ({'channel': 2, 'time': 3000}, array(['BW.RJOB..EHZ', 'BW.RJOB..EHN'], dtype='<U12'))
    """
    record = _read(source, select, overlap, strict, lazy)
    if inventory is not None:
        record, lacking = placed(record, inventory, strict)
        if lacking:
            warnings.warn(lacking, stacklevel=2)
    return record


def _read(source: Any, select: str | None, overlap: str | None, strict: bool, lazy: bool) -> xr.DataArray:
    if isinstance(source, str) and source.startswith("fdsn://"):
        source = from_data_centre(source)
    path = Path(source).expanduser() if isinstance(source, str | os.PathLike) else None
    form = labelled_format(path) if path is not None else None
    if path is not None and form is not None:
        return read_labelled(path, form, lazy=lazy)
    survey = path is not None and _is_survey(path)
    if path is not None and lazy and survey:
        return volume(path)
    if lazy and not isinstance(source, obspy.Stream | obspy.Trace):
        return _lazy(source, select, overlap, strict)
    try:
        found = _found(source, strict)
    except ReadError:
        if path is not None and survey and not strict:  # segyio takes what ObsPy finds inconsistent
            return volume(path, lazy=False)
        raise
    segments = found.segments if select is None else _selected(found.segments, select)
    if found.formats and found.formats <= GATHERS:
        return _told(gather(segments), found)
    own = not isinstance(source, obspy.Stream | obspy.Trace)  # else the user goes on holding them
    return _told(from_segments(segments, overlap=overlap, own=own), found)


def read_tree(
    source: Any, *, select: str | None = None, overlap: str | None = None, strict: bool = False
) -> xr.DataTree:
    """Read waveforms of several sampling rates: a tree with one record for each rate.

    Parameters
    ----------
    source, select, overlap, strict
        As of `read`.

    Returns
    -------
    DataTree
        Groups named by their rate, "20Hz"; each holds the record as ``waveform``.

    Examples
    --------
    >>> stream = obspy.read()
    >>> _ = stream[0].decimate(2, no_filter=True)
    >>> tree = read_tree(stream)
    >>> {name: dict(group["waveform"].sizes) for name, group in tree.items()}
    {'50Hz': {'channel': 1, 'time': 1500}, '100Hz': {'channel': 2, 'time': 3000}}
    """
    found = _found(source, strict)
    segments = _selected(found.segments, select)
    place = {id(segment): i for i, segment in enumerate(segments)}
    groups = {}
    for rate, some in by_rate(segments).items():
        record = from_segments(some, overlap=overlap, places=[place[id(segment)] for segment in some])
        groups[f"{rate:.12g}Hz"] = _told(record, found).to_dataset(name="waveform")
    return xr.DataTree.from_dict(groups)


def read_stream(source: Any, *, told: list[str] | None = None) -> obspy.Stream:
    """Read waveforms as they are, as an ObsPy Stream: any rates, lengths and headers, but no empty traces.

    Parameters
    ----------
    source : as of `read`
    told : list, optional
        Gets what the readers warned of, which a Stream has no place for.

    Raises
    ------
    FileNotFoundError, ReadError
        As `read`.
    """
    found = _found(source)
    if told is not None:
        told += found.warnings
    segments = [segment for segment in found.segments if len(segment.data)]
    if not segments:
        raise ReadError(f"{source} holds no samples, only headers")
    by_rate(segments)
    return obspy.Stream([segment.trace() for segment in segments])


def files(source: Any) -> list[Path]:
    """Files that a path, a glob pattern or a list of these stands for; a folder for every file in it.

    Raises
    ------
    FileNotFoundError
        When there is no such file, or none that matches.
    """
    if isinstance(source, list | tuple):
        if not source:
            raise ReadError("the list of files is empty")
        return [path for item in source for path in files(item)]
    if not isinstance(source, str | os.PathLike):
        kind = type(source).__name__
        raise TypeError(f"cannot read a {kind}; give a path, a glob pattern, a list, a Stream or a Trace")
    path = Path(source).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
        if not found:
            raise FileNotFoundError(f"no file in the folder {source}")
        return found
    if path.exists():
        return [path]
    if not has_magic(str(path)):
        raise FileNotFoundError(f"no such file: {source}")
    found = [Path(name) for name in sorted(glob(str(path), recursive=True)) if os.path.isfile(name)]
    if not found:
        raise FileNotFoundError(f"no file matches {source}")
    return found


def read_traces(source: Any, length: int, channels: int = 3) -> xr.DataArray:
    """Read records of one instrument each, cut into windows: what a denoiser is trained on.

    Parameters
    ----------
    source : path, glob pattern or list of these
        A folder stands for every file in it. Each file is a record of its own, or traces (trace, channel,
        time) such as `synth.seismograms` makes; records of single components, as in an SDS archive, are put
        together, instrument by instrument and day by day.
    length : int [samples]
        Of a window. Windows follow each other; what is left of a record and windows with gaps are left out.
    channels : int
        Components to expect, ordered E, N, Z (or 2, 1, Z; T, R, Z).

    Returns
    -------
    DataArray, dims ("trace", "channel", "time")
        ``time`` in seconds from a window's start; coordinates ``start`` (NaT if there is no date) and
        ``station`` of ``trace``. The mean of each channel of each window is off, before single precision
        could lose a signal beside it.

    Raises
    ------
    ReadError
        If a file has other components, rates differ, or nothing is left.
    """
    paths = files(source)
    pieces = (_windows(record, path, length, channels) for path, record in _records(paths, channels))
    windows = [piece for piece in pieces if piece.sizes["trace"]]
    if not windows:
        raise ReadError(f"{source}: {len(paths)} files hold no window of {length} samples without gaps")
    rates = {sampling_rate(w) for w in windows}
    if not one_rate(rates):
        found = ", ".join(f"{rate:.12g} Hz" for rate in sorted(rates))
        raise ReadError(
            f"{source}: {len(paths)} files hold several rates: {found}; resample them to one first"
        )
    # rates that count as one may still differ in the last digits of their times
    return xr.concat([w.assign_coords(time=windows[0]["time"]) for w in windows], "trace")


def _records(paths: list[Path], channels: int) -> Iterator[tuple[Path, xr.DataArray]]:
    """What each file holds, or where that is one component of more, all files of its instrument and day."""
    days: dict[tuple, list[Path]] = {}
    for path in paths:
        record = read(path)
        if set(record.dims) == {"trace", "channel", "time"} and "channel" in record.coords:
            yield from ((path, trace) for trace in _as_records(record))
        elif "component" not in record.coords or record["time"].dtype.kind != "M":
            dims = ", ".join(map(str, record.dims))
            raise ReadError(f"{path} holds dims {dims}, but no components; wanted an instrument's waveforms")
        elif record.sizes["channel"] == 1 < channels:
            middle = record["time"].values[record.sizes["time"] // 2].astype("datetime64[D]")
            days.setdefault((record["channel"].item()[:-1], middle), []).append(path)
        else:
            yield path, record
    for some in days.values():
        yield some[0], read(some, overlap="first")


def _as_records(traces: xr.DataArray) -> Iterator[xr.DataArray]:
    """Each of some traces without a date, as a record of a station without a name."""
    names = traces["channel"].astype(str)
    yield from traces.transpose("trace", "channel", "time").assign_coords(
        channel=names, component=("channel", names.values), station=("channel", [""] * len(names))
    )


def _windows(record: xr.DataArray, path: Path, length: int, channels: int) -> xr.DataArray:
    """All whole windows (trace, channel, time) of a record that have no gap."""
    if record.sizes["channel"] != channels:
        raise ReadError(
            f"{path} holds {', '.join(record.channel.values)}; wanted {channels} components of one instrument"
        )
    record = record.isel(
        channel=np.argsort([ENZ.get(c, 3) for c in record["component"].values], kind="stable")
    )
    count = record.sizes["time"] // length
    rate, starts = sampling_rate(record), record["time"].values[: count * length : length]
    if starts.dtype.kind != "M":
        starts = np.full(count, np.datetime64("NaT", "ns"))
    values = record.values[:, : count * length].reshape(channels, count, length).swapaxes(0, 1)
    kept = np.isfinite(values).all((1, 2))
    values = values[kept].astype(float)
    values -= values[..., :1].copy()  # first, so that a constant channel gives zeros and not rounding
    values -= values.mean(-1, keepdims=True)
    return xr.DataArray(
        values.astype(np.float32),
        {
            "channel": ["E", "N", "Z"] if channels == 3 else list(record["component"].values),
            "time": ("time", np.arange(length) / rate, {"units": "s"}),
            "start": ("trace", starts[kept]),
            "station": ("trace", np.repeat(record["station"].values[:1], kept.sum())),
        },
        ("trace", "channel", "time"),
    )


def _is_survey(path: Path) -> bool:
    """Whether a path is a SEG-Y file that segyio could open."""
    if not path.is_file() or not path.stat().st_size or detect(path) != "SEGY":
        return False
    return find_spec("segyio") is not None


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


class _Found(Decoded):
    """What several files hold, with a name for them and those that could not be read."""

    name = ""
    unread: Sequence[str] = ()


def _found(source: Any, strict: bool = False) -> _Found:
    """Segments of whatever a source stands for."""
    found = _Found()
    if isinstance(source, obspy.Stream | obspy.Trace):
        found.segments = Segments.of([Segment.of(trace) for trace in plain_traces(source)])
        return found
    paths = files(source)
    decoded = _each(paths, source, strict, lambda path: decode(path, strict=strict), found)
    for one in decoded:
        found.segments.extend(one.segments)
        found.warnings += one.warnings
        found.formats |= one.formats
    return found


def _lazy(source: Any, select: str | None, overlap: str | None, strict: bool) -> xr.DataArray:
    if overlap is not None or strict:
        raise ValueError("overlap= and strict= need all samples; leave them out, or lazy=True")
    found = _Found()
    spans_of = _each(files(source), source, strict, spans, found)
    record = lazy_record(_selected([span for one in spans_of for span in one], select))
    return in_chunks(_told(record, found))


def _each(paths: list[Path], source: Any, strict: bool, job: Callable[[Path], T], found: _Found) -> list[T]:
    """What a job makes of each file; in a folder those it cannot read are only listed."""
    done, unread = [], []
    for path in paths:
        try:
            done.append(job(path))
        except ReadError as error:
            if strict or not _is_folder(source):
                raise
            unread.append(str(error))
    if not done:
        raise ReadError(f"none of the {len(paths)} files in {source} can be read: {unread[0]}")
    first, last = paths[0].name, paths[-1].name
    found.name = first if len(paths) == 1 else f"{len(paths)} files, {first} to {last}"
    found.unread = unread
    return done


def _is_folder(source: Any) -> bool:
    return isinstance(source, str | os.PathLike) and Path(source).expanduser().is_dir()


def _told(record: xr.DataArray, found: _Found) -> xr.DataArray:
    """The record, with where it comes from and what was noticed on the way."""
    if found.name:
        record.attrs["history"] = f"read: {found.name}"
    if found.warnings:
        record.attrs["warnings"] = "\n".join(dict.fromkeys(found.warnings))
    if found.unread:
        record.attrs["unread"] = "\n".join(found.unread)
    return record


def _selected(segments: Iterable[S], pattern: str | None) -> list[S]:
    if pattern is None:
        return list(segments)
    last = pattern.count(".") + 1
    kept = [s for s in segments if fnmatchcase(".".join(s.id.split(".")[-last:]), pattern)]
    if not kept:
        names: Iterable[str] = dict.fromkeys(segment.id for segment in segments)
        raise ReadError(f"select={pattern!r} matches none of {', '.join(names)}")
    return kept
