# What people run most: tests, checks, attacks. Everything works in .venv, which the first use makes.
PYTHON ?= python3
SECONDS ?= 120
SEED ?= 1
ATTACKS ?=

.PHONY: setup test check coverage chaos snapshots pictures bench docs

setup:
	test -x .venv/bin/pytest || ($(PYTHON) -m venv .venv && .venv/bin/pip install -q -U pip && .venv/bin/pip install -q -e . --group test)

test: setup
	.venv/bin/pytest -n auto

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python -m tests.rooms
	.venv/bin/python -m tests.docs

# After a look at what has changed in them.
snapshots: setup
	.venv/bin/pytest -q tests/test_snapshots.py --snapshot-update

# Of README and docs/screens.md, from the runs of the demo.
pictures: setup
	.venv/bin/python -m tests.gallery

# Start-up, grammar, log view, charts, volume, polling, source: each against a peer or a floor measured in the same run.
BENCHES ?= cold_start grammar log_view charts volume polling many_runs source
bench: setup
	for name in $(BENCHES); do .venv/bin/python -m tests.bench.$$name || exit 1; done

# What is made from tables and imports: docs/, and the drawing in ARCHITECTURE.md.
docs: setup
	.venv/bin/python -m tests.docs --write
	.venv/bin/python -m tests.rooms --write

# Counts the commands and jobs that tests start, too, which takes longer.
coverage: setup
	.venv/bin/pytest -n auto --cov --cov-config=tests/every_process.coveragerc --cov-report=term:skip-covered

# Attacks by a seed, for so many seconds in all; ATTACKS="kills disks" for some of them.
chaos: setup
	.venv/bin/python -m tests.chaos $(ATTACKS) --seconds $(SECONDS) --seed $(SEED)
