"""Make the built site ask nothing of any other site, and keep its pages valid.

Jupyter Book 1 takes MathJax from a content delivery network, so without one every formula stays raw TeX, and
it names the scripts of a live-kernel service twice on every page, which is an error in the browser's console.
Here MathJax comes from the package sphinx-mathjax-offline, and the service is left out. Ids that extensions
give to several parts of a page are taken away.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from shutil import copy2, copytree

from sphinx.errors import ExtensionError

MATHJAX = "tex-mml-chtml.js"
# What that component loads later on: its fonts, and TeX packages when one of their macros is first used.
LOADED_LATER = ("output/chtml/fonts/woff-v2", "input/tex/extensions")


def mathjax_folder():
    """Folder of the installed MathJax."""
    package = find_spec("sphinx-mathjax-offline")  # a package whose name only find_spec can say
    if package is None:
        raise ExtensionError("sphinx-mathjax-offline is missing; 'make book' installs it")
    return Path(package.origin).parent / "static" / "mathjax"


def use_own_mathjax(app):
    """Point the pages at the copy, unless the builder makes no pages."""
    if app.builder.format == "html":
        app.config.mathjax_path = f"mathjax/{MATHJAX}"


def copy_mathjax(app, error):
    """Copy what the pages use, 2.5 MB of 24 MB."""
    if error is not None or app.builder.format != "html":
        return
    source, target = mathjax_folder(), Path(app.outdir) / "_static" / "mathjax"
    target.mkdir(parents=True, exist_ok=True)
    copy2(source / MATHJAX, target)
    for folder in LOADED_LATER:
        copytree(source / folder, target / folder, dirs_exist_ok=True)


def drop_live_kernels(app, pagename, templatename, context, doctree):
    """Take the scripts and styles of sphinx-thebe out of a page."""

    def is_thebe(file):
        inline = getattr(file, "attributes", {}).get("body") or ""
        return "thebe" in f"{file.filename} {inline}".lower()

    for files in ("script_files", "css_files"):
        context[files] = [file for file in context[files] if not is_thebe(file)]


def mend_parts(app, pagename, templatename, context, doctree):
    """Take away ids that several parts of a page share; call entries of a bibliography list items."""
    if "body" in context:
        body = re.sub(r' id="(exercise|solution|proof)(-content)?"', "", context["body"])
        context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')


def mend_search(app, error):
    """Leave the id of the search field to the first one: the search page has two."""
    page = Path(app.outdir) / "search.html"
    if error is None and page.exists():
        first, name, rest = page.read_text(encoding="utf-8").partition(' id="search-input"')
        page.write_text(first + name + rest.replace(name, "") if name else first, encoding="utf-8")


def setup(app):
    """Connect all to Sphinx."""
    app.connect("builder-inited", use_own_mathjax)
    app.connect("html-page-context", drop_live_kernels, priority=900)  # after everything that adds a script
    app.connect("html-page-context", mend_parts)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", mend_search)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}
