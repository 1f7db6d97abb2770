# Two commands do everything: `make demo` runs the main job on real input, `make test` passes the tests.
# Both make the environment themselves; re-running them is cheap.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Idle OpenMP threads that spin steal the cores from the working ones.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-slow lint types benchmark clean

demo: $(VENV)/.demo
	$(BIN)/transferscope demo

# One thread: the tests' networks are tiny, and sums are then added in one order. Tests that want more say so. Two
# processes, a file of tests in one of them, so that what its tests share is made once.
test: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -m slow --durations=10

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

benchmark: $(VENV)/.benchmark
	$(BIN)/python -m benchmarks

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "transferscope needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	touch $@

$(VENV)/.test: pyproject.toml tests/constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint tests/constraints.txt --editable '.[demo,test]'
	touch $@ $(VENV)/.demo

# Some peers pin old companions they do not need for what is measured here.
$(VENV)/.benchmark: $(VENV)/.test
	$(BIN)/python -m pip install --quiet matplotlib tqdm
	$(BIN)/python -m pip install --quiet --no-deps pytorch-cka==1.1.3 torch-cka==0.21 \
		loss-landscape-3d==0.1.3 rebasin==0.0.47 torchview graphviz modeldelta==0.4.4 huggingface-hub click
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
