"""Models from plain words and numbers, which are also what is saved."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from torch import nn

from .. import dist, nn as net
from .models import Autoencoder, Denoiser

POSTERIORS = {"point": dist.Point, "diagonal": dist.Diagonal, "full": dist.Full}
NETWORKS = ("dense", "conv", "linear")
SCALES = ("global", *net.TraceScale.kinds, "none")
DENOISERS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "mask": (net.MaskNet, {"widths": (128,) * 9, "kernel": 128, "stride": 32}),
    "time": (net.UNet, {"widths": (8, 16, 32, 64), "kernel": 9, "stride": 4}),
}
END_SIGMA = 0.15**0.5  # where annealing ends, in units of the scaled traces; see geoae.train.Anneal


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
    dropout: float = 0.0,
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
    dropout : float
        Share of the features set to zero after each nonlinearity, at random, while training.
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
    >>> import torch
    >>> model = autoencoder(50, latent=3, network="dense", widths=(100, 100), posterior="diagonal")
    >>> model.encode(torch.zeros(7, 1, 50)).mean.shape
    torch.Size([7, 3])
    """
    length, channels = _size(length, channels, like)
    latent, kernel, stride = _whole(latent=latent, kernel=kernel, stride=stride)
    _share(dropout)
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
            network,
            channels,
            length,
            latent,
            widths,
            decoder_widths,
            {"activation": activation, "dropout": dropout},
            {"kernel": kernel, "stride": stride, "hidden": hidden},
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
    dropout: float = 0.0,
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
        ``mask``: a gain for each time and frequency of a short-time Fourier transform
        (`geoae.nn.MaskNet`); ``time``: 1-D convolutional encoder, transposed-convolution decoder, skips
        between them (`geoae.nn.UNet`).
    widths, kernel, stride : sequence of int, int, int, optional
        Of the network; what goes together stands there.
    sigma : float or str
        As in `autoencoder`; or ``predicted``: a ``mask`` network tells the standard deviation of its error
        at each sample (`geoae.model.Model.estimate`).
    dropout, scale, seed
        As in `autoencoder`; what is dropped is a share of what each residual block adds.

    Returns
    -------
    Denoiser
    """
    length, channels = _size(length, channels, like)
    build, usual = net.choose(DENOISERS, kind, "kind of denoiser")
    own = {"widths": widths, "kernel": kernel, "stride": stride}
    network_words = {name: usual[name] if value is None else value for name, value in own.items()}
    network_words["widths"] = _widths(network_words["widths"])
    _share(dropout)
    network_words["dropout"] = dropout
    config = {"builder": "denoiser", "length": length, "channels": channels, "kind": kind, **network_words}
    config |= {"sigma": sigma, "scale": scale, "seed": seed}
    told: dict[str, bool] = {}
    if sigma == "predicted":
        if kind != "mask":
            raise ValueError(
                f"kind={kind!r} does not tell its error; take kind='mask', or a number for sigma"
            )
        told["spread"] = True
        noise: nn.Module = dist.Heteroscedastic()
    else:
        noise = _likelihood("gaussian", sigma, False, (channels, length))
    with net.forked_rng(seed):
        network = build(channels, length, **network_words, **told)
    return Denoiser(network, noise, _scale(scale, channels, length), config)


BUILDERS = {"autoencoder": autoencoder, "denoiser": denoiser}


def _size(length: int | None, channels: int, like: Any) -> tuple[int, int]:
    if like is not None:
        if "time" not in getattr(like, "dims", ()):
            raise TypeError(
                f"like is a {type(like).__name__}; give labelled traces, a DataArray with a dimension 'time'"
            )
        return like.sizes["time"], like.sizes.get("channel", 1)
    if hasattr(length, "dims"):
        raise TypeError(f"length is a {type(length).__name__}; give traces to be like as like=traces")
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


def _share(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; it is the share of features left out, from 0 to below 1")


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


def _networks(network, channels, length, latent, widths, decoder_widths, between, convolutions):
    if network == "conv":
        widths = tuple(widths or (16, 32))
        options = between | convolutions
        encoder: nn.Module = net.ConvEncoder(channels, length, widths, **options)
        outward = tuple(decoder_widths or widths[::-1])
        return encoder, net.ConvDecoder(channels, length, latent, outward[::-1], **options)
    if network in ("dense", "linear"):
        widths = () if network == "linear" else tuple((100, 100) if widths is None else widths)
        outward = widths[::-1] if decoder_widths is None else tuple(decoder_widths)
        encoder = net.DenseEncoder(channels, length, widths, **between)
        return encoder, net.DenseDecoder(channels, length, latent, outward, **between)
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
