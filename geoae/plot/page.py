"""The report: figures, tables and text as one HTML file that needs nothing else."""

import base64
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..files import whole
from .style import image, minus

REPORT_BYTES = 3_000_000


@dataclass(frozen=True)
class Table:
    """Rows of a report. Numbers (and text that begins as one) are set flush right, NaN as a dash.

    Floats of a column get the same decimals, three digits for the largest of them; to choose, give text.

    Examples
    --------
    >>> Table(("latent", "KL [nats]"), [("z0", 2.404), ("z1", 0.001)], caption="Activity").caption
    'Activity'
    """

    header: Sequence[object]
    rows: Sequence[Sequence[object]]
    caption: str = ""


@dataclass(frozen=True)
class Fact:
    """One key number of a report's summary, such as ``Fact("SNR gain", "12.4 dB", "from -2.0 dB")``."""

    label: str
    value: object
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a report: plain text (a blank line starts a paragraph), figures, tables.

    Each figure comes as (figure, alt) or (figure, alt, caption); alt says in a sentence what it shows, for
    those who cannot see it.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> Section("Training", "It went down.", figures=[(Figure(), "The loss by epoch")]).title
    'Training'
    """

    title: str
    text: str = ""
    figures: Sequence[tuple[Any, ...]] = ()
    tables: Sequence[Table] = ()


def report(
    path: str | os.PathLike[str],
    title: str,
    sections: Section | Sequence[Section],
    *,
    summary: Sequence[Fact] = (),
    subtitle: str = "",
) -> Path:
    """Write figures, tables and text as one HTML file that needs nothing else.

    No request leaves the page: style and pictures are inside (small figures as SVG, heavy ones as PNG), and
    its content policy forbids anything more. It is light or dark as the reader's system is, fits a phone,
    prints, and stays below 3 MB where the figures allow. All text is escaped. The file appears whole or not
    at all.

    Parameters
    ----------
    path : path
        Where to write; its folder must exist.
    title, subtitle : str
        Heading of the page and the line beneath.
    sections : Section or sequence of them
        Your own, or `geoae.latent.section` on an attribution.
    summary : sequence of Fact, optional
        Key numbers, in a box at the top.

    Returns
    -------
    path : Path

    Raises
    ------
    TypeError
        A section is something else, such as a bare figure; a figure comes without its alt text.
    ValueError
        An alt text is empty, or a row does not have the header's length.
    FileNotFoundError
        The folder does not exist.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = report(f"{folder}/report.html", "A <b>old title", Section("One", "Text."))
    ...     "A &lt;b&gt;old title" in page.read_text(encoding="utf-8")
    True
    """
    path = Path(path)
    sections = sections if isinstance(sections, Sequence) else [sections]
    wrong = [type(section).__name__ for section in sections if not isinstance(section, Section)]
    if wrong:
        raise TypeError(
            f"sections holds a {wrong[0]}; wanted Section('a title', figures=[(figure, 'what it shows')])"
        )
    with whole(path) as part:
        for dpi in (180, 130, 90):
            page = _page(title, subtitle, sections, summary, dpi).encode()
            if len(page) < REPORT_BYTES:
                break
        part.write_bytes(page)
    return path


def _tag(name: str, text: object, attributes: str = "") -> str:
    """Put an element around plain text."""
    return f"<{name}{attributes}>{escape(str(text))}</{name}>"


def _page(title: str, subtitle: str, sections: Sequence[Section], summary: Sequence[Fact], dpi: float) -> str:
    facts = "".join(map(_fact, summary))
    links = "".join(f'<li><a href="#s{i}">{escape(s.title)}</a></li>' for i, s in enumerate(sections, 1))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
{_tag("title", title)}<style>{_STYLE}</style></head>
<body><main>
<header>{_tag("h1", title)}{_tag("p", subtitle, ' class="subtitle"') if subtitle else ""}</header>
{f'<dl class="facts">{facts}</dl>' if facts else ""}
{f'<nav aria-label="Contents"><ol>{links}</ol></nav>' if len(sections) > 2 else ""}
{"".join(_section(f"s{i}", section, dpi) for i, section in enumerate(sections, 1))}
<footer>Made with geoae on {datetime.now(UTC):%d %B %Y at %H:%M} UTC.</footer>
</main></body></html>
"""


