"""Headers of the records of a MiniSEED 2 file as columns: where each lies, what it holds, when it begins.

ObsPy tells what a file holds as a whole; slices, clocks and thousands of gaps want it record by record.
Layout after the SEED manual 2.4, chapter 8: a fixed header of 48 bytes, then a chain of blockettes.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import obspy

from .hearing import ReadError, line, listening
from .segment import Segment

NS = 1_000_000_000
HEADER = 48
DTYPES = {1: "i4", 3: "i4", 4: "f4", 5: "f8", 10: "i4", 11: "i4"}  # what ObsPy makes of an encoding
PAIRS = 128  # of neighbouring records that are looked at to see whether a file has many gaps
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
    byte_order: str  # of the headers

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
                stream = obspy.read(io.BytesIO(part), format="MSEED")
        except Exception as error:
            raise ReadError(f"{self.path} (MSEED) cannot be read there: {line(error)}") from error
        found = sum(trace.stats.npts for trace in stream)
        if found != self.npts[some].sum() or told:
            why = told[0] if told else f"its headers promise {self.npts[some].sum()} samples, {found} came"
            raise ReadError(f"{self.path} (MSEED): {why}")
        stream.traces.sort(key=lambda trace: trace.stats.starttime)
        return np.concatenate([trace.data for trace in stream])


def records(path: Path, pairs: int | None = None) -> Records | None:
    """Headers of all records of a MiniSEED 2 file; None if they do not follow one another evenly throughout.

    With `pairs`, those of so many pairs of neighbours, spread over the file.
    """
    if path.stat().st_size < 128:
        return None
    content = np.memmap(path, np.uint8, mode="r")
    length = _length(content[:512].tobytes())
    if length is None or len(content) % length:
        return None
    number = np.arange(len(content) // length)
    if pairs is not None and len(number) > 2 * pairs:
        number = np.linspace(0, len(number) - 2, pairs).astype(int).repeat(2)
        number[1::2] += 1
    table = content.reshape(-1, length)
    head = np.ascontiguousarray(table[number, :HEADER] if pairs else table[:, :HEADER])
    order = _byte_order(head)
    if order is None or not np.isin(head[:, 6], np.frombuffer(b"DRQM", np.uint8)).all():
        return None
    return _columns(path, content, number * length, head, order, length)


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
    name = head[:, 8:20].copy().view("S12")[:, 0]
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
        order,
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
    text = name.decode("ascii", "replace").replace("\0", " ")
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


# ---------------------------------------------------------------- thousands of gaps


def gappy(path: Path) -> list[Segment] | None:
    """Segments of a file with many gaps; None if it has few, or is in any way unusual.

    ObsPy takes as long for a gap as for tens of thousands of samples. So the records are decoded as if each
    began where the one before it ends, and what comes is cut where they truly begin.
    """
    some = records(path, PAIRS)
    if some is None or len(some.offset) < 2 * PAIRS or not _breaks(some):
        return None
    table = records(path)
    if table is None or len(np.unique(table.rate)) > 1 or table.rate[0] > 1000 or (table.npts == 0).any():
        return None
    order, begins = table.runs()
    starts, ids = table.start[order[begins]], table.id[order[begins]]
    if len(begins) < 100 or (np.diff(starts)[np.diff(ids) == 0] <= 0).any():
        return None
    content = np.fromfile(path, np.uint8).reshape(-1, table.length)
    _write_starts(content, order, table)
    try:
        with listening() as told:
            stream = obspy.read(io.BytesIO(content.tobytes()), format="MSEED")
    except Exception:  # whatever it is, reading the file as it is will tell
        return None
    held = {trace.id: trace.data for trace in stream}
    promised = dict(zip(table.ids, np.bincount(table.id, table.npts).astype(int).tolist(), strict=True))
    if told or len(stream) != len(held) or {i: len(data) for i, data in held.items()} != promised:
        return None
    rate, segments, at, last = float(table.rate[0]), [], 0, -1
    counts = np.add.reduceat(table.npts[order], begins)
    for i, start, n in zip(ids.tolist(), starts.tolist(), counts.tolist(), strict=True):
        at = at if i == last else 0
        data = held[table.ids[i]][at : at + n]
        segments.append(Segment(table.ids[i], start, rate, data, table.header[i]))
        at, last = at + n, i
    return segments


def _breaks(some: Records) -> bool:
    """Whether of any pair of neighbours the second does not go on where the first ends."""
    i, j = slice(0, None, 2), slice(1, None, 2)
    late = some.start[j] - some.start[i] - some.npts[i] * (NS / some.rate[i])
    return bool(((np.abs(late) > NS / some.rate[i] / 2) & (some.id[i] == some.id[j])).any())


def _write_starts(content: np.ndarray, order: np.ndarray, table: Records) -> None:
    """Let each record of an id begin where the one before it ends, to the tenth of a millisecond."""
    before = np.cumsum(table.npts[order]) - table.npts[order]
    begins = np.flatnonzero(np.diff(table.id[order], prepend=-1))
    count = np.diff(np.append(begins, len(order)))
    since = before - np.repeat(before[begins], count)
    start = np.repeat(table.start[order[begins]], count) + (since * (NS / table.rate[0])).astype(np.int64)
    moment = start.astype("M8[ns]")
    year, day, second = (moment.astype(f"M8[{unit}]") for unit in "YDs")
    kinds = ("y", "u2"), ("d", "u2"), ("h", "u1"), ("m", "u1"), ("s", "u1"), ("unused", "u1"), ("f", "u2")
    parts = np.zeros(len(order), [(name, table.byte_order + kind) for name, kind in kinds])
    rest = (second - day).astype(np.int64)
    parts["y"], parts["d"] = year.astype(int) + 1970, (day - year.astype("M8[D]")).astype(int) + 1
    parts["h"], parts["m"], parts["s"] = rest // 3600, rest // 60 % 60, rest % 60
    parts["f"] = (moment - second).astype(np.int64) // 100_000
    content[order, 20:30] = parts.view(np.uint8).reshape(-1, 10)
