"""What a file says about its samples, held against the samples that came."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import obspy
from obspy.io.mseed.util import get_record_information

from .hearing import ReadError
from .segment import Segment, Segments
from .worker import SAMPLES

YEARS = 1678, 2262  # that whole nanoseconds can count
LIKELY = tuple(obspy.UTCDateTime(year, 1, 1).ns for year in (1900, 2100))
FASTEST = 1e9  # Hz
LARGEST = 1e20  # in whatever unit: what a flipped bit in an exponent makes, and no instrument
ROUNDING = 1e-6  # relative, of single precision


def held_against_promise(segments: Segments, path: Path, form: str) -> list[str]:
    """Refuse what cannot be true, and list what is unlikely."""
    size = path.stat().st_size
    if sum(segments.npts) > SAMPLES * size:
        raise ReadError(f"it promises more samples than {size} bytes can hold")
    told = list(_riff(path, size)) if form == "WAV" else []
    told += _last_record(segments, path, size) if form == "MSEED" else []
    told += _last_record_3(path, size) if form == "MSEED3" else []
    low, high = LIKELY
    for seed_id, start, rate in zip(segments.id, segments.start, segments.rate, strict=True):
        if not 0 <= rate <= FASTEST:  # NaN is neither
            raise ReadError(f"{seed_id} has a sampling rate of {rate:g} Hz")
        if not low <= start < high:
            year = obspy.UTCDateTime(ns=start).year
            if not YEARS[0] <= year < YEARS[1]:
                raise ReadError(f"{seed_id} starts in the year {year}; is it damaged?")
            told.append(f"{seed_id} starts in the year {year}")
    for seed_id in set(segments.id):
        if not seed_id.isprintable():
            raise ReadError(f"an id holds control characters: {seed_id!r}")
    if any(dtype.kind == "f" for dtype in {data.dtype for data in segments.data}):
        for segment in segments:
            if segment.data.dtype.kind == "f" and len(segment.data):
                told += _doubts(segment)
    return told


def nothing_in(path: Path, form: str) -> str:
    """Why a file that was opened and read gave no trace."""
    size = path.stat().st_size
    wanted = get_record_information(str(path)).get("record_length", 0) if form == "MSEED" else 0
    if wanted > size:
        return f"it has {size} bytes, its first record should have {wanted}; it is cut or damaged"
    return "there is no trace in it"


def _last_record(segments: Segments, path: Path, size: int) -> Iterator[str]:
    """MiniSEED that ends within a record, of which libmseed does not always tell."""
    lengths = {header["mseed"]["record_length"] for header in segments.header}
    if len(lengths) != 1 or not (rest := size % (length := lengths.pop())):
        return
    with path.open("rb") as file:
        file.seek(size - rest)
        if re.match(rb"[\d \0]{6}[DRQM]", file.read(7)):
            yield f"its last record is cut: {rest} of {length} bytes are left"


def _last_record_3(path: Path, size: int) -> Iterator[str]:
    """MiniSEED 3 that ends within a record: its header of 40 bytes says how long three other parts are."""
    at = length = 0
    with path.open("rb") as file:
        while at < size and (head := file.read(40)).startswith(b"MS\3"):
            length = 40 + sum(struct.unpack_from("<BHI", head, 33)) if len(head) == 40 else 40
            at += length
            file.seek(at)
    if at > size:
        yield f"its last record is cut: {size - at + length} of {length} bytes are left"


def _doubts(segment: Segment) -> Iterator[str]:
    """Where samples are not what their own header says of them. It may be stale, so it is not refused."""
    data, header = segment.data, segment.header
    low, high = np.fmin.reduce(data), np.fmax.reduce(data)
    if max(-low, high) > LARGEST:
        yield f"{segment.id} holds values from {low:.3g} to {high:.3g}; is it damaged?"
    if "sac" in header:
        yield from _extremes(segment.id, data, header["sac"])
    if "knet" in header:
        yield from _peak(segment, header["knet"])


def _extremes(seed_id: str, data: np.ndarray, promised: dict) -> Iterator[str]:
    """SAC: the least, the largest and the mean value; the mean is often summed up in single precision."""
    with np.errstate(invalid="ignore", over="ignore"):
        held = {"depmin": data.min(), "depmax": data.max(), "depmen": data.mean(dtype=float)}
        most = ROUNDING * np.abs(data).max()
    off = {"depmin": most, "depmax": most, "depmen": most * np.sqrt(len(data))}
    for name, value in held.items():
        said = promised.get(name)
        if said is not None and not abs(value - said) <= off[name]:
            yield f"{seed_id}: the header says {name} {said:.7g}, the samples {value:.7g}"


def _peak(segment: Segment, promised: dict) -> Iterator[str]:
    """K-NET: how long the record is [s], and its peak about the mean [gal], to three decimals."""
    seconds, peak = promised.get("duration"), promised.get("accmax")
    lasts = segment.npts / segment.rate if segment.rate else 0
    if seconds is not None and abs(lasts - seconds) > 1:
        yield f"{segment.id}: the header says {seconds:g} s, the samples last {lasts:g} s"
    data = segment.data * segment.header.get("calib", 1.0) * 100
    held = np.abs(data - data.mean()).max()
    if peak is not None and abs(held - peak) > 2e-3 + 1e-3 * peak:
        yield f"{segment.id}: the header says a peak of {peak:g} gal, the samples {held:.3f} gal"


def _riff(path: Path, size: int) -> Iterator[str]:
    with path.open("rb") as file:
        promised = int.from_bytes(file.read(8)[4:], "little") + 8
    if abs(promised - size) > 1:  # it may be padded to an even number
        yield f"its header speaks of {promised} bytes, it has {size}"
