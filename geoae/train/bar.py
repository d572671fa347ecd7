"""What a training says while it runs: a bar, plain lines, or what a callback makes of it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .checkpoint import Row
from .loop import rank


def teller(advance: Callable, callback: Callable | None) -> Callable[[int, Row, int], None]:
    """What tells the bar and the callback of an epoch."""

    def report(epochs: int, row: Row, epoch: int) -> None:
        advance(epochs, row.train["loss"])
        if callback is not None and epochs == 1:
            numbers = {f"train/{name}": value for name, value in row.train.items()}
            numbers |= {f"valid/{name}": value for name, value in (row.valid or {}).items()}
            numbers |= {"lr": row.lr} | ({} if row.sigma is None else {"sigma": row.sigma})
            callback(epoch, numbers)

    return report


def shown(progress: bool | None) -> bool:
    """Whether anything is: on a terminal or if asked for, and by one process only."""
    return (sys.stderr.isatty() if progress is None else progress) and rank() == 0


@contextmanager
def bar(total: int, progress: bool | None) -> Iterator[Callable[[int, float], None]]:
    """A progress bar with the loss, the rate and the time left; ``advance(epochs, loss)`` moves it."""
    if not shown(progress):
        yield lambda epochs, loss: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress as Bar, TextColumn, TimeRemainingColumn

    if not sys.stderr.isatty():
        yield _lines(total)
        return
    columns = (
        "training",
        BarColumn(),
        TextColumn("{task.completed}/{task.total} epochs"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as display:
        task = display.add_task("training", total=total, numbers="")

        def advance(epochs: int, loss: float) -> None:
            speed = display.tasks[0].speed  # none before the second step
            numbers = f"loss {loss:.4g}" if speed is None else f"{speed:.3g} epochs/s, loss {loss:.4g}"
            display.update(task, advance=epochs, numbers=numbers)

        yield advance


def _lines(total: int, every: int = 10) -> Callable[[int, float], None]:
    """Plain lines in place of a bar, about one for each tenth of the run."""
    done = 0

    def advance(epochs: int, loss: float) -> None:
        nonlocal done
        before, done = done, done + epochs
        if before * every // total < done * every // total:
            print(f"training: {done}/{total} epochs, loss {loss:.4g}", file=sys.stderr, flush=True)

    return advance
