"""Signals with known parameters: damped oscillations, lines, wavelets, reflections, seismograms.

The plain functions (`damped_oscillation`, `ricker`) are the physics, in numpy. The plural ones draw
parameters, on a mesh or at random, and return labelled traces that carry them as coordinates. What noise
leaves of them to be known is told by `cramer_rao` and `ceiling`.
"""

from .curves import FORMS, damped_oscillation, damped_oscillations, lines
from .earthquakes import P_VELOCITY, S_VELOCITY, SURFACE, seismograms
from .limits import ceiling, cramer_rao
from .wavelets import ricker

__all__ = [
    "FORMS",
    "P_VELOCITY",
    "SURFACE",
    "S_VELOCITY",
    "ceiling",
    "cramer_rao",
    "damped_oscillation",
    "damped_oscillations",
    "lines",
    "ricker",
    "seismograms",
]
