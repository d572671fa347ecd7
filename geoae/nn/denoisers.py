"""Networks from noisy traces to clean ones: along time, and in time and frequency."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FAINT = 1e-6  # power of a part below which there is nothing, for a trace of unit size


class _Residual(nn.Module):
    """Normalise, activate, convolve at a distance, and add to what came in."""

    def __init__(self, width: int, kernel: int, dilation: int, dropout: float = 0.0):
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.drop = nn.Dropout(dropout)
        self.near = nn.Conv1d(width, width, kernel, padding=kernel // 2 * dilation, dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.mix(F.gelu(self.near(F.gelu(self.norm(x))))))


class UNet(nn.Module):
    """1-D convolutional encoder, transposed-convolution decoder, and skips between equal resolutions.

    It predicts the noise and takes it off, so that a trace without noise is easy to leave alone. Shape
    (trace, channel, time) in and out.

    Parameters
    ----------
    channels, length : int
        Of the traces. `length` is a multiple of ``stride ** (len(widths) - 1)``, so that windows can
        start on the grid of the coarsest features.
    widths : sequence of int
        Feature channels at each resolution, finest first.
    kernel, stride : int
        Of the convolutions that go down and up.
    dropout : float
        Share of what a residual block adds that is left out, at random, while training.
    """

    def __init__(
        self,
        channels: int,
        length: int,
        widths: Sequence[int] = (8, 16, 32, 64),
        kernel: int = 9,
        stride: int = 4,
        dropout: float = 0.0,
    ):
        super().__init__()
        step = stride ** (len(widths) - 1)
        if length % step:
            near = max(step, round(length / step) * step)
            raise ValueError(f"length {length} is not a multiple of stride**levels = {step}; try {near}")
        if kernel % 2 == 0 or kernel < stride:
            raise ValueError(
                f"kernel {kernel} must be odd and at least the stride {stride}; try {2 * stride + 1}"
            )
        pairs = list(itertools.pairwise(widths))
        self.stem = nn.Conv1d(channels, widths[0], kernel, padding=kernel // 2)
        self.down = nn.ModuleList(nn.Conv1d(a, b, kernel, stride, kernel // 2) for a, b in pairs)
        # at the coarsest level these dilations see some thousand samples, seconds of a seismogram
        self.deep = nn.Sequential(*[_Residual(widths[-1], 5, d, dropout) for d in (1, 2, 4, 1)])
        self.up = nn.ModuleList(
            nn.ConvTranspose1d(b, a, kernel, stride, kernel // 2, stride - 1) for a, b in reversed(pairs)
        )
        self.fuse = nn.ModuleList(_Residual(a, kernel, 1, dropout) for a, _ in reversed(pairs))
        self.head = nn.Conv1d(widths[0], channels, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Zero the last layer: the network starts as the identity."""
        for weight in self.head.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = self.stem(x)
        skips = []
        for down in self.down:
            skips.append(h)
            h = down(F.gelu(h))
        h = self.deep(h)
        for up, fuse in zip(self.up, self.fuse, strict=True):
            h = fuse(up(F.gelu(h)) + skips.pop())
        return x - self.head(F.gelu(h))


