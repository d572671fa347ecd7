"""Networks of 1-D convolutions and transposed ones: traces to features (trace, width) and back."""

from collections.abc import Sequence

from torch import nn

from .layers import _after


def _lengths(length: int, layers: int, kernel: int, stride: int) -> list[int]:
    """Length of a trace before, between and after strided convolutions padded by ``kernel // 2``."""
    lengths = [length]
    for _ in range(layers):
        lengths.append((lengths[-1] + 2 * (kernel // 2) - kernel) // stride + 1)
    return lengths


class ConvEncoder(nn.Sequential):
    """Strided 1-D convolutions, then one dense layer: (trace, channel, time) to (trace, width).

    Parameters
    ----------
    channels, length : int
        Of the traces; any length will do.
    widths : sequence of int
        Feature channels of each convolution.
    kernel, stride : int
        Of every convolution; the kernel is odd, so that its middle has a sample to stand on.
    hidden : int
        Width of the dense layer after the convolutions; 0 leaves it out. Latents of a VAE come out one
        parameter each with it, and hardly ever without.
    activation : str
        After each layer, one of `ACTIVATIONS`.
    dropout : float
        Share of the features set to zero after each layer, at random, while training.
    """

    def __init__(
        self,
        channels: int,
        length: int,
        widths: Sequence[int] = (16, 32),
        kernel: int = 7,
        stride: int = 2,
        hidden: int = 100,
        activation: str = "relu",
        dropout: float = 0.0,
    ):
        if kernel % 2 == 0:
            raise ValueError(f"kernel is {kernel}; it must be odd, try {kernel + 1}")
        lengths = _lengths(length, len(widths), kernel, stride)
        layers: list[nn.Module] = []
        for before, after in zip((channels, *widths), widths, strict=False):
            convolution = nn.Conv1d(before, after, kernel, stride, padding=kernel // 2)
            layers += [convolution, *_after(activation, dropout)]
        flat = (channels, *widths)[-1] * lengths[-1]
        dense = [nn.Linear(flat, hidden), *_after(activation, dropout)] if hidden else []
        super().__init__(*layers, nn.Flatten(), *dense)
        self.width = hidden or flat


class ConvDecoder(nn.Sequential):
    """Mirror of `ConvEncoder` with transposed convolutions: (trace, latent) to (trace, channel, time)."""

    def __init__(
        self,
        channels: int,
        length: int,
        latent: int,
        widths: Sequence[int] = (16, 32),
        kernel: int = 7,
        stride: int = 2,
        hidden: int = 100,
        activation: str = "relu",
        dropout: float = 0.0,
    ):
        lengths = _lengths(length, len(widths), kernel, stride)
        outward = (*widths[::-1], channels)
        dense = [nn.Linear(latent, hidden), *_after(activation, dropout)] if hidden else []
        layers = [
            *dense,
            nn.Linear(hidden or latent, outward[0] * lengths[-1]),
            nn.Unflatten(1, (outward[0], lengths[-1])),
        ]
        for before, after, n in zip(outward, outward[1:], lengths[-2::-1], strict=False):
            layers += [*_after(activation, dropout), _transposed(before, after, kernel, stride, n)]
        super().__init__(*layers)


def _output_padding(length: int, stride: int) -> int:
    """Samples a transposed convolution must add to come out at `length` again.

    A strided convolution sends `stride` different lengths to the same one; this remembers which it was.
    """
    return (length - 1) % stride


def _transposed(before: int, after: int, kernel: int, stride: int, length: int) -> nn.ConvTranspose1d:
    return nn.ConvTranspose1d(before, after, kernel, stride, kernel // 2, _output_padding(length, stride))
