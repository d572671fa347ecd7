"""The page of results, README.md beside this file: each benchmark writes its own section of it."""

import re
from pathlib import Path

README = Path(__file__).with_name("README.md")


def put(section: str) -> None:
    """Put a section in place of the one with the same heading (its first line), or at the end."""
    heading = section.splitlines()[0]
    old = README.read_text(encoding="utf-8") if README.exists() else ""
    kept = [one for one in re.split(r"^(?=# )", old, flags=re.MULTILINE) if one.strip()]
    headings = [one.splitlines()[0] for one in kept]
    place = headings.index(heading) if heading in headings else len(kept)
    kept[place : place + 1] = [section]
    README.write_text("\n\n".join(one.strip() for one in kept) + "\n", encoding="utf-8")
