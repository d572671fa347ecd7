"""A whole archive through a model: file by file, several at a time, and as often as it takes to finish.

A unit of work is what an instrument recorded together, its three components of a day, say. It is denoised
with as much of the files before and after it as its results depend on, so that an archive comes out the same
bit for bit however it is cut into files. A finished unit is one line in a log; what the log does not hold is
done again, which changes nothing.
"""

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import active_children, get_context
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch

from ..arrays import period_ns
from ..files import whole
from ..io.lazy import spans
from ..io.segments import by_rate
from ..model import Model, digest
from .files import Held, Output, denoise_to, lazily, opened
from .job import Job, job_for, output_dtype
from .runs import check, check_components

LOG = "denoised.jsonl"
ATTEMPTS = 3  # at a unit whose worker dies
EXACT = 2**24  # integers below it are exact in single precision


def denoise_archive(
    src: str | os.PathLike,
    dst: str | os.PathLike,
    model: Model | str | os.PathLike | None = None,
    *,
    workers: int = 1,
    client: Any = None,
    partial: bool = False,
    outside: str = "follow",
    hop: int | None = None,
    batch: int | None = None,
    device: str | torch.device | None = None,
    progress: bool | None = None,
) -> "Summary":
    """Denoise every waveform file under a folder into another folder, under the same names.

    Any layout will do, one file per component (as in an SDS archive) or several stations in one. Files come
    out as MiniSEED (SAC files as SAC), in single precision where that holds the input's numbers. They appear
    whole or not at all. A run that was stopped or killed is taken up again by the same call: what is done
    stands in ``denoised.jsonl`` in `dst`, with digests of each unit's input, output, model and settings.

    Parameters
    ----------
    src, dst : path
        Folders. `dst` is made if need be, and lies outside of `src`.
    model, partial, outside, hop, batch, device
        As in `geoae.denoise`.
    workers : int
        Processes, each with one thread and a model of its own. One works in this process.
    client : dask.distributed.Client, optional
        Work on its workers instead, which see `src` and `dst` under the same names.
    progress : bool, optional
        Show a progress bar; by default on a terminal only.

    Returns
    -------
    Summary
        What was done and what was not, and why; it prints as a table. ``summary.ok`` says whether all was.

    Raises
    ------
    FileNotFoundError
        If `src` is no folder, or holds no waveforms.
    ValueError
        If `dst` lies within `src`, or was made with another model or other settings.
    FileExistsError
        If `dst` holds files that no earlier run has made.
    """
    source, target = Path(src), Path(dst)
    job = job_for(model, hop, batch, outside, partial, device)
    _check_folders(source, target)
    log = Log(target / LOG, _settings(job))
    headers, broken = _inventory(source)
    if not headers and not broken:
        raise FileNotFoundError(f"{source} holds no files but hidden ones")
    units = _units(headers, job)
    todo = [unit for unit in units if not log.holds(unit, source, target)]
    summary = Summary(broken=broken, kept=len(units) - len(todo))
    work = closing(_results(todo, Task(job, source, target), workers, client))
    try:
        with work as results, _bar(len(units), summary.kept, progress) as advance:
            for result in results:
                log.add(result)
                summary.results.append(result)
                advance()
    except KeyboardInterrupt as stop:
        _sweep(target)
        done = summary.kept + len(summary.results)
        stop.add_note(f"stopped after {done} of {_count(len(units))}; run again, it goes on from there")
        raise
    return summary


@dataclass
class Summary:
    """What became of an archive.

    Attributes
    ----------
    results : list of dict
        Of each unit: its name, ``seconds``, ``samples``, ``outputs`` (path to sha256), or the ``error``.
    broken : dict
        Files that could not be read, and why.
    kept : int
        Units that an earlier run had done.
    """

    results: list[dict[str, Any]] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    kept: int = 0

    @property
    def failed(self) -> dict[str, str]:
        """Units that could not be denoised, and why."""
        return {result["unit"]: result["error"] for result in self.results if "error" in result}

    @property
    def ok(self) -> bool:
        """Whether every file was read and every unit denoised."""
        return not self.failed and not self.broken

    def __str__(self) -> str:
        done = [result for result in self.results if "error" not in result]
        samples, seconds = (sum(result[key] for result in done) for key in ("samples", "seconds"))
        rows = [
            f"{_count(len(done))} denoised, {samples} samples in {seconds:.1f} s of work",
            *([f"{_count(self.kept)} done before"] if self.kept else []),
            *(f"not denoised: {name}: {why}" for name, why in self.failed.items()),
            *(f"not read: {name}: {why}" for name, why in self.broken.items()),
        ]
        return "\n".join(rows)


