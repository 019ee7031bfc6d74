"""A log is told by its cause: the kind, the line that tells it, what to do, and whether a resume can help."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from runner.diagnosis.evidence import Evidence
from runner.diagnosis.lines import tells
from runner.diagnosis.verdict import How, Verdict, judge
from runner.nanochat import grammar
from runner.terminal import clean
from tests.conftest import DATA

FAILURES: dict[str, dict[str, Any]] = tomllib.loads((DATA / "failures.toml").read_text())


def read(lines: list[str]) -> Evidence:
    evidence = Evidence()
    for number, raw in enumerate(lines, 1):
        for piece in raw.split("\r"):
            line = clean(piece)
            for said, event in grammar.read(line):
                evidence.see(said, event, number)
    return evidence


def verdict(path: Path, how: How | None = None) -> Verdict | None:
    return judge(read(path.read_bytes().decode("utf-8", "replace").split("\n")), how)


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_told_by_its_cause_with_advice_that_can_help(name: str) -> None:
    wanted = FAILURES[name]
    found = verdict(DATA / "failures" / f"{name}.log")
    assert found
    assert (found.kind, found.line, found.resume) == (wanted["kind"], wanted.get("line"), wanted["resume"])
    assert wanted["advice"] in found.advice, found.advice
    assert "====" not in found.message and len(found.message) <= 300


@pytest.mark.parametrize("name", FAILURES)
def test_the_search_for_errors_finds_the_line_that_tells_the_cause(name: str) -> None:
    lines = (DATA / "failures" / f"{name}.log").read_text().split("\n")
    assert tells(lines[FAILURES[name]["line"] - 1])