def _fact(fact: Fact) -> str:
    note = _tag("dd", fact.note, ' class="note"') if fact.note else ""
    return f"<div>{_tag('dt', fact.label)}{_tag('dd', _minus_sign(str(fact.value)))}{note}</div>"


def _section(anchor: str, section: Section, dpi: float) -> str:
    text = "".join(_tag("p", p) for p in re.split(r"\n\s*\n", section.text.strip()) if p)
    figures = "".join(_picture(section, i, dpi) for i in range(len(section.figures)))
    tables = "".join(_table(table) for table in section.tables)
    return f'<section id="{anchor}">{_tag("h2", section.title)}{text}{figures}{tables}</section>\n'


def _picture(section: Section, index: int, dpi: float) -> str:
    given = section.figures[index]
    if not isinstance(given, Sequence) or not 2 <= len(given) <= 3:
        raise TypeError(
            f"figure {index + 1} of section {section.title!r} is a {type(given).__name__}; give it as "
            "(figure, alt), where alt says in a sentence what it shows"
        )
    figure, alt, caption = (*given, "")[:3]
    if not str(alt).strip():
        raise ValueError(
            f"figure {index + 1} of section {section.title!r} has no alt text; say in words what it shows"
        )
    data, kind = image(figure, "svg", dpi), "svg+xml"
    if len(data) > 150_000 and len(png := image(figure, "png", dpi)) < len(data):
        data, kind = png, "png"
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return (
        f'<figure><div class="card" tabindex="0"><img alt="{escape(str(alt))}" width="{width}" '
        f'height="{height}" style="--w:{width}px" '
        f'src="data:image/{kind};base64,{base64.b64encode(data).decode()}"></div>'
        f"{_tag('figcaption', caption) if caption else ''}</figure>"
    )


# a number, perhaps with its unit or interval behind it, but not a date
_NUMBER = re.compile(r"(?!\d+[-:]\d)[+−]?\.?\d|–$")


def _minus_sign(text: str) -> str:
    return re.sub(r"(?<![\w)])-(?=[\d.])", "−", text)


def _column(values: Sequence[object]) -> tuple[list[str], bool]:
    """Cells of one column as text, and whether they are numbers."""
    floats = [float(v) for v in values if isinstance(v, float | np.floating)]
    top = max((abs(v) for v in floats if math.isfinite(v)), default=0.0)
    decimals = min(max(2 - math.floor(math.log10(top)), 0), 4) if top else 2
    style = ".2e" if top and not 1e-3 <= top < 1e7 else f".{decimals}f"
    cells = []
    for value in values:
        if isinstance(value, float | np.floating):
            value = minus(f"{value:z{style}}") if math.isfinite(value) else "–"
        cells.append(_minus_sign(str(value)))
    return cells, all(map(_NUMBER.match, cells)) and set(cells) != {"–"}


