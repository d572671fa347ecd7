"""The models: scale, encoder, posterior, decoder, likelihood; built from words, saved without pickle.

A model takes and gives traces (trace, channel, time) in physical units. Its scale is measured trace by
trace or once over the training set, never over a batch, so no trace sees its neighbours.
"""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors, save as save_tensors
from torch import Tensor, nn
from torch.distributions import Distribution

from . import dist, nn as net
from .files import whole

FORMAT = 1

POSTERIORS = {"point": dist.Point, "diagonal": dist.Diagonal, "full": dist.Full}
NONLINEAR = set(net.ACTIVATIONS.values()) - {nn.Identity}
NETWORKS = ("dense", "conv", "linear")
SCALES = ("global", *net.TraceScale.kinds, "none")
DENOISERS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "mask": (net.MaskNet, {"widths": (64,) * 6, "kernel": 64, "stride": 16}),
    "time": (net.UNet, {"widths": (8, 16, 32, 64), "kernel": 9, "stride": 4}),
}
END_SIGMA = 0.15**0.5  # where annealing ends, in units of the scaled traces; see geoae.train.Anneal


@dataclass
class Trip:
    """One trip of a batch through a model, in the model's own scale: all that an objective may look at.

    With several draws of each code, `z`, `p` and `target` hold them one after the other, (draw * trace, ...).
    """

    x: Tensor  # what the network saw, (trace, channel, time)
    target: Tensor  # what should come out, same shape
    p: Distribution  # p(x|z) over (trace, channel, time)
    q: Distribution | None = None  # q(z|x) over (trace, latent); None where there is no code
    z: Tensor | None = None  # draws from q, (trace, latent)
    hidden: tuple[
        Tensor, ...
    ] = ()  # what came out of each activation on the way to the code, and of the code's own


class Model(nn.Module, ABC):
    """What every model is: a scale around a trip from traces to a distribution over traces.

    Attributes
    ----------
    config : dict
        The builder's own words, from which `load` builds the model again; empty for one put together by hand.
    trained, card : dict
        What `geoae.fit` saw (rate, channels, units, traces, seed, losses, versions), and what the author
        says of the model. Both are saved with it.
    """

    def __init__(self, scale: nn.Module, likelihood: nn.Module, config: dict | None = None):
        super().__init__()
        self.scale, self.likelihood = scale, likelihood
        self.config: dict[str, Any] = config or {}
        self.trained: dict[str, Any] = {}
        self.card: dict[str, Any] = {}

    @abstractmethod
    def send(self, seen: Tensor, goal: Tensor, samples: int, watch: bool, noise: Tensor | None) -> Trip:
        """Send scaled traces through, with so many draws of each code, and note the activations or not."""

    @abstractmethod
    def predict(self, seen: Tensor) -> Tensor:
        """Mean of p(x|z) at the mean code, of scaled traces."""

    def trip(
        self,
        x: Tensor,
        target: Tensor | None = None,
        *,
        samples: int = 1,
        differentiable: bool = False,
        watch: bool = True,
        noise: Tensor | None = None,
    ) -> Trip:
        """Send a batch through; `target` is what should come out (`x` itself if None).

        Both are scaled by what was measured on `x`, the only trace there is when the model is used.

        Parameters
        ----------
        x, target : Tensor, shape (trace, channel, time)
            In physical units; NaN samples of `x` are missing.
        samples : int
            Draws of each code.
        differentiable : bool
            Let derivatives by ``trip.x`` be taken.
        watch : bool
            Note what comes out of each activation.
        noise : Tensor, shape (samples, trace, latent), optional
            Standard normal numbers to make the draws of; torch's own next ones if None. See `noise`.
        """
        offset, gain = self.scale(x)
        seen = _without_nan((x - offset) / gain)
        goal = seen if target is None else (target - offset) / gain
        if differentiable:
            seen = seen.detach().requires_grad_()
        return self.send(seen, goal, samples, watch, noise)

    def noise(self, x: Tensor, samples: int) -> Tensor | None:
        """Numbers that draws of a batch's codes are made of; None where there is nothing to draw."""
        return None

    def forward(self, x: Tensor) -> Tensor:
        """Mean of p(x|z) at the mean code, in the units of `x`; NaN stays NaN and counts for nothing."""
        offset, gain = self.scale(x)
        return torch.where(x.isnan(), x, self.predict(_without_nan((x - offset) / gain)) * gain + offset)


def _without_nan(scaled: Tensor) -> Tensor:
    """Zeros, the mean of a scaled trace, where samples are missing."""
    return scaled.nan_to_num_(0.0, torch.inf, -torch.inf)


