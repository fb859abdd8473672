# Every target sets up what it needs: a machine with Python (3.11 or newer) and make is enough.
PYTHON ?= python3
BIN := .venv/bin
# Tests and benches start hundreds of processes: none of them should compile what is compiled already.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo test soak check bench peers clean lock

setup: $(BIN)/leads

$(BIN)/leads: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dialedin-leads needs Python 3.11 or newer; try: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(BIN)/leads

demo: setup
	$(BIN)/python sample_data/demo.py

test: setup
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal

# SOAK_KILLS=100 kills at moments that SOAK_SEED=0 stands for, SOAK_SHARED_KILLS=20 more of loads that two workers send,
# then SOAK_FUZZ_SECONDS=600 of damaged files.
soak: setup
	$(BIN)/python tests/soak.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup peers
	$(BIN)/python benchmarks/bench.py

# What `make bench` compares with, in an environment of its own.
peers: .peers/bin/dlt

.peers/bin/dlt: benchmarks/peers.lock
	$(PYTHON) -m venv .peers
	.peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/peers.lock
	@touch .peers/bin/dlt

# Exact versions with hashes, for every platform and Python; no index address gets into the file.
lock: setup
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --upgrade --quiet --output-file requirements.lock
	$(BIN)/python -m uv pip compile benchmarks/peers.in --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --upgrade --quiet --output-file benchmarks/peers.lock

clean:
	rm -rf .venv .peers .demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
