# One command per job, the same here and in CI.  Each sets up its own environment:
#   make test                                     with python3
#   make PYTHON=python3.12 VENV=.venv312 test     with another

PYTHON ?= python3
VENV ?= .venv
# What to install: all that a developer needs, or what the tests do (testing).
REQUIREMENTS ?= development
# What installs it, at the beginning of a command.
INSTALL ?= $(BIN)/python -m pip install -qq --disable-pip-version-check
ARGS ?=
# Most of the tests wait for processes of their own: more at once than there are cores.
PROCESSES ?= 4

BIN := $(VENV)/bin
READY := $(VENV)/.ready
MANIFESTS := setup.cfg pyproject.toml $(wildcard requirements/*.txt)

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types docs bench format clean

help:
	@echo "make demo    a service that takes orders, to be tried with curl"
	@echo "make test    tests, docstring examples, documentation pages (ARGS='-k name' to choose)"
	@echo "make check   format, lint, import contract, types, documentation"
	@echo "make docs    the documentation, in docs/_build/html"
	@echo "make bench   us beside our peers (ARGS=--quick for a short look)"
	@echo "make format  format the code, and cure what ruff can cure"

$(READY): $(MANIFESTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -r requirements/$(REQUIREMENTS).txt -e .
	touch $@

# -P: nothing of ours may shadow the standard library (sprockets/http, eliot/json.py).
demo: $(READY)
	$(BIN)/python -P examples/orders.py $(ARGS)

test: $(READY)
	$(BIN)/pytest -n $(PROCESSES) $(ARGS)

check: lint types docs

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

# basedpyright takes the first python on PATH, and sees no editable install.
types: $(READY)
	$(BIN)/mypy
	PYTHONPATH="$(CURDIR)" PATH="$(abspath $(BIN)):$$PATH" $(BIN)/basedpyright --verifytypes sprockets.logbook --ignoreexternal
	PYTHONPATH="$(CURDIR)" PATH="$(abspath $(BIN)):$$PATH" $(BIN)/basedpyright --verifytypes sprockets.eliot --ignoreexternal
	PYTHONPATH="$(CURDIR)" PATH="$(abspath $(BIN)):$$PATH" $(BIN)/basedpyright --verifytypes sprockets.http --ignoreexternal
	PYTHONPATH="$(CURDIR)" PATH="$(abspath $(BIN)):$$PATH" $(BIN)/basedpyright --verifytypes sprockets.tickets --ignoreexternal

docs: $(READY)
	$(BIN)/python -P -m sphinx -n -W --keep-going -q -b html docs docs/_build/html

bench: $(READY)
	$(BIN)/python -P benchmarks/run.py $(ARGS)
	$(BIN)/python -P benchmarks/actions.py $(ARGS)
	$(BIN)/python -P benchmarks/delivery.py --quick
	$(BIN)/python -P benchmarks/queues.py $(ARGS)
	$(BIN)/python -P benchmarks/tickets.py $(ARGS)
	$(BIN)/python -P benchmarks/requests.py
	$(BIN)/python -P benchmarks/losses.py
	$(BIN)/python -P benchmarks/imports.py

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf build dist docs/_build *.egg-info
