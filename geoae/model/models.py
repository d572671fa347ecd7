"""What a model is: a scale around a trip from traces to a distribution over traces."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from .. import dist, nn as net

NONLINEAR = set(net.ACTIVATIONS.values()) - {nn.Identity}


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
    others : list of Model
        What ``geoae.fit(..., restarts=...)`` trained and did not keep, the best first; not saved.
    """

    def __init__(self, scale: nn.Module, likelihood: nn.Module, config: dict | None = None):
        super().__init__()
        self.scale, self.likelihood = scale, likelihood
        self.config: dict[str, Any] = config or {}
        self.trained: dict[str, Any] = {}
        self.card: dict[str, Any] = {}
        self.others: list[Model] = []

    @property
    def runs(self) -> "list[Model]":
        """The model itself, and the trainings that ``fit(restarts=...)`` did not keep, the best first."""
        return [self, *self.others]

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
        seen, goal = self.scaled(x, target)
        if differentiable:
            seen = seen.detach().requires_grad_()
        return self.send(seen, goal, samples, watch, noise)

    def scaled(self, x: Tensor, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Traces as the network sees them, without NaN, and what should come out, in the model's scale."""
        offset, gain = self.scale(x)
        seen = _without_nan((x - offset) / gain)
        return seen, seen if target is None or target is x else (target - offset) / gain

    def noise(self, x: Tensor, samples: int) -> Tensor | None:
        """Numbers that draws of a batch's codes are made of; None where there is nothing to draw."""
        return None

    def forward(self, x: Tensor) -> Tensor:
        """Mean of p(x|z) at the mean code, in the units of `x`; NaN stays NaN and counts for nothing."""
        offset, gain = self.scale(x)
        return torch.where(x.isnan(), x, self.predict(_without_nan((x - offset) / gain)) * gain + offset)

    def estimate(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `forward`, and the standard deviation of the error at each sample, in the units of `x`.

        None in place of the second unless it is a denoiser built with ``sigma="predicted"``.
        """
        return self(x), None


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

    def estimate(self, x: Tensor) -> tuple[Tensor, Tensor | None]:  # noqa: D102
        if not isinstance(self.likelihood, dist.Heteroscedastic):
            return super().estimate(x)
        offset, gain = self.scale(x)
        p = self.likelihood(self.network(_without_nan((x - offset) / gain)))
        missing = x.isnan()
        return torch.where(missing, x, p.mean * gain + offset), torch.where(missing, x, p.stddev * gain)
