"""Codes of labelled traces: which latent captures what, and what each latent draws.

The question "which latent holds the stiffness?" is answered in this order: is the latent active at all
(its divergence from the prior), what does it tell about the parameter by itself (a smooth fit, on traces
held out), what do all latents tell together. Rank correlation alone misleads: a dead latent can show
``|r| = 0.8``, and two latents that hold a parameter together can each show none.
"""

from .attribution import attribute
from .checks import aggregate, movement, out_of_range
from .codes import anomaly, decode, encode, generate, interpolate, log_evidence, nearest, traverse
from .effects import contributions, jacobian
from .page import section
from .scores import scores
from .verdict import Answer, Verdict, verdict

__all__ = [
    "Answer",
    "Verdict",
    "aggregate",
    "anomaly",
    "attribute",
    "contributions",
    "decode",
    "encode",
    "generate",
    "interpolate",
    "jacobian",
    "log_evidence",
    "movement",
    "nearest",
    "out_of_range",
    "scores",
    "section",
    "traverse",
    "verdict",
]
