"""Decoders with their encoder's own weights."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conv import _lengths, _output_padding


class Tied(nn.Module):
    """Decoder that runs an encoder's layers backwards, with their own weights transposed.

    The tied layers stay outside the module tree, so that a shared weight is trained once, saved once and
    moved to a device once. Only the biases are new.

    Parameters
    ----------
    layers : sequence of Module
        Encoder layers in forward order: Linear, Conv1d, Flatten, activations.
    channels, length : int
        Of the traces.
    """

    def __init__(self, layers: Sequence[nn.Module], channels: int, length: int):
        super().__init__()
        self._layers = tuple(layers)
        self._shape = (channels, length)
        weights = [m for m in reversed(self._layers) if isinstance(m, nn.Linear | nn.Conv1d)]
        self.bias = nn.ParameterList(torch.zeros(m.weight.shape[1]) for m in weights)
        self._lengths = self._convolved_lengths(length)

    def _convolved_lengths(self, length: int) -> list[int]:
        lengths = [length]
        for layer in self._layers:
            if isinstance(layer, nn.Conv1d):
                lengths += _lengths(lengths[-1], 1, layer.kernel_size[0], layer.stride[0])[1:]
        return lengths

    def reset_parameters(self) -> None:
        """Zero the biases; the weights are the encoder's."""
        for bias in self.bias:
            nn.init.zeros_(bias)

    def forward(self, z: Tensor) -> Tensor:
        """Codes (trace, latent) to traces (trace, channel, time)."""
        bias, lengths = iter(self.bias), list(self._lengths)
        for layer in reversed(self._layers):
            if isinstance(layer, nn.Linear):
                z = F.linear(z, layer.weight.t(), next(bias))
            elif isinstance(layer, nn.Conv1d):
                n, m = lengths[-2], lengths.pop()
                stride, padding = layer.stride[0], int(layer.padding[0])
                z = z.reshape(len(z), layer.out_channels, m)
                extra = _output_padding(n, stride)
                z = F.conv_transpose1d(z, layer.weight, next(bias), stride, padding, extra)
            elif not isinstance(layer, nn.Flatten):
                z = layer(z)
        return z.reshape(len(z), *self._shape)
