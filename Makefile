# One virtual environment for everything; `make` alone lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test check format lint types bench clean

help:
	@echo "make demo    set up and run the main job: images in, rounds by themselves, a page to label in"
	@echo "make test    the whole test suite"
	@echo "make check   format, lint, types, tests: what decides whether a change lands"
	@echo "make bench   the benchmarks (JSON lines in bench-results/), and the slow tests"
	@echo "make format  put the code in its format"
	@echo "make clean   remove the virtual environment and what the demo wrote"

setup: $(STAMP)

# uv installs the same wheels as pip from the same registry, several times faster.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.4"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)

demo: setup
	$(BIN)/al demo $(ARGS)

test: setup
	sh deploy/test-needs.sh
	$(BIN)/python -m pytest

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

check: lint types test

bench: setup
	$(BIN)/python -m benchmarks
	$(BIN)/python -m pytest -m slow tests/slow

clean:
	rm -rf $(VENV) demo-data build dist bench-results *.egg-info
