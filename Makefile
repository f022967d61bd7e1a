# make demo   trains two small VAEs and writes demo/report.html
# make test   runs the tests, files side by side in their order (the longest first), one thread each
# make docs-run  runs every block of code in README and docs, each in a process of its own
# make torture  runs two thousand odd and damaged inputs, ten minutes and more on two cores, and prints a table
# make gpu    runs the tests that need a GPU and all that is worth measuring on one, with PYTHON as it is: results/gpu
# make package  builds wheel and sdist into dist/, and tries both with the lowest and the newest versions
# make docs   builds the documentation into site/; warnings are errors
# make check  runs the linter, the formatter's check and the type checker
#
# Each but make gpu sets up .venv first. A torch that is installed there already is kept if its version fits.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
READY := $(VENV)/.ready
READY_DOCS := $(VENV)/.ready-docs
VERSIONS := lowest-direct highest


.PHONY: demo test test-slow docs-run torture package gpu check docs format clean

demo: $(READY)
	$(BIN)/ssvae generate "a red disc moving left over coarse waves" "a blue square moving up over fine waves" --out demo/first
	$(BIN)/ssvae demo --out demo $(DEMO)

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

test-slow: $(READY)
	$(BIN)/pytest -m "slow and not torture and not docs"

docs-run: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q tests/docs -m "docs or not docs"

torture: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -q -m torture

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(READY_DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict  # which --quiet would keep from seeing warnings

package: $(READY)
	.ci/package $(VERSIONS)

gpu:
	$(PYTHON) benchmarks/gpu.py --out results/gpu $(GPU)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch uv
	$(INSTALL) --editable '.[dev]'
	touch $(READY)

$(READY_DOCS): $(READY)
	$(INSTALL) --editable '.[docs]'
	touch $(READY_DOCS)

clean:
	rm -rf $(VENV) demo site dist
