"""The models: scale, encoder, posterior, decoder, likelihood; built from words, saved without pickle.

A model takes and gives traces (trace, channel, time) in physical units. Its scale is measured trace by
trace or once over the training set, never over a batch, so no trace sees its neighbours.
"""

from .builders import autoencoder, denoiser
from .file import about, digest, load, pretrained, save
from .models import Autoencoder, Denoiser, Model, Trip

__all__ = [
    "Autoencoder",
    "Denoiser",
    "Model",
    "Trip",
    "about",
    "autoencoder",
    "denoiser",
    "digest",
    "load",
    "pretrained",
    "save",
]
