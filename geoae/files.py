"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path to write to; what was written there takes its name only if the block ends well.

    Parameters
    ----------
    path : path
        The name the file is to have. Its folder must exist.

    Yields
    ------
    part : Path
        In the same folder, with the same suffix.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    PermissionError
        If nothing can be written into it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole(f"{folder}/a.txt") as part:
    ...         _ = part.write_text("all of it")
    ...     os.listdir(folder)
    ['a.txt']
    """
    path = Path(path)
    check_writable(path)
    part = _part(path)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())  # on the disk before the old file is gone
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike) -> None:
    """Refuse a file that could not be written, before the work whose result it is to hold.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    PermissionError
        If nothing can be written into it.

    Examples
    --------
    >>> check_writable("nowhere/a.txt")
    Traceback (most recent call last):
    FileNotFoundError: no folder nowhere to write a.txt into; make it with: mkdir -p nowhere
    """
    path = Path(path)
    folder, part = path.parent, _part(path)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {folder} to write {path.name} into; make it with: mkdir -p {folder}"
        )
    try:
        part.touch()
    except OSError as error:
        raise PermissionError(
            f"cannot write {path.name} into the folder {folder} ({error.strerror}); give another folder"
        ) from error
    part.unlink()


def _part(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
