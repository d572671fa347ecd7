"""Headers of the records of a MiniSEED 2 file as columns: where each lies, what it holds, when it begins.

ObsPy tells what a file holds as a whole; slices and clocks want it record by record.
Layout after the SEED manual 2.4, chapter 8: a fixed header of 48 bytes, then a chain of blockettes.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import obspy

from .hearing import ReadError, line, listening
from .miniseed import miniseed
from .segment import Segment, Segments

NS = 1_000_000_000
HEADER = 48
DTYPES = {1: "i4", 3: "i4", 4: "f4", 5: "f8", 10: "i4", 11: "i4"}  # what ObsPy makes of an encoding
BLOCKETTES = 8  # that a record's chain is followed for


@dataclass
class Records:
    """Columns over the data records of a file, in its order."""

    path: Path
    offset: np.ndarray
    length: int  # bytes of each
    id: np.ndarray  # index into ids
    ids: list[str]
    start: np.ndarray  # ns since 1970
    npts: np.ndarray
    rate: np.ndarray  # Hz
    dtype: np.dtype
    header: list[dict]  # of each id, as Segment has it

    def runs(self) -> tuple[np.ndarray, np.ndarray]:
        """Order of the records by id, and where in it each unbroken run begins.

        A run is of one id and rate, each record due within half a sample of the end of the one before.
        """
        order = np.lexsort((np.arange(len(self.id)), self.id))
        order = order[self.npts[order] > 0]
        i, j = order[:-1], order[1:]
        late = (
            np.abs(self.start[j] - self.start[i] - self.npts[i] * (NS / self.rate[i])) > NS / self.rate[j] / 2
        )
        breaks = (self.id[i] != self.id[j]) | (self.rate[i] != self.rate[j]) | late
        return order, np.concatenate([np.zeros(min(len(order), 1), int), np.flatnonzero(breaks) + 1])

    def data(self, some: np.ndarray) -> np.ndarray:
        """Decode some records, and hold what comes against what their headers promise."""
        content = np.memmap(self.path, np.uint8, mode="r").reshape(-1, self.length)
        part = content[self.offset[some] // self.length].tobytes()
        try:
            with listening() as told:
                pieces = miniseed(np.frombuffer(part, np.int8))
                if pieces is None:
                    stream = obspy.read(io.BytesIO(part), format="MSEED")
                    pieces = Segments.of([Segment.of(trace) for trace in stream])
        except Exception as error:
            raise ReadError(f"{self.path} (MSEED) cannot be read there: {line(error)}") from error
        found = sum(pieces.npts)
        if found != self.npts[some].sum() or told:
            why = told[0] if told else f"its headers promise {self.npts[some].sum()} samples, {found} came"
            raise ReadError(f"{self.path} (MSEED): {why}")
        return np.concatenate([piece.data for piece in sorted(pieces, key=lambda piece: piece.start)])


def records(path: Path) -> Records | None:
    """Headers of all records of a MiniSEED 2 file; None if they do not follow one another evenly."""
    if path.stat().st_size < 128:
        return None
    content = np.memmap(path, np.uint8, mode="r")
    length = _length(content[:512].tobytes())
    if length is None or len(content) % length:
        return None
    head = np.ascontiguousarray(content.reshape(-1, length)[:, :HEADER])
    order = _byte_order(head)
    if order is None or not np.isin(head[:, 6], np.frombuffer(b"DRQM", np.uint8)).all():
        return None
    return _columns(path, content, np.arange(len(head)) * length, head, order, length)


def _length(head: bytes) -> int | None:
    """Length of the record that begins here, from its blockette 1000."""
    for order in ("big", "little"):
        at = int.from_bytes(head[46:48], order)
        for _ in range(BLOCKETTES):
            if not HEADER <= at <= len(head) - 8:
                break
            if int.from_bytes(head[at : at + 2], order) == 1000 and 7 <= head[at + 6] <= 16:
                return 1 << head[at + 6]
            at = int.from_bytes(head[at + 2 : at + 4], order)
    return None


def _byte_order(head: np.ndarray) -> str | None:
    """Byte order of the headers, by the year and day of all of them."""
    for order in "><":
        year, day = (head[:, a : a + 2].copy().view(f"{order}u2")[:, 0] for a in (20, 22))
        if ((year >= 1900) & (year <= 2100) & (day >= 1) & (day <= 366)).all():
            return order
    return None


def _columns(
    path: Path, content: np.ndarray, offset: np.ndarray, head: np.ndarray, order: str, length: int
) -> Records | None:
    def field(at: int, kind: str) -> np.ndarray:
        dtype = np.dtype(order + kind)
        return head[:, at : at + dtype.itemsize].copy().view(dtype)[:, 0].astype(np.int64)

    days = (field(20, "u2") - 1970).astype("M8[Y]").astype("M8[D]").astype(np.int64) + field(22, "u2") - 1
    seconds = ((days * 24 + head[:, 24]) * 60 + head[:, 25]) * 60 + head[:, 26]
    start = seconds * NS + field(28, "u2") * 100_000
    if (field(40, "i4")[(head[:, 36] & 2) == 0] != 0).any():  # a time correction that is yet to be applied
        return None
    chain = _blockettes(content, offset, field(46, "u2"), order)
    if chain is None:
        return None
    exponent, encoding, micro, exact = chain
    kinds = {DTYPES.get(int(kind)) for kind in np.unique(encoding)}
    if (1 << exponent != length).any() or len(kinds) != 1 or None in kinds:
        return None
    factor, multiplier = field(32, "i2").astype(float), field(34, "i2").astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(factor > 0, factor, -1 / factor)
        rate *= np.where(multiplier > 0, multiplier, -1 / multiplier)
    rate = np.where(exact > 0, exact, rate)
    npts = field(30, "u2")
    if not (np.isfinite(rate) & (rate > 0)).all():
        return None
    letters = head[:, 8:20]
    if ((letters >= 127) | ((letters < 32) & (letters > 0))).any():  # damage, of which ObsPy makes other ids
        return None
    name = letters.copy().view("S12")[:, 0]
    names, first, number = np.unique(name, return_index=True, return_inverse=True)
    appear = np.argsort(first)
    codes = [_codes(names[i].ljust(12)) for i in appear]
    size = len(content)
    headers = [
        _header(one, head[first[i]], encoding[first[i]], order, length, size)
        for one, i in zip(codes, appear, strict=True)
    ]
    return Records(
        path,
        offset,
        length,
        np.argsort(appear)[number.ravel()],
        [".".join((c["network"], c["station"], c["location"], c["channel"])) for c in codes],
        start + micro * 1000,
        npts,
        rate,
        np.dtype(kinds.pop()),
        headers,
    )


def _blockettes(content: np.ndarray, offset: np.ndarray, at: np.ndarray, order: str) -> tuple | None:
    """Length exponent, encoding, microseconds and exact rate of each record, from its chain of blockettes."""
    exponent, encoding, micro = (np.zeros(len(offset), np.int64) for _ in range(3))
    exact = np.zeros(len(offset))
    limit = len(content) - 16
    for _ in range(BLOCKETTES):
        here = np.flatnonzero((at >= HEADER) & (offset + at < limit))
        if not len(here):
            return exponent, encoding, micro, exact
        block = content[(offset + at)[here][:, None] + np.arange(8)]
        kind = block[:, 0:2].copy().view(f"{order}u2")[:, 0]
        thousand, timing, fast = kind == 1000, kind == 1001, kind == 100
        exponent[here[thousand]] = np.minimum(block[thousand, 6], 62)
        encoding[here[thousand]] = block[thousand, 4]
        micro[here[timing]] = block[timing, 5].view(np.int8)
        exact[here[fast]] = block[fast, 4:8].copy().view(f"{order}f4")[:, 0]
        onward = block[:, 2:4].copy().view(f"{order}u2")[:, 0].astype(np.int64)
        if ((onward <= at[here]) & (onward != 0)).any():
            return None  # a chain that turns back
        at = np.zeros_like(at)
        at[here] = onward
    return None


def _codes(name: bytes) -> dict[str, str]:
    text = name.decode("ascii").replace("\0", " ")
    cuts = {"station": text[0:5], "location": text[5:7], "channel": text[7:10], "network": text[10:12]}
    return {key: cuts[key].strip() for key in ("network", "station", "location", "channel")}


def _header(codes: dict, head: np.ndarray, encoding: int, order: str, length: int, size: int) -> dict:
    names = {1: "INT16", 3: "INT32", 4: "FLOAT32", 5: "FLOAT64", 10: "STEIM1", 11: "STEIM2"}
    details = {
        "dataquality": chr(head[6]),
        "encoding": names[int(encoding)],
        "byteorder": order,
        "record_length": length,
        "filesize": size,
    }
    return {**codes, "calib": 1.0, "_format": "MSEED", "mseed": details}
