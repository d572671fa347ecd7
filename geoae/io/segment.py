"""Unbroken runs of samples, with all of their ObsPy headers that JSON can hold."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import obspy
from obspy.core import AttribDict

REBUILT = {"sampling_rate", "delta", "starttime", "endtime", "npts", "response"}  # not kept in a header


class Segment(NamedTuple):
    """Samples at one rate without a gap; lighter than an ObsPy Trace, of which a day can have thousands."""

    id: str
    start: int  # ns since 1970
    rate: float  # Hz
    data: np.ndarray
    header: dict[str, Any]  # JSON, without what follows from the other fields

    @property
    def npts(self) -> int:
        """Number of samples."""
        return len(self.data)

    @property
    def dtype(self) -> np.dtype:
        """In the byte order of this machine."""
        dtype = self.data.dtype
        return dtype if dtype.isnative else dtype.newbyteorder("=")

    @property
    def holds_nan(self) -> bool:
        """Whether NaN is among the samples, and so does not mean a gap."""
        return self.data.dtype.kind == "f" and bool(np.isnan(self.data).any())

    def read(self, a: int, b: int) -> np.ndarray:
        """Samples a to b."""
        return self.data[a:b]

    @classmethod
    def of(cls, trace: obspy.Trace) -> "Segment":
        """All of a Trace but its instrument response."""
        stats = trace.stats
        header = {}
        for name in stats.keys() - REBUILT:
            with suppress(TypeError):  # no JSON for it: a parsed binary header
                header[name] = json.loads(json.dumps(stats[name], default=_spell))
        return cls(trace.id, stats.starttime.ns, float(stats.sampling_rate), trace.data, header)

    def trace(self) -> obspy.Trace:
        """Undo `of`."""
        stats = dict(_read(self.header), sampling_rate=self.rate, starttime=obspy.UTCDateTime(ns=self.start))
        return obspy.Trace(self.data, header=stats)


@dataclass
class Segments:
    """Segments by columns: thousands of objects would cost as much as the samples of a day."""

    id: list[str] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    data: list[np.ndarray] = field(default_factory=list)
    header: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, segments: "Iterable[Segment] | Segments") -> "Segments":
        """Columns of what comes one by one."""
        return segments if isinstance(segments, Segments) else cls(*map(list, zip(*segments, strict=True)))

    def __iter__(self) -> Iterator[Segment]:
        return map(Segment, self.id, self.start, self.rate, self.data, self.header)

    def __len__(self) -> int:
        return len(self.id)

    def extend(self, other: "Segments") -> None:
        """Take those of another file, too."""
        for name, column in vars(self).items():
            column.extend(getattr(other, name))

    @property
    def npts(self) -> list[int]:
        """Number of samples of each."""
        return list(map(len, self.data))

    @property
    def dtype(self) -> list[np.dtype]:
        """Of each, in the byte order of this machine."""
        dtypes = [data.dtype for data in self.data]
        native = {dtype: dtype.newbyteorder("=") for dtype in set(dtypes)}
        return [native[dtype] for dtype in dtypes]

    @property
    def holds_nan(self) -> list[bool]:
        """Whether NaN is among the samples of each."""
        return [data.dtype.kind == "f" and bool(np.isnan(data).any()) for data in self.data]


def _spell(value: Any) -> Any:
    """Spell what JSON has no word for."""
    if isinstance(value, obspy.UTCDateTime):
        return {"__time__": value.ns}
    if isinstance(value, bytes):
        return {"__bytes__": value.decode("latin1")}
    if isinstance(value, complex):
        return {"__complex__": [value.real, value.imag]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"__array__": value.tolist(), "dtype": value.dtype.str}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, AttribDict):
        return dict(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def _read(value: Any) -> Any:
    """Undo `_spell`."""
    if isinstance(value, list):
        return [_read(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "__time__" in value:
        return obspy.UTCDateTime(ns=value["__time__"])
    if "__bytes__" in value:
        return value["__bytes__"].encode("latin1")
    if "__complex__" in value:
        return complex(*value["__complex__"])
    if "__array__" in value:
        return np.array(value["__array__"], dtype=value["dtype"])
    return AttribDict({name: _read(v) for name, v in value.items()})
