"""MiniSEED 2 by the libmseed in ObsPy, without a Trace for each segment and an array for each channel.

Where a day has thousands of gaps a Trace costs more than its samples, and arrays of their own would be copied
once more to stand side by side. Here the samples of a file come into one block of memory.
"""

import io
from collections.abc import Iterator
from ctypes import c_int8
from typing import Any

import numpy as np
from obspy.io.mseed.headers import DATATYPES, ENCODINGS, clibmseed
from obspy.io.mseed.util import get_record_information

from .hearing import ReadError
from .segment import Segment

LEAST = 128  # bytes of a record
COUNTED = 2**31 - 2**20  # bytes or samples that libmseed counts up to
SPARE = 2.25  # times the memory needed: where there are gaps, integers become floats in the rest of it
DATA = np.frombuffer(b"DRQM", np.int8)  # what stands in a record of data behind its number
DENSEST = 2  # samples per byte: more than the seven in a word of Steim-2
CODES = ("network", "station", "location", "channel")
# 64 KiB behind the 100 MB or so in which libmseed holds the records of a day: else the C library hands that
# back to the system after each file, and to fetch it again costs a third of the reading.
ANCHOR: list[np.ndarray] = []
DTYPES = {kind: np.dtype(one) for kind, one in DATATYPES.items()}
TYPES = clibmseed.lib.readMSEEDBuffer.argtypes
KNOWN = len(TYPES) == 9  # of the arguments it has in ObsPy 1.5


def miniseed(content: np.ndarray) -> list[Segment] | None:
    """Segments of a file whose bytes (int8) these are; None where `obspy.read` has to look into it.

    They are what ObsPy would make Traces of, in the same order; its warnings and errors are the same.
    """
    if not (KNOWN and LEAST <= len(content) <= COUNTED):
        return None
    if content[:6].max() > ord("9") or content[6] not in DATA:
        return None
    about = get_record_information(io.BytesIO(content[: 2**20].tobytes()))
    if about.get("encoding", 11) not in ENCODINGS:
        return None
    room = _promised(content, about["record_length"], about["byteorder"])
    if room is None:
        return None
    if room > DENSEST * len(content):  # libmseed would take the memory for them before it looks
        raise ReadError(f"its records promise {room} samples, more than {len(content)} bytes can hold")
    if room > COUNTED:
        return None
    block = Block(room)
    allocate = TYPES[-1](block.take)
    clibmseed.verbose = False
    try:
        found = clibmseed.readMSEEDBuffer(
            content, len(content), None, c_int8(1), -1, c_int8(0), c_int8(0), -1, allocate
        )
    finally:
        clibmseed.verbose = True
    try:
        return list(_segments(found, iter(block.pieces), len(content))) or None
    except UnicodeDecodeError:  # ObsPy knows what to say
        return None
    finally:
        clibmseed.lil_free(found)


def _promised(content: np.ndarray, length: int, order: str) -> int | None:
    """Samples that the headers of all records speak of; None if the records are not as long as the first."""
    if length < LEAST or len(content) % length:
        return None
    records = content.reshape(-1, length)
    npts = records[:, 30:32].copy().view(f"{order}u2")[:, 0]
    return int(npts.sum(dtype=np.int64, where=np.isin(records[:, 6], DATA)))  # others are blank


class Block:
    """Memory for all samples of a file, given out segment by segment."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.pieces: list[np.ndarray] = []
        self.memory, self.used, self.address = np.empty(0), 0, 0

    def take(self, count: int, kind: bytes) -> int:
        """Address for so many samples of a type of libmseed's; where it found no type there are none."""
        dtype = DTYPES.get(kind)
        if dtype is None:
            count, dtype = 0, np.dtype(float)
        begin, end = self.used, self.used + count
        if dtype != self.memory.dtype or end > len(self.memory):
            self.memory = np.empty(max(count, int(SPARE * self.room)), dtype)
            self.address, self.room = self.memory.ctypes.data, 0
            ANCHOR[:] = [np.empty(2**16, np.uint8)]
            begin, end = 0, count
        self.pieces.append(self.memory[begin:end])
        self.used = end
        return self.address + begin * dtype.itemsize


def _segments(ids: Any, pieces: Iterator[np.ndarray], size: int) -> Iterator[Segment]:
    """What libmseed's lists tell of the segments; equal headers are one object."""
    while ids:
        headers: dict[tuple, dict[str, Any]] = {}
        one = ids.contents
        codes = {name: getattr(one, name).strip().decode("ascii") for name in CODES}
        seed_id, quality = ".".join(codes.values()), one.dataquality.decode("ascii")
        segment = one.firstSegment
        while segment:
            x = segment.contents
            key = x.recordcnt, x.encoding, x.byteorder, x.reclen
            if key not in headers:
                about = {
                    "dataquality": quality,
                    "number_of_records": x.recordcnt,
                    "encoding": ENCODINGS[x.encoding][0],
                    "byteorder": "<" if x.byteorder == 0 else ">",
                    "record_length": x.reclen,
                    "filesize": size,
                }
                headers[key] = {**codes, "calib": 1.0, "_format": "MSEED", "mseed": about}
            yield Segment(seed_id, x.starttime * 1000, x.samprate, next(pieces), headers[key])
            segment = x.next
        ids = one.next
