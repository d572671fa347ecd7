"""One file to ObsPy traces: unpacked, its format found, read, and held against what its header promises."""

import bz2
import gzip
import lzma
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import IO, Any

import numpy as np
import obspy
from obspy.core.util.base import ENTRY_POINTS

from .formats import LABELLED, SAFE, SIGNS, detect, is_pickle
from .hearing import ReadError, line, listening
from .miniseed import miniseed
from .promises import held_against_promise, nothing_in
from .segment import Segment, Segments
from .worker import RefusedError, read_apart

UNPACKED = 200  # bytes that a compressed byte may become, beyond the first 64 MiB


@dataclass
class Decoded:
    """What a file holds."""

    segments: Segments = field(default_factory=Segments)
    warnings: list[str] = field(default_factory=list)
    formats: set[str] = field(default_factory=set)


def decode(path: Path, *, strict: bool = False) -> Decoded:
    """Read one waveform file, whatever its name; compressed files and archives are unpacked.

    Parameters
    ----------
    path : Path
    strict : bool
        Refuse what is only suspicious: everything that would otherwise be a warning.

    Raises
    ------
    ReadError
        Naming the file, its format and the cause.
    """
    if path.stat().st_size == 0:
        raise ReadError(f"{path} is empty (0 bytes)")
    found = Decoded()
    with _parts(path) as parts:
        for part in parts:
            form = detect(part) or _foreign(part)
            if form is None or form in LABELLED:
                continue
            segments, told = _decoded(part, form, path)
            found.segments.extend(segments)
            found.warnings += told
            found.formats.add(form)
        if not found.formats:
            raise ReadError(f"{path} is in no waveform format that ObsPy can read{_hint(parts)}")
    if strict and found.warnings:
        raise ReadError(
            f"{path} ({', '.join(sorted(found.formats))}): {found.warnings[0]}; refused by strict"
        )
    return found


def decode_here(path: Path, form: str) -> tuple[Segments, list[str]]:
    """Read a file of a known format in this process: its segments, and what was warned of."""
    with listening() as told:
        segments = miniseed(np.memmap(path, np.int8, mode="c")) if form == "MSEED" else None
    if segments is None:
        with listening() as told:
            stream = READERS[form](path) if form in READERS else _obspy(path, form)
            traces = plain_traces(stream)
        for trace in traces:
            if trace.stats.npts != len(trace.data):
                raise ReadError(f"{trace.id} promises {trace.stats.npts} samples and holds {len(trace.data)}")
        segments = Segments.of([Segment.of(trace) for trace in traces])
    told += held_against_promise(segments, path, form)
    return segments, list(dict.fromkeys(told))


def plain_traces(stream: Any) -> list[obspy.Trace]:
    """Traces of a Stream, a Trace or several; masked ones fall into the pieces between their gaps."""
    traces = [stream] if isinstance(stream, obspy.Trace) else list(stream)
    return [piece for t in traces for piece in (t.split() if np.ma.isMaskedArray(t.data) else [t])]


def _obspy(path: Path, form: str) -> obspy.Stream:
    # The format is always passed, or ObsPy would go looking for it and unpickle what looks like a pickle.
    options = {"unpack_trace_headers": True} if form in ("SEGY", "SU") else {}
    try:
        return obspy.read(escape(str(path)), format=form, check_compression=False, **options)
    except Exception as error:
        if "Cannot open file" not in str(error):  # what it says of a file that it did open
            raise
        raise ReadError(nothing_in(path, form)) from error


def _mseed3(path: Path) -> list[obspy.Trace]:
    try:
        from pymseed import MS3TraceList, sourceid2nslc
    except ImportError as error:
        raise ImportError("MiniSEED 3 needs pymseed: pip install 'geoae[mseed3]'") from error
    traces = []
    for one in MS3TraceList.from_file(str(path), unpack_data=True, validate_crc=True):
        codes = dict(
            zip(("network", "station", "location", "channel"), sourceid2nslc(one.sourceid), strict=True)
        )
        for segment in one:
            header = {
                **codes,
                "sampling_rate": segment.samprate,
                "starttime": obspy.UTCDateTime(ns=segment.starttime),
            }
            header["mseed3"] = obspy.core.AttribDict(publication=int(one.pubversion))
            traces.append(obspy.Trace(segment.np_datasamples.copy(), header=header))
    return traces


