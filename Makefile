# The commands of the project. A fresh machine needs Python >= 3.11 and nothing else; the first target run installs.
SHELL := bash
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
RECIPE ?= recipes/testbed.toml

.PHONY: run test lint wheel bench bench-fullsize fuzz testbed install clean

run: $(INSTALLED)  ## the main job on the embedded testbed; exits 3 if the verdict refuses
	$(BIN)/excise run $(RECIPE)

# Asserts as Python has them: pytest's take a minute of ten. What fails is run once more with them, to be told with its values.
test: export OMP_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
test: $(INSTALLED)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal --assert=plain || \
	{ $(BIN)/python -m pytest -q --last-failed --last-failed-no-failures none; exit 1; }

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

wheel: $(INSTALLED)  ## a wheel works outside the checkout, beside the project on PyPI that is called editor
	$(BIN)/python -m tests.wheel

bench: $(INSTALLED)  ## speed and memory beside the bare model and the plain way
	$(BIN)/python -m benchmarks.run --recipe $(RECIPE)
	$(BIN)/python -m benchmarks.attack --recipe $(RECIPE)

bench-fullsize: $(INSTALLED)  ## collect, edit and write a full-size Stable Diffusion 1.x of random weights: 20 GB of disk
	$(BIN)/python -m benchmarks.fullsize

fuzz: $(INSTALLED)  ## 20,000 mutants of safetensors files against the header check
	$(BIN)/python -m tests.checkpoint.mutants 20000

testbed: $(INSTALLED)  ## retrain the embedded model from scratch; hours on a CPU
	$(BIN)/excise testbed train recipes/testbed-train.toml

install: $(INSTALLED)

# torch goes first and pinned: left to the resolver of the other packages, a newer one would come with its GPU libraries.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch==2.13.0 -c constraints.txt
	$(BIN)/python -m pip install --quiet -e '.[dev]' -c constraints.txt
	touch $@

clean:  ## everything that was installed or cached; runs/ stays
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
