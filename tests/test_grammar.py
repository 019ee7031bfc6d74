"""Log lines of nanochat: real ones are understood, no line at all breaks the parser."""

import itertools
import math
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job.line_splitter import LineSplitter
from runner.model import events as said
from runner.nanochat import grammar
from runner.text.sanitize import parse_colours, sanitize_line, strip_ansi
from tests.conftest import DATA

LOGS = sorted((DATA / "logs").glob("*.log"))
# What is no line of nanochat's: the pipeline script's own marks, and samples that contain newlines.
FOREIGN = re.compile(r"### |ok /vol/")
BROKEN_SAMPLES = {"cpu_base_eval_bs": 3}


def lines(name: str) -> list[str]:
    raw = (DATA / "logs" / f"{name}.log").read_bytes().decode("utf-8", "replace")
    return [strip_ansi(line) for line in re.split(r"[\n\r]", raw)]


def events(name: str) -> list[said.Event]:
    return [e for e in map(grammar.parse, lines(name)) if e]


@pytest.mark.parametrize("path", LOGS, ids=lambda p: p.stem)
def test_every_line_of_the_real_logs_is_classified_but_for_the_listed_exceptions(path: Path) -> None:
    unknown = [x for x in lines(path.stem) if x.strip() and grammar.parse(x) is None and not FOREIGN.match(x)]
    assert len(unknown) == BROKEN_SAMPLES.get(path.stem, 0), unknown


@pytest.mark.parametrize("path", LOGS, ids=lambda p: p.stem)
def test_no_line_with_a_number_to_keep_is_taken_for_a_mere_remark(path: Path) -> None:
    numbers = re.compile(r"(step \d|Step \d+ \| (Val|CORE|Chat)|.* accuracy: [\d.]+%$|CORE metric: |(val|train) bpb: )")
    kept = [grammar.parse(line) for line in lines(path.stem) if numbers.match(line)]
    assert not any(e is None or isinstance(e, said.Noted) for e in kept)


def test_base_steps_carry_all_their_numbers() -> None:
    steps = [e for e in events("h100_d12_smoke_cold") if isinstance(e, said.Step)]
    assert [s.step for s in steps] == list(range(20))
    assert (steps[1].loss, steps[1].tokens_per_s, steps[1].mfu, steps[1].eta_s) == (10.382677, 511_245, 45.86, None)
    assert steps[11].eta_s == pytest.approx(12.0)


def test_fine_tuning_steps_may_pass_a_hundred_per_cent_and_have_a_negative_multiplier() -> None:
    steps = [e for e in events("cpu_chat_sft_d4") if isinstance(e, said.Step)]
    assert (steps[-1].percent, steps[-1].lrm, steps[-1].total) == (102.5, -0.05, None)


def test_the_header_tells_device_sizes_and_length() -> None:
    facts = {e.name: e.value for e in events("h100_d12_smoke_cold") if isinstance(e, said.Fact)}
    assert facts["gpu"].startswith("NVIDIA H100") and facts["iterations"] == "20"
    assert (facts["parameters"], facts["transformer_matrices"]) == ("286,261,730", "84,935,088")


def test_evaluations_give_scores_by_task() -> None:
    found = events("cpu_base_eval_core_synth")
    assert any(isinstance(e, said.TaskScore) and e.centered is not None for e in found)
    assert any(isinstance(e, said.TrainBpb) for e in found) and any(isinstance(e, said.Sample) for e in found)
    chat = {e.task: e.accuracy for e in events("cpu_chat_eval_sft") if isinstance(e, said.TaskScore)}
    assert set(chat) == {"ARC-Easy", "ARC-Challenge", "MMLU", "GSM8K", "HumanEval"}


@pytest.mark.parametrize(
    ("log", "event"),
    [
        ("cpu_dataset_offline", said.Downloaded(ok=0, total=2)),
        ("cpu_resume_b", said.Resumed(step=20)),
    ],
)
def test_what_a_stage_says_of_its_fate_is_understood(log: str, event: said.Event) -> None:
    assert event in events(log)


def test_failures_are_told_apart() -> None:
    failed = {
        log: [(e.cause, e.rank, e.code) for e in events(log) if isinstance(e, said.Failed)]
        for log in ("h100_oom_d24_64", "cpu_err_truncated", "h200x2_x1_resume_on2", "h200x2_x2_sigterm")
    }
    assert failed["h100_oom_d24_64"] == [("gpu memory", None, None)]
    assert failed["cpu_err_truncated"] == [("checkpoint damaged", None, None)]
    assert failed["h200x2_x1_resume_on2"][:2] == [("checkpoint part", 1, None), ("exit", 1, 1)]
    assert ("signal", None, -15) in failed["h200x2_x2_sigterm"]


