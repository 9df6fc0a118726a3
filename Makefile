# The commands people and CI share. On a fresh machine `make demo` needs only Python >= 3.10: no compiler, no GPU.
#
#   make demo         make .venv, install, train on real data         make test    the test suite
#   make lint         ruff and the import rules                       make types   pyright
#   make test-twins   without compiled parts, for old processors      make bench-smoke   every benchmark, very short
#   make examples     every example with --smoke                      make docs    the documentation into site/
#   make fuzz         every reader of files under a coverage-guided fuzzer (RUNS=100000 each); KILLS=200: savers are killed
#   make clients      an exported model in every language that is here; INSTALL=1: gets the others (apt-get as root, npm)
#
# `make ci` is what .ci/run runs. PYTHON=/path/to/python3 chooses the interpreter; otherwise 3.11 is preferred, then any other >= 3.10.

TORCH := torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
WORKERS ?= 2
RUNS ?= 100000
KILLS ?= 200
export OMP_NUM_THREADS ?= 1

.PHONY: help demo install test test-twins lint types docs examples clients fuzz bench-smoke ci clean
.DEFAULT_GOAL := help

help:
	@sed -n '3,8s/^#//p' Makefile

demo: $(STAMP)-package
	@$(BIN)/python examples/demo.py $(DEMO)

install: $(STAMP)-dev

test: $(STAMP)-dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TESTS)

test-twins: $(STAMP)-dev
	GLUEBALL_CORE=0 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal tests/fold
	GLUEBALL_JIT=0 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --ignore tests/executor/native tests/executor tests/passes tests/gluon/test_compiled_step.py
	if [ "$$(uname -m)" = x86_64 ]; then GLUEBALL_PROCESSOR=x86-64-v2 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal tests/executor/jit tests/passes tests/gluon/test_compiled_step.py; fi

lint: $(STAMP)-dev
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python tools/coverage_page.py --check

types: $(STAMP)-dev
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(STAMP)-docs
	$(BIN)/python tools/coverage_page.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

examples: $(STAMP)-dev
	$(BIN)/python -m pytest -q tests/test_examples.py

clients: $(STAMP)-dev
	@$(BIN)/python clients/run.py $(if $(INSTALL),--install)

fuzz: $(STAMP)-fuzz
	$(BIN)/python fuzz/run.py --runs $(RUNS)
	$(BIN)/python tools/kill_saves.py --kills $(KILLS)

bench-smoke: $(STAMP)-dev
	$(BIN)/python tools/bench_smoke.py

ci:
	.ci/run

clean:
	rm -rf $(VENV) build dist site out *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------------- the environment, step by step
# torch comes first and alone: it is by far the largest download, and its stamp keeps it from being looked at again.
$(STAMP)-torch:
	@sh tools/make_venv.sh $(VENV) "$(PYTHON)"
	@echo "Installing $(TORCH) (the only large download) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(TORCH)
	@touch $@

$(STAMP)-package: $(STAMP)-torch pyproject.toml setup.py $(wildcard glueball/fold/native/*.[ch])
	@echo "Installing glueball ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[all]'
	@touch $@

$(STAMP)-dev: $(STAMP)-package
	@echo "Installing the tools for tests and checks ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[all,dev]'
	@touch $@

$(STAMP)-fuzz: $(STAMP)-dev
	@$(BIN)/python -m pip install -qq --disable-pip-version-check atheris
	@touch $@

$(STAMP)-docs: $(STAMP)-package
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[all,docs]'
	@touch $@
