"""What is chosen by a word: a device, an entry of a table."""

from typing import Any

import torch


def device(name: str | torch.device | None = None) -> torch.device:
    """Choose where to compute: `name` if given, else a CUDA GPU, else Apple's, else the CPU.

    Examples
    --------
    >>> device("cpu")
    device(type='cpu')
    """
    there = ["cpu", *["cuda"] * torch.cuda.is_available(), *["mps"] * torch.backends.mps.is_available()]
    if name is None:
        return torch.device(there[-1])
    if str(name).split(":")[0] not in there:
        raise ValueError(f"no device {str(name)!r} here; choose from {', '.join(there)}")
    return torch.device(name)


def choose(table: dict[str, Any], word: str, what: str) -> Any:
    """Look `word` up in `table`, or say which words there are."""
    if word not in table:
        raise ValueError(f"unknown {what} {word!r}; choose from {', '.join(table)}")
    return table[word]