class Autoencoder(Model):
    """Encoder, posterior, decoder, likelihood in a row, and a scale around them.

    `geoae.autoencoder` builds the usual combinations from words; any modules of fitting shapes will do:

    Parameters
    ----------
    encoder : Module
        Traces (trace, channel, time) to features (trace, width).
    posterior : Module
        Features to a `torch.distributions.Distribution` over codes (trace, latent).
    decoder : Module
        Codes to (trace, channel, time).
    likelihood : Module
        The decoder's output to a distribution over traces.
    scale : Module, optional
        Traces to their (offset, gain); each trace by its own mean and rms if None.

    Examples
    --------
    >>> from geoae.dist import Diagonal, Gaussian
    >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(50, 32), nn.Tanh())
    >>> decoder = nn.Sequential(nn.Linear(2, 50), nn.Unflatten(1, (1, 50)))
    >>> model = Autoencoder(encoder, Diagonal(32, 2), decoder, Gaussian())
    >>> model(torch.zeros(7, 1, 50)).shape
    torch.Size([7, 1, 50])
    """

    def __init__(
        self,
        encoder: nn.Module,
        posterior: nn.Module,
        decoder: nn.Module,
        likelihood: nn.Module,
        scale: nn.Module | None = None,
        config: dict | None = None,
    ):
        super().__init__(scale or net.TraceScale("std"), likelihood, config)
        self.encoder, self.posterior, self.decoder = encoder, posterior, decoder

    @property
    def variational(self) -> bool:
        """Whether the posterior has a width, so that there is a divergence from the prior."""
        return not isinstance(self.posterior, dist.Point)

    def features(self, x: Tensor) -> Tensor:
        """Features (trace, width) of traces (trace, channel, time) in physical units, before the code.

        What an encoder has learned without labels can start a classifier: ``nn.Linear(width,
        classes)`` on top.
        """
        offset, gain = self.scale(x)
        return self.encoder(_without_nan((x - offset) / gain))

    def encode(self, x: Tensor) -> Distribution:
        """q(z|x) of traces (trace, channel, time) in physical units."""
        return self.posterior(self.features(x))

    def decode(self, z: Tensor) -> Distribution:
        """p(x|z) of codes (trace, latent), in the model's own scale."""
        return self.likelihood(self.decoder(z))

    def noise(self, x: Tensor, samples: int) -> Tensor | None:
        """Standard normal numbers (samples, trace, latent), or None for a point posterior."""
        if not self.variational:
            return None
        return torch.randn(samples, len(x), self.config["latent"], dtype=x.dtype, device=x.device)

    def send(self, seen: Tensor, goal: Tensor, samples: int, watch: bool, noise: Tensor | None) -> Trip:  # noqa: D102
        hidden: list[Tensor] = []
        q = self.posterior(self._watched(seen, hidden) if watch else self.encoder(seen))
        if isinstance(self.posterior, dist.Point) and type(self.posterior[-1]) in NONLINEAR:
            hidden.append(q.mean)
        if noise is not None:
            z = dist.drawn(q, noise).flatten(0, 1)
        else:
            z = q.rsample((samples,)).flatten(0, 1) if samples > 1 else q.rsample()
        goal = goal.repeat(samples, 1, 1) if samples > 1 else goal
        return Trip(seen, goal, self.decode(z), q, z, tuple(hidden))

    def _watched(self, h: Tensor, hidden: list[Tensor]) -> Tensor:
        """Encode, noting what comes out of each activation."""
        for layer in self.encoder.children() if isinstance(self.encoder, nn.Sequential) else [self.encoder]:
            h = layer(h)
            if type(layer) in NONLINEAR:
                hidden.append(h)
        return h

    def predict(self, seen: Tensor) -> Tensor:  # noqa: D102
        return self.decode(self.posterior(self.encoder(seen)).mean).mean


class Denoiser(Model):
    """A network from noisy to clean traces with skips past the narrow middle: no code, so no latents."""

    def __init__(
        self, network: nn.Module, likelihood: nn.Module, scale: nn.Module, config: dict | None = None
    ):
        super().__init__(scale, likelihood, config)
        self.network = network

    def send(self, seen: Tensor, goal: Tensor, samples: int, watch: bool, noise: Tensor | None) -> Trip:  # noqa: D102
        return Trip(seen, goal, self.likelihood(self.network(seen)))

    def predict(self, seen: Tensor) -> Tensor:  # noqa: D102
        return self.likelihood(self.network(seen)).mean


# ------------------------------------------------------------------------------------------- builders


