# The project's commands. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run setup check test quick bench soak lock schema clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## start the server with a simulated telephone network and place a first call
	@$(BIN)/callingbox-server demo

setup: $(VENV)/.dev $(VENV)/.browser ## install everything that running, checking and testing need

check: $(VENV)/.dev ## ruff, mypy strict, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: $(VENV)/.dev $(VENV)/.browser ## the whole suite, on SQLite, Postgres and a real Chromium, a worker for each processor
	$(BIN)/python -m pytest tests -n logical --maxprocesses 8 --dist worksteal

quick: $(VENV)/.dev ## the tests of what decides, in seconds
	$(BIN)/python -m pytest tests/billing tests/dashboard tests/voice tests/webhooks -m "not asyncio"

bench: $(VENV)/.dev ## measure speed as ratios to references in the same run
	$(BIN)/python -m tests.benchmarks $(BENCH)

soak: $(VENV)/.dev ## thousands of simulated worlds with every fault (SEEDS=2000)
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),2000)

lock: $(VENV)/.dev ## resolve the dependencies again, pinned with hashes
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --extra dev -c requirements.lock pyproject.toml -o tests/requirements.lock

schema: $(VENV)/.dev ## write the embedded database's first schema down from the migrations
	$(BIN)/python -m config.migrate

clean: ## remove the environment (data stays)
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name it with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing the pinned dependencies into $(VENV) (once, for a minute or two) ..."
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: tests/requirements.lock $(VENV)/.run
	@echo "Installing the tools for checks and tests ..."
	@$(PIP) --require-hashes -r tests/requirements.lock
	@touch $@

$(VENV)/.browser: $(VENV)/.dev
	@$(BIN)/python -m tests.browser.chromium
	@touch $@
