"""What readers say: their warnings as a list, their errors as one kind and one line."""

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOCK = threading.Lock()  # ObsPy's MiniSEED reader and Python's list of warnings are both global


class ReadError(ValueError):
    """Data that is there but cannot be read."""


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect what readers warn of, one thread at a time; also where ObsPy stumbles over its own warning."""
    told: list[str] = []
    quiet = DeprecationWarning | PendingDeprecationWarning | ImportWarning | ResourceWarning
    with _LOCK, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hook, sys.unraisablehook = sys.unraisablehook, lambda lost: told.append(line(lost.exc_value))
        try:
            yield told
        finally:
            sys.unraisablehook = hook
            told += [line(w.message) for w in caught if not issubclass(w.category, quiet)]


def line(message: Any) -> str:
    """One line of what may be many, or none."""
    return " ".join(str(message).split()) or type(message).__name__
