"""Networks: traces (trace, channel, time) to features (trace, width) and back, and the scale around them."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}


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


# ---------------------------------------------------------------------------------------------- scale


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


# ------------------------------------------------------------------------------------------- networks


def _after(activation: str, dropout: float) -> list[nn.Module]:
    """What follows a layer: a nonlinearity, and features dropped at random while training."""
    return [choose(ACTIVATIONS, activation, "activation")(), *[nn.Dropout(dropout)] * bool(dropout)]


def _dense(widths: Sequence[int], activation: str, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), *_after(activation, dropout)]
    return layers


def _lengths(length: int, layers: int, kernel: int, stride: int) -> list[int]:
    """Length of a trace before, between and after strided convolutions padded by ``kernel // 2``."""
    lengths = [length]
    for _ in range(layers):
        lengths.append((lengths[-1] + 2 * (kernel // 2) - kernel) // stride + 1)
    return lengths


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


class TopK(nn.Module):
    """Keep the `k` features largest in absolute value, zero the rest (Makhzani and Frey, 2014).

    The gradient passes through the features that are kept and is zero at the others.
    """

    def __init__(self, k: int):
        super().__init__()
        self.k = k

    def forward(self, z: Tensor, by: Tensor | None = None) -> Tensor:
        """Keep of z (..., feature) what is largest, in `z` itself or in other features."""
        kept = (z if by is None else by).abs().topk(self.k, dim=-1).indices
        return torch.zeros_like(z).scatter(-1, kept, z.gather(-1, kept))

    def extra_repr(self) -> str:  # noqa: D102
        return f"k={self.k}"


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
    """Take a trace apart in time and frequency, weigh and turn each part, put it together again; twice.

    The parts are those of a short-time Fourier transform, and each is multiplied by a complex number: a gain
    from 0 to 1, and a correction of size and phase. First in long frames, which tell the frequencies of
    signal and noise apart; the gain starts as a spectral gate, open where the power rises above the window's
    own noise floor, its median over time. Then, of what came out, in frames half as long, which mend what the
    long ones smear over an onset. All numbers come from one stack of dilated convolutions along time, which
    sees the power of all frequencies and components in both kinds of frames, and how far it rises above the
    floor. Shape (trace, channel, time) in and out.

    Parameters
    ----------
    channels, length : int
        Of the traces; `length` is at least `kernel`.
    widths : sequence of int
        Feature channels of the dilated convolutions, all the same. Each sees twice as far as the one
        before, up to the seventh, after which they begin again.
    kernel, stride : int
        Samples of a long frame, and from one frame to the next.
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
        widths: Sequence[int] = (128,) * 8,
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
        self.leave = nn.Conv1d(widths[-1], 3 * sum(self.parts), 1)
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
        long, short = (self._apart(x, frame) for frame in self.frames)
        above, seen = self._above_the_floor(long)
        h = torch.cat([seen, self._above_the_floor(short)[1]], 1)
        h = F.gelu(self.blocks(self.enter(h)))
        first, then = self.leave(h).to(x).split([3 * parts for parts in self.parts], 1)
        y = self._together(long * self._gain(first, self.steepness * (above - self.threshold)), x)
        y = self._together(self._apart(y, self.frames[1]) * self._gain(then, 3.0), x)  # starts all but open
        return y if self.spread is None else (y, self._spread(y.detach(), x))

    def _spread(self, y: Tensor, x: Tensor) -> Tensor:
        """Logarithm of the standard deviation of the error, in steps of `stride` samples and between them."""
        assert self.spread is not None
        power = F.avg_pool1d(torch.cat([y, x - y], 1).square(), self.stride, ceil_mode=True)
        steps = self.spread(0.5 * (power + 1e-6).log()).to(x)
        return F.interpolate(steps, size=x.shape[-1], mode="linear")

    def _apart(self, x: Tensor, frame: int) -> Tensor:
        """Short-time Fourier transform (trace, channel, frequency, frame)."""
        window = _window(frame, x)
        parts = torch.stft(x.flatten(0, 1), frame, self.stride, window=window, return_complex=True)
        return parts.unflatten(0, x.shape[:2])

    def _together(self, parts: Tensor, like: Tensor) -> Tensor:
        """Inverse of `_apart`, in the shape of `like`."""
        frame = 2 * parts.shape[2] - 2
        window = _window(frame, like)
        return torch.istft(
            parts.flatten(0, 1), frame, self.stride, window=window, length=like.shape[-1]
        ).reshape(like.shape)

    def _gain(self, numbers: Tensor, start: Tensor | float) -> Tensor:
        """Complex gains of three numbers each, which are zero before training; `start` opens them."""
        opening, real, imaginary = numbers.unflatten(1, (3, self.channels, -1)).unbind(1)
        gain = torch.sigmoid(start + opening)
        return torch.complex(gain * (1 + real), gain * imaginary)

    def _above_the_floor(self, parts: Tensor) -> tuple[Tensor, Tensor]:
        """How far the log power rises above the floor, and what the network sees of it."""
        power = parts.abs().square() + 1e-6
        silent = power.amax(2, keepdim=True) <= 1e-6  # a gap, which says nothing of the noise
        some = power.masked_fill(silent, torch.nan)[..., ::2]  # every other frame: they overlap
        floor = some.nanmedian(-1, keepdim=True).values.nan_to_num(1e-6)
        above = (power / (floor / 0.693)).log()  # the median of an exponential is ln 2 of its mean
        seen = torch.cat([above / 3, power.log() / 4], 1).masked_fill(silent.repeat(1, 2, 1, 1), 0.0)
        return above, seen.flatten(1, 2)


def _window(frame: int, like: Tensor) -> Tensor:
    """Root of a Hann window: once on the way in and once out, which adds up to a constant."""
    return torch.hann_window(frame, dtype=like.dtype, device=like.device).sqrt()


# --------------------------------------------------------------------------------------------- tools


@torch.no_grad()
def matrix(layer: nn.Module, length: int | tuple[int, ...]) -> Tensor:
    """Matrix of a linear layer (its bias left out), by sending every unit trace through it.

    Parameters
    ----------
    layer : Module
        Conv1d, ConvTranspose1d, Conv2d, Linear, ..., anything affine that takes ``(1, channels, *length)``.
    length : int or tuple
        Size of one input channel: a number of samples, or (rows, columns) for an image.

    Returns
    -------
    matrix : Tensor, shape (outputs, inputs)

    Examples
    --------
    >>> conv = nn.Conv1d(1, 1, 2, bias=False)
    >>> _ = conv.weight.data.copy_(torch.tensor([[[1.0, 2.0]]]))
    >>> matrix(conv, 3)
    tensor([[1., 2., 0.],
            [0., 1., 2.]])
    """
    shape = (length,) if isinstance(length, int) else tuple(length)
    if not isinstance(layer, nn.Linear):
        shape = (getattr(layer, "in_channels", 1), *shape)
    size = int(torch.tensor(shape).prod())
    like = next(layer.parameters(), torch.zeros(()))
    units = torch.eye(size, dtype=like.dtype, device=like.device).reshape(size, *shape)
    return (layer(units) - layer(torch.zeros_like(units[:1]))).flatten(1).T


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
