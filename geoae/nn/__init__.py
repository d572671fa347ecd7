"""Networks: traces (trace, channel, time) to features (trace, width) and back, and the scale around them."""

from .conv import ConvDecoder, ConvEncoder
from .denoisers import MaskNet, UNet
from .dense import DenseDecoder, DenseEncoder
from .draws import forked_rng, reseed, reset
from .layers import ACTIVATIONS, TopK, matrix
from .scale import SetScale, TraceScale
from .tied import Tied
from .words import choose, device

__all__ = [
    "ACTIVATIONS",
    "ConvDecoder",
    "ConvEncoder",
    "DenseDecoder",
    "DenseEncoder",
    "MaskNet",
    "SetScale",
    "Tied",
    "TopK",
    "TraceScale",
    "UNet",
    "choose",
    "device",
    "forked_rng",
    "matrix",
    "reseed",
    "reset",
]
