"""A process of its own for readers that crash, hang or fill the memory when a file is damaged.

It is started when first needed, kept between files, and replaced when it dies. What it found comes back as
JSON and plain bytes, never as a pickle: a reader that a hostile file has taken over can send numbers at most.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .segment import Segment, Segments

START = 120.0  # s that it may take to start, on a busy machine
SECONDS = 20.0  # that reading a file may take, and one more for each MiB
MEMORY = 4 * 2**30  # bytes that the process may have
SAMPLES = 64  # per byte of a file: more than that no format holds


class RefusedError(Exception):
    """What a reader said, or why it said nothing."""


def read_apart(path: Path, form: str) -> tuple[Segments, list[str]]:
    """Read a file in the worker: its segments, and what was warned of.

    Raises
    ------
    RefusedError
        If the reader raised, crashed, ran too long, or sent more than the file can hold.
    """
    with _LOCK:
        return _worker().ask(path, form)


class Worker:
    """The process and the two pipes to it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from geoae.io.worker import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
        )

        self._answer(None, START, 2**10)  # it is ready

    @property
    def usable(self) -> bool:
        """Whether it lives, and is not that of a process that this one was forked from."""
        return self.process.poll() is None and self.owner == os.getpid()

    def ask(self, path: Path, form: str) -> tuple[Segments, list[str]]:
        """Send the name of a file, wait for what it holds."""
        size = path.stat().st_size
        request = {"path": str(path.absolute()), "format": form}
        answer, arrays = self._answer(request, SECONDS + size / 2**20, SAMPLES * 8 * size + 2**24)
        if "error" in answer:
            raise RefusedError(answer["error"])
        words = zip(answer["segments"], arrays, strict=True)
        found = Segments.of([Segment(i, s, r, x, header) for (i, s, r, header), x in words])
        return found, answer["warnings"]

    def _answer(self, request: dict | None, seconds: float, most: int) -> tuple[dict, list[np.ndarray]]:
        """What it says within so many seconds and bytes; or it is ended."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        watch = threading.Timer(seconds, stop)
        watch.start()
        try:
            if request is not None:
                _send(self.process.stdin, request)
            return _receive(self.process.stdout, most)
        except (EOFError, OSError, ValueError) as error:
            self.close()
            if late.is_set():
                raise RefusedError(f"reading took longer than {seconds:.0f} s") from error
            if isinstance(error, ValueError):
                raise RefusedError(str(error)) from error
            raise RefusedError(f"the reader crashed (exit code {self.process.returncode})") from error
        finally:
            watch.cancel()

    def close(self) -> None:
        """End the process."""
        if self.owner == os.getpid():
            self.process.kill()
            self.process.communicate()


_LOCK = threading.Lock()
_current: list[Worker] = []


def _worker() -> Worker:
    if not _current or not _current[0].usable:
        for dead in _current:
            dead.close()
        _current[:] = [Worker()]
    return _current[0]


@atexit.register
def _end() -> None:
    for worker in _current:
        worker.close()


# ---------------------------------------------------------------- the pipes


def _send(pipe: Any, message: dict, arrays: tuple[np.ndarray, ...] = ()) -> None:
    words = json.dumps({**message, "arrays": [(x.dtype.str, len(x)) for x in arrays]}).encode()
    pipe.write(len(words).to_bytes(8, "little") + words)
    for x in arrays:
        pipe.write(np.ascontiguousarray(x).view(np.uint8).data if x.size else b"")
    pipe.flush()


def _receive(pipe: Any, limit: int) -> tuple[dict, list[np.ndarray]]:
    length = int.from_bytes(_exactly(pipe, 8), "little")
    if length > limit:
        raise ValueError(f"the reader answered with {length} bytes of headers")
    message = json.loads(_exactly(pipe, length))
    layouts = [(np.dtype(kind), n) for kind, n in message["arrays"]]
    held = sum(kind.itemsize * n for kind, n in layouts)
    if held > limit or any(kind.hasobject for kind, _ in layouts):
        raise ValueError(f"the reader found {held} bytes of samples, more than the file can hold")
    arrays = [np.frombuffer(bytearray(_exactly(pipe, kind.itemsize * n)), kind) for kind, n in layouts]
    return message, arrays


def _exactly(pipe: BinaryIO, count: int) -> bytes:
    data = pipe.read(count)
    if len(data) < count:
        raise EOFError
    return data


# ---------------------------------------------------------------- in the worker


def serve() -> None:
    """Read one file after the other, until nobody asks any more."""
    from .decode import decode_here

    # What C libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit()
    _send(answers, {"ready": True})
    while True:
        try:
            request, _ = _receive(sys.stdin.buffer, 2**20)
        except EOFError:
            return
        try:
            segments, told = decode_here(Path(request["path"]), request["format"])
            words = [(s.id, s.start, s.rate, s.header) for s in segments]
            _send(answers, {"segments": words, "warnings": told}, tuple(s.data for s in segments))
        except Exception as error:
            _send(answers, {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"})


def _limit() -> None:
    """Take no more memory than allowed, write no files, leave no core."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    for name, most in (("RLIMIT_AS", MEMORY), ("RLIMIT_FSIZE", 0), ("RLIMIT_CORE", 0)):
        _, hard = resource.getrlimit(getattr(resource, name))
        resource.setrlimit(getattr(resource, name), (most if hard < 0 else min(most, hard), hard))
