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
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"no folder {path.parent} to write {path.name} into; make it with: mkdir -p {path.parent}"
        )
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())  # on the disk before the old file is gone
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
