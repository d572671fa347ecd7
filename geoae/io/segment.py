"""One unbroken run of samples, with all of its ObsPy header that JSON can hold."""

import json
from contextlib import suppress
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
