# `make demo` and `make test` need nothing but Python 3.11 to 3.13.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# setuptools warns of every editable installation that its folder comes first among imports: it is meant to.
INSTALL := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet
# PyPI's torch brings 2.2 GB of CUDA. TORCH_INDEX= (empty) installs it, for a GPU.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

MINUTES ?= 60
BENCHMARKS ?= append accounts env reconcile mirror bucket prices cli start steps training inside

define TORCH
test -z "$(TORCH_INDEX)" || $(BIN)/python -c "import torch" 2>/dev/null || \
	$(INSTALL) --retries 0 --timeout 10 --index-url "$(TORCH_INDEX)" "torch>=2.6,<2.14" || \
	echo "$(TORCH_INDEX) does not answer: installing the torch that pip finds, on PyPI that with 2.2 GB of CUDA"
endef

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
	@echo "Installing into $(VENV): 0.23 GB and torch to download, a minute or more..."
	@$(TORCH)
	@$(INSTALL) --editable ".[train]"
	@touch $@

$(VENV)/.tox: $(BIN)/python
	@$(INSTALL) "tox>=4.23"
	@touch $@

$(VENV)/.dev: $(BIN)/python setup.py
	@$(TORCH)
	@$(INSTALL) --editable ".[train,postgres,plot,test]"
	@touch $@

$(VENV)/.docs: $(BIN)/python setup.py
	@$(INSTALL) --editable ".[docs]"
	@touch $@

demo: $(VENV)/.demo
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/demo.py

# The short environments run two at a time; the tests and the benchmark's ratios after them have the machine to themselves.
test: $(VENV)/.tox
	@$(BIN)/tox run-parallel -p 2 --parallel-no-spinner --skip-env tests; short=$$?; $(BIN)/tox run -e tests && exit $$short

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

torture: $(VENV)/.dev
	RSC_TORTURE=1 $(BIN)/python -m pytest -q -m torture tests

fuzz: $(VENV)/.dev
	RSC_TORTURE=1 RSC_FUZZ_MINUTES=$(MINUTES) $(BIN)/python -m pytest -q tests/journal/test_fuzz.py

bench: $(VENV)/.dev
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py --docs || exit 1; done
	$(BIN)/python benchmarks/learning.py planted --docs
	$(BIN)/python benchmarks/learning.py real --iterations 20 --docs

clean:
	rm -rf $(VENV) .tox build site *.egg-info
