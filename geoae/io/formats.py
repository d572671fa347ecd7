"""What format a file is in, told from its own bytes.

ObsPy finds a format by asking its readers in turn, one of which unpickles, and so runs, what the file holds;
others hang on what is not theirs. So the signs of each format are looked for here, in the first kilobytes
and in the structure that follows from them, and ObsPy is always told what to read. PICKLE is not among them.
"""

import re
import struct
from collections.abc import Callable
from datetime import date
from functools import cached_property
from itertools import pairwise
from pathlib import Path

HEAD = 4096  # bytes that most formats are told by
TAGS = 10_000  # structures of a file to walk through before giving up

# Read in this process: none of them crashed or hung on thousands of damaged files (tests/test_fuzz.py).
SAFE = frozenset({"MSEED", "SAC", "SACXY", "SEGY", "SU", "SLIST", "TSPAIR", "WAV"})
GATHERS = frozenset({"SEGY", "SU"})  # many traces of one shot or line rather than channels of a station
# Told by a word that no other kind of file begins with, so that xarray may guess them.
GUESSED = frozenset(
    {"MSEED", "GSE1", "GSE2", "SLIST", "TSPAIR", "SH_ASC", "Q", "KNET", "SEG2", "Y", "PDAS", "SAC", "MSEED3"}
)
LABELLED = frozenset({"HDF5", "NETCDF", "NPZ", "CSV"})  # no recorder's own: read by io/labelled.py


