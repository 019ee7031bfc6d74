"""The lines that tell a failure are those that a person has marked; a log that is well has none."""

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.diagnosis.telling import FIRST_KEPT, LAST_KEPT, MOST_TOLD, ProblemLines
from runner.diagnosis.templates import template
from runner.job.good_run import last_good_templates, templates_of
from runner.logs.prefix import Prefixes
from runner.logs.summary import Summary, SummaryReader
from runner.model.states import State
from runner.model.status import Status
from runner.nanochat.grammar import is_evidence, may_hold
from runner.text.sanitize import strip_ansi
from runner.volumes import run_records
from runner.volumes.folder import FolderVolume
from tests.conftest import DATA, Cli
from tests.test_log_view import until
from tests.test_run import run
from tui.app.log_viewer import ViewApp
from tui.widgets.log_view import LogView

FAILED = re.compile("err_|oom|offline|resume_on2|sigterm")
LOGS = sorted([*(DATA / "logs").glob("*.log"), *(DATA / "releases").glob("*.log")])
GOOD = [path for path in LOGS if not FAILED.search(path.stem)]


def marked() -> dict[Path, set[int]]:
    """Logs of failures, each with the lines that a person marked, before anything was made that finds them."""
    found: dict[Path, set[int]] = {}
    for name in ("telling", "failures"):
        table: dict[str, Any] = tomllib.loads((DATA / f"{name}.toml").read_text())
        for log, marks in table.items():
            found[DATA / name / f"{log}.log"] = set(marks["tells"] if isinstance(marks, dict) else marks)
    return found


def told(path: Path, *, judging: bool) -> set[int]:
    """The lines that a summary shows; without judging, those that templates alone find."""
    if judging:
        return {one.line for one in summary(path).problems}
    lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    telling, prefixes = ProblemLines(), Prefixes()
    for number, raw in enumerate(lines, 1):
        for piece in raw.decode("utf-8", "replace").split("\r"):
            for said, event in prefixes.read(strip_ansi(piece)):
                telling.add_line(said, event, number)
    return {one.line for one in telling.problems()}


def f1(logs: dict[Path, set[int]], *, judging: bool) -> float:
    found = {path: told(path, judging=judging) for path in logs}
    hits = sum(len(found[path] & marks) for path, marks in logs.items())
    return 2 * hits / sum(len(found[path]) + len(marks) for path, marks in logs.items())


def test_the_lines_that_tell_a_failure_are_found_by_the_verdict_and_unknown_ones_by_what_good_runs_do_not_say() -> None:
    known = {path: marks for path, marks in marked().items() if path.parent.name == "failures"}
    unknown = {path: marks for path, marks in marked().items() if path.parent.name == "telling"}
    assert len(known) >= 60 and len(unknown) >= 40
    assert f1(known, judging=True) >= 0.95
    assert f1(unknown, judging=False) >= 0.9 and f1(unknown, judging=True) >= 0.9


BLIND: dict[str, dict[str, Any]] = tomllib.loads((DATA / "blind.toml").read_text())
# Who wrote them doubted the kind: a GPU too small for a kernel, a small /dev/shm, a wrong clock are of two kinds each.
# The optimizer of other ranks shows as shapes that do not fit, in words of the compiler.
OTHERWISE = (
    "triton_shared_memory_limit", "nccl_dev_shm_full", "clock_in_the_past_tls", "resumed_8_rank_optimizer_on_4",
)  # fmt: skip
# A server that did not answer, a file handle that went stale: who wrote them expects otherwise of the next time.
NEXT_TIME = ("wandb_init_timeout", "lustre_stale_file_handle")
HEALTHY = sorted((DATA / "blind").glob("healthy_*.log"))


def summary(path: Path) -> Summary:
    reader = SummaryReader()
    for line in path.read_bytes().removesuffix(b"\n").split(b"\n"):
        reader.add_line(line)
    return reader.found


def test_logs_that_a_stranger_wrote_and_marked_are_told_by_few_lines_and_most_of_them_are_the_marked_ones() -> None:
    logs = {DATA / "blind" / f"{name}.log": set(marks["tells"]) for name, marks in BLIND.items()}
    assert f1(logs, judging=True) >= 0.76


