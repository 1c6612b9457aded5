# Everything one does with a clone. `make demo` is the place to start.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# Tests that build namespaces are many short waits: two workers, one file each.
WORKERS ?= 2

.PHONY: help setup setup-test setup-bench demo test unit e2e attack mutation soak bench \
        fuzz setup-fuzz conformance lint fix lock clean

help: ## show this list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## install what is missing: Debian packages, .venv, the stockade command
	@scripts/setup run

setup-test: setup
	@scripts/setup test

setup-bench: setup
	@scripts/setup bench

setup-fuzz: setup
	@scripts/setup fuzz

demo: setup ## show the command and the server at work in a small internet of their own
	@$(BIN)/python -m tests.lab.demo
	@$(BIN)/python -m tests.lab.demo_serve

test: setup-test ## every test: unit and property, then the lab
	$(PYTEST) -q -n $(WORKERS) --dist loadfile tests/unit tests/property
	$(PYTEST) -q -n $(WORKERS) --dist loadfile tests/e2e tests/attacks

unit: setup ## tests that need no privilege, in a few seconds
	$(PYTEST) -q -n $(WORKERS) --dist loadfile tests/unit tests/property

e2e: setup-test ## whole runs in the lab
	$(PYTEST) -q -n $(WORKERS) --dist loadfile tests/e2e

attack: setup-test ## what a hostile devbox may try, each with its control
	$(PYTEST) -q -n $(WORKERS) --dist loadfile tests/attacks

mutation: setup-test ## prove that each attack test can fail; writes docs/mutation.md
	@$(BIN)/python -m tests.attacks.mutation --write-docs

conformance: setup-test ## Runloop's own tests, against the server; WRITE=1 writes the table
	@$(BIN)/python -m tests.conformance $(if $(WRITE),--write) || [ $$? -eq 77 ]

soak: setup-test ## an hour of churn on one gateway: does anything grow?
	@$(BIN)/python -m tests.soak --chart docs/charts/soak.svg --write-docs

bench: setup-bench ## measure, side by side with what one would use instead
	@$(BIN)/python -m bench

fuzz: setup-fuzz ## fuzz every parser and service; TARGET=name RUNS=n JOBS=n
	@$(BIN)/python -m fuzz.run $(TARGET) --runs $(or $(RUNS),0) --jobs $(or $(JOBS),1)

lint: setup ## format, rules, types, words that must not be in the repository
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python scripts/words.py

fix: setup ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## renew requirements.lock from pyproject.toml (needs uv)
	@scripts/lock

clean: ## remove what setup and the tools made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
