# One entry point for people and for CI. On Windows, or without make: see the README.

PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# Clients and their machines have races of their own: what fails is tried once more, and the report counts it.
# What was acknowledged and is not there is never tried again: that once is once too often.
LOSS := (?m)^(AssertionError:)? *(lost|doubled|invented|out of order|out of sequence|hole): 
COMPAT := $(PYTEST) -m compat -p no:randomly --reruns 1 --rerun-except '$(LOSS)' tests compat
FAST := not slow and not cluster and not compat

.PHONY: run test check fast slow cluster compat stubs docs bench format clean

run: .venv/run.stamp
	$(BIN)/pykafka-broker start

test: .venv/dev.stamp
	compat/install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m "not compat" -n 2 --dist loadfile
	$(COMPAT)

check: .venv/dev.stamp
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m "$(FAST)" -n 2 --dist loadfile

fast: .venv/dev.stamp
	$(PYTEST) -m "$(FAST)" -n 2 --dist loadfile

slow: .venv/dev.stamp
	$(PYTEST) -m slow

cluster: .venv/dev.stamp
	compat/install
	$(PYTEST) -m cluster

compat: .venv/dev.stamp
	compat/install
	$(COMPAT)

stubs: .venv/dev.stamp
	$(BIN)/python -m pykafka_broker.wire.stubs

docs: .venv/dev.stamp
	$(BIN)/python -m pykafka_broker.config.documentation >docs/configuration.new
	mv docs/configuration.new docs/configuration.md

format: .venv/dev.stamp
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: .venv/dev.stamp
	compat/install
	$(BIN)/python -m bench

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run.stamp: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/dev.stamp: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ .venv/run.stamp

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