# ---------------------------------------------------------------------------------------- what there is


class Header(NamedTuple):
    """What a file holds of one instrument."""

    path: str  # below the source folder
    instrument: str  # SEED id without the component
    rate: float
    start: int  # ns
    end: int  # ns


@dataclass(frozen=True)
class Unit:
    """Files whose results are made together, and those that these depend on."""

    paths: tuple[str, ...]
    beside: tuple[str, ...]
    start: int
    end: int

    @property
    def name(self) -> str:
        """First file's name; no other unit has it."""
        return self.paths[0]


def _check_folders(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise FileNotFoundError(f"no folder {source}; an archive is a folder, for a file use geoae.denoise")
    if not any(path.is_file() for path in source.rglob("*")):
        raise FileNotFoundError(f"{source} holds no files")
    if target.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{target} lies within {source}, which is read; give a folder outside of it")
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{target} is a file; give a folder to write into")
    target.mkdir(parents=True, exist_ok=True)
    if not (target / LOG).exists() and any(target.iterdir()):
        raise FileExistsError(f"{target} holds files, but no {LOG} of an earlier run; give an empty folder")
    _sweep(target)


def _sweep(target: Path) -> None:
    """Take away what a run was writing when it was killed."""
    for part in target.rglob(".*.part*"):
        part.unlink()


def _inventory(source: Path) -> tuple[list[Header], dict[str, str]]:
    """Headers of all files, and what cannot be read, with the reason."""
    headers: list[Header] = []
    broken = {}
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if not path.is_file() or any(part.startswith(".") for part in Path(name).parts):
            continue
        try:
            headers += _headers(path, name)
        except Exception as error:  # ObsPy's readers raise any kind; the summary tells
            broken[name] = _line(error)
    return headers, broken


def _headers(path: Path, name: str) -> list[Header]:
    found: dict[tuple[str, float], tuple[int, int]] = {}
    held = spans(path)  # of MiniSEED without its samples
    by_rate(held)  # or says what makes no sense
    for span in held:
        key = (span.id[:-1], span.rate)
        end = span.start + round((span.npts - 1) * period_ns(span.rate))
        first, last = found.get(key, (span.start, end))
        found[key] = min(first, span.start), max(last, end)
    return [Header(name, *key, *times) for key, times in found.items()]


def _units(headers: Sequence[Header], job: Job) -> list[Unit]:
    """Put files of one instrument together that mostly cover the same time, such as a day's components."""
    groups: list[list[Header]] = []
    last: dict[str, list[list[Header]]] = {}  # the latest groups of each instrument
    owner: dict[str, list[Header]] = {}  # the group that a file is in
    for header in sorted(headers, key=lambda h: (h.start, h.end, h.path)):
        near = [g for g in last.get(header.instrument, [])[-8:] if _same_time(header, g)]
        group = owner.get(header.path) or (near[0] if near else [])
        if not group:
            groups.append(group)
        group.append(header)
        owner[header.path] = group
        if not any(group is g for g in last.setdefault(header.instrument, [])):
            last[header.instrument].append(group)
    by_instrument: dict[str, list[Header]] = {}
    for header in headers:
        by_instrument.setdefault(header.instrument, []).append(header)
    return [_unit(group, by_instrument, job) for group in groups]


def _same_time(header: Header, group: list[Header]) -> bool:
    """Whether a file shares more than half of the shorter span with the first of a group."""
    first = group[0]
    shared = min(header.end, first.end) - max(header.start, first.start)
    return 2 * shared >= min(header.end - header.start, first.end - first.start)


def _unit(group: list[Header], by_instrument: dict[str, list[Header]], job: Job) -> Unit:
    start, end = min(h.start for h in group), max(h.end for h in group)
    halo = max(_halo(job, h.rate) for h in group)
    own = sorted({h.path for h in group})
    beside = {
        other.path
        for name in {h.instrument for h in group}
        for other in by_instrument[name]
        if other.start < end + halo and other.end > start - halo
    }
    return Unit(tuple(own), tuple(sorted(beside - set(own))), start, end)


def _halo(job: Job, rate: float) -> int:
    """Time [ns] on either side that results depend on, and a sample."""
    return round((job.at(rate).reach + 1) / rate * 1e9)


# ------------------------------------------------------------------------------------------- the work


@dataclass(frozen=True)
class Task:
    """What to do with a unit, wherever it is done."""

    job: Job
    source: Path
    target: Path

    def __call__(self, unit: Unit) -> dict[str, Any]:
        """Denoise a unit; the result is a line of the log."""
        begin = time.perf_counter()
        try:
            done = self._do(unit)
        except Exception as error:  # nothing may stop the others; the summary tells
            return {"unit": unit.name, "error": _line(error)}
        return {"unit": unit.name, **done, "seconds": round(time.perf_counter() - begin, 3)}

    def _do(self, unit: Unit) -> dict[str, Any]:
        inputs = {name: _state(self.source / name) for name in (*unit.paths, *unit.beside)}
        samples = lazily(lambda lazy: self._denoise(unit, lazy))
        outputs = {name: _sha256(self.target / name) for name in unit.paths}
        return {"samples": samples, "inputs": inputs, "outputs": outputs}

    def _denoise(self, unit: Unit, lazy: bool) -> int:
        """Write the results of a unit, and say how many samples they are."""
        files = {name: opened(self.source / name, lazy) for name in unit.paths}
        own = [run for runs in files.values() for run in runs]
        check_components(own, self.job)
        halo = max(_halo(self.job, run.rate) for run in own)
        instruments = {run.id[:-1] for run in own}
        beside = [run for name in unit.beside for run in opened(self.source / name, lazy)]
        beside = [run for run in beside if run.id[:-1] in instruments]
        types = {i: (run, _dtype(run, check(run))) for i, run in enumerate(own)}
        with ExitStack() as stack:
            outputs, i = [], 0
            for name, runs in files.items():
                here = {j: types[j] for j in range(i, i + len(runs))}
                i += len(runs)
                form = "SAC" if name.lower().endswith(".sac") and len(runs) == 1 else "MSEED"
                outputs.append(Output(stack, self._path(name), here, form=form))
            denoise_to(outputs, [*own, *beside], self.job, (unit.start - halo, unit.end + halo))
        return sum(run.npts for run in own)

    def _path(self, name: str) -> Path:
        """Where a file's result goes, which is never outside of the target."""
        path = self.target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.resolve().is_relative_to(self.target.resolve()):
            raise ValueError(f"{path} would be written outside of {self.target}; is there a link in it?")
        return path


def _dtype(run: Held, largest: float) -> np.dtype:
    """Single precision where that holds every number that came in."""
    exact = run.dtype.kind in "iu" and largest < EXACT
    return np.dtype(np.float32) if exact else output_dtype(run.dtype)


def _results(
    todo: list[Unit], task: Task, workers: int, client: Any
) -> Generator[dict[str, Any], None, None]:
    """Do the units, here or elsewhere, and hand over each result when it is there."""
    if client is not None:
        yield from _on_cluster(todo, task, client)
    elif workers == 1 or len(todo) < 2:
        yield from map(task, todo)
    else:
        yield from _in_processes(todo, task, workers)


def _on_cluster(todo: list[Unit], task: Task, client: Any) -> Iterator[dict[str, Any]]:
    from distributed import as_completed as completed

    shared = client.scatter(task, broadcast=True)  # the model travels once
    futures = {client.submit(_at_worker, shared, unit, pure=False): unit for unit in todo}
    for future in completed(list(futures)):
        error = future.exception()
        yield future.result() if error is None else {"unit": futures[future].name, "error": _line(error)}


def _at_worker(task: Task, unit: Unit) -> dict[str, Any]:
    torch.set_num_threads(1)
    return task(unit)


_task: Task  # of a worker process, there before its first unit


def _start_worker(task: Task) -> None:
    global _task
    torch.set_num_threads(1)
    _task = task


def _work(unit: Unit) -> dict[str, Any]:
    return _task(unit)


def _in_processes(todo: list[Unit], task: Task, workers: int) -> Iterator[dict[str, Any]]:
    """Do the units in worker processes; those that a dead worker held are done again."""
    left, others = {unit.name: unit for unit in todo}, active_children()
    for _ in range(ATTEMPTS):
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (task,))
        try:
            with _main_left_out(task), _deaf_to_ctrl_c():
                futures = [pool.submit(_work, unit) for unit in left.values()]
            for future in as_completed(futures):
                result = future.result()
                del left[result["unit"]]
                yield result
            return
        except BrokenProcessPool:
            continue
        except BaseException:  # nobody waits for results any more
            for worker in set(active_children()) - set(others):
                worker.terminate()
                worker.join()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    for name in left:
        yield {"unit": name, "error": f"its worker died {ATTEMPTS} times; is there enough memory?"}


