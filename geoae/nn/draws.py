"""What is drawn: first weights, and a random state of one's own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def reset(module: nn.Module, seed: int) -> None:
    """Draw every weight anew from `seed`; torch's own random state is left as it was."""
    with forked_rng(seed, module):
        for part in reversed(list(module.modules())):  # a network has the last word over its layers
            draw = getattr(part, "reset_parameters", None)
            if callable(draw):
                draw()


@contextmanager
def forked_rng(seed: int, module: nn.Module | None = None) -> Iterator[None]:
    """Within this block torch draws from `seed`, wherever `module` lives; outside nothing has changed."""
    place = next(module.parameters()).device if module else torch.device("cpu")
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        reseed(place, seed)
        yield


def reseed(place: torch.device, seed: int) -> None:
    """Seed what torch draws from on a device, and on the CPU.

    `torch.manual_seed` does so for every device there may be, and takes longer than a step of a small model.
    """
    torch.default_generator.manual_seed(seed)
    if place.type == "cuda":
        torch.cuda.default_generators[place.index or 0].manual_seed(seed)
    elif place.type == "mps":
        torch.mps.manual_seed(seed)
