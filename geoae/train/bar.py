"""What a training says while it runs: a bar, plain lines, or what a callback makes of it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .checkpoint import Row


class Teller:
    """Tells the bar and the callback how far a training has come."""

    def __init__(self, advance: Callable[[int, float], None], callback: Callable | None):
        self.advance, self.callback = advance, callback

    def epoch(self, row: Row, epoch: int) -> None:
        """One more epoch is over."""
        self.advance(1, row.train["loss"])
        if self.callback is not None:
            numbers = {f"train/{name}": value for name, value in row.train.items()}
            numbers |= {f"valid/{name}": value for name, value in (row.valid or {}).items()}
            numbers |= {"lr": row.lr} | ({} if row.sigma is None else {"sigma": row.sigma})
            self.callback(epoch, numbers)

    def leap(self, epochs: int, row: Row) -> None:
        """Go past epochs that an early stop leaves out."""
        self.advance(epochs, row.train["loss"])


def shown(progress: bool | None) -> bool:
    """Whether anything is: on a terminal or if asked for."""
    return sys.stderr.isatty() if progress is None else progress


@contextmanager
def bar(total: int, done: int, show: bool) -> Iterator[Callable[[int, float], None]]:
    """A progress bar with the loss, the rate and the time left; ``advance(epochs, loss)`` moves it."""
    if not show:
        yield lambda epochs, loss: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress as Bar, TextColumn, TimeRemainingColumn

    if not sys.stderr.isatty():
        yield _lines(total, done)
        return
    columns = (
        "training",
        BarColumn(),
        TextColumn("{task.completed}/{task.total} epochs"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as display:
        task = display.add_task("training", total=total, completed=done, numbers="")

        def advance(epochs: int, loss: float) -> None:
            speed = display.tasks[0].speed  # none before the second step
            numbers = f"loss {loss:.4g}" if speed is None else f"{speed:.3g} epochs/s, loss {loss:.4g}"
            display.update(task, advance=epochs, numbers=numbers)

        yield advance


def _lines(total: int, done: int, every: int = 10) -> Callable[[int, float], None]:
    """Plain lines in place of a bar, about one for each tenth of the run."""

    def advance(epochs: int, loss: float) -> None:
        nonlocal done
        before, done = done, done + epochs
        if before * every // total < done * every // total:
            print(f"training: {done}/{total} epochs, loss {loss:.4g}", file=sys.stderr, flush=True)

    return advance
