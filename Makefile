# Two commands for a stranger: `make demo` and `make test`. The rest is for people who work on refilm.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test slow torture lint types smoke docs check clean

# One stamp for the environment, so that a second `make` does not install again. What builds the kernels is installed
# first, so that the wheel of tools/check_wheel.py finds them compiled.
.venv/installed: pyproject.toml constraints.txt CMakeLists.txt tools/install_torch.py $(shell find src -name '*.cpp' -o -name '*.hpp')
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/python tools/install_torch.py
	$(BIN)/pip install --quiet scikit-build-core nanobind cmake ninja
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev,docs,train]'
	touch $@

demo: .venv/installed
	$(BIN)/python examples/demo.py

test: .venv/installed
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

slow: .venv/installed
	$(BIN)/pytest -m slow

# Mutated inputs and injected faults, at length; writes results/reliability.md. INPUTS=100 makes it short;
# half as many files of the learned codec are tried, by `tests/torture.py --only-bitstreams` these alone.
INPUTS ?= 1000
torture: .venv/installed
	OMP_WAIT_POLICY=passive $(BIN)/python tests/torture.py --inputs $(INPUTS)

# The benchmarks that need no data, once and small: that they run, not what they measure.
smoke: .venv/installed
	OMP_WAIT_POLICY=passive $(BIN)/python benchmarks/ops.py --smoke
	OMP_WAIT_POLICY=passive $(BIN)/python benchmarks/memory.py --smoke
	OMP_WAIT_POLICY=passive $(BIN)/python benchmarks/pipeline.py --smoke
	OMP_WAIT_POLICY=passive $(BIN)/python benchmarks/interpolation.py --smoke
	OMP_WAIT_POLICY=passive $(BIN)/python benchmarks/onnx_runtime.py --smoke

# The site of docs/, with results and the reference; every link in it must lead somewhere. With --quiet, --strict would
# not see warnings.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

check: lint types test

clean:
	rm -rf .venv build demo