def autoencoder(
    length: int | None = None,
    *,
    like: Any = None,
    channels: int = 1,
    latent: int = 2,
    network: str = "dense",
    widths: Sequence[int] | None = None,
    decoder_widths: Sequence[int] | None = None,
    kernel: int = 7,
    stride: int = 2,
    hidden: int = 100,
    activation: str = "relu",
    code: str = "identity",
    posterior: str = "point",
    likelihood: str = "gaussian",
    sigma: float | str | None = None,
    scale: str = "global",
    tied: bool = False,
    top: int | None = None,
    seed: int = 0,
) -> Autoencoder:
    """Build an autoencoder from plain words and numbers; they are also what `save` writes.

    Parameters
    ----------
    length, channels : int
        Samples and components of a trace.
    like : DataArray, optional
        Traces to take `length` and `channels` from instead.
    latent : int
        Number of latent variables.
    network : str
        ``dense``; ``conv``: 1-D convolutions down, transposed convolutions up, each with one dense
        layer of `hidden` units towards the code; ``linear``.
    widths, decoder_widths : sequence of int, optional
        Units of the dense layers or feature channels of the convolutions of the encoder; by default
        (100, 100) and (16, 32). The decoder mirrors the encoder unless told otherwise.
    kernel, stride, hidden : int
        Of the convolutional network.
    activation, code : str
        Nonlinearity between the layers, and of the code itself (for a point posterior).
    posterior : str
        ``point``, or for a variational autoencoder ``diagonal`` or ``full``.
    likelihood : str
        ``gaussian``; ``bernoulli`` for traces of 0 to 1 (with ``scale="range"``).
    sigma : float or str, optional
        Standard deviation of the Gaussian likelihood in units of the scaled traces: a number, which
        holds it fixed; ``learned``; ``per sample``, one learned for each sample; ``anneal``, lowered
        during `geoae.fit`. By default 1 for a point posterior, which makes the loss the squared
        error, and ``anneal`` for a variational one, which is what makes single latents capture single
        parameters.
    scale : str
        ``global``: minus the mean training trace, over one gain for the whole training set; or trace
        by trace ``std``, ``peak``, ``range``; or ``none``.
    tied : bool
        Decode with the encoder's own weights, transposed.
    top : int, optional
        Keep only this many latents of each code, the largest (k-sparse).
    seed : int
        Of the first weights.

    Returns
    -------
    Autoencoder

    Raises
    ------
    ValueError
        For an unknown word, or words that do not go together.

    Examples
    --------
    >>> model = autoencoder(50, latent=3, network="dense", widths=(100, 100), posterior="diagonal")
    >>> model.encode(torch.zeros(7, 1, 50)).mean.shape
    torch.Size([7, 3])
    """
    length, channels = _size(length, channels, like)
    latent, kernel, stride = _whole(latent=latent, kernel=kernel, stride=stride)
    (hidden,) = _whole(0, hidden=hidden)
    widths, decoder_widths = _widths(widths), _widths(decoder_widths)
    config = {"builder": "autoencoder", **{k: v for k, v in locals().items() if k != "like"}}
    net.choose(POSTERIORS, posterior, "posterior")
    if tied and posterior != "point":
        raise ValueError(
            f"tied weights need a point posterior, not {posterior!r}: a width has no layer to mirror"
        )
    noise = _likelihood(likelihood, sigma, posterior != "point", (channels, length))
    head = _head(posterior, latent, code, top)
    with net.forked_rng(seed):
        encoder, decoder = _networks(
            network, channels, length, latent, widths, decoder_widths, kernel, stride, hidden, activation
        )
        code_head = head(encoder.width)
    if tied:
        decoder = net.Tied([*encoder, code_head[0]], channels, length)
    return Autoencoder(encoder, code_head, decoder, noise, _scale(scale, channels, length), config)