@pytest.mark.parametrize("name", BLIND)
def test_the_kind_of_a_failure_that_a_stranger_wrote_is_named_and_no_resume_promised_that_cannot_help(
    name: str,
) -> None:
    outcome = summary(DATA / "blind" / f"{name}.log").outcome
    if name not in OTHERWISE:
        assert outcome and outcome.kind == BLIND[name]["kind"]
    assert outcome
    if name not in NEXT_TIME:
        assert (outcome.resume == "yes") == (BLIND[name]["resume"] == "yes")


PREFIXES = (
    "2026-05-30T08:41:03.733Z ", "app-1  | ", "\x1b[36mtrain-0 |\x1b[0m ", "2026-05-30 08:41:03,120 INFO  ",
    "Nov 25 10:00:01 gpu7 train[311]: ", "(RayTrain pid=771, ip=10.0.0.4) ",
)  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_failure_is_the_same_one_whatever_its_platform_puts_before_each_line(prefix: str, tmp_path: Path) -> None:
    tried = 0
    for path in [path for path in marked() if path.parent.name == "failures"] + sorted((DATA / "blind").glob("*.log")):
        lines = path.read_text().removesuffix("\n").split("\n")
        if sum(may_hold(line) and is_evidence(line) for line in lines) < 2:
            # Nothing there is of nanochat or of Python: no prefix can be known.
            continue
        (tmp_path / "log").write_text("".join(f"{prefix}{line}\n" for line in lines))
        plain, prefixed = summary(path).outcome, summary(tmp_path / "log").outcome
        assert (prefixed and (prefixed.kind, prefixed.line)) == (plain and (plain.kind, plain.line)), path.stem
        tried += 1
    assert tried > 100


@pytest.mark.parametrize("path", HEALTHY, ids=lambda p: p.stem)
def test_a_log_that_only_looks_like_a_failure_tells_none(path: Path) -> None:
    found = summary(path)
    assert found.problems == [] and found.outcome is None


@pytest.mark.parametrize("path", GOOD, ids=lambda p: p.stem)
def test_a_log_that_is_well_tells_no_failure(path: Path) -> None:
    reader = SummaryReader()
    for line in path.read_bytes().split(b"\n"):
        reader.add_line(line)
    assert reader.found.problems == [] and reader.found.errors == 0


def lines_told(lines: list[str], good: frozenset[str] = frozenset()) -> list[int]:
    telling, prefixes = ProblemLines(), Prefixes()
    for number, line in enumerate(lines, 1):
        for said, event in prefixes.read(line):
            telling.add_line(said, event, number)
    return [one.line for one in telling.problems(good=good)]


STEP = "step {:05d}/00100 (1.00%) | loss: 3.1 | lrm: 1.00 | dt: 9.00ms | tok/sec: 1,000 | bf16_mfu: 40.00"


def test_what_the_last_good_run_has_said_too_is_not_told() -> None:
    lines = [STEP.format(1), "[fork] error budget is 3", "[fork] error: the queue is closed"]
    assert lines_told(lines) == [2, 3]
    assert lines_told(lines, templates_of(["[fork] error budget is 12", STEP.format(4)])) == [3]


def test_what_one_rank_alone_said_comes_before_what_all_others_complain_of() -> None:
    def dies(rank: int, why: str) -> list[str]:
        said = ["Traceback (most recent call last):", '  File "/a/b.py", line 1, in f', why]
        return [f"[rank{rank}]: {line}" for line in said]

    lost = "x.LostPeer: 3 is gone"
    lines = [STEP.format(1), *dies(0, lost), *dies(3, "x.Odd: a row too many"), *dies(1, lost)]
    assert lines_told(lines) == [7]


def test_what_was_said_and_survived_is_not_told_but_what_steps_overtook_is() -> None:
    warning = "[fork] warning: cannot pin memory"
    failure = ["Traceback (most recent call last):", '  File "/a/b.py", line 1', "x.Odd: 1"]
    assert lines_told([warning, STEP.format(1), *failure]) == [5]
    assert lines_told([*failure, *map(STEP.format, range(20))]) == [3]


SAID = ["Traceback (most recent call last):", '  File "a"', "[rank1]: error", STEP.format(2)]


