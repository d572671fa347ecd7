"""Waveform files through a model piece by piece: what is not worked on stays on the disk."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import obspy
import torch

from .. import io
from ..io.lazy import Span
from ..io.segment import Segment
from ..io.segments import by_rate
from ..model import Model
from .job import BLOCK, Job, job_for, output_dtype
from .runs import check, check_components, denoise_runs

Held = Span | Segment


def denoise_file(
    source: Any,
    target: str | os.PathLike,
    model: Model | str | os.PathLike | None = None,
    *,
    noise: str | os.PathLike | None = None,
    partial: bool = False,
    outside: str = "follow",
    hop: int | None = None,
    batch: int | None = None,
    device: str | torch.device | None = None,
    told: list[str] | None = None,
) -> int:
    """Denoise waveform files into a MiniSEED file: `geoae.denoise` for records that need not fit into memory.

    Of MiniSEED 2 with records of one length only what is worked on is read, some 90 minutes at 100 Hz; other
    files are read whole.

    Parameters
    ----------
    source : path, glob pattern or list of these
        What they hold counts as one Stream.
    target, noise : path
        MiniSEED files to write, of the signal and of what was taken off. They appear whole or not at all.
    model, partial, outside, hop, batch, device
        As in `geoae.denoise`.
    told : list, optional
        Gets what the readers warned of.

    Returns
    -------
    int
        Number of unbroken traces.

    Raises
    ------
    FileNotFoundError, ReadError
        As `geoae.read`.
    ValueError
        As `geoae.denoise`, or if a file to write has another suffix.
    """
    job, paths = job_for(model, hop, batch, outside, partial, device), io.files(source)
    targets = [Path(target), *([] if noise is None else [Path(noise)])]
    _check_targets(targets)

    def work(lazy: bool) -> int:
        runs = [run for path in paths for run in opened(path, lazy, told)]
        if not runs:
            raise io.ReadError(f"{source} holds no samples, only headers")
        check_components(runs, job)
        for run in runs:
            check(run)
        own = {i: (run, output_dtype(run.dtype)) for i, run in enumerate(runs)}
        with ExitStack() as stack:
            outputs = [Output(stack, path, own, noise=path is not targets[0]) for path in targets]
            denoise_to(outputs, runs, job)
        return len(runs)

    return lazily(work)


def _check_targets(targets: Sequence[Path]) -> None:
    for path in targets:
        if io.written_format(path) != "MSEED":
            raise ValueError(
                f"{path.name} would be no MiniSEED; end it with .mseed, or write what geoae.denoise returns"
            )
    if len({path.resolve() for path in targets}) < len(targets):
        raise ValueError(f"signal and noise cannot both be {targets[0]}; give another name")


def lazily(work: Any) -> Any:
    """Do work that reads pieces of files; where records are not what they promise, with the files read whole.

    Read whole, damage is something to warn of.
    """
    try:
        return work(True)
    except io.ReadError:
        return work(False)


def opened(path: Path, lazy: bool = True, told: list[str] | None = None) -> list[Held]:
    """What a file holds: its headers, where more can be read later, else its samples too."""
    runs = list(io.lazy.held(path, lazy, told))
    if runs:
        by_rate(runs)  # or says what makes no sense
    return runs


def denoise_to(
    outputs: Sequence["Output"], runs: Sequence[Held], job: Job, between: tuple[int, int] | None = None
) -> None:
    """Denoise runs into files."""

    def keep(i: int, first: int, values: np.ndarray) -> None:
        for output in outputs:
            output.take(i, first, values)

    denoise_runs(runs, job, keep, between)
    for output in outputs:
        output.write()


class Output:
    """A file that grows as results come.

    Parameters
    ----------
    stack : ExitStack
        When it closes well, the file takes its name.
    path : Path
    runs : mapping
        By the number of a run: the run, and the type that its results are written in.
    noise : bool
        Write what was taken off instead.
    form : str
        MSEED, which grows; or SAC, which is written when all is there.
    """

    def __init__(
        self,
        stack: ExitStack,
        path: Path,
        runs: Mapping[int, tuple[Held, np.dtype]],
        noise: bool = False,
        form: str = "MSEED",
    ):
        self.runs, self.noise = runs, noise
        self.add = stack.enter_context(io.growing(path, form))
        self.early = set() if form == "SAC" else _one_by_one(runs)
        self.waiting: dict[int, list[tuple[int, np.ndarray]]] = {}
        self.count = 0

    def take(self, i: int, first: int, values: np.ndarray) -> None:
        """Take results of a run from sample `first` on; those of other files' runs are left."""
        if i not in self.runs:
            return
        run, dtype = self.runs[i]
        out = values.astype(dtype)
        if self.noise or run.dtype.kind == "f":
            seen = run.read(first, first + len(out))
            out = seen.astype(dtype) - out if self.noise else np.where(np.isnan(seen), np.nan, out)
        self.waiting.setdefault(i, []).append((first, out))
        self.count += len(out) if i in self.early else 0
        if self.count > BLOCK:
            self._write(self.early)
            self.count = 0

    def write(self) -> None:
        """Write all that has come and is not written yet."""
        self._write(set(self.runs))

    def _write(self, some: set[int]) -> None:
        traces = []
        for i in sorted(some & self.waiting.keys()):
            run, pieces = self.runs[i][0], self.waiting.pop(i)
            start = run.start + round(pieces[0][0] * 1e9 / run.rate)
            values = np.concatenate([values for _, values in pieces])
            traces.append(Segment(run.id, start, run.rate, values, run.header).trace())
        if traces:
            self.add(obspy.Stream(traces))


def _one_by_one(runs: Mapping[int, tuple[Held, np.dtype]]) -> set[int]:
    """Runs of channels whose runs do not overlap; pieces of others, mixed, would not read as they were."""
    mixed: set[str] = set()
    ends: dict[str, int] = {}  # time [ns] of the last sample so far
    for run, _ in sorted(runs.values(), key=lambda pair: pair[0].start):
        if run.id in ends and run.start <= ends[run.id]:
            mixed.add(run.id)
        end = run.start + round((run.npts - 1) * 1e9 / run.rate)
        ends[run.id] = max(ends.get(run.id, end), end)
    return {i for i, (run, _) in runs.items() if run.id not in mixed}
