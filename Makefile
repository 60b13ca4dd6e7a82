# `make demo` and `make test` need nothing but Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# setuptools warns of every editable installation that its folder comes first among imports: it is meant to.
INSTALL := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet

MINUTES ?= 60
BENCHMARKS ?= append accounts env reconcile prices cli start steps training

.PHONY: help demo test docs torture fuzz bench clean

help:
	@echo "make demo     train PPO on bundled prices, kill -9, reconcile, check, plot, report"
	@echo "make test     all checks and tests, as CI runs them"
	@echo "make docs     the documentation as a site; python3 -m http.server -d site serves it with its search"
	@echo "make torture  the long versions of the crash tests: 1 000 kills, 10 000 flips"
	@echo "make fuzz     hostile journals against the reader, for MINUTES=60"
	@echo "make bench    the figures of benchmarks/, and the tables of docs/benchmarks.md"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --upgrade pip

$(VENV)/.demo: $(BIN)/python setup.py
	@echo "Installing into $(VENV) (about a minute)..."
	@$(INSTALL) --editable ".[train]"
	@touch $@

$(VENV)/.tox: $(BIN)/python
	@$(INSTALL) "tox>=4.23"
	@touch $@

$(VENV)/.dev: $(BIN)/python setup.py
	@$(INSTALL) --editable ".[train,postgres,plot,test]"
	@touch $@

$(VENV)/.docs: $(BIN)/python setup.py
	@$(INSTALL) --editable ".[docs]"
	@touch $@

demo: $(VENV)/.demo
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/demo.py

test: $(VENV)/.tox
	$(BIN)/tox run

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

torture: $(VENV)/.dev
	RSC_TORTURE=1 $(BIN)/python -m pytest -q -m torture tests

fuzz: $(VENV)/.dev
	RSC_TORTURE=1 RSC_FUZZ_MINUTES=$(MINUTES) $(BIN)/python -m pytest -q tests/journal/test_fuzz.py

bench: $(VENV)/.dev
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py --docs || exit 1; done
	$(BIN)/python benchmarks/learning.py planted
	$(BIN)/python benchmarks/learning.py real

clean:
	rm -rf $(VENV) .tox build site *.egg-info