def _table(table: Table) -> str:
    for i, row in enumerate(table.rows, 1):
        if len(row) != len(table.header):
            raise ValueError(
                f"row {i} of table {table.caption!r} has {len(row)} cells, its header {len(table.header)}"
            )
    columns = [_column([row[j] for row in table.rows]) for j in range(len(table.header))]
    flush = [' class="n"' if number else "" for _, number in columns]
    head = "".join(_tag("th", word, f' scope="col"{n}') for word, n in zip(table.header, flush, strict=True))
    first = f' scope="row"{flush[0]}' if flush else ""
    rows = ""
    for cells in zip(*(cells for cells, _ in columns), strict=True):
        rest = "".join(_tag("td", cell, n) for cell, n in zip(cells[1:], flush[1:], strict=True))
        rows += f"<tr>{_tag('th', cells[0], first)}{rest}</tr>"
    caption = _tag("caption", table.caption) if table.caption else ""
    return (
        f'<div class="scroll" tabindex="0"><table>{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


_STYLE = """
:root{--ink:#1c2733;--soft:#55616e;--line:#d9dee3;--ground:#fff;--box:#f5f7f9;--link:#1f5c99}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaee;--soft:#a3aeb9;--line:#38424c;--ground:#14191f;
--box:#1d242c;--link:#8dbdf0}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--ground);color:var(--ink);font:1.0625rem/1.6 Charter,"Bitstream Charter",
"Sitka Text",Cambria,Georgia,"Liberation Serif",serif;overflow-wrap:break-word}
main{max-width:58rem;margin:0 auto;padding:clamp(1.25rem,4vw,3.5rem) clamp(1rem,4vw,2rem)}
h1,h2,dl,nav,table,figcaption,footer,.subtitle{font-family:system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue","Liberation Sans",Arial,sans-serif}
h1{font-size:clamp(1.6rem,5vw,2.3rem);line-height:1.2;letter-spacing:-.015em;margin:0;text-wrap:balance}
h2{font-size:1.3rem;line-height:1.3;margin:3rem 0 .75rem;padding-top:1rem;border-top:1px solid var(--line)}
p{max-width:42rem;margin:0 0 1rem;white-space:pre-line}
.subtitle{color:var(--soft);margin:.6rem 0 0}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:1px;
margin:2rem 0 1.5rem;padding:0;
background:var(--line);border:1px solid var(--line);border-radius:8px;overflow:hidden}
.facts div{background:var(--box);padding:.9rem 1.1rem;display:flex;flex-direction:column}
dt{flex:1 0 auto;font-size:.8rem;color:var(--soft);line-height:1.35}
dd{margin:.15rem 0 0;font-size:1.5rem;font-weight:600;line-height:1.25;
font-variant-numeric:tabular-nums lining-nums}
dd.note{font-size:.8rem;font-weight:400;color:var(--soft)}
nav ol{list-style:none;display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;margin:0;padding:0;font-size:.9rem}
a{color:var(--link);text-underline-offset:.2em;text-decoration-thickness:1px}
figure{margin:1.5rem 0}
.card{background:#fff;border:1px solid var(--line);border-radius:8px;padding:.75rem;overflow-x:auto}
.card img{display:block;max-width:100%;height:auto;margin:0 auto}
figcaption,caption{color:var(--soft);font-size:.875rem;line-height:1.45;text-align:left}
figcaption{margin-top:.5rem;max-width:42rem}
.scroll{overflow-x:auto;margin:1.5rem 0}
table{border-collapse:collapse;font-size:.9rem;line-height:1.4;font-variant-numeric:tabular-nums lining-nums;
border-bottom:1px solid var(--soft)}
caption{padding-bottom:.5rem}
th,td{padding:.4rem 1.5rem .4rem 0;text-align:left;vertical-align:baseline;font-weight:400}
th:last-child,td:last-child{padding-right:.25rem}
thead th{border-top:1px solid var(--soft);
border-bottom:1px solid var(--soft);font-weight:600;vertical-align:bottom}
tbody tr+tr>*{border-top:1px solid var(--line)}
.n{text-align:right;white-space:nowrap}
footer{margin-top:3.5rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--soft);font-size:.8rem}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
@media(max-width:40rem){.card img{max-width:none;width:min(var(--w),36rem)}.card{padding:.4rem}
.facts{grid-template-columns:1fr 1fr}.facts div{padding:.7rem .8rem}dd{font-size:1.2rem}}
@media print{:root{--ink:#000;--soft:#444;--line:#bbb;--ground:#fff;--box:#fff;--link:#000}nav{display:none}
main{max-width:none;padding:0}body{font-size:10.5pt}h2{break-after:avoid}figure,tr,.facts{break-inside:avoid}
.card{border:0;padding:0;overflow:visible}.card img{max-width:100%;min-width:0}.scroll{overflow:visible}
@page{margin:18mm}}
"""
