# The front door. Every target does its own set-up: system packages and a virtual environment.
#   VENV=DIR     put the environment elsewhere
#   PYTHON=FILE  build it with this Python (3.11 or newer)
#   ARGS=...     for pytest or the demo
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
export PATH := $(PATH):/usr/sbin:/sbin
export PYTHON
export GOALS := $(MAKECMDGOALS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

CODE := mfc_dbus tests .ci/requirements
SOURCES := $(shell find mfc_dbus data meson.build pyproject.toml LICENSE ! -name __pycache__ ! -name '*.pyc' ! -type l)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: demo-packages $(VENV)/installed ## show it at work, in network namespaces of its own
	@.ci/sandbox $(BIN)/python tests/demo.py $(ARGS)

.PHONY: demo-shell
demo-shell: demo-packages $(VENV)/installed ## the same network, and a shell in it
	@.ci/sandbox $(BIN)/python tests/demo.py --shell $(ARGS)

.PHONY: check
check: check-packages lint types test ## everything that must pass: lint, types, all tests

.PHONY: lint
lint: $(VENV)/dev ## ruff: rules and format
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

.PHONY: types
types: $(VENV)/dev ## mypy --strict
	$(BIN)/mypy

.PHONY: test
test: check-packages $(VENV)/dev $(VENV)/installed ## the tests of the installed package; ARGS='tests/unit -k name'
	.ci/sandbox $(BIN)/pytest $(ARGS)

.PHONY: bench
bench: demo-packages $(VENV)/installed ## what a route costs, beside the bare kernel and smcroute
	@.ci/sandbox env PYTHONPATH=tests $(BIN)/python tests/bench.py $(ARGS)

.PHONY: format
format: $(VENV)/dev ## let ruff format, and mend what it can
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

.PHONY: clean
clean: ## remove the environment and what the tools left
	$(OURS)
	rm -rf $(VENV) build .hypothesis .mypy_cache .pytest_cache .ruff_cache .mesonpy-*
	find mfc_dbus tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: .venv
.venv: $(VENV)/dev $(VENV)/installed

.PHONY: venv-packages demo-packages check-packages
venv-packages demo-packages check-packages: %-packages:
	@.ci/packages $*

# Nothing is removed that this Makefile did not make, whatever VENV says.
OURS = @[ ! -e $(VENV) ] || [ -e $(VENV)/ours ] || [ -e $(VENV)/made ] || \
	{ echo '$(VENV) is not of our making.' >&2; exit 1; }

# The environment: made, then given the dependencies, then the project itself. The files are stamps.
$(VENV)/made: | venv-packages
	$(OURS)
	rm -rf $(VENV)
	mkdir -p $(VENV) && touch $(VENV)/ours
	"$$(.ci/python)" -m venv $(VENV)
	@touch $@

$(VENV)/run: $(VENV)/made pyproject.toml .ci/requirements
	$(BIN)/python .ci/requirements fast > $(VENV)/requirements.txt
	$(BIN)/pip install -qq -r $(VENV)/requirements.txt
	@touch $@

$(VENV)/dev: $(VENV)/run
	$(BIN)/python .ci/requirements fast dev > $(VENV)/requirements.txt
	$(BIN)/pip install -qq -r $(VENV)/requirements.txt
	@touch $@

$(VENV)/installed: $(VENV)/run $(SOURCES)
	PATH=$(abspath $(BIN)):$$PATH $(BIN)/pip install -qq --no-deps --no-build-isolation --force-reinstall .
	@touch $@
