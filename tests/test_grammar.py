"""Log lines of nanochat: real ones are understood, no line at all breaks the parser."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job.lines import Lines
from runner.nanochat import grammar
from runner.terminal import clean, safe
from tests.conftest import DATA

LOGS = sorted((DATA / "logs").glob("*.log"))


def lines(name: str) -> list[str]:
    raw = (DATA / "logs" / f"{name}.log").read_bytes().decode("utf-8", "replace")
    return [clean(line) for line in re.split(r"[\n\r]", raw)]


def events(name: str) -> list[grammar.Event]:
    return [e for e in map(grammar.parse, lines(name)) if e]


@pytest.mark.parametrize("path", LOGS, ids=lambda p: p.stem)
def test_every_step_and_score_line_of_the_real_logs_is_understood(path: object) -> None:
    numbers = re.compile(r"(step \d|Step \d+ \| (Val|CORE|Chat)|.* accuracy: [\d.]+%$|CORE metric: )")
    missed = [line for line in lines(path.stem) if numbers.match(line) and grammar.parse(line) is None]
    assert missed == []


def test_base_steps_carry_all_their_numbers() -> None:
    steps = [e for e in events("h100_d12_smoke_cold") if isinstance(e, grammar.Step)]
    assert [s.step for s in steps] == list(range(20))
    assert (steps[1].loss, steps[1].tokens_per_s, steps[1].mfu, steps[1].eta_s) == (10.382677, 511_245, 45.86, None)
    assert steps[11].eta_s == pytest.approx(12.0)


def test_fine_tuning_steps_may_pass_a_hundred_per_cent_and_have_a_negative_multiplier() -> None:
    steps = [e for e in events("cpu_chat_sft_d4") if isinstance(e, grammar.Step)]
    assert (steps[-1].percent, steps[-1].lrm, steps[-1].total) == (102.5, -0.05, None)


def test_failures_are_told_apart() -> None:
    assert any(isinstance(e, grammar.OutOfMemory) for e in events("h100_oom_d24_64"))
    assert grammar.Signalled(signal=15) in events("h200x2_x2_sigterm")
    assert grammar.Downloaded(ok=0, total=2) in events("cpu_dataset_offline")
    errors = [e for e in events("cpu_err_truncated") if isinstance(e, grammar.Error)]
    assert errors[0].message.startswith("PytorchStreamReader")


def test_nan_and_the_field_names_of_older_commits_are_understood() -> None:
    line = "step 00004/00010 (40.00%) | loss: nan | lrm: 1.00 | dt: 9.00ms | tok/sec: 1,000 | mfu: 12.00"
    step = grammar.parse(line)
    assert isinstance(step, grammar.Step) and step.loss != step.loss and step.epoch is None


@given(st.text(max_size=400))
def test_no_line_raises(line: str) -> None:
    grammar.parse(line)
    grammar.parse(clean(line))


@given(
    st.sampled_from(["step ", "Step 1 | ", "Evaluating: ", "9", "Error", "A." * 9, "[rank0]: "]), st.integers(1, 4000)
)
def test_a_long_repetitive_line_is_quick_to_refuse(piece: str, count: int) -> None:
    grammar.parse((piece * count)[: grammar.MAX_LINE])


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_lines_are_the_same_wherever_the_chunks_are_cut(data: bytes, cuts: list[int]) -> None:
    whole = Lines()
    expected = whole.feed(data) + whole.rest()
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    pieces = Lines()
    got = [line for a, b in itertools.pairwise(edges) for line in pieces.feed(data[a:b])]
    assert got + pieces.rest() == expected


@given(st.text())
def test_nothing_that_commands_a_terminal_survives(text: str) -> None:
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", safe(text))


def test_title_and_clipboard_escapes_are_removed_whole() -> None:
    assert safe("a\x1b]0;owned\x07b\x1b]52;c;aGk=\x1b\\c\x1b[31md\x1b[0m\te") == "abcd    e"
