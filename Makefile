# On a fresh machine: `make demo` shows it working, `make test` proves it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements/newest.txt
# Tests wait more than they compute: two processes for each of two cores.
JOBS ?= 4
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# Compiled once, and not by each of the processes that tests start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-matrix test-neighbours test-frameworks lint format bench chaos soak clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Two stamps, so that the demo does not wait for tools it does not use.
$(VENV)/.run: pyproject.toml setup.py requirements/newest.txt src/millstream/_core/events/_fastpath.c src/millstream/collector/_validate.c | $(BIN)/python
	$(PIP) --editable '.[async,collector,duckdb,oauth]'
	@touch $@

$(VENV)/.dev: requirements/dev.txt requirements/test.txt $(VENV)/.run
	$(PIP) --requirement requirements/dev.txt --editable '.[all]'
	@touch $@

demo: $(VENV)/.run  ## a shop, a collector, three destinations: every event counted at all ends; KEEP=1 to look
	@$(BIN)/python -m examples.demo $(if $(KEEP),--keep)

# Segment's own JavaScript libraries, which the collector is tested with; without npm these tests are skipped.
NODE := tests/collector/node
$(NODE)/node_modules: $(NODE)/package-lock.json
	@if command -v npm >/dev/null; then npm ci --prefix $(NODE) --ignore-scripts --no-audit --no-fund --silent && touch $@; fi

test: $(VENV)/.dev $(NODE)/node_modules  ## all tests
	@$(PYTEST) $(ARGS)

test-fast: $(VENV)/.dev  ## the tests without processes and servers
	@$(PYTEST) -m 'not process and not server' $(ARGS)

# pyenv hides what is not chosen: here every Python is.
test-matrix: $(VENV)/.dev  ## the fast tests on every Python found here, and with the oldest libraries
	@PYENV_VERSION=$$(pyenv versions --bare 2>/dev/null | paste -sd: -) JOBS=$(JOBS) $(BIN)/python -m nox $(ARGS)

# An environment of its own: what other people's tools bring must not stand in for a dependency that is missing.
NEIGHBOURS := $(VENV)-neighbours
$(NEIGHBOURS)/.run: requirements/neighbours.txt pyproject.toml src/millstream/_core/events/_fastpath.c
	$(PYTHON) -m venv $(NEIGHBOURS)
	$(NEIGHBOURS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $< --editable '.[async,collector]'
	@touch $@

test-neighbours: $(NEIGHBOURS)/.run  ## tests beside tracing agents, mocks, stopped clocks and greenlets
	@$(NEIGHBOURS)/bin/python -m pytest --confcutdir tests/neighbours tests/neighbours

FRAMEWORKS := $(VENV)-frameworks
$(FRAMEWORKS)/.run: requirements/frameworks.txt pyproject.toml src/millstream/_core/events/_fastpath.c
	$(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $< --editable '.[async,collector]'
	@touch $@

test-frameworks: $(FRAMEWORKS)/.run  ## the examples for web frameworks and job queues, under their real servers
	@$(FRAMEWORKS)/bin/python -m pytest -n $(JOBS) --dist worksteal --confcutdir tests/frameworks tests/frameworks $(ARGS)

lint: $(VENV)/.dev  ## ruff, mypy --strict, pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --warnings

format: $(VENV)/.dev  ## let ruff format and mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(VENV)/.run  ## this client and others, side by side, to docs/explanation/performance.md
	@$(BIN)/python -m benchmarks.peers $(ARGS)

chaos: $(VENV)/.dev  ## kill and end hundreds of processes, and count that nothing was lost
	@cd tests && ../$(BIN)/python -m chaos $(ARGS)

soak: $(VENV)/.dev  ## three minutes of every fault at random, and every event counted
	@cd tests && ../$(BIN)/python -m chaos.soak $(ARGS)

clean:  ## remove the environment and what tools left
	rm -rf $(VENV) $(NEIGHBOURS) $(FRAMEWORKS) .nox .mypy_cache .ruff_cache .hypothesis build dist demo-data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
