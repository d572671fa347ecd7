"""Noise, mixing at a stated signal-to-noise ratio, and corruptions for training."""

from .corruptions import (
    AddNoise,
    Blur,
    Compose,
    Corruption,
    DropChannels,
    Gaps,
    GaussianNoise,
    Mask,
    Shift,
    Spikes,
)
from .mixing import add_white, mix
from .sources import background, coloured, hum, peterson, spikes, surrogates, white, wind_turbine

__all__ = [
    "AddNoise",
    "Blur",
    "Compose",
    "Corruption",
    "DropChannels",
    "Gaps",
    "GaussianNoise",
    "Mask",
    "Shift",
    "Spikes",
    "add_white",
    "background",
    "coloured",
    "hum",
    "mix",
    "peterson",
    "spikes",
    "surrogates",
    "white",
    "wind_turbine",
]
