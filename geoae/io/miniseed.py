"""MiniSEED 2 by the libmseed in ObsPy, without a Trace for each segment and an array for each channel.

Where a day has thousands of gaps a Trace costs more than its samples, and arrays of their own would be copied
once more to stand side by side. Here the samples of a file come into one block of memory.
"""

import io
from collections.abc import Iterator
from ctypes import c_int8, sizeof
from itertools import islice
from typing import Any

import numpy as np
from obspy.io.mseed.headers import DATATYPES, ENCODINGS, ContinuousSegment, clibmseed
from obspy.io.mseed.util import get_record_information

from .hearing import ReadError
from .segment import Segments

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
FIELDS = [(name, kind) for name, kind in ContinuousSegment._fields_ if not hasattr(kind, "contents")]
ROW = np.dtype(  # all that is no pointer
    {
        "names": [name for name, _ in FIELDS],
        "formats": [np.dtype(kind) for _, kind in FIELDS],
        "offsets": [getattr(ContinuousSegment, name).offset for name, _ in FIELDS],
        "itemsize": sizeof(ContinuousSegment),
    }
)
TYPES = clibmseed.lib.readMSEEDBuffer.argtypes
KNOWN = len(TYPES) == 9  # of the arguments it has in ObsPy 1.5


def miniseed(content: np.ndarray) -> Segments | None:
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
        return _segments(found, block.pieces(), len(content)) or None
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
    """Memory for all samples of a file, given out segment by segment.

    `take` runs in the midst of libmseed, thousands of times: arrays are made of its pieces only afterwards.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.given: list[tuple[np.ndarray, list[int]]] = []  # memory, and lengths of the pieces of it
        self.lengths: list[int] = []
        self.kind, self.left, self.width, self.address = b"", 0, 0, 0

    def take(self, count: int, kind: bytes) -> int:
        """Address for so many samples of a type of libmseed's; where it found no type there are none."""
        if kind not in DTYPES:
            count, kind = 0, b"d"
        if kind != self.kind or count > self.left:
            self._renew(count, kind)
        self.lengths.append(count)
        self.left -= count
        address = self.address
        self.address += count * self.width
        return address

    def _renew(self, count: int, kind: bytes) -> None:
        memory = np.empty(max(count, int(SPARE * self.room)), DTYPES[kind])
        ANCHOR[:] = [np.empty(2**16, np.uint8)]
        self.kind, self.width, self.address = kind, memory.itemsize, memory.ctypes.data
        self.left, self.lengths, self.room = len(memory), [], 0
        self.given.append((memory, self.lengths))

    def pieces(self) -> Iterator[np.ndarray]:
        """All that was given out, in that order."""
        for memory, lengths in self.given:
            end = 0
            for length in lengths:
                begin, end = end, end + length
                yield memory[begin:end]


def _segments(ids: Any, pieces: Iterator[np.ndarray], size: int) -> Segments:
    """What libmseed's lists tell of the segments; equal headers are one object."""
    found = Segments()
    while ids:
        one = ids.contents
        codes = {name: getattr(one, name).strip().decode("ascii") for name in CODES}
        quality, table = one.dataquality.decode("ascii"), _table(one.firstSegment)
        kinds = [table[name].tolist() for name in ("recordcnt", "encoding", "byteorder", "reclen")]
        headers = {kind: _header(codes, quality, kind, size) for kind in set(zip(*kinds, strict=True))}
        more = Segments(
            [".".join(codes.values())] * len(table),
            (table["starttime"] * 1000).tolist(),
            table["samprate"].tolist(),
            list(islice(pieces, len(table))),
            [headers[kind] for kind in zip(*kinds, strict=True)],
        )
        found.extend(more)
        ids = one.next
    return found


def _table(segment: Any) -> np.ndarray:
    """A linked list of segments as one array: to ask each for each of its fields would take longer."""
    rows = []
    while segment:
        rows.append(bytes(segment.contents))
        segment = segment.contents.next
    return np.frombuffer(b"".join(rows), ROW)


def _header(codes: dict[str, str], quality: str, kind: tuple, size: int) -> dict[str, Any]:
    count, encoding, order, length = kind
    about = {
        "dataquality": quality,
        "number_of_records": count,
        "encoding": ENCODINGS[encoding][0],
        "byteorder": "<" if order == 0 else ">",
        "record_length": length,
        "filesize": size,
    }
    return {**codes, "calib": 1.0, "_format": "MSEED", "mseed": about}
