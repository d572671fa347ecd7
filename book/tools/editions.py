"""The book's other editions, into book/_build: `python book/tools/editions.py student|notebooks|pdf|zip`.

And one chapter of it, for who writes one: `python book/tools/editions.py chapter NAME`.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jupytext
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell
from pypdf import PdfWriter
from to_jb2 import without_live

BOOK = Path(__file__).resolve().parents[1]
BUILD = BOOK / "_build"
CONFIG = yaml.safe_load((BOOK / "_config.yml").read_text(encoding="utf-8"))
TOC = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]


def build(edition, config, *options, **how):
    """Build the site by another configuration, in a folder of its own: its first page, how that ended."""
    folders = dict.fromkeys(config["sphinx"]["local_extensions"], str(BOOK / "_ext"))
    sphinx = config["sphinx"] | {"local_extensions": folders}
    path = BUILD / f"{edition}.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(config | {"sphinx": sphinx}), encoding="utf-8")
    run = ["jupyter-book", "build", "-n", "--keep-going", *options, "--config", str(path)]
    run += ["--path-output", str(BUILD / edition), str(BOOK)]
    return BUILD / edition / "_build" / "html" / "index.html", subprocess.run(run, **how)


def student():
    """The site without solutions, from the same sources and the same execution cache."""
    words = {"cache": str(BUILD / ".jupyter_cache")}
    config = CONFIG | {
        "title": f"{CONFIG['title']} (student edition)",
        "execute": CONFIG["execute"] | words,
        "sphinx": CONFIG["sphinx"] | {"config": CONFIG["sphinx"]["config"] | {"hide_solutions": True}},
    }
    return build("student", config, "-W", check=True)[0]


def chapter(name=""):
    """One chapter, executed; the others stand beside it as they are written, without their warnings."""
    if name not in PAGES:
        sys.exit(f"no chapter {name!r} in book/_toc.yml; add it there or choose from {', '.join(PAGES)}")
    others = [page for page in PAGES if page != name]
    execute = {"execute_notebooks": "force", "exclude_patterns": [f"{page}.*" for page in others]}
    config = CONFIG | {"execute": CONFIG["execute"] | execute}
    index, run = build("chapter", config, "--all", "-q", stderr=subprocess.PIPE, text=True)
    told = [line for line in run.stderr.splitlines() if not any(f"/{page}.md:" in line for page in others)]
    print(*told, sep="\n", file=sys.stderr)
    if run.returncode:
        sys.exit(run.returncode)
    return index.with_name(f"{name}.html")


def first_cells(name):
    """Links that open a notebook elsewhere, and its geoae; none before _config.yml names a repository."""
    url = CONFIG.get("repository", {}).get("url", "")
    if not url.startswith("https://github.com/"):
        return []
    home = url.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{home}/blob/gh-pages/notebooks/{name}.ipynb"
    binder = f"https://mybinder.org/v2/gh/{home}/gh-pages?labpath=notebooks%2F{name}.ipynb"
    links = f"[Open in Colab]({colab}) · [Open in Binder]({binder})"
    return [new_markdown_cell(links), new_code_cell(f"%pip install -q git+{url}  # where it is missing")]


def notebooks():
    """Each chapter as a notebook, and a zip of them."""
    folder = BUILD / "notebooks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in PAGES:
        text = (BOOK / f"{name}.md").read_text(encoding="utf-8")
        if "kernelspec:" in text:
            notebook = jupytext.reads(without_live(text), fmt="md:myst")
            notebook.cells[:0] = first_cells(name)
            jupytext.write(notebook, folder / f"{name}.ipynb")
    return Path(shutil.make_archive(str(BUILD / "notebooks"), "zip", folder))


def pdf():
    """All pages as one PDF, printed by Chromium."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("no Chromium on the PATH; install chromium to print the book")
    book = PdfWriter()
    with tempfile.TemporaryDirectory() as folder:
        for name in PAGES:
            page = Path(folder, f"{name}.pdf")
            words = ["--headless", "--no-sandbox", "--no-pdf-header-footer", "--virtual-time-budget=15000"]
            run = [chromium, *words, f"--print-to-pdf={page}", (BUILD / "html" / f"{name}.html").as_uri()]
            subprocess.run(run, check=True, stderr=subprocess.DEVNULL)
            book.append(page, outline_item=name)
        book.write(BUILD / "book.pdf")
    return BUILD / "book.pdf"


def site_zip():
    """The site as a zip; unpack it and open index.html."""
    return Path(shutil.make_archive(str(BUILD / "site"), "zip", BUILD / "html"))


if __name__ == "__main__":
    editions = {"student": student, "notebooks": notebooks, "pdf": pdf, "zip": site_zip, "chapter": chapter}
    made = editions[sys.argv[1]](*sys.argv[2:])
    print(made.relative_to(BOOK.parent))
