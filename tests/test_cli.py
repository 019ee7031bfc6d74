"""The command line itself: fast and lean, honest exit codes, errors in one line, JSON for programs."""

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from runner.paths import modal_command
from tests.conftest import CLI, Cli
from tui.cli.commands import ALIASES, COMMANDS
from tui.cli.examples import EXAMPLES
from tui.cli.main import parsed, parser
from tui.cli.parser import Parser

SPIES = "import sys; from tui.cli.main import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
# Screens, the client, and what is made of a hundred regular expressions.
SPIES += "heavy = {'textual', 'modal', 'rich', 'asyncio', 'runner.nanochat.grammar', 'runner.diagnosis.causes'}\n"
SPIES += "print(sorted((heavy | {'SPIED'}) & set(sys.modules)), file=sys.stderr)"
RUN_FIELDS = {
    "id", "tag", "task", "model", "backend", "engine", "state", "step", "total_steps", "attempts", "call_ids",
    "created_at", "started_at", "ended_at", "cost_usd", "last_sign_of_life", "outcome",
}  # fmt: skip
CHECKPOINT_FIELDS = {"run", "kind", "step", "bytes", "ranks", "val_bpb", "verdict", "reason"}


@pytest.mark.parametrize(
    ("words", "nor"),
    [
        ("--version", "msgspec"),
        ("--version", "logging"),
        ("--help", "msgspec"),
        ("launch --help", "runner.fleet.fleet"),
        ("volume --help", "runner.fleet.fleet"),
        ("ls", "runner.planning.estimate"),
        ("ls", "runner.backends.local"),
        ("ls", "runner.volumes.checkpoint_verdicts"),
        ("ls", "runner.nanochat.code_facts"),
        ("ls", "runner.text.filenames"),
        ("ls", "subprocess"),
        ("ls --json", "runner.planning.plan"),
        ("show last", "runner.planning.estimate"),
        ("cost", "runner.planning.estimate"),
        ("plan", "runner.transfer.download"),
        ("doctor", "runner.planning.plan"),
    ],
)
def test_the_command_line_loads_no_screen_no_client_no_grammar_nor_what_a_command_does_not_need(
    cli: Cli, words: str, nor: str
) -> None:
    # What is missed at first is looked for on the volumes.
    cli("ls")
    done = subprocess.run(
        [sys.executable, "-c", SPIES.replace("SPIED", nor), *words.split()],
        env=cli.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("code", "words", "says"),
    [
        (2, ["launch", "--model", "d13"], "even depth"),
        (2, ["launch", "--model", "d34", "--gpu", "L4", "--gpus", "1"], "will not fit"),
        (2, ["launch", "--gpu", "H1000"], "did you mean H100"),
        (2, ["launch", "--gpus", "3"], "choose one of 1, 2, 4, 8"),
        (2, ["launch", "--save-every", "0"], "--save-every"),
        (2, ["launch", "--fault", "boom@1"], "crash"),
        (2, ["launch", "--budget", "lots"], "dollars"),
        (2, ["launch", "--tag", "../../x"], "tag"),
        (2, ["launch", "--backend", "cloud"], "local"),
        (4, ["launch", "--backend", "modal"], "modal setup"),
        (3, ["show", "nobody"], "ls shows them all"),
        (3, ["cancel", "nobody"], "no run"),
        (3, ["show", "last"], "no run"),
        (3, ["logs", "[/red]"], "no run"),
    ],
)
def test_bad_input_is_one_line_with_what_to_do_and_its_exit_code(
    cli: Cli, code: int, words: list[str], says: str
) -> None:
    done = cli(*words, code=code)
    assert says in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""
    assert cli.json("ls") == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lanch"], "did you mean launch?"),
        (["kill", "x"], "did you mean cancel?"),
        (["status"], "name a run, or last; nanochat-tui ls lists them"),
        (["--volume", "/tmp", "remove", "x"], "did you mean rm?"),
        (["volume", "lst"], "did you mean ls?"),
        (["volume"], "required"),
        (["ls", "--bakend", "local"], "--help"),
        (["launch", "--iteratoins", "5"], "did you mean --iterations?"),
        (["logs"], "required"),
        (["logs", "x", "-n", "many"], "invalid int"),
    ],
)
def test_a_wrong_word_is_one_line_that_names_the_right_one(cli: Cli, words: list[str], says: str) -> None:
    done = cli(*words, code=2)
    assert says in done.stderr and done.stderr.count("\n") == 1 and done.stdout == "", done.stderr


