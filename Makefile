# What people run most: tests, checks, attacks. Everything works in .venv, which the first use makes.
PYTHON ?= python3
SECONDS ?= 120
SEED ?= 1
ATTACKS ?=

.PHONY: setup test check coverage chaos

setup:
	test -x .venv/bin/pytest || ($(PYTHON) -m venv .venv && .venv/bin/pip install -q -U pip && .venv/bin/pip install -q -e . --group test)

test: setup
	.venv/bin/pytest -n auto

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# Counts the commands and jobs that tests start, too, which takes longer.
coverage: setup
	.venv/bin/pytest -n auto --cov --cov-config=tests/every_process.coveragerc --cov-report=term:skip-covered

# Attacks by a seed, for so many seconds in all; ATTACKS="kills disks" for some of them.
chaos: setup
	.venv/bin/python -m tests.chaos $(ATTACKS) --seconds $(SECONDS) --seed $(SEED)