READERS: dict[str, Callable[[Path], list[obspy.Trace]]] = {"MSEED3": _mseed3}  # of what ObsPy does not read


def _decoded(part: Path, form: str, path: Path) -> tuple[Segments, list[str]]:
    try:
        return read_apart(part, form) if _apart(part, form) else decode_here(part, form)
    except RefusedError as error:
        cause: Any = error
    except Exception as error:  # ObsPy's readers raise 21 kinds
        cause = error
    raise ReadError(f"{path} looks like {form} but cannot be read: {line(cause)}") from cause


def _apart(path: Path, form: str) -> bool:
    """Whether the worker reads a file: ObsPy turns a SAC longitude until it fits, if it ever does."""
    if form != "SAC":
        return form not in SAFE
    with path.open("rb") as file:
        places = file.read(280)
    turns = np.array([struct.unpack_from(f"{order}6f", places, 124) for order in "<>"])[:, [0, 1, 4, 5]]
    with np.errstate(invalid="ignore"):
        return not (np.abs(turns) < 1e5).all(1).any()


def _foreign(path: Path) -> str | None:
    """A format that a plug-in of ObsPy's reads, ASDF for instance; it is asked in the worker."""
    for form in ENTRY_POINTS["waveform"].keys() - SIGNS.keys() - {"PICKLE"}:
        with suppress(RefusedError):
            read_apart(path, form)
            return form
    return None


def _hint(parts: list[Path]) -> str:
    if any(is_pickle(part) for part in parts):
        return ": it is a pickle (PICKLE), which runs the code it holds and so is never read"
    form = detect(parts[0]) if parts else None
    return (
        f" (it is {form}; open it alone, with geoae.read)"
        if form in LABELLED
        else " (pickles are never read)"
    )


# ---------------------------------------------------------------- compressed files

BAD_ARCHIVE = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, NotImplementedError)
OPENERS: dict[bytes, Callable[[str], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}


@contextmanager
def _parts(path: Path) -> Iterator[list[Path]]:
    """The file itself, or what is in it, unpacked to a folder that goes away afterwards."""
    if detect(path) is not None:
        yield [path]
        return
    with tempfile.TemporaryDirectory(prefix="geoae-") as folder:
        store = _Store(Path(folder), max(2**26, UNPACKED * path.stat().st_size))
        try:
            parts = list(_unpacked(path, store)) or [path]
        except (OSError, EOFError, RuntimeError, *BAD_ARCHIVE) as error:  # RuntimeError: it wants a password
            raise ReadError(f"{path} cannot be unpacked: {line(error)}") from error
        yield parts


class _Store:
    """A folder that takes so many bytes under names of its own, whatever those in an archive are."""

    def __init__(self, folder: Path, room: int) -> None:
        self.folder, self.room, self.count = folder, room, 0

    def add(self, source: IO[bytes]) -> Path:
        path = self.folder / str(self.count)
        self.count += 1
        with path.open("wb") as file:
            while block := source.read(2**20):
                self.room -= len(block)
                if self.room < 0:
                    raise OSError("it grows beyond what a waveform would")
                file.write(block)
        return path


def _unpacked(path: Path, store: _Store, depth: int = 0) -> Iterator[Path]:
    """Files inside a file, one level of compression around one archive at most."""
    with path.open("rb") as file:
        head = file.read(512)
    opener = next((opener for magic, opener in OPENERS.items() if head.startswith(magic)), None)
    if opener is not None and depth == 0:
        with opener(str(path)) as packed:
            inside = store.add(packed)
        yield from list(_unpacked(inside, store, 1)) or [inside]
    elif tarfile.is_tarfile(path):
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                source = archive.extractfile(member) if member.isfile() and member.size else None
                if source is not None:
                    yield store.add(source)
    elif head[:4] == b"PK\3\4":
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir() and entry.file_size:
                    with archive.open(entry) as source:
                        yield store.add(source)
