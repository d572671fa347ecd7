"""The book's other editions, into book/_build: `python book/tools/editions.py student|notebooks|pdf|zip`."""

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


def student():
    """The site without solutions, from the same sources and the same execution cache."""
    config = CONFIG | {"title": f"{CONFIG['title']} (student edition)"}
    config["execute"] = CONFIG["execute"] | {"cache": str(BUILD / ".jupyter_cache")}
    config["sphinx"]["config"] |= {"hide_solutions": True}
    config["sphinx"]["local_extensions"] = dict.fromkeys(
        config["sphinx"]["local_extensions"], str(BOOK / "_ext")
    )
    path = BUILD / "student.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    run = ["jupyter-book", "build", "-W", "-n", "--keep-going", "--config", str(path)]
    subprocess.run([*run, "--path-output", str(BUILD / "student"), str(BOOK)], check=True)
    return BUILD / "student" / "_build" / "html" / "index.html"


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
    made = {"student": student, "notebooks": notebooks, "pdf": pdf, "zip": site_zip}[sys.argv[1]]()
    print(made.relative_to(BOOK.parent))