def denoiser(
    length: int | None = None,
    *,
    like: Any = None,
    channels: int = 3,
    kind: str = "mask",
    widths: Sequence[int] | None = None,
    kernel: int | None = None,
    stride: int | None = None,
    sigma: float | str = 1.0,
    scale: str = "std",
    seed: int = 0,
) -> Denoiser:
    """Build a denoiser: a network from noisy traces to clean ones, trained with ``geoae.fit(..., corrupt=)``.

    Parameters
    ----------
    length, channels : int
        Samples and components of the windows it sees.
    like : DataArray, optional
        Traces to take `length` and `channels` from instead.
    kind : str
        ``mask``: a learned filter bank, a gain for each of its outputs, and the way back by transposed
        convolution (`geoae.nn.MaskNet`); ``time``: 1-D convolutional encoder, transposed-convolution
        decoder, skips
        between them (`geoae.nn.UNet`).
    widths, kernel, stride : sequence of int, int, int, optional
        Of the network; what goes together stands there.
    sigma, scale, seed
        As in `autoencoder`.

    Returns
    -------
    Denoiser
    """
    length, channels = _size(length, channels, like)
    build, usual = net.choose(DENOISERS, kind, "kind of denoiser")
    own = {"widths": widths, "kernel": kernel, "stride": stride}
    network_words = {name: usual[name] if value is None else value for name, value in own.items()}
    network_words["widths"] = _widths(network_words["widths"])
    config = {"builder": "denoiser", "length": length, "channels": channels, "kind": kind, **network_words}
    config |= {"sigma": sigma, "scale": scale, "seed": seed}
    noise = _likelihood("gaussian", sigma, False, (channels, length))
    with net.forked_rng(seed):
        network = build(channels, length, **network_words)
    return Denoiser(network, noise, _scale(scale, channels, length), config)


BUILDERS = {"autoencoder": autoencoder, "denoiser": denoiser}


def _size(length: int | None, channels: int, like: Any) -> tuple[int, int]:
    if like is not None:
        if "time" not in getattr(like, "dims", ()):
            raise TypeError(
                f"like is a {type(like).__name__}; give labelled traces, a DataArray with a dimension 'time'"
            )
        return like.sizes["time"], like.sizes.get("channel", 1)
    if length is None:
        raise ValueError("how long are the traces? give length=..., or like=traces to take it from them")
    length, channels = _whole(length=length, channels=channels)
    return length, channels


def _whole(least: int = 1, **counts: Any) -> tuple[int, ...]:
    """Whole numbers, NumPy's included, as plain ones."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, Integral) or count < least:
            raise ValueError(f"{name} is {count!r}; it must be a whole number from {least} up")
    return tuple(int(count) for count in counts.values())


def _widths(widths: Any) -> list[int] | None:
    return None if widths is None else [_whole(width=width)[0] for width in widths]  # a list, as JSON has it


def _head(posterior: str, latent: int, code: str, top: int | None):
    """What makes the posterior once the width of the features is known."""
    if posterior != "point":
        if top is not None or code != "identity":
            word = f"top={top}" if top is not None else f"code={code!r}"
            raise ValueError(
                f"{word} acts on a point code, but the posterior is {posterior!r}; use posterior='point'"
            )
        return lambda width: POSTERIORS[posterior](width, latent)
    if top is not None and not 1 <= top <= latent:
        raise ValueError(f"top is {top}; of {latent} latents it can keep 1 to {latent}")
    activation = net.TopK(top) if top is not None else net.choose(net.ACTIVATIONS, code, "code activation")()
    plain = isinstance(activation, nn.Identity)
    return lambda width: dist.Point(width, latent, None if plain else activation)


def _networks(network, channels, length, latent, widths, decoder_widths, kernel, stride, hidden, activation):
    if network == "conv":
        widths = tuple(widths or (16, 32))
        options = {"kernel": kernel, "stride": stride, "hidden": hidden, "activation": activation}
        encoder: nn.Module = net.ConvEncoder(channels, length, widths, **options)
        outward = tuple(decoder_widths or widths[::-1])
        return encoder, net.ConvDecoder(channels, length, latent, outward[::-1], **options)
    if network in ("dense", "linear"):
        widths = () if network == "linear" else tuple((100, 100) if widths is None else widths)
        outward = widths[::-1] if decoder_widths is None else tuple(decoder_widths)
        encoder = net.DenseEncoder(channels, length, widths, activation)
        return encoder, net.DenseDecoder(channels, length, latent, outward, activation)
    raise ValueError(f"unknown network {network!r}; choose from {', '.join(NETWORKS)}")


def _likelihood(likelihood: str, sigma: float | str | None, variational: bool, shape: tuple) -> nn.Module:
    if net.choose({"gaussian": False, "bernoulli": True}, likelihood, "likelihood"):
        if sigma is not None:
            raise ValueError(f"sigma={sigma!r} is for likelihood='gaussian'; a Bernoulli trace has none")
        return dist.Bernoulli()
    if sigma is None:
        sigma = "anneal" if variational else 1.0
    if isinstance(sigma, str):
        words = {
            "learned": {"learn": True},
            "per sample": {"learn": True, "shape": shape},
            "anneal": {"sigma": END_SIGMA, "anneal": True},
        }
        return dist.Gaussian(**net.choose(words, sigma, "sigma"))
    return dist.Gaussian(sigma)


def _scale(scale: str, channels: int, length: int) -> nn.Module:
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; choose from {', '.join(SCALES)}")
    return net.SetScale(channels, length) if scale == "global" else net.TraceScale(scale)


# ---------------------------------------------------------------------------------------- save, load


def save(model: Model, path: str | os.PathLike) -> None:
    """Write a model into one ``.safetensors`` file: weights, and how to build it as JSON metadata.

    The file appears whole or not at all, holds no code, and carries a sha256 of its numbers, which the
    format itself would not miss if a bit flipped.

    Parameters
    ----------
    model : Model
        From `autoencoder` or `denoiser`; one put together by hand is saved too, for ``load(path, into=)``.
    path : path
        Of the file.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    about = {"format": FORMAT, "model": model.config, "trained": model.trained, "card": model.card}
    metadata = {"geoae": json.dumps(about), "sha256": digest(tensors)}
    with whole(path) as part:
        part.write_bytes(save_tensors(tensors, metadata))


