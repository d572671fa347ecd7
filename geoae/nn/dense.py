"""Fully connected networks: traces (trace, channel, time) to features (trace, width) and back."""

import itertools
from collections.abc import Sequence

from torch import nn

from .layers import _after


def _dense(widths: Sequence[int], activation: str, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), *_after(activation, dropout)]
    return layers


class DenseEncoder(nn.Sequential):
    """Fully connected layers on the flattened trace: (trace, channel, time) to (trace, width).

    Without widths it is no network at all, the trace itself being the features: with a linear head and
    decoder that is principal component analysis.
    """

    def __init__(
        self,
        channels: int,
        length: int,
        widths: Sequence[int] = (),
        activation: str = "relu",
        dropout: float = 0.0,
    ):
        super().__init__(nn.Flatten(), *_dense((channels * length, *widths), activation, dropout))
        self.width = (channels * length, *widths)[-1]


class DenseDecoder(nn.Sequential):
    """Fully connected layers from codes (trace, latent) to traces (trace, channel, time)."""

    def __init__(
        self,
        channels: int,
        length: int,
        latent: int,
        widths: Sequence[int] = (),
        activation: str = "relu",
        dropout: float = 0.0,
    ):
        widths = (latent, *widths)
        super().__init__(
            *_dense(widths, activation, dropout),
            nn.Linear(widths[-1], channels * length),
            nn.Unflatten(1, (channels, length)),
        )
