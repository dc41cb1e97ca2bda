PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without compiled modules every process takes 20 s longer to import torch and transformers.
unexport PYTHONDONTWRITEBYTECODE
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-compile -c constraints.txt

.PHONY: demo test test-slow lint docs clean

demo: $(VENV)/.demo
	$(BIN)/llaso-data demo
	$(BIN)/llaso-model demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow" -n 2 --dist worksteal

test-slow: $(VENV)/.dev
	LLASO_REQUIRE_BROWSER=1 $(BIN)/python -m pytest -q

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python bench/dead_code.py
	$(BIN)/mypy --strict --num-workers 2

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --quiet --strict

# The stamps make a second call free: only a change of the versions installs again.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[demo,dev]'
	@touch $@ $(VENV)/.demo

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "LLaSO needs Python 3.10 or newer; name one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "no venv: on Debian and Ubuntu, apt install python3-venv"; exit 1; }

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