def load(path: str | os.PathLike, *, into: Model | None = None, device: str | torch.device = "cpu") -> Model:
    """Build a saved model again. Nothing in the file is executed.

    Parameters
    ----------
    path : path
        Of a file that `save` wrote.
    into : Model, optional
        A model put together by hand, to be filled with the file's weights.
    device : str or device
        Where the model should live.

    Returns
    -------
    Model
        In evaluation mode.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no model of geoae, is damaged, or comes from a newer geoae.
    """
    about, tensors = _read(Path(path))
    if into is None and not about["model"]:
        raise ValueError(
            f"{path} holds a model put together by hand; build it again and load(path, into=model)"
        )
    model = _build(about["model"], path) if into is None else into
    _check_shapes(model, tensors, path)
    model.load_state_dict(tensors, assign=into is None)
    model.trained, model.card = about["trained"], about["card"]
    return model.to(device).eval()


def about(path: str | os.PathLike) -> dict[str, Any]:
    """What a model file says of itself: its words, what it was trained on, its card, and its size."""
    text, tensors = _read(Path(path))
    return {**text, "weights": sum(t.numel() for t in tensors.values())}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        if "geoae" not in metadata:
            raise ValueError(f"{path} is a safetensors file, but not a model saved by geoae")
        text = json.loads(metadata["geoae"])
        _check_text(text, path)
        tensors = load_tensors(path.read_bytes())
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a model saved by geoae, or it is damaged ({error})") from error
    if metadata.get("sha256") != digest(tensors):
        raise ValueError(f"{path} is damaged: its weights do not match their sha256; fetch or train it again")
    return text, tensors


def _check_text(text: Any, path: Path) -> None:
    """Hold what a file says of itself against what every model file says."""
    kinds = {"format": int, "model": dict, "trained": dict, "card": dict}
    missing = kinds.keys() - (text.keys() if isinstance(text, dict) else ())
    if missing:
        raise ValueError(f"{path} is damaged: it does not say its {', '.join(sorted(missing))}")
    for name, kind in kinds.items():
        if type(text[name]) is not kind:
            raise ValueError(f"{path} is damaged: its {name} is {text[name]!r:.40}, no {kind.__name__}")
    rate = text["trained"].get("rate")
    if rate is not None and not (isinstance(rate, int | float) and rate > 0):
        raise ValueError(f"{path} is damaged: its sampling rate is {rate!r:.40}")
    if text["format"] > FORMAT:
        raise ValueError(f"{path} has format {text['format']}; this geoae reads up to {FORMAT}, update geoae")


def _build(config: dict[str, Any], path: str | os.PathLike) -> Model:
    words = dict(config)
    try:
        with torch.device("meta"):  # shapes only: a hostile size takes no memory
            return net.choose(BUILDERS, words.pop("builder"), "builder")(**words)
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path} describes a model this geoae cannot build ({error})") from error


def _check_shapes(model: Model, tensors: Mapping[str, Tensor], path: str | os.PathLike) -> None:
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    kinds = {value.dtype for value in tensors.values() if value.dtype != torch.bool}
    if len(kinds) > 1 or not all(kind.is_floating_point for kind in kinds):
        raise ValueError(
            f"{path} holds numbers of types {', '.join(map(str, kinds))}; wanted floats of one kind"
        )
    if not all(value.isfinite().all() for value in tensors.values()):
        raise ValueError(f"{path} holds weights that are NaN or inf; train the model again")
    wrong = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"{path} does not fit the model: {name} is {found.get(name, 'missing')} in the file, "
            f"{wanted.get(name, 'unknown')} in the model"
        )


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of tensors, their names, types and shapes."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        sha.update(value.numpy().tobytes())
    return sha.hexdigest()