class MaskNet(nn.Module):
    """Take a trace apart in time and frequency, weigh each part, put it together again; three times.

    The parts are those of a short-time Fourier transform. First in long frames, which tell the frequencies of
    signal and noise apart; the gain starts as a spectral gate, open where the power rises above the window's
    own noise floor, its median over time. Then, of what came out, in frames four times as long (but no longer
    than the trace), for narrow lines of noise. Last in frames half as long, which mend what the others smear
    over an onset. The gains of the first and the last come from one stack of dilated convolutions along time,
    which sees the power of all frequencies and components in both kinds of frames, and how far it rises above
    the floor. Fine detail does not fit through its few channels: beside it, small 2-D convolutions over
    frequency and time look at each part's neighbours, and move its gain; the frames for lines have nothing
    else. Shape (trace, channel, time) in and out.

    Parameters
    ----------
    channels, length : int
        Of the traces; `length` is at least `kernel`.
    widths : sequence of int
        Feature channels of the dilated convolutions, all the same. Each sees twice as far as the one
        before, up to the seventh, after which they begin again.
    kernel, stride : int
        Samples of a long frame, and from one frame to the next; those for lines overlap by half.
    dropout : float
        As in `UNet`.
    spread : bool
        Return as well the logarithm of the standard deviation of the error at each sample. It is read off
        the sizes of what was kept and what was taken off nearby, and learning it changes nothing else.
    """

    def __init__(
        self,
        channels: int,
        length: int,
        widths: Sequence[int] = (128,) * 9,
        kernel: int = 128,
        stride: int = 32,
        dropout: float = 0.0,
        spread: bool = False,
    ):
        super().__init__()
        if length < kernel:
            fitting = 2 ** (length.bit_length() - 1)
            raise ValueError(
                f"length {length} is less than kernel = {kernel}; try kernel={fitting}, stride={fitting // 4}"
            )
        if kernel % (4 * stride):
            raise ValueError(f"kernel {kernel} must be a multiple of 4 * stride = {4 * stride}")
        if len(set(widths)) != 1:
            raise ValueError(
                f"widths {tuple(widths)} must be equal: the convolutions add to each other's output"
            )
        self.channels, self.stride = channels, stride
        self.frames = (kernel, kernel // 2)
        self.parts = [channels * (frame // 2 + 1) for frame in self.frames]  # components times frequencies
        self.steepness = nn.Parameter(torch.empty(kernel // 2 + 1, 1))
        self.threshold = nn.Parameter(torch.empty(kernel // 2 + 1, 1))
        self.enter = nn.Conv1d(2 * sum(self.parts), widths[0], 1)
        self.blocks = nn.Sequential(
            *[_Residual(width, 3, 2 ** (i % 7), dropout) for i, width in enumerate(widths)]
        )
        self.leave = nn.Conv1d(widths[-1], 2 * sum(self.parts), 1)
        self.beside = nn.ModuleList(
            [
                _Beside(2 * channels, channels, kernel // 2 + 1, 5, 2),
                _Beside(3 * channels, channels, kernel // 4 + 1, 3, 2),
            ]
        )
        self.lines = _Lines(channels, min(4 * kernel, length // 2 * 2))
        self.spread: nn.Module | None = None
        if spread:
            near = nn.Conv1d(2 * channels, 16, 9, padding=4)
            self.spread = nn.Sequential(near, nn.GELU(), nn.Conv1d(16, channels, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as a spectral gate, half open where the power is a factor e above the floor."""
        nn.init.constant_(self.steepness, 1.5)
        nn.init.constant_(self.threshold, 1.0)
        for weight in self.leave.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:  # noqa: D102
        long, short = (_apart(x, frame, self.stride) for frame in self.frames)
        above, _, seen = self._above_the_floor(long)
        _, floor, seen_short = self._above_the_floor(short)
        h = F.gelu(self.blocks(self.enter(torch.cat([*seen, *seen_short], 1))))
        first, then = self.leave(h).to(x).split([2 * parts for parts in self.parts], 1)
        start = self.steepness * (above - self.threshold)
        y = _together(long * self._gain(first, start, self.beside[0], above / 3), self.stride, x)
        y = self.lines(y, x)
        kept = _apart(y, self.frames[1], self.stride)
        both = [(_power(z).log() - floor).clamp_min(-9) / 3 for z in (kept, short - kept)]
        start = torch.full_like(both[0], 3.0)  # all but open
        y = _together(kept * self._gain(then, start, self.beside[1], *both), self.stride, x)
        return y if self.spread is None else (y, self._spread(y.detach(), x))

    def _spread(self, y: Tensor, x: Tensor) -> Tensor:
        """Logarithm of the standard deviation of the error, in steps of `stride` samples and between them."""
        assert self.spread is not None
        power = F.avg_pool1d(torch.cat([y, x - y], 1).square(), self.stride, ceil_mode=True)
        steps = self.spread(0.5 * (power + 1e-6).log()).to(x)
        return F.interpolate(steps, size=x.shape[-1], mode="linear")

    def _gain(self, numbers: Tensor, start: Tensor, beside: nn.Module, *seen: Tensor) -> Tensor:
        """Gains from an opening and a correction of size, zero before training; `start` opens them."""
        opening, size = numbers.unflatten(1, (2, self.channels, -1)).unbind(1)
        opening = opening + start
        opening = opening + beside(torch.cat([*seen, opening.clamp(-9, 9) / 3], 1)).to(opening)
        return torch.sigmoid(opening) * (1 + size)

    def _above_the_floor(self, parts: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """How far the log power rises above the floor, that floor, and what the network sees of both."""
        power = _power(parts)
        silent = _silent(power)
        median = _median(power[..., ::2], silent[..., ::2])  # every other frame: they overlap
        floor = (median / 0.693).log()  # the median of an exponential is ln 2 of its mean
        log_power = power.log()
        above = log_power - floor
        seen = [z.masked_fill(silent, 0.0).flatten(1, 2) for z in (above / 3, log_power / 4)]
        return above, floor, seen


class _Lines(nn.Module):
    """Weigh what was kept once more, in frames so long that narrow lines of noise stand out of it.

    A line shows in what was taken off: in its mean over time, against that of the `span` frequencies around.
    """

    def __init__(self, channels: int, frame: int, span: int = 25):
        super().__init__()
        self.frame, self.span = frame, span
        self.beside = _Beside(3 * channels, channels, frame // 2 + 1, 3, 1)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """What is left of `y`, which was kept of `x`."""
        stride, n = self.frame // 2, x.shape[-1]
        # up to a whole step: the last samples would lie in one frame alone, where its window is all but zero
        y, x = (F.pad(z, (0, -n % stride), mode="reflect") for z in (y, x))
        kept, whole = (_apart(z, self.frame, stride) for z in (y, x))
        power, rest = _power(kept), _power(whole - kept)
        noise = _mean(rest, _silent(_power(whole)))
        edges = (0, 0, self.span // 2, self.span // 2)
        around = F.avg_pool2d(F.pad(noise, edges, mode="replicate"), (self.span, 1), 1)
        seen = [(z / noise).log().clamp(-9, 9) / 3 for z in (power, rest)]
        line = (noise / around).log().expand_as(power)
        gain = 2 * torch.sigmoid(self.beside(torch.cat([*seen, line], 1)).to(x))  # up to 2: some comes back
        return _together(kept * gain, stride, x)[..., :n]


class _Beside(nn.Module):
    """What the neighbours of a part in frequency and time say of its gain, by the same rules everywhere."""

    def __init__(
        self, features: int, channels: int, frequencies: int, kernel: int, dilation: int, width: int = 8
    ):
        super().__init__()
        self.first = nn.Conv2d(features, width, kernel, padding=kernel // 2)
        self.where = nn.Parameter(torch.empty(width, frequencies, 1))  # all that depends on the frequency
        self.then = nn.Conv2d(width, width, 3, padding=(1, dilation), dilation=(1, dilation))
        self.last = nn.Conv2d(width, channels, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start with nothing to say."""
        for weight in (self.where, *self.last.parameters()):
            nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)  # twice as fast on a CPU
        h = self.first(x) + self.where
        h = h + self.then(F.relu(h))
        return self.last(F.relu(h).contiguous())  # a product of matrices, which is slow with channels last


def _power(parts: Tensor) -> Tensor:
    return parts.real.square() + parts.imag.square() + FAINT


def _apart(x: Tensor, frame: int, stride: int) -> Tensor:
    """Short-time Fourier transform (trace, channel, frequency, frame)."""
    window = _window(frame, x)
    parts = torch.stft(x.flatten(0, 1), frame, stride, window=window, return_complex=True)
    return parts.unflatten(0, x.shape[:2])


def _together(parts: Tensor, stride: int, like: Tensor) -> Tensor:
    """Inverse of `_apart`, in the shape of `like`."""
    frame = 2 * parts.shape[2] - 2
    window = _window(frame, like)
    return torch.istft(parts.flatten(0, 1), frame, stride, window=window, length=like.shape[-1]).reshape(
        like.shape
    )


def _window(frame: int, like: Tensor) -> Tensor:
    """Root of a Hann window: once on the way in and once out, which adds up to a constant."""
    return torch.hann_window(frame, dtype=like.dtype, device=like.device).sqrt()


def _silent(power: Tensor) -> Tensor:
    """Frames of nothing, such as gaps: they say nothing of the noise."""
    return power.amax(2, keepdim=True) <= FAINT


def _mean(power: Tensor, silent: Tensor) -> Tensor:
    """Mean over the frames (last) that are not silent; `FAINT` where all are."""
    heard = ~silent
    total, count = (power * heard).sum(-1, keepdim=True), heard.sum(-1, keepdim=True)
    return (total / count.clamp_min(1)).clamp_min(FAINT)


def _median(power: Tensor, silent: Tensor) -> Tensor:
    """Median over the frames (last) that are not silent; `FAINT` where all are."""
    some = power.masked_fill(silent, torch.inf)
    if some.device.type == "cpu" and not some.requires_grad:  # ten times as fast, and was a seventh of all
        ordered = torch.from_numpy(np.sort(some.numpy()))
    else:
        ordered = some.sort(-1).values
    middle = ((~silent).sum(-1, keepdim=True) - 1).clamp_min(0) // 2
    return ordered.gather(-1, middle.expand(*some.shape[:-1], 1)).nan_to_num(posinf=FAINT)
