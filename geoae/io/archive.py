"""What an archive holds: a manifest of its files, the damage since the last one, the drift of its clocks."""

import hashlib
import json
import os
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..files import whole
from .decode import decode
from .formats import detect
from .hearing import ReadError
from .reading import files, read_stream
from .records import Records, records

VERSION = 1
ROUNDING = 1e-4  # s: to which MiniSEED tells the time of a record without blockette 1001


def scan(
    archive: Any,
    manifest: str | os.PathLike | None = None,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Take stock of an archive: what each file holds, whether it is whole, how its clock runs.

    Parameters
    ----------
    archive : folder, path, glob pattern or list of these
    manifest : path of a JSON file, optional
        Compared with if it exists, and written. What a file holds is not decoded again while its sha256 is
        the same; `holding` finds the files of a time and a channel in it.
    say : callable
        Told one line for each file that changed or cannot be read.

    Returns
    -------
    dict
        ``files``: {path: {size, mtime, sha256, format, segments}}, of each segment its id, start [ns], npts
        and rate [Hz]; ``unread``: {path: why}; ``damage``: {path: what}, of files that are gone, or whose
        content changed though size and time of change did not say so; ``clocks``: see `clock`.

    Examples
    --------
    >>> import obspy, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     obspy.read().write(f"{folder}/event.mseed", format="MSEED")
    ...     found = scan(folder)
    >>> [segment["npts"] for file in found["files"].values() for segment in file["segments"]]
    [3000, 3000, 3000]
    """
    earlier = _load(Path(manifest)) if manifest is not None and Path(manifest).exists() else {}
    root = Path(archive).expanduser() if isinstance(archive, str | os.PathLike) else Path()
    found: dict[str, Any] = {
        "version": VERSION,
        "root": str(root.absolute()),
        "files": {},
        "unread": {},
        "damage": {},
        "clocks": {},
    }
    for path in files(archive):
        if manifest is not None and path.resolve() == Path(manifest).resolve():
            continue
        name = str(path.relative_to(root)) if root.is_dir() else str(path)
        old = earlier.get("files", {}).get(name)
        try:
            entry, clocks = _entry(path, old)
        except ReadError as error:
            found["unread"][name] = str(error)
            say(str(error))
        else:
            found["files"][name] = entry
            found["clocks"].update({f"{name} {key}": value for key, value in clocks.items()})
        damage = _damage(old, path)
        if damage:
            found["damage"][name] = damage
            say(f"{name}: {damage}")
    for name in earlier.get("files", {}).keys() - found["files"].keys() - found["unread"].keys():
        found["damage"][name] = "it is gone"
        say(f"{name}: it is gone")
    if manifest is not None:
        with whole(Path(manifest)) as part:
            part.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["version"] > VERSION:
            raise ReadError(f"{path} was made by a newer geoae (version {manifest['version']})")
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ReadError(f"{path} is no manifest; delete it, or name another file") from error
    return manifest


def holding(
    manifest: str | os.PathLike, start: Any = None, end: Any = None, *, select: str = "*"
) -> list[Path]:
    """Files of a scanned archive that hold samples of a channel between two times.

    Parameters
    ----------
    manifest : path
        Written by `scan`.
    start, end : times that numpy.datetime64 takes, optional
    select : str
        Pattern of SEED ids, such as ``*.HHZ``.

    Returns
    -------
    list of Path
        To be given to `geoae.read`, which then opens no others.
    """
    found = _load(Path(manifest))
    low = -np.inf if start is None else np.datetime64(start, "ns").astype(np.int64).item()
    high = np.inf if end is None else np.datetime64(end, "ns").astype(np.int64).item()

    def wanted(segment: dict[str, Any]) -> bool:
        last = segment["start"] + (segment["npts"] - 1) / (segment["rate"] or np.inf) * 1e9
        return fnmatchcase(segment["id"], select) and segment["start"] <= high and last >= low

    root = Path(found["root"])
    return [root / name for name, file in found["files"].items() if any(map(wanted, file["segments"]))]


def _entry(path: Path, old: dict[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Line of the manifest, the old one while the content is the same, and the clocks of a MiniSEED file."""
    state, digest = path.stat(), _digest(path)
    table = records(path) if state.st_size and detect(path) == "MSEED" else None
    clocks = {} if table is None else _clocks(table)
    if old is not None and old["sha256"] == digest:
        return {**old, "mtime": state.st_mtime_ns}, clocks
    decoded = decode(path)
    segments = [{"id": s.id, "start": s.start, "npts": s.npts, "rate": s.rate} for s in decoded.segments]
    entry = {
        "size": state.st_size,
        "mtime": state.st_mtime_ns,
        "sha256": digest,
        "format": ", ".join(sorted(decoded.formats)),
        "segments": segments,
    }
    if decoded.warnings:
        entry["warnings"] = decoded.warnings
    return entry, clocks


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damage(old: dict[str, Any] | None, path: Path) -> str | None:
    """What happened to a file since an earlier manifest, if anything."""
    if old is None:
        return None
    if path.stat().st_size != old["size"]:
        return f"it has {path.stat().st_size} bytes, it had {old['size']}"
    if _digest(path) != old["sha256"]:
        when = "since" if path.stat().st_mtime_ns != old["mtime"] else "though its time of change did not"
        return f"its content changed {when}"
    return None


# ---------------------------------------------------------------- clocks


def clock(path: str | os.PathLike) -> xr.Dataset:
    """How the clock of each channel of a MiniSEED file runs, from the times that stand in its records.

    A straight line is fitted to the begin of the records over the number of samples before them; what its
    slope differs from the nominal step is the drift: t_j = t_0 + n_j (1 + d) / f. Where a record begins more
    than half a sample from where the one before it ends, the clock jumped or there is a gap, and the line
    begins anew; the longest piece is reported.

    Parameters
    ----------
    path : path of a MiniSEED file

    Returns
    -------
    Dataset over ``channel``
        ``drift`` [ppm], its standard error ``error`` [ppm] (from the residuals, at least from the rounding of
        the times), ``jumps`` (times at which the record does not go on), ``records``.

    Raises
    ------
    ReadError
        If the file is no MiniSEED 2, or its records are of different lengths.
    """
    table = records(Path(path))
    if table is None:
        raise ReadError(f"{path}: the times of records are told for MiniSEED 2 files of even record length")
    rows = _clocks(table)
    names = ("drift", "error", "jumps", "records")
    found = xr.Dataset(
        {name: ("channel", [row[name] for row in rows.values()]) for name in names}, {"channel": list(rows)}
    )
    for name in ("drift", "error"):
        found[name].attrs["units"] = "ppm"
    return found


def _clocks(table: Records) -> dict[str, dict[str, Any]]:
    order, begins = table.runs()
    clocks = {}
    for number, seed_id in enumerate(table.ids):
        runs = [run for run in np.split(order, begins[1:]) if table.id[run[0]] == number]
        if runs:
            longest = max(runs, key=len)
            drift, error = _fit(table, longest)
            row = {"drift": drift, "error": error, "jumps": len(runs) - 1, "records": sum(map(len, runs))}
            clocks[seed_id] = row
    return clocks


def _fit(table: Records, run: np.ndarray) -> tuple[float, float]:
    """Drift and its standard error [ppm] of one unbroken run of records."""
    if len(run) < 3:
        return float("nan"), float("nan")
    before = np.cumsum(table.npts[run]) - table.npts[run]
    nominal = before / table.rate[run]  # s
    late = (table.start[run] - table.start[run[0]]) / 1e9 - nominal
    x = nominal - nominal.mean()
    spread = float(x @ x)
    slope = float(x @ (late - late.mean())) / spread
    rest = late - late.mean() - slope * x
    scatter = max(float(rest @ rest) / (len(run) - 2), ROUNDING**2 / 12)
    return 1e6 * slope, 1e6 * (scatter / spread) ** 0.5


# ---------------------------------------------------------------- coverage


def coverage(source: Any) -> xr.Dataset:
    """What waveforms cover: one line for each segment, in the order of the files.

    Parameters
    ----------
    source : path, glob pattern, folder or list of these

    Returns
    -------
    Dataset over ``segment``
        ``id``, ``start`` and ``end`` (times of the first and last sample), ``npts``, ``rate`` [Hz].

    Examples
    --------
    >>> import obspy, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     obspy.read().write(f"{folder}/event.mseed", format="MSEED")
    ...     table = coverage(folder)
    >>> print(coverage_text(table).splitlines()[1])
    BW.RJOB..EHE         100 Hz  2009-08-24T00:20:03.000  2009-08-24T00:20:32.990       3000 samples  0 gaps
    """
    stream = read_stream(source)
    columns: dict[str, list] = {"id": [t.id for t in stream], "npts": [t.stats.npts for t in stream]}
    columns["rate"] = [t.stats.sampling_rate for t in stream]
    for name, moment in (("start", "starttime"), ("end", "endtime")):
        columns[name] = [np.datetime64(t.stats[moment].ns, "ns") for t in stream]
    return xr.Dataset({name: ("segment", column) for name, column in columns.items()})


def coverage_text(table: xr.Dataset) -> str:
    """A table of coverage as text: a line for each id and rate."""
    ids, rates = table["id"].values, table["rate"].values
    lines = [f"{'id':15} {'rate':>8}     {'from':23}  {'to':23}  {'samples':>9}"]
    for seed_id, rate in sorted(set(zip(ids.tolist(), rates.tolist(), strict=True))):
        some = table.isel(segment=(ids == seed_id) & (rates == rate)).sortby("start")
        step = np.timedelta64(round(1e9 / rate), "ns")
        late = some["start"].values[1:] - np.maximum.accumulate(some["end"].values)[:-1]
        gaps, overlaps = int((late > 1.5 * step).sum()), int((late < 0.5 * step).sum())
        first, last = (str(moment)[:23] for moment in (some["start"].values[0], some["end"].values.max()))
        words = f"{gaps} gaps" + (f"  {overlaps} overlaps" if overlaps else "")
        count = int(some["npts"].sum())
        lines.append(f"{seed_id:15} {rate:8.6g} Hz  {first}  {last}  {count:9d} samples  {words}")
    return "\n".join(lines)
