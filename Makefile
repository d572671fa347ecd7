# geoae: everything a fresh clone needs is set up on first use, in .venv, at the versions in constraints.txt.
#
#   make demo     the main job, about a minute; ends with out/report.html
#   make test     the tests and docstring examples
#   make book     the course book, executed, into book/_build/html
#   make chapter NAME=lines    one chapter of it, while you write
#   make student notebooks pdf zip    its other editions: without solutions, as notebooks, one PDF, the site
#   make jb2      builds the sources with Jupyter Book 2 as well (needs node)
#   make pages    the built book in a headless Chromium
#   make lint     ruff and mypy         make format   ruff, in place
#   make clean    what the targets above made, but not .venv
#
#   PY=python3.12       another Python (3.11 or newer)
#   TORCH_INDEX=URL     take torch from that wheel index (PyTorch's own CPU or CUDA ones)
#   TORCH=skip          keep the torch that PY already has (cluster modules, conda)

PY ?= python3
VENV ?= .venv
TORCH ?= install
TORCH_INDEX ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH_VERSION := $(shell sed -n 's/^torch==//p' constraints.txt)

# One stamp per answer to "which torch?", so that another answer installs anew and the same one is instant.
CHOICE := $(shell printf '%s ' "$(TORCH)" "$(TORCH_INDEX)" "$(TORCH_VERSION)" | cksum | cut -d' ' -f1)
PYTHON_READY := $(VENV)/.ready-python
TORCH_READY := $(VENV)/.ready-torch-$(CHOICE)
READY := $(VENV)/.ready
LINT_READY := $(VENV)/.ready-lint
BOOK_READY := $(VENV)/.ready-book
JB2 := $(VENV)/jb2
JB2_READY := $(VENV)/.ready-jb2

# A torch that was there before rules over the pin; every other version is the pinned one.
ifeq ($(TORCH),skip)
CONSTRAINTS := $(VENV)/constraints-without-torch.txt
else
CONSTRAINTS := constraints.txt
endif
INSTALL := $(PIP) install -qq --constraint $(CONSTRAINTS)

# Two threads on models this small are many times slower than one.
ONE_THREAD := OMP_NUM_THREADS=1

.PHONY: demo test book chapter student notebooks pdf zip jb2 pages lint format clean
.DELETE_ON_ERROR:

demo: $(READY)
	@echo "Running the demo, a minute or two; the report will be out/report.html"
	@$(BIN)/geoae demo

test: $(READY)
	@echo "Running the tests and the docstring examples"
	@$(ONE_THREAD) $(BIN)/python -m pytest

# The execution cache knows the text of a chapter only, so a change of the package, of the machinery or of an
# installed version throws the cache away.
book: $(BOOK_READY)
	@key="$$( ($(PIP) freeze; find geoae book/_ext book/_config.yml -name '*.py' -o -name '*.yml' -o -name '*.safetensors' | sort | xargs cat) | cksum)"; \
	if [ "$$(cat book/_build/.key 2>/dev/null)" != "$$key" ]; then \
	  rm -rf book/_build && mkdir -p book/_build && echo "$$key" > book/_build/.key; \
	fi
	@echo "Building the book, running each chapter that changed"
	@$(ONE_THREAD) PATH="$(abspath $(BIN)):$$PATH" $(BIN)/jupyter-book build -W -n --keep-going book
	@echo "Open book/_build/html/index.html"

chapter: $(BOOK_READY)
	@$(ONE_THREAD) PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python book/tools/editions.py chapter $(NAME)

student pdf zip: book
student notebooks pdf zip: $(BOOK_READY)
	@$(ONE_THREAD) PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python book/tools/editions.py $@

jb2: $(JB2_READY)
	@$(BIN)/python book/tools/to_jb2.py book/_build/jb2
	@cd book/_build/jb2 && "$(abspath $(JB2))/bin/jupyter-book" build --html --strict

pages: $(READY)
	@echo "Looking at the built book in a headless Chromium"
	@$(BIN)/python -m pytest -m browser tests/test_book_pages.py

lint: $(LINT_READY)
	@echo "Checking format, lint and types"
	@$(BIN)/ruff format --check geoae tests book
	@$(BIN)/ruff check geoae tests book
	@$(BIN)/mypy

format: $(LINT_READY)
	@$(BIN)/ruff check --fix-only geoae tests book
	@$(BIN)/ruff format geoae tests book

clean:
	rm -rf out build dist *.egg-info book/_build .pytest_cache .mypy_cache .ruff_cache
	find geoae tests book -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Kept $(VENV); 'rm -rf $(VENV)' starts from nothing"

# --- set-up ---------------------------------------------------------------------------------------------------

$(PYTHON_READY):
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "geoae needs Python 3.11 or newer, $(PY) is $$($(PY) -V 2>&1); try: make PY=python3.12"; exit 1; }
	@echo "Creating $(VENV) with $$($(PY) -V), and a pip that knows dependency groups"
	@$(PY) -m venv $(if $(filter skip,$(TORCH)),--system-site-packages) $(VENV)
	@$(PIP) install -qq --upgrade "pip>=25.1"
	@touch $@

$(TORCH_READY): $(PYTHON_READY)
ifeq ($(TORCH),skip)
	@$(BIN)/python -c 'import torch; print("Keeping torch", torch.__version__)' 2>/dev/null || \
	  { echo "TORCH=skip, but $(VENV) sees no torch: rm -rf $(VENV) and try PY=the python that has it"; exit 1; }
	@grep -v '^torch==' constraints.txt > $(VENV)/constraints-without-torch.txt
else
	@echo "Installing torch $(TORCH_VERSION) (the largest download)"
	@# the builds share one version number, so pip would think the old choice good enough for the new one
	@if ls $(VENV)/.ready-torch-* >/dev/null 2>&1; then $(PIP) uninstall --quiet --yes torch; fi
	@$(PIP) install -qq $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==$(TORCH_VERSION)
endif
	@rm -f $(VENV)/.ready-torch-*
	@touch $@

$(READY): pyproject.toml constraints.txt $(TORCH_READY)
	@echo "Installing geoae and its test tools at the versions in constraints.txt (a minute or two)"
	@$(INSTALL) --editable . --group test
	@touch $@

$(LINT_READY): $(READY)
	@echo "Installing ruff and mypy"
	@$(INSTALL) --group lint
	@touch $@

$(BOOK_READY): $(READY)
	@echo "Installing Jupyter Book"
	@$(INSTALL) --group book
	@touch $@

# Jupyter Book 2 has the package name of 1, so it lives in an environment of its own.
$(JB2_READY): $(BOOK_READY)
	@echo "Installing Jupyter Book 2"
	@$(PY) -m venv $(JB2)
	@$(JB2)/bin/python -m pip install -qq jupyter-book==2.1.7
	@touch $@
