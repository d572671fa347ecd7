"""Figures that answer to the reader's hand, as directives; each is a script beside this file.

    ```{latent-explorer} _build/live/oscillations.json
    :name: fig-explorer
    :alt: What the figure shows and does, for those who cannot see or run it
    A caption.
    ```

A figure's numbers are written into the page, so that it works from a file as it does from a server. Where
nothing runs (print, no JavaScript, other builders) stands the alternative text.
"""

import json
from pathlib import Path
from shutil import copy2

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

HERE = Path(__file__).parent
FIGURES = {  # directive: whether it needs a file of numbers
    "gaussian-divergence": False,
    "latent-explorer": True,
    "noise-level": True,
    "sliding-matrix": False,
    "sparsity-penalty": False,
}


class live(nodes.General, nodes.Element):  # noqa: N801 - docutils names its nodes in lower case
    """A place in the page that a script fills."""


class LiveFigure(SphinxDirective):
    """A live figure with its caption; labels of axes and the like are options of the same name."""

    optional_arguments = 1
    has_content = True
    option_spec = {  # noqa: RUF012 - docutils wants a dict here
        "alt": directives.unchanged_required,
        "name": directives.unchanged,
        "x-label": directives.unchanged,
        "y-label": directives.unchanged,
    }

    def run(self):
        """Place and caption, in a figure that can be referred to."""
        if "alt" not in self.options:
            raise self.error(f"{self.name} needs :alt:, the words for those who cannot see or run it")
        numbers = self._numbers() if FIGURES[self.name] else {}
        numbers |= {key: self.options[key] for key in ("x-label", "y-label") if key in self.options}
        figure = nodes.figure("", live(kind=self.name, numbers=numbers, alt=self.options["alt"]))
        if self.content:
            inline, messages = self.parse_inline(" ".join(self.content), lineno=self.lineno)
            figure += [nodes.caption("", "", *inline), *messages]
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure]

    def _numbers(self):
        if not self.arguments:
            raise self.error(f"{self.name} needs the path of a JSON file")
        name, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(name)
        try:
            return json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self.error(
                f"{self.name} cannot read {name} ({error}); a chapter writes it when it is run: "
                "'make clean book' runs all"
            ) from error


def visit_html(self, node):
    """Open the place, its numbers in it."""
    numbers = json.dumps(node["numbers"]).replace("</", "<\\/")
    self.body.append(
        f'<div class="live" data-live="{node["kind"]}" role="group" aria-label="{self.attval(node["alt"])}">'
        f'<script type="application/json">{numbers}</script>'
        f"<noscript><p>{self.encode(node['alt'])}</p></noscript>"
    )


def depart_html(self, node):
    """Close it."""
    self.body.append("</div>")


def visit_latex(self, node):
    """The words in a box."""
    self.body.append(rf"\fbox{{\parbox{{0.8\linewidth}}{{{self.encode(node['alt'])}}}}}")
    raise nodes.SkipNode


def visit_text(self, node):
    """The words."""
    self.add_text(node["alt"])
    raise nodes.SkipNode


def load_scripts(app, pagename, templatename, context, doctree):
    """Name the scripts on pages that have a live figure, each its own."""
    kinds = sorted({node["kind"] for node in doctree.findall(live)}) if doctree else []
    if kinds:
        app.add_css_file("live/live.css")
    for script in ["kit", *kinds] if kinds else []:
        app.add_js_file(f"live/{script}.js", loading_method="defer")


def copy_scripts(app):
    """Put scripts and style where the pages look for them."""
    if app.builder.format == "html":
        target = Path(app.outdir) / "_static" / "live"
        target.mkdir(parents=True, exist_ok=True)
        for file in (*HERE.glob("*.js"), *HERE.glob("*.css")):
            copy2(file, target)


def setup(app):
    """Connect all to Sphinx."""
    app.add_node(
        live,
        html=(visit_html, depart_html),
        latex=(visit_latex, None),
        text=(visit_text, None),
        man=(visit_text, None),
        texinfo=(visit_text, None),
    )
    for name in FIGURES:
        app.add_directive(name, LiveFigure)
    app.connect("builder-inited", copy_scripts)
    app.connect("html-page-context", load_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}
