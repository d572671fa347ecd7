"""``python -m geoae`` is ``geoae``."""

from .cli import main

main()
