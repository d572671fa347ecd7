"""Training: `fit`, its settings, a cache for more traces than memory holds, and training layer by layer."""

from .data import Cache, cache
from .fitting import default_objective, fit
from .plan import Anneal, expected_active_units, one_cycle
from .stacked import fit_stacked

__all__ = [
    "Anneal",
    "Cache",
    "cache",
    "default_objective",
    "expected_active_units",
    "fit",
    "fit_stacked",
    "one_cycle",
]