def test_usual_words_of_other_tools_do_what_is_meant(cli: Cli) -> None:
    assert cli("list", "--json").stdout == cli("ls", "--json").stdout == "[]\n"
    assert cli("version").stdout == cli("--version").stdout
    assert cli("help").stdout == cli("--help").stdout
    assert cli("help", "cancel").stdout == cli("cancel", "--help").stdout
    assert cli("config").stdout == cli("settings").stdout
    assert (
        cli("help", "stop").stdout == cli("--volume", "stop", "stop", "--help").stdout == cli("cancel", "--help").stdout
    )
    assert cli("tail", "nobody", code=3).stderr == cli("logs", "-f", "nobody", code=3).stderr


def every_help() -> dict[str, Parser]:
    """Every page of help, by the words of its command."""
    pages = {"": parser()}
    for name in COMMANDS:
        own = parser(name).below()[name]
        pages |= {name: own, **{f"{name} {action}": one for action, one in own.below().items()}}
    return pages


def test_every_page_of_help_has_examples_that_can_be_typed_and_the_other_names() -> None:
    pages = every_help()
    assert {*EXAMPLES} == {*pages}
    for name, page in pages.items():
        said = page.format_help()
        assert 2 <= len(EXAMPLES[name]) <= 4
        for example in EXAMPLES[name]:
            assert f"  nanochat-tui {example}\n" in said and len(example) <= 110
            words = shlex.split(re.split(r"  #| [|<>] ", example)[0])
            assert parsed(words).command
            assert not name or words[0] == name.split()[0]
    for alias, meant in ALIASES.items():
        of = " ".join(meant) if " ".join(meant) in pages else meant[0]
        assert all(
            re.search(rf"(other names:|also) .*\b{alias}\b", pages[page].format_help()) for page in (of, meant[0])
        )


@pytest.mark.parametrize("words", [["--help"], ["settings"], ["doctor"], ["volume", "tree"]], ids=" ".join)
def test_a_reader_that_has_gone_is_no_error(cli: Cli, words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*CLI, *words], env=cli.env, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_app_says_so_where_the_terminal_shows_lines_alone(cli: Cli) -> None:
    shown, terminal = pty.openpty()
    done = subprocess.run(
        CLI, env={**cli.env, "TERM": "dumb"}, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, check=False
    )
    os.close(terminal)
    os.close(shown)
    assert done.returncode == 2 and b"TERM=dumb" in done.stderr and done.stderr.count(b"\n") == 1


def test_doctor_fails_where_something_stops_a_launch_and_only_there(cli: Cli, tmp_path: Path) -> None:
    said = cli("doctor").stdout
    assert "✗" not in said and "– modal token" in said and "✓ volume rehearsal" in said
    assert "✗ engine nanochat" in cli("doctor", "--backend", "local", "--engine", "nanochat", code=1).stdout
    assert "✗ modal token" in cli("doctor", "--backend", "modal", code=1).stdout
    (tmp_path / "file").write_text("")
    assert "✗ volume rehearsal" in cli("doctor", "--volume", str(tmp_path / "file"), code=1).stdout
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "volume.json").write_text("{cut")
    assert "is damaged" in cli("doctor", "--volume", str(tmp_path / "volume"), code=1).stdout


def test_a_command_of_modal_is_told_as_it_can_be_typed_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "modal"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert modal_command("setup") == f"{tmp_path}/bin/python -m modal setup"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert modal_command("setup") == f"{script} setup"
    monkeypatch.chdir(tmp_path)
    assert modal_command("setup") == "bin/modal setup"
    monkeypatch.setenv("PATH", str(script.parent))
    assert modal_command("token", "set") == "modal token set"


def test_what_cost_nothing_is_said_in_words(cli: Cli) -> None:
    done = cli("cost")
    assert (done.stdout, done.stderr) == ("", "No run has cost anything yet.\n")


def test_an_unknown_override_is_a_usage_error(cli: Cli) -> None:
    assert "--iteratoins" in cli("launch", "--iteratoins", "5", code=2).stderr