class Look:
    """The bytes of a file, as far as somebody looks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.head = self.at(0, HEAD)

    def at(self, offset: int, count: int) -> bytes:
        """Bytes from an offset on; fewer or none where the file ends."""
        if not 0 <= offset < self.size:
            return b""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(count)

    def unpack(self, layout: str, offset: int) -> tuple:
        """Numbers in the layout of `struct`; raises struct.error where the file ends."""
        return struct.unpack(layout, self.at(offset, struct.calcsize(layout)))

    @cached_property
    def lines(self) -> list[bytes]:
        """First lines, of what may be text."""
        return [line.rstrip(b"\r") for line in self.head.split(b"\n")]


def detect(path: Path) -> str | None:
    """Name the format of a file, None if it is in none that is known.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str or None
        ObsPy's name of the format; a name of ours for what ObsPy does not read.

    Examples
    --------
    >>> import obspy
    >>> detect(Path(obspy.__file__).parent / "io/gse2/tests/data/acc.gse")
    'GSE1'
    """
    look = Look(path)
    for name, recognises in SIGNS.items():
        try:
            if recognises(look):
                return name
        except (struct.error, ValueError, IndexError, OverflowError):
            continue  # what cannot be unpacked does not have the structure
    return None


def is_pickle(path: Path) -> bool:
    """Whether a file begins as a pickle of protocol 2 or later does; it is not opened as one."""
    head = Look(path).head
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


# ---------------------------------------------------------------- the signs


def _starts(*magic: bytes) -> Callable[[Look], bool]:
    return lambda look: look.head.startswith(magic)


def _mseed(look: Look) -> bool:
    """Six digits or blanks, then D, R, Q or M; a full SEED volume holds such a record further on."""
    offset = 0
    while offset < look.size and not look.at(offset + 6, 122).strip(b" \0"):  # a blank record
        offset += 128
        if offset > 64 * 1024:
            return False
    start = look.at(offset, 128)
    if not re.match(rb"(\d{6}|[\d \0]{5}\d|[ \0]{6})[DRQMVAST]", start):
        return False
    if start[6:7] in b"DRQM":
        return True
    volume = re.search(rb"0(?:10|08)[ \d]{4}[ .\d]{4}(\d\d)", look.at(offset + 8, 256))
    length = 2 ** int(volume[1]) if volume else 0
    if not 256 <= length <= 65536:
        return False
    with look.path.open("rb") as file:
        for at in range(offset, look.size, length):
            file.seek(at + 6)
            if file.read(1) in (b"D", b"R", b"Q", b"M"):
                return True
    return False


def _mseed3(look: Look) -> bool:
    return look.head[:3] == b"MS\x03" and look.size >= 40


def _sac(look: Look) -> bool:
    """Step, header version and four truth values where SAC has them, in either byte order."""
    for order in "<>":
        delta, version = *look.unpack(f"{order}f", 0), *look.unpack(f"{order}i", 304)
        truths = look.unpack(f"{order}4i", 420)
        if delta > 0 and 1 <= version <= 20 and all(t in (0, 1, -12345) for t in truths):
            return True
    return False


def _sac_xy(look: Look) -> bool:
    """Fourteen lines of five numbers with a point in them, eight of five without."""
    reals = [line.split() for line in look.lines[:14]]
    whole = [line.split() for line in look.lines[14:22]]
    return (
        all(len(row) == 5 and all(b"." in word and float(word) < 1e40 for word in row) for row in reals)
        and len(whole) == 8
        and all(len(row) == 5 and all(word.lstrip(b"-").isdigit() for word in row) for row in whole)
    )


def _segy(look: Look) -> bool:
    """Counts, step and sample format of the binary header make sense in either byte order."""
    for order in "><":
        traces, auxiliary, step, _, samples, _, coding = look.unpack(f"{order}7h", 3212)
        revision, fixed, extended = look.unpack(f"{order}3h", 3500)
        if (
            coding in (1, 2, 3, 4, 5, 8)
            and revision in (0, 0x100, 0x10, 1)
            and min(step, samples) > 0
            and min(traces, auxiliary, fixed, extended) >= 0
        ):
            return look.size > 3840
    return False


def _su(look: Look) -> bool:
    """Traces of one length fill the file, and their first header has a step and a date."""
    for order in "<>":
        samples, step = look.unpack(f"{order}2h", 114)
        year, day, hour, minute, second = look.unpack(f"{order}5h", 156)
        if (
            samples > 0
            and step > 0
            and look.size % (240 + 4 * samples) == 0
            and (0 <= year < 100 or 1930 <= year < 2100)
            and (0 <= day <= 366 or day == 9999)
            and 0 <= hour <= 24
            and 0 <= minute <= 60
            and 0 <= second <= 60
        ):
            return True
    return False


def _wav(look: Look) -> bool:
    return look.head[:4] == b"RIFF" and look.head[8:12] == b"WAVE"


def _time_series(kind: bytes) -> Callable[[Look], bool]:
    return lambda look: look.head.startswith(b"TIMESERIES") and kind in look.lines[0]


def _ah(look: Look) -> bool:
    if look.unpack(">i", 0) == (1100,):
        return True
    places = {0: 6, 12: 6, 24: 8, 700: 80, 784: 202}  # lengths of the fixed strings of version 1
    return all(look.unpack(">i", at) == (length,) for at, length in places.items())


def _seisan(look: Look) -> bool:
    """The lengths that Fortran writes around the first two lines of 80 characters."""
    head = look.head
    short, long = b"P\0\0\0", b"P" + 7 * b"\0"
    return look.size >= 960 and (
        (head[:2] == b"KP" and head[82:83] == b"P")
        or any(head[:4] == word and head[84:88] == word for word in (short, short[::-1]))
        or (head[:8] in (long, long[::-1]) and head[88:96] == long[::-1])
    )


def _evt(look: Look) -> bool:
    sync, order = look.unpack("cB", 0)
    if sync != b"K" or order > 1:
        return False
    kind, length = look.unpack("<>"[order] + "4xIH", 0)
    return kind == 2 or (kind == 1 and length in (2040, 2736))


def _gcf(look: Look) -> bool:
    """First block of 1024 bytes: the first sample and the differences lead to the last sample."""
    compression, count = look.unpack("2B", 14)
    width = compression & 7
    n = count * width
    if width not in (1, 2, 4) or not 1 <= count <= 250 or look.size % 1024:
        return False
    (first,) = look.unpack(">i", 16)
    steps = look.unpack(f">{n}{ {1: 'i', 2: 'h', 4: 'b'}[width] }", 20)
    (last,) = look.unpack(">i", 20 + 4 * count)
    return first + sum(steps) == last


def _seg2(look: Look) -> bool:
    order = {b"\x55\x3a": "<", b"\x3a\x55": ">"}.get(look.head[:2])
    return order is not None and look.unpack(f"{order}H", 2) == (1,)


def _y(look: Look) -> bool:
    order = {b"I": "<", b"M": ">"}.get(look.head[:1])
    return order is not None and look.unpack(f"{order}BH", 1) == (31, 0)


def _pdas(look: Look) -> bool:
    wanted = [
        "DATASET",
        "FILE_TYPE",
        "VERSION",
        "SIGNAL",
        "DATE",
        "TIME",
        "INTERVAL",
        "VERT_UNITS",
        "HORZ_UNITS",
        "COMMENT",
        "DATA",
    ]
    return [line.split()[:1] for line in look.lines[:11]] == [[word.encode()] for word in wanted]


def _reftek(look: Look) -> bool:
    kinds = {b"EH", b"ET", b"DT", b"AD", b"CD", b"DS", b"FD", b"OM", b"SC", b"SH"}
    packets = range(0, min(look.size, 20 * 1024), 1024)
    return len(packets) > 0 and look.size % 1024 == 0 and all(look.at(i, 2) in kinds for i in packets)


def _rg16(look: Look) -> bool:
    return look.head[2:4] == b"\x80\x58" and look.head[16:17] == b"\x20" and look.head[42:44] == b"\x01\x06"


def _wfdisc(
    length: int, points: tuple[int, int], times: tuple[int, int], kind: int
) -> Callable[[Look], bool]:
    """A CSS table: lines of one length, with two times and the coding of the samples at fixed places."""

    def recognises(look: Look) -> bool:
        line = look.lines[0]
        return (
            len(line) == length
            and all(b"." in line[at : at + 2] for at in points)
            and all(float(line[at : at + 17]) < 1e11 for at in times)
            and line[kind : kind + 2] in (b"s4", b"s3", b"s2", b"t4", b"t8", b"f4", b"f8", b"i4", b"g2")
        )

    return recognises


def _dmx(look: Look) -> bool:
    """A chain of structures, each begun by S, that leads to a description of a trace (kind 7)."""
    offset = 0
    for _ in range(TAGS):
        sync, kind, length, data = look.unpack("<cxhii", offset)
        if sync != b"S" or length < 0 or data < 0 or length + data == 0:
            return False
        if kind == 7:
            return offset + length + data <= look.size
        offset += 12 + length + data
    return False


def _alsep(kinds: tuple[int, ...]) -> Callable[[Look], bool]:
    """Kind of the tape, then the station (or for the later kinds five of them, three bits each)."""

    def recognises(look: Look) -> bool:
        kind, station = look.unpack(">2H", 0)
        if kind not in kinds or look.size < 16:
            return False
        if kind < 3:
            return station in (11, 12, 14, 15, 16, 17)
        a, b = look.head[2:4]
        active = (a & 0x70) >> 4, (a & 0x0E) >> 1, ((a & 1) << 2) + (b >> 6), (b & 0x38) >> 3, b & 7
        return all(one <= 5 for one in active)

    return recognises


def _win(look: Look) -> bool:
    """A length, a date in decimal halves of bytes, and channels whose lengths add up to that length."""
    (length,) = look.unpack(">i", 0)
    year, month, day, hour, minute, second = (int(f"{byte:02x}") for byte in look.at(4, 6))
    date(2000 + year, month, day)
    if hour > 23 or minute > 59 or second > 60 or not 14 <= length <= look.size:
        return False
    block = look.at(0, min(length, 2**20))
    offset, channels = 10, 0
    while offset + 8 <= len(block):
        width, rate = block[offset + 2] >> 4, (block[offset + 2] & 15) << 8 | block[offset + 3]
        if width > 4 or rate == 0:
            return False
        offset += 8 + ((rate - 1) * width if width else rate // 2)
        channels += 1
    return channels > 0 and (offset == length or length > len(block))


def _csv(look: Look) -> bool:
    """A line of names, of which one is ``time``, and lines of as many words."""
    rows = [line.split(b",") for line in look.lines[:3]]
    return (
        len(rows) == 3
        and len(rows[0]) > 1
        and b"time" in [word.strip().strip(b'"').lower() for word in rows[0]]
        and all(len(one) == len(other) for one, other in pairwise(rows[:2]))
    )


# Those that are sure come first, those that are told by numbers that make sense come last.
SIGNS: dict[str, Callable[[Look], bool]] = {
    "GSE2": _starts(b"WID2"),
    "GSE1": _starts(b"WID1", b"XW01"),
    "SLIST": _time_series(b"SLIST"),
    "TSPAIR": _time_series(b"TSPAIR"),
    "SH_ASC": _starts(b"DELTA:"),
    "Q": _starts(b"43981"),
    "KNET": _starts(b"Origin Time"),
    "CYBERSHAKE": _starts(b"12.10\0"),
    "WAV": _wav,
    "HDF5": _starts(b"\x89HDF\r\n\x1a\n"),
    "NETCDF": _starts(b"CDF\x01", b"CDF\x02", b"CDF\x05"),
    "NPZ": lambda look: look.head[:4] == b"PK\3\4" and look.head[30:].split(b".npy", 1)[0].isascii(),
    "SEG2": _seg2,
    "Y": _y,
    "MSEED3": _mseed3,
    "MSEED": _mseed,
    "PDAS": _pdas,
    "RG16": _rg16,
    "SEISAN": _seisan,
    "KINEMETRICS_EVT": _evt,
    "AH": _ah,
    "REFTEK130": _reftek,
    "CSS": _wfdisc(283, (26, 71), (16, 61), 143),
    "NNSA_KB_CORE": _wfdisc(287, (27, 73), (16, 62), 144),
    "SACXY": _sac_xy,
    "SAC": _sac,
    "DMX": _dmx,
    "SEGY": _segy,
    "SU": _su,
    "GCF": _gcf,
    "WIN": _win,
    "ALSEP_PSE": _alsep((1, 2)),
    "ALSEP_WTN": _alsep((3,)),
    "ALSEP_WTH": _alsep((4,)),
    "CSV": _csv,
}
