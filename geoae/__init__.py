"""Autoencoders for geoscience signals.

The public names stand in ``__init__.pyi``; each loads its room, and with it torch, ObsPy or matplotlib, when
first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
