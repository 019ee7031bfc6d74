"""`logs` and `view --summary`: whole lines, harmless, and how far it is."""

import argparse
import json
import os
import re
from pathlib import Path
from unittest import mock

import pytest

from runner.logs.log_file import LogFile
from runner.logs.timestamps import RECORD, LogTimes
from runner.text.sanitize import HIDDEN, sanitize_line, strip_ansi
from tests.conftest import CLI, DATA, Cli
from tests.terminal import Terminal
from tests.test_log_view import LINES, sparse
from tui.cli import logs, summary
from tui.widgets.log_lines import line_kind

HOSTILE = "\u202eevil\u2066 \ufeff\u200b\u200d\u061c\U000e0041\x9b31m\x1b[31m\x1b]0;t\x07\u2028"


def test_a_summary_tells_what_is_in_a_log(cli: Cli) -> None:
    found = cli.json("view", str(DATA / "logs" / "h100_oom_d24_64.log"), "--summary")
    assert found["errors"] == 1 and found["not_understood"] == 0
    end = found["outcome"]
    assert (end["kind"], end["line"], end["resume"]) == ("oom", 86, "after a change")
    assert end["message"].startswith("out of GPU memory") and "--device-batch-size" in end["advice"]
    said = cli("view", str(DATA / "logs" / "cpu_resume_b.log"), "--summary").stdout
    assert "steps" in said and "val bpb" in said and "checkpoints     40, 60" in said
    assert "is not a regular file" in cli("view", "/nowhere", "--summary", code=2).stderr


def test_logs_can_be_narrowed_and_read_as_events(cli: Cli) -> None:
    cli("launch", "--tag", "l", "--iterations", "20", "--eval-every", "10", "--step-ms", "0", "--watch")
    bpb = cli("logs", "l", "--grep", "Validation").stdout.splitlines()
    assert [line[:10] for line in bpb] == ["Step 00000", "Step 00010", "Step 00020"]
    assert cli("logs", "l", "--grep", "Validation", "-n", "1").stdout.splitlines() == bpb[-1:]
    rest = cli("logs", "l", "--grep", "Validation", "--invert").stdout.splitlines()
    assert len(rest) + 3 == len(cli("logs", "l").stdout.splitlines())
    stages = cli("logs", "l", "--level", "stage").stdout.splitlines()
    assert [line.split()[0] for line in stages] == ["[ATTEMPT", *["[STAGE]"] * 4]
    assert "--invert is for --grep" in cli("logs", "l", "--invert", code=2).stderr
    assert "is no regex" in cli("logs", "l", "--grep", "~(", code=2).stderr
    assert cli("logs", "l", "--grep", "!Validation", "--invert").stdout.splitlines() == bpb
    assert "give 0 or more" in cli("logs", "l", "-n", "-1", code=2).stderr
    assert "use one or the other" in cli("logs", "l", "--json", "--grep", "x", code=2).stderr
    stamped = cli("logs", "l", "--timestamps", "--since", "1h").stdout.splitlines()
    assert len(stamped) == len(rest) + 3 and all(line[:2] == "20" and line[10] == " " for line in stamped)
    assert cli("logs", "l", "--since", "0s").stdout == ""
    events = cli("logs", "l", "--json", "-f").stdout.splitlines()
    assert events[0].startswith('{"t":') and '"kind":"outcome"' in events[-1]


def test_a_summary_that_lasts_says_how_far_it_is_and_can_be_interrupted(tmp_path: Path) -> None:
    path = sparse(tmp_path, 100 << 30)
    terminal = Terminal([*CLI, "view", str(path), "--summary"], dict(os.environ))
    terminal.wait_for("% of ")
    os.write(terminal._fd, b"\x03")
    assert terminal.wait_exit(20) == 130


def test_a_summary_that_lasts_says_so_where_there_is_no_terminal_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "PATIENCE_S", -1.0)
    path = tmp_path / "some.log"
    path.write_text("\n".join(LINES))
    summary.summary(argparse.Namespace(file=str(path), json=False))
    said = capsys.readouterr()
    assert said.err == f"nanochat-tui: 0% of {path} is read\n" and "100, " in said.out


def test_no_command_prints_what_a_terminal_would_act_on_or_not_show(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "evil.log"
    path.write_text(f"[STAGE] base\nValueError: {HOSTILE}\nWarning: {HOSTILE}\n[FAILED] {HOSTILE}\n")
    cli("launch", "--task", "test", "--tag", "evil", "--step-ms", "0", "--watch")
    folder = cli.run_dir("evil")
    with (folder / "log").open("a") as file:
        file.write(path.read_text())
    with (folder / "events.jsonl").open("a") as file:
        file.write(
            json.dumps({"t": 1.0, "kind": "error", "message": HOSTILE}, ensure_ascii=False) + "\n" + HOSTILE + "\n"
        )
    for words in (
        ("view", str(path), "--summary"), ("view", str(path), "--summary", "--json"), ("logs", "evil"),
        ("logs", "evil", "--json"), ("logs", "evil", "--level", "error"),
    ):  # fmt: skip
        said = cli(*words).stdout
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", said) and not re.search(HIDDEN, said), words
        assert "\\u202eevil\\u2066 \\ufeff\\u200b" in said, words
    assert cli.json("view", str(path), "--summary")["outcome"]["message"] == strip_ansi(HOSTILE)


def test_what_joins_emoji_stays_and_what_joins_letters_is_shown() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f\u200d\U0001f525"
    assert sanitize_line(f"{family} a\u200db\xad\udcff") == f"{family} a\\u200db\\xad\\udcff"


def test_a_line_that_is_longer_than_a_screen_shows_is_printed_whole(cli: Cli, tmp_path: Path) -> None:
    cli("launch", "--task", "test", "--tag", "long", "--step-ms", "0", "--watch")
    with (cli.run_dir("long") / "log").open("a") as file:
        file.write("x" * 50_000 + "needle" + "y" * 50_000 + "\n")
    assert len(cli("logs", "long", "--grep", "needle").stdout) == 100_007


def test_the_times_of_lines_are_read_once_for_all_that_is_printed(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"a line\n" * 500)
    (tmp_path / "log.times").write_bytes(RECORD.pack(0, 1.0))
    log, times = LogFile(tmp_path / "log"), LogTimes(tmp_path / "log.times")
    with mock.patch.object(times, "refresh", side_effect=times.refresh) as read:
        logs.Printer(log, 0, [], times)(True)
    assert read.call_count == 1


def test_what_each_rank_says_alike_is_read_once_and_stays_in_its_place() -> None:
    said = "2026-11-25 22:36:45,645 - nanochat - INFO - Saved optimizer state to: /w/optim_000040_rank{}.pt"
    assert [line_kind(said.format(rank)) for rank in (0, 1, 7, 12)] == ["", "again", "again", "again"]
    assert line_kind("Saved model parameters to: /w/model_000040.pt") == ""
