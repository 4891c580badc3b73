# Everything runs from .venv, which `make install` fills. `check` never writes; `fix` does.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: install demo test check fix bench soak mutants clean

install: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $(STAMP)

demo: install
	@$(BIN)/ostraka demo

test: install
	$(BIN)/pytest -n 2 --dist worksteal

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fix: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/clients.py

# The differential test's million requests take about half an hour on two cores that are free.
soak: install
	OSTRAKA_SEEDS=20000 $(BIN)/pytest -n 2 --timeout 7200 tests/simulation tests/consensus
	OSTRAKA_DIFFERENTIAL=1000000 $(BIN)/pytest tests/differential tests/server/test_gateway_against_etcd.py

mutants: install
	$(BIN)/python -m tests.mutants $(if $(WRITE),--write) $(NAMES)

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
