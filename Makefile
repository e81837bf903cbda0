PYTHON ?= python3
UV ?= uv

# Given to `pip install` in `make setup`: for example an --extra-index-url that offers CPU builds of torch.
PIP_ARGS ?=
# Given to `uv pip compile` in `make lock`: for example --upgrade.
UV_ARGS ?=
# Tests run in this many processes. Each pays for its own import of torch; 0 runs them in this one.
TEST_JOBS ?= 2
# Given to pytest in `make test`: for example a file, or -k words.
TEST_ARGS ?=
# Where `make help-pages` writes.
REFERENCE ?= docs/reference.md
SCHEMAS ?= docs/schemas

RUN := .venv/bin/
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format typecheck check lock wheel help-pages clean

help: ## Print these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: $(INSTALLED) ## Install latnas and its tools into .venv

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "latnas needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	    echo "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(RUN)python -m pip install -c constraints.txt $(PIP_ARGS) -e '.[dev]'
	@touch $@

demo: setup ## Profile, search and export on this machine's CPU, with the data that latnas ships
	$(RUN)latnas demo

test: setup ## Run the tests
	@# worksteal: each process takes neighbours, which share what is made for a file of tests, until it has none left.
	OMP_NUM_THREADS=1 $(RUN)python -m pytest -n $(TEST_JOBS) --dist worksteal $(TEST_ARGS)

lint: setup ## Check style
	$(RUN)ruff check .
	$(RUN)ruff format --check .

format: setup ## Put the code into the project's style
	$(RUN)ruff check --fix .
	$(RUN)ruff format .

typecheck: setup ## Check types
	$(RUN)mypy

check: lint typecheck test ## All three

lock: ## Make constraints.txt again, from pyproject.toml and constraints.in (needs uv)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: pip install uv, or make lock UV=path/to/uv" >&2; exit 1; }
	@# Without find-links: a build found in one's own folder (2.13.0+cpu) is one that others cannot install.
	env -u UV_FIND_LINKS $(UV) pip compile --quiet --universal --python-version 3.11 --all-extras \
	    --no-annotate --no-emit-index-url --custom-compile-command 'make lock' $(UV_ARGS) \
	    -c constraints.in pyproject.toml -o constraints.txt

wheel: setup ## Build dist/latnas-*.whl
	$(RUN)python -m build --wheel --outdir dist

help-pages: setup ## Write the command line's help to docs/reference.md, and JSON schemas to docs/schemas
	$(RUN)python -m latnas.cli.reference $(REFERENCE)
	$(RUN)python -m latnas.cli.schemas $(SCHEMAS)

clean: ## Remove caches and built files; keeps .venv and runs
	rm -rf dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src profilers tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
