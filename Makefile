# One command each. Every target makes the virtual environment it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Most tests wait for a socket or a clock, so two side by side take little more than half the time. Whether an attack
# slows others shows only where nothing else does.
TESTS_AT_ONCE ?= 2
ALONE := tests/attacks

.PHONY: demo test fuzz soak lint format bench clean help
.DEFAULT_GOAL := help

help:
	@echo "make demo    a bottling line: a simulated PLC, the OPC UA server, an MQTT broker"
	@echo "make test    all tests (CI=true: nothing may be skipped)"
	@echo "make fuzz    spoiled messages, ever more of them, until stopped or until one does harm"
	@echo "make soak    30 minutes of devices that fail at random (SOAK_MINUTES=5 for fewer)"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make bench   the measured claims of the README"
	@echo "make clean   removes what the others made"

demo: $(STAMP)
	@$(BIN)/isthmus demo

test: $(STAMP)
	@$(BIN)/python -m pytest $(ALONE); alone=$$?; \
	  $(BIN)/python -m pytest -n $(TESTS_AT_ONCE) --dist loadscope $(ALONE:%=--ignore=%) && exit $$alone

fuzz: $(STAMP)
	@$(BIN)/python tests/fuzz/run.py

soak: $(STAMP)
	@PYTHONPATH=tests $(BIN)/python -m support.soak

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP)
	@$(BIN)/python -m bench

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Isthmus needs Python 3.11 or later; '$(PYTHON)' is older. Try: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .fuzz isthmus-data demo-data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
