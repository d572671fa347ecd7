"""Rewrite the book's sources for Jupyter Book 2: `python book/tools/to_jb2.py TARGET`.

Chapters keep to what both read. What is Sphinx's own is rewritten here: captions of code figures, the
glossary, live figures (their words stay), and pages that only Sphinx can make (the API).
"""

import re
import shutil
import sys
from pathlib import Path

import yaml

BOOK = Path(__file__).parents[1]
SPHINX_ONLY = ("api", "bibliography")  # autodoc; a page of its own, which Jupyter Book 2 puts below each page
LIVE = "latent-explorer|gaussian-divergence|sliding-matrix|sparsity-penalty|noise-level"
BLOCK = r"\n---\n(?P<options>.*?)\n---\n"


def code_figure(match):
    """A code cell with `mystnb: figure:` becomes a labelled cell and a figure that shows its output."""
    options, code = yaml.safe_load(match["options"]), match["code"]
    if "figure" not in options.get("mystnb", {}):
        return match[0]
    figure, alt = options["mystnb"]["figure"], options["mystnb"].get("image", {}).get("alt", "")
    tags = f":tags: {options['tags']}\n" if "tags" in options else ""
    name, caption = figure["name"], figure["caption"].strip()
    return (
        f"```{{code-cell}} ipython3\n{tags}#| label: cell-{name}\n{code}```\n\n"
        f":::{{figure}} #cell-{name}\n:label: {name}\n:alt: {' '.join(alt.split())}\n{caption}\n:::\n"
    )


def live_figure(match):
    """A live figure becomes a box with its words."""
    options = yaml.safe_load(match["options"])
    words = f"{' '.join(options['alt'].split())}\n\n{match['body'].strip()}"
    return f"({options['name']})=\n:::{{admonition}} A live figure\n{words}\n:::\n"


def without_live(text):
    """The text with each live figure as a box."""
    figure = rf"^```\{{(?:{LIVE})\}}[^\n]*{BLOCK}(?P<body>.*?)^```\n"
    return re.sub(figure, live_figure, text, flags=re.S | re.M)


def glossary(match):
    """Indented definitions become `: definition`."""
    entries = re.findall(r"^(\S.*)\n((?:  .*\n)+)", match["body"], flags=re.M)
    return "```{glossary}\n" + "\n".join(f"{t}\n: {' '.join(d.split())}\n" for t, d in entries) + "```\n"


def rewritten(text):
    """One page for Jupyter Book 2."""
    code = rf"^```\{{code-cell\}} ipython3{BLOCK}(?P<code>.*?)^```\n"
    text = re.sub(code, code_figure, without_live(text), flags=re.S | re.M)
    text = re.sub(r"^```\{glossary\}\n(?P<body>.*?)^```\n", glossary, text, flags=re.S | re.M)
    text = re.sub(r"\{numref\}`(fig-[\w-]+)`", r"[](#\1)", text)
    text = re.sub(r"```\{(tableofcontents|chapter-table|nb-exec-table)\}\n```\n", "", text)
    text = re.sub(r"\]\((\w+\.md)#[\w-]+\)", r"](\1)", text)  # anchors of headings are made differently
    for name in SPHINX_ONLY:
        text = re.sub(rf"\[([^]]*)\]\({name}\.md\)", r"\1", text)
    return text


def main(target):
    """Copy, rewrite, and say in myst.yml what _toc.yml and _config.yml say."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(Path(__file__).parent / "jb2_theme", target / "theme")
    toc, title = _read("_toc.yml"), _read("_config.yml")["title"]
    parts = []
    for part in toc["parts"]:
        names = [c["file"] for c in part["chapters"] if c["file"] not in SPHINX_ONLY]
        parts.append({"title": part["caption"], "children": [{"file": f"{name}.md"} for name in names]})
    pages = [f"{toc['root']}.md", *(c["file"] for part in parts for c in part["children"])]
    for page in pages:
        text = rewritten((BOOK / page).read_text(encoding="utf-8"))
        (target / page).write_text(text, encoding="utf-8")
    shutil.copytree(BOOK / "_static", target / "_static")
    for name in ("references.bib", "logo.svg"):
        shutil.copy2(BOOK / name, target / name)
    project = {"title": title, "numbering": {"all": True}, "bibliography": ["references.bib"]}
    project["toc"] = [{"file": pages[0]}, *parts]
    config = {"version": 1, "project": project, "site": {"template": "./theme"}}
    (target / "myst.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def _read(name):
    return yaml.safe_load((BOOK / name).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