def test_a_collective_that_timed_out_is_understood() -> None:
    line = (
        "[rank0]:[E1122 23:46:04.285 ProcessGroupNCCL.cpp:607] [Rank 0] Watchdog caught collective operation timeout: "
        "WorkNCCL(SeqNum=7753, OpType=_REDUCE_SCATTER_BASE, NumelIn=1, Timeout(ms)=600000) ran for 600013 milliseconds"
    )
    text = "rank 0 waited for 600 s in _REDUCE_SCATTER_BASE for GPUs that did not answer"
    assert grammar.parse(line) == said.Failed(text, "timed out", 0)


def test_nan_and_the_field_names_of_older_commits_are_understood() -> None:
    line = "step 00004/00010 (40.00%) | loss: nan | lrm: 1.00 | dt: 9.00ms | tok/sec: 1,000 | mfu: 12.00"
    step = grammar.parse(line)
    assert isinstance(step, said.Step) and math.isnan(step.loss) and step.epoch is None


@pytest.mark.parametrize(
    "line",
    [
        "step 99999999999999999999/1 (1%) | loss: 1 | lrm: 1 | dt: 1ms | tok/sec: 1 | mfu: 1",
        "step 1/2 (x%) | loss: 1 | lrm: 1 | dt: 1ms | tok/sec: 1 | mfu: 1",
        "step 1/2 (1%) | loss: 1 | lrm: 1 | dt: 1ms | tok/sec: ,, | mfu: 1",
        "x" * (grammar.MAX_LINE + 1),
    ],
)
def test_what_only_looks_like_a_step_is_plain_text(line: str) -> None:
    assert grammar.parse(line) is None


@given(st.text(max_size=400))
def test_no_line_raises(line: str) -> None:
    grammar.parse(line)
    grammar.parse(strip_ansi(line))


HEADS = ["step ", "Step 1 | ", "Evaluating: ", "9", "Error", "A." * 9, "[rank0]: ", "torch.", "E1122 ", "<|bos|>", " "]
PIECES = [*HEADS, "WorkNCCL(", "a.", "1", "e", "(", "%", ") | ", "loss: ", "nan", "Watchdog caught", ": ", "=", "█"]


@given(st.sampled_from(HEADS), st.lists(st.sampled_from(PIECES), min_size=1, max_size=4), st.integers(1, 4000))
def test_a_long_repetitive_line_is_quick_to_refuse(head: str, pieces: list[str], count: int) -> None:
    grammar.parse((head + "".join(pieces) * count)[: grammar.MAX_LINE])


@given(st.sampled_from(LOGS), st.integers(0, 10_000), st.text(max_size=5), st.integers(0, 200))
def test_a_real_line_that_was_damaged_does_not_raise(path: Path, number: int, put: str, at: int) -> None:
    found = lines(path.stem)
    line = found[number % len(found)]
    grammar.parse(line[:at] + put + line[at:])
    grammar.parse(line[:at])


def test_a_real_pipeline_is_mostly_numbers_and_known_remarks() -> None:
    kinds = Counter(type(e).__name__ for e in events("cpu_local_pipeline"))
    assert kinds["Step"] > 100 and kinds["Saved"] > 3 and kinds["TaskScore"] > 3


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_lines_are_the_same_wherever_the_chunks_are_cut(data: bytes, cuts: list[int]) -> None:
    whole = LineSplitter()
    expected = whole.feed(data) + whole.rest()
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    pieces = LineSplitter()
    got = [line for a, b in itertools.pairwise(edges) for line in pieces.feed(data[a:b])]
    assert got + pieces.rest() == expected


@given(st.text())
def test_nothing_that_commands_a_terminal_survives(text: str) -> None:
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", sanitize_line(text))


def test_title_and_clipboard_escapes_are_removed_whole() -> None:
    assert sanitize_line("a\x1b]0;owned\x07b\x1b]52;c;aGk=\x1b\\c\x1b[31md\x1b[0m\te") == "abcd    e"


def test_colours_are_kept_and_every_other_sequence_goes() -> None:
    line = "12 - \x1b[32m\x1b[1mINFO\x1b[0m - \x1b]0;t\x07x\x1b[38;5;208my\x1b[38;2;1;2;3mz\x1b[2J\x1b[39m."
    assert parse_colours(line) == (
        "12 - INFO - xyz.",
        [(5, 9, "color(2)", True), (13, 14, "color(208)", False), (14, 15, "#010203", False)],
    )


@given(
    st.lists(
        st.one_of(
            st.text(max_size=5), st.sampled_from(["\x1b[31m", "\x1b[1;92m", "\x1b[m", "\x1b[38;5m", "\x1b[", "\t"])
        )
    )
)
def test_a_coloured_line_is_the_safe_one_with_spans_inside_it(pieces: list[str]) -> None:
    text = "".join(pieces)
    plain, spans = parse_colours(text)
    assert "\t" in text or plain == sanitize_line(text)
    assert sanitize_line(plain) == plain
    assert all(0 <= first < last <= len(plain) for first, last, _, _ in spans)