def test_a_home_that_cannot_be_made_or_written_is_exit_5(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cli.env["NANOCHAT_TUI_HOME"] = str(tmp_path / "file" / "home")
    done = cli("ls", code=5)
    assert "NANOCHAT_TUI_HOME" in done.stderr and done.stderr.count("\n") == 1


def test_a_read_only_home_is_exit_5(cli: Cli, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        probe = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", "import msgspec"]
        if subprocess.run(probe, capture_output=True, check=False, cwd="/").returncode:
            pytest.skip("running as root, and no other user can run this Python")
        prefix = probe[:3]
    else:
        prefix = []
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    env = {**cli.env, "NANOCHAT_TUI_HOME": str(locked)}
    done = subprocess.run([*prefix, *CLI, "ls"], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)


def test_json_has_the_promised_fields(cli: Cli) -> None:
    cli("launch", "--tag", "j", "--watch", "--step-ms", "0")
    assert set(cli.json("ls")[0]) >= RUN_FIELDS
    assert set(cli.run("j")) >= RUN_FIELDS
    assert all(set(c) >= CHECKPOINT_FIELDS for c in cli.json("checkpoints"))
    planned = cli.json("plan", "--task", "speedrun", "--model", "d26")
    assert planned["plan"]["stages"][2]["commands"][0][:3] == ["python", "-m", "scripts.base_train"]
    assert all(set(check) == {"name", "ok", "detail", "do", "optional"} for check in cli.json("doctor"))
    assert json.loads(cli("launch", "--tag", "k", "--json", "--step-ms", "0").stdout)["tag"] == "k"


def test_plan_prices_a_modal_run_without_an_account(cli: Cli) -> None:
    planned = cli.json("plan", "--task", "speedrun", "--model", "d26", "--backend", "modal", "--engine", "nanochat")
    low, likely, high = planned["plan"]["usd"]
    assert 100 < low < likely < high < 300


def test_a_reader_that_goes_away_is_no_error(cli: Cli) -> None:
    cli("launch", "--tag", "p", "--watch", "--step-ms", "0")
    piped = f"{sys.executable} -m tui.cli logs p | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {piped}"], env=cli.env, capture_output=True, text=True, check=False
    )
    assert done.stdout.count("\n") == 1 and "Traceback" not in done.stderr


def test_without_a_terminal_the_app_says_so(cli: Cli) -> None:
    assert "needs a terminal" in cli(code=2).stderr


def test_rm_asks_on_a_terminal_and_anything_but_yes_keeps_the_run(cli: Cli) -> None:
    cli("launch", "--tag", "a", "--watch", "--step-ms", "0")
    for answer, left in ((b"no\n", 1), (b"\n", 1), (b"y\n", 0)):
        ours, theirs = pty.openpty()
        with subprocess.Popen([*CLI, "rm", "a"], env=cli.env, stdin=theirs, stderr=subprocess.PIPE) as asking:
            assert asking.stderr is not None
            said = b""
            while not said.endswith(b"[y/N] "):
                said += asking.stderr.read(1)
            os.write(ours, answer)
            asking.wait(30)
        os.close(ours)
        os.close(theirs)
        assert b"kept 7 days in the trash" in said and len(cli.json("ls")) == left


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "--data-ratio", "inf"],
        ["plan", "--data-ratio", "1e308"],
        ["plan", "--step-ms", "nan"],
        ["plan", "--iterations", "9" * 30],
        ["--volume", "plan", "launch", "--save-every", "0"],
        ["launch", "--volume", "/proc/nowhere/vol"],
        ["launch", "--volume", "x" * 300],
        ["launch", "--volume", "bad\udcff"],
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_absurd_values_are_one_line_too(cli: Cli, tmp_path: Path, words: list[str]) -> None:
    done = subprocess.run([*CLI, *words], env=cli.env, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode in (2, 5) and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_a_full_disk_behind_stdout_and_a_poor_encoding_are_no_tracebacks(cli: Cli) -> None:
    cli("launch", "--tag", "w", "--watch", "--step-ms", "0")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*CLI, "ls"], env=cli.env, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 5 and "Traceback" not in done.stderr
    poor = subprocess.run(
        [*CLI, "ls"], env={**cli.env, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=False
    )
    assert poor.returncode == 0 and "ok done" in poor.stdout


def test_watch_with_json_prints_json_alone(cli: Cli) -> None:
    assert json.loads(cli("launch", "--watch", "--json", "--step-ms", "0").stdout)["state"] == "done"


def test_colours_are_for_terminals_and_can_be_refused(cli: Cli) -> None:
    cli("launch", "--tag", "c", "--watch", "--step-ms", "0")
    coloured = {k: v for k, v in cli.env.items() if k != "NO_COLOR"}
    for words, env, expected in (
        (["ls"], coloured, True),
        (["ls", "--plain"], coloured, False),
        (["ls"], cli.env, False),
    ):
        ours, theirs = pty.openpty()
        subprocess.run([*CLI, *words], env=env, stdout=theirs, check=True)
        os.close(theirs)
        assert (b"\x1b[32m" in os.read(ours, 1 << 16)) is expected
        os.close(ours)


def test_a_launch_says_first_what_it_is_and_costs_and_one_that_is_refused_only_why(cli: Cli) -> None:
    started = cli("launch", "--tag", "x", "--volume", str(cli.home / "new"))
    first, second = started.stderr.splitlines()
    assert first.startswith("a rehearsal on this machine: test of d12, ") and first.endswith(", free")
    assert "made the volume folder" in second
    assert cli("launch", "--tag", "x", code=2).stderr.count("\n") == 1
