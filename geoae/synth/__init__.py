"""Signals with known parameters: damped oscillations, lines, wavelets, reflections, seismograms.

The plain functions (`damped_oscillation`, `ricker`, `layered`) are the physics, in numpy. The plural ones
draw parameters, on a mesh or at random, and return labelled traces that carry them as coordinates. What
noise leaves of them to be known is told by `cramer_rao` and `ceiling`.
"""

from .curves import FORMS, damped_oscillation, damped_oscillations, lines
from .earthquakes import P_VELOCITY, S_VELOCITY, SURFACE, arrivals, seismograms
from .limits import ceiling, cramer_rao
from .reflections import gather, gathers, layered, reflections, reflectivity, thin_beds
from .wavelets import MOTIONS, brune, ormsby, ricker

__all__ = [
    "FORMS",
    "MOTIONS",
    "P_VELOCITY",
    "SURFACE",
    "S_VELOCITY",
    "arrivals",
    "brune",
    "ceiling",
    "cramer_rao",
    "damped_oscillation",
    "damped_oscillations",
    "gather",
    "gathers",
    "layered",
    "lines",
    "ormsby",
    "reflections",
    "reflectivity",
    "ricker",
    "seismograms",
    "thin_beds",
]
