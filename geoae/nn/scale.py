"""The scale around a network: offset and gain of each trace, or of a whole set."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def _std(x: Tensor) -> tuple[Tensor, Tensor]:
    offset = x.nanmean(-1, keepdim=True)
    return offset, (x - offset).square().nanmean((-2, -1), keepdim=True).sqrt()


def _peak(x: Tensor) -> tuple[Tensor, Tensor]:
    offset = x.nanmean(-1, keepdim=True)
    return offset, (x - offset).abs().nan_to_num(0.0).amax((-2, -1), keepdim=True)


def _range(x: Tensor) -> tuple[Tensor, Tensor]:
    low = torch.where(x.isnan(), torch.inf, x).amin((-2, -1), keepdim=True)
    high = torch.where(x.isnan(), -torch.inf, x).amax((-2, -1), keepdim=True)
    return low, high - low


class TraceScale(nn.Module):
    """Offset and gain measured on each trace by itself; NaN samples do not count.

    The offset is each channel's own (but for ``range``), the gain is one for all channels of a trace, so
    that the ratios between components, the polarisation, survive.

    Parameters
    ----------
    kind : str
        ``std`` (zero mean, unit rms), ``peak`` (zero mean, largest value 1), ``range`` (0 to 1) or
        ``none``.
    """

    kinds = {"std": _std, "peak": _peak, "range": _range}  # noqa: RUF012

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Offset and gain of (trace, channel, time); a trace of nothing but NaN gets 0 and 1."""
        if self.kind == "none":
            return x.new_zeros(*x.shape[:-2], 1, 1), x.new_ones(*x.shape[:-2], 1, 1)
        offset, gain = self.kinds[self.kind](x)
        usable = gain.isfinite() & (gain > 0)
        return offset.nan_to_num(0.0, 0.0, 0.0), torch.where(usable, gain, torch.ones_like(gain))

    def extra_repr(self) -> str:  # noqa: D102
        return self.kind


class SetScale(nn.Module):
    """The mean trace and one gain, measured once over the training set by `geoae.fit`.

    One gain for the whole set keeps what the traces differ in by size, and the mean trace is what
    principal component analysis takes off. Until measured it changes nothing.
    """

    offset: Tensor
    gain: Tensor
    measured: Tensor

    def __init__(self, channels: int, length: int):
        super().__init__()
        self.register_buffer("offset", torch.zeros(channels, length))
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("measured", torch.zeros((), dtype=torch.bool))

    def measure(self, pieces: Iterable[Tensor]) -> None:
        """Take offset and gain from training traces (trace, channel, time), piece by piece.

        Only the first time: a model that is trained on keeps its scale.
        """
        if self.measured:
            return
        count, total, squares = 0, torch.zeros((), dtype=torch.float64), 0.0
        for piece in pieces:
            x = piece.cpu().double()
            count, total, squares = count + len(x), total + x.sum(0), squares + x.square().sum().item()
        mean, power = total / count, squares / total.numel() / count
        variance = power - mean.square().mean().item()
        self.offset.copy_(mean)
        self.gain.fill_(variance**0.5 if variance > 1e-12 * power else 1.0)  # a dead set stays dead
        self.measured.fill_(True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Offset (channel, time) and gain (), whatever `x`."""
        return self.offset, self.gain