@contextmanager
def _main_left_out(task: Task) -> Iterator[None]:
    """Start processes that do not run the caller's script again, which may have no ``__main__`` guard.

    A model with parts of the caller's own needs that script, and the guard with it.
    """
    main = sys.modules["__main__"]
    if all(type(part).__module__ != "__main__" for part in task.job.model.modules()):
        sys.modules["__main__"] = ModuleType("__main__")  # of no file: there is nothing to run
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Start processes that do not hear Ctrl-C, of which each would write a page; this one ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --------------------------------------------------------------------------------------------- the log


class Log:
    """One line of JSON for the settings, then one for each unit that is done."""

    def __init__(self, path: Path, settings: dict[str, Any]):
        self.path = path
        self.done: dict[str, dict[str, Any]] = {}
        if not path.exists():
            self.add({"settings": settings})
            return
        text = path.read_text(encoding="utf-8")
        complete = text[: text.rfind("\n") + 1]
        if complete != text:  # a run was killed in the middle of a line
            with whole(path) as part:
                part.write_text(complete, encoding="utf-8")
        first, *lines = [json.loads(line) for line in complete.splitlines()] or [{"settings": None}]
        for name, value in settings.items():
            before = (first.get("settings") or {}).get(name)
            if before != value:
                raise ValueError(
                    f"{path.parent} was made with {name} {before}, now it is {value}; give another folder, "
                    "or the settings of the run to be taken up again"
                )
        self.done = {line["unit"]: line for line in lines if "error" not in line}

    def add(self, line: dict[str, Any]) -> None:
        """Note the settings, or a unit, done or not."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def holds(self, unit: Unit, source: Path, target: Path) -> bool:
        """Whether a unit is done: the same files went in, and what came out is still there."""
        line = self.done.get(unit.name)
        if line is None or set(line["inputs"]) != {*unit.paths, *unit.beside}:
            return False
        return all((target / name).is_file() for name in line["outputs"]) and all(
            _unchanged(source / name, state) for name, state in line["inputs"].items()
        )


def _settings(job: Job) -> dict[str, Any]:
    """Everything that a result depends on but for the input."""
    weights = {name: value.detach().cpu() for name, value in job.model.state_dict().items()}
    return {
        "geoae": version("geoae"),
        "model": digest(weights)[:16],
        "hop": job.hop,
        "batch": job.batch,
        "outside": job.outside,
        "partial": job.partial,
        "device": next(job.model.parameters()).device.type,
    }


def _state(path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": _sha256(path)}


def _unchanged(path: Path, state: dict[str, Any]) -> bool:
    """By size and time, or where the time is another (a copy of the archive), by content."""
    stat = path.stat()
    if stat.st_size != state["size"]:
        return False
    return stat.st_mtime_ns == state["mtime_ns"] or _sha256(path) == state["sha256"]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _count(units: int) -> str:
    return f"{units} unit{'s' * (units != 1)}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _bar(total: int, done: int, progress: bool | None) -> Iterator[Any]:
    """A progress bar, or nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    shown = console.is_terminal if progress is None else progress
    columns = (TextColumn("denoise"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not shown) as bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda: bar.advance(task)
