# Everything that a developer or a CI runs. `make help` lists it.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# The first Python that is new enough; asked for only when .venv has to be made.
PYTHON ?= $(firstword $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name"; done))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=
# 0 runs the tests in one process, as a debugger needs it.
TEST_PROCESSES ?= 2
FUZZ_SECONDS ?= 300
# Code that is checked for types; protos/stubs is generated.
TYPED := deploy edge services shared tests protos/generate.py

.PHONY: help
help: ## Lists the commands.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: $(VENV)/.project ## Makes .venv with what Gaia needs to run; again only when the lock has changed.

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Gaia needs Python 3.11 or newer; install it, or say make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt | $(BIN)/python
	$(PIP) install --require-hashes --only-binary :all: -r requirements.txt
	@touch $@

# Editable: the folders themselves are on the path, and so is the `gaia` command.
$(VENV)/.project: pyproject.toml $(VENV)/.runtime
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.development: requirements-dev.txt $(VENV)/.project
	$(PIP) install --require-hashes --only-binary :all: -r requirements-dev.txt
	@touch $@

.PHONY: up
up: setup ## Runs the whole platform; Ctrl-C stops it all.
	@$(BIN)/gaia up

.PHONY: down
down: setup ## Stops the platform that runs in .gaia (or GAIA_HOME).
	@$(BIN)/gaia down

.PHONY: test
test: $(VENV)/.development ## Everything the tests need, then the tests; ARGS go to pytest.
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) $(ARGS)

.PHONY: check
check: $(VENV)/.development ## Format, lint, types, imports, contracts, and the files of deploy/.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports
	$(BIN)/python protos/generate.py --check
	$(BIN)/python -m deploy.check

.PHONY: protos
protos: $(VENV)/.development ## Regenerates and lints what follows from the contracts.
	$(BIN)/python protos/generate.py $(ARGS)

.PHONY: bench
bench: $(VENV)/.development ## Measures and prints the figures; ARGS name some of them.
	$(BIN)/python -m tests.benchmarks $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.development ## Compares the two JSON codecs on random messages for FUZZ_SECONDS.
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest tests/unit/edge/transcoding/test_json_differential.py $(ARGS)

.PHONY: differential
differential: $(VENV)/.development ## Compares the transcoder with Envoy's, request by request.
	$(BIN)/python -m tests.differential $(ARGS)

UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header

.PHONY: lock
lock: $(VENV)/.development ## Writes the locked requirements anew; ARGS=--upgrade takes the newest versions.
	$(UV_COMPILE) pyproject.toml --group build --output-file requirements.txt $(ARGS)
	$(UV_COMPILE) pyproject.toml --group dev --constraints requirements.txt --output-file requirements-dev.txt $(ARGS)
	$(UV_COMPILE) tests/differential/requirements.in --output-file tests/differential/requirements.txt $(ARGS)