@given(st.lists(st.one_of(st.text(max_size=40), st.sampled_from(SAID))))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_a_few_of_its_own_lines_and_keeps_few(lines: list[str]) -> None:
    telling, prefixes = ProblemLines(), Prefixes()
    for number, line in enumerate(lines * 20, 1):
        for said, event in prefixes.read(strip_ansi(line)):
            telling.add_line(said, event, number)
    found = telling.problems()
    assert len(found) <= MOST_TOLD and all(1 <= one.line <= len(lines) * 20 for one in found)
    assert len(telling.first) <= FIRST_KEPT and len(telling.last) <= LAST_KEPT


@given(st.text(max_size=300), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_template_is_the_same_for_any_numbers_and_of_itself(text: str, one: int, other: int) -> None:
    assert template(f"at step {one} of /data/x{one}/y: {text}") == template(
        f"at step {other} of /data/x{other}/y: {text}"
    )


def test_a_run_that_failed_shows_the_lines_that_tell_it_by_their_numbers(cli: Cli) -> None:
    flags = ("--iterations", "40", "--fault", "crash@25", "--step-ms", "0")
    cli("launch", "--tag", "c", *flags, "--watch", code=1)
    cli("resume", "c", "--watch", code=None)
    cli("launch", "--tag", "d", *flags, "--watch", code=1)
    found = cli.run("d")
    lines = cli("logs", "d").stdout.split("\n")
    assert found["problems"] and len(found["problems"]) <= MOST_TOLD
    for problem in found["problems"]:
        assert strip_ansi(lines[problem["line"] - 1]) == problem["text"]
        assert f"line {problem['line']:>8,}  {problem['text']}" in cli("show", "d").stdout
    assert "problems" not in found["outcome"]


async def test_e_leads_through_the_lines_that_tell_a_failure_of_a_log_with_a_prefix(tmp_path: Path) -> None:
    """The lines are shown without it, and their times are those that it has."""
    path, log = tmp_path / "x.log", (DATA / "telling" / "ecc_error.log").read_text().split("\n")[:-1]
    path.write_text("".join(f"2026-08-03T11:50:{n % 60:02}.000000000Z {line}\n" for n, line in enumerate(log)))
    app = ViewApp(path, "x.log", tmp_path)
    async with app.run_test(size=(100, 24)) as pilot:
        view = app.query_one(LogView)
        await until(pilot, lambda: [one.line for one in view.problems] == [57, 58, 62], "the lines")
        await pilot.press("g", "e")
        for line in (56, 57, 61, 56):
            await until(pilot, lambda line=line: view.here == line, f"line {line}")
            await pilot.press("e")
        await pilot.press("t")
        at = datetime(2026, 8, 3, 11, 50, 57, tzinfo=UTC).astimezone().strftime("%H:%M:%S")

        def shown() -> list[str]:
            rows = ["".join(s.text for s in view.render_line(y)) for y in range(view.size.height)]
            return [row for row in rows if at in row and "NVRM: GPU" in row and "2026-08-03T" not in row]

        await until(pilot, lambda: bool(shown()), "the time of a line in the place of its prefix")


def test_what_the_last_good_run_of_a_task_has_said_is_read_from_its_volume(tmp_path: Path) -> None:
    volume = FolderVolume(str(tmp_path))
    for tag, state, said in (
        ("good", State.DONE, "[fork] error budget is 7\n"),
        ("bad", State.FAILED, "[fork] error: odd\n"),
    ):
        one = run(id=tag, tag=tag)
        run_records.write_run(volume, one)
        status = Status(attempt=1, state=state, call_id="c", started_at=1.0, updated_at=2.0)
        volume.write(f"{one.path}/status.json", msgspec.json.encode(status))
        volume.write(f"{one.path}/log", said.encode())
    assert last_good_templates(volume, run(id="now", tag="now")) == {"[fork] error budget is #"}
    assert last_good_templates(volume, run(id="good", tag="good")) == frozenset()


def test_lines_that_are_only_unknown_are_no_errors_of_a_log_that_has_not_failed() -> None:
    reader = SummaryReader()
    for line in ("hello", "step 00001/00020 (5.00%) | loss: 4.1 | dt: 40.00ms", "something new"):
        reader.add_line(line.encode())
    found = reader.found
    assert not found.problems and not found.errors and found.outcome is None
