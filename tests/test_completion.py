"""Completion: what may come next, as bash, zsh and fish ask for it, and that no name does anything but stand there."""

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from runner.fleet.registry import Registry
from runner.model.overrides import Overrides
from runner.model.states import State
from tests.conftest import Cli
from tests.terminal import Terminal
from tests.test_run import run, status
from tui.cli import candidates, completion_scripts
from tui.cli.commands import ALIASES, COMMANDS
from tui.cli.completion_answers import answer
from tui.cli.main import parser
from tui.cli.parser import Parser
from tui.cli.shell_words import quoted, read

# Names that a volume may hold, and what a shell would make of them if it could.
HOSTILE = ["a b", "it's", "$(touch pwned)", "`touch pwned`", 'say "hi"', "semi;touch pwned", "back\\slash", "new\nline",
           "bang!bang", "~root", "*", "{a,b}", "tab\there", "é", "# no comment", "&& touch pwned"]  # fmt: skip
WORST = ["$(touch pwned) `touch pwned`", "it's; touch pwned", '"new\nline"', "tab\there", "back\\slash!! *"]
FREE = {
    *("tag", "budget", "lines", "grep", "since", "wandb", "env", "save_recipe", "depth", "to", "value"),
    *("text", "what", "most", "port", "host"),
}


def home_with(folder: Path, *tags: str, state: State = State.DONE, volume: str = "/v") -> Path:
    """A data folder that remembers runs of these tags, the last one the newest."""
    folder.mkdir(parents=True, exist_ok=True)
    registry = Registry(folder)
    for number in range(len(tags)):
        made = run(state, id=f"id{number}", tag=f"t{number}", volume=volume, created_at=float(number), folder="")
        registry.add(msgspec.structs.replace(made, status=status(state, saved_step=40)))
    registry.close()
    with sqlite3.connect(folder / "registry.db") as db:
        for number, tag in enumerate(tags):
            db.execute("UPDATE runs SET tag = ? WHERE id = ?", (tag, f"id{number}"))
    db.close()
    return folder


def words(line: str) -> list[str]:
    """What may come at the end of a line."""
    typed = read(line)
    found = answer(typed.words[1:], typed.last)
    return [one.word for one in found.words if one.word.startswith(typed.last)] or (
        [found.shell] if found.shell != "-" else []
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NANOCHAT_TUI_HOME", str(tmp_path / "home"))
    return home_with(tmp_path / "home", "old-one", "my-first")


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("nanochat-tui la", ["launch"]),
        ("nanochat-tui sto", ["stop"]),
        ("nanochat-tui show ", ["my-first", "old-one", "last"]),
        ("nanochat-tui stop my", ["my-first"]),
        ("nanochat-tui tail my", ["my-first"]),
        ("nanochat-tui --debug --volume /x show my", ["my-first"]),
        ("nanochat-tui show id1", ["id1"]),
        ("nanochat-tui compare my-first ", ["old-one", "last"]),
        ("nanochat-tui launch --from ol", ["old-one"]),
        ("nanochat-tui launch --task sp", ["speedrun"]),
        ("nanochat-tui launch --gpu=B2", ["--gpu=B200"]),
        ("nanochat-tui launch --bac", ["--backend"]),
        ("nanochat-tui launch --recipe speedrun-d2", ["speedrun-d24"]),
        ("nanochat-tui launch --set base.weight", ["base.weight-decay="]),
        ("nanochat-tui launch --fault cra", ["crash@"]),
        ("nanochat-tui volume c", ["cat"]),
        ("nanochat-tui volume --plain ls --sort ", ["name", "size", "time"]),
        ("nanochat-tui volume cat my", ["my-first:"]),
        ("nanochat-tui download my", ["my-first:"]),
        ("nanochat-tui settings back", ["backend"]),
        ("nanochat-tui settings backend ", ["local", "modal", "default"]),
        ("nanochat-tui settings bell ", ["on", "off", "default"]),
        ("nanochat-tui completion ", ["bash", "zsh", "fish"]),
        ("nanochat-tui view ", ["files"]),
        ("nanochat-tui launch --code ", ["folders"]),
        ("nanochat-tui launch --code=", ["folders"]),
        ("nanochat-tui --volume ", ["folders"]),
        ("nanochat-tui rm -- --", []),
        ("nanochat-tui nonsense ", []),
    ],
)
def test_every_kind_of_word_is_completed(home: Path, line: str, has: list[str]) -> None:
    assert words(line) == has


def test_steps_and_paths_are_those_on_this_disk(home: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    home_with(home, volume=str(volume))
    shutil.rmtree(home)
    home_with(home, "r", volume=str(volume))
    models = volume / "runs" / "id0" / "base_checkpoints" / "d12"
    models.mkdir(parents=True)
    for name in ("model_000040.pt", "model_000100.pt", "optim_000100_rank0.pt", "odd"):
        (models / name).touch()
    assert words("nanochat-tui resume r --step ") == ["100", "40"]
    assert words("nanochat-tui launch --from r --step 1") == ["100"]
    assert words("nanochat-tui volume ls r:base_checkpoints/d12/o") == [
        "r:base_checkpoints/d12/odd",
        "r:base_checkpoints/d12/optim_000100_rank0.pt",
    ]
    assert words(f"nanochat-tui volume ls --volume {volume} ru") == ["runs/"]
    assert words(f"nanochat-tui volume ls --volume {volume} ../") == []


def test_what_a_command_cannot_be_of_is_not_offered_where_there_is_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOCHAT_TUI_HOME", str(tmp_path))
    home_with(tmp_path, "ended", state=State.FAILED)
    registry = Registry(tmp_path)
    registry.add(run(State.RUNNING, id="live", tag="lives"))
    registry.close()
    assert words("nanochat-tui cancel ") == ["lives", "last"]
    assert words("nanochat-tui resume ") == ["ended", "last"]


def test_asking_makes_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOCHAT_TUI_HOME", str(tmp_path / "none"))
    assert words("nanochat-tui show ") == [] and words("nanochat-tui volume ls ") == []
    assert not (tmp_path / "none").exists()
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "registry.db").write_bytes(b"no database" * 500)
    monkeypatch.setenv("NANOCHAT_TUI_HOME", str(damaged))
    assert words("nanochat-tui show ") == []
    assert [path.name for path in damaged.iterdir()] == ["registry.db"]


def every_parser(of: Parser) -> Iterator[Parser]:
    yield of
    for below in of.below().values():
        yield from every_parser(below)


def test_whoever_adds_an_argument_says_what_completes_it() -> None:
    unknown = []
    for name in COMMANDS:
        for one in every_parser(parser(name).below()[name]):
            for action in one.actions:
                names = candidates.names_of(" ".join(one.words), action)
                known = {
                    *candidates.SOURCES,
                    *candidates.FILES,
                    *candidates.FOLDERS,
                    *FREE,
                    *Overrides.__struct_fields__,
                }
                if action.nargs not in (0, argparse.PARSER) and not action.choices and not known & {*names}:
                    unknown.append(f"{one.prog} {action.dest}")
    assert unknown == []


def test_every_command_and_alias_is_among_the_words() -> None:
    assert {*COMMANDS, *ALIASES} == {*words("nanochat-tui ")}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("quote", ["", "'", '"', "$'"])
def test_what_is_put_on_a_line_is_one_word_that_means_itself(tmp_path: Path, name: str, quote: str) -> None:
    begun = "$" if quote == "$'" else ""
    script = f"printf %s {begun}{quoted(name, quote)}"
    for shell in ("bash", "zsh"):
        if shutil.which(shell):
            got = subprocess.run([shell, "-c", script], cwd=tmp_path, capture_output=True, check=True, text=True).stdout
            assert got == name
    assert list(tmp_path.iterdir()) == []
    if name.isascii():
        assert read(f"x {begun}{quoted(name, quote)}").last == name


class Shell(Terminal):
    """A real shell in a terminal, with our completion, in an empty folder."""

    STARTS = {
        "bash": ["--norc", "--noprofile", "-i"],
        "zsh": ["-f", "-i"],
        "fish": ["--private", "--no-config", "-i"],
    }
    PROMPT = {"bash": "PS1='> '", "zsh": "PROMPT='> '", "fish": "function fish_prompt; echo -n '> '; end"}

    def __init__(self, name: str, cli: Cli, folder: Path) -> None:
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")
        bin_, self.folder = folder / "bin", folder / "here"
        for made in (bin_, self.folder):
            made.mkdir()
        self.name = name
        program = bin_ / "nanochat-tui"
        # Asked what comes next it is ours; else it says which words it was given.
        says = 'for word in "$@"; do printf "[%s]" "$word"; done | tr "\\n\\t" NT; echo " $$"'
        asks = f'if [ "$1" = __complete ]; then exec {sys.executable} -m tui.cli "$@"; fi'
        program.write_text(f"#!/bin/sh\n{asks}\n{says}\n")
        program.chmod(0o755)
        (folder / "script").write_text(completion_scripts.SCRIPTS[name])
        root = str(Path(__file__).parents[1])
        env = {
            **cli.env,
            "PATH": f"{bin_}:{os.environ['PATH']}",
            "PYTHONPATH": root,
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
        }
        env |= {"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder), "fish_history": ""}
        super().__init__([name, *self.STARTS[name]], env, 120, 40)
        init = f"cd {self.folder}; " + {"bash": "", "zsh": "autoload -U compinit; compinit -u -D; ", "fish": ""}[name]
        self.write(f"{init}{self.PROMPT[name]}; source {folder / 'script'}; clear; echo rea''dy\r")
        self.wait_for("ready")

    def got(self, *words: str) -> None:
        """Wait until the program has been given these words."""
        shown = "".join(f"[{word}]" for word in words).replace("\n", "N").replace("\t", "T")
        self.wait_for(f"{shown} ")
        self.write("\x0c")

    def completed(self, line: str, until: str) -> str:
        """The screen after a line and a Tab."""
        self.write(line)
        self.wait_for(line[-20:])
        self.write("\t")
        return self.wait_for(until)


@pytest.fixture
def shell(cli: Cli, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shell]:
    made = Shell(request.param, cli, tmp_path)
    yield made
    made.kill()


SHELLS = pytest.mark.parametrize("shell", ["bash", "zsh", "fish"], indirect=True)


@SHELLS
def test_tab_completes_in_a_real_shell(shell: Shell, cli: Cli) -> None:
    home_with(cli.home, "my-first", "other")
    shell.completed("nanochat-tui canc", "nanochat-tui cancel ")
    shell.completed("my", "nanochat-tui cancel my-first ")
    shell.completed("--no-w", "--no-wait ")
    shell.write("\x15")
    shell.completed("nanochat-tui volume ls my", "ls my-first:")
    shell.write("\x15")
    (shell.folder / "a file.log").touch()
    shell.completed("nanochat-tui view a", "view a\\ file.log")


@SHELLS
def test_a_hostile_name_is_put_there_as_one_word_and_does_nothing(shell: Shell, cli: Cli) -> None:
    home_with(cli.home, *(f"z{number}q{name}" for number, name in enumerate(WORST)))
    for number, name in enumerate(WORST):
        shell.write(f"nanochat-tui show z{number}q\t\r")
        # What fish is told has a tab before what a word is about.
        shell.got("show", f"z{number}q" if shell.name == "fish" and "\t" in name else f"z{number}q{name}")
    assert sorted(shell.folder.iterdir()) == []


@pytest.mark.parametrize("shell", ["bash"], indirect=True)
def test_a_word_in_which_a_quote_is_open_is_completed_in_it(shell: Shell, cli: Cli) -> None:
    name = "my $(touch pwned) 'run' \"x\"!\n"
    home_with(cli.home, name)
    for begun in ("'my $", '"my ', "$'my\\x20", "my\\ ", "m'y"):
        shell.write(f"nanochat-tui show {begun}\t\r")
        shell.got("show", name)
    shell.write("nanochat-tui launch --from='my\t\r")
    shell.got("launch", f"--from={name}")
    assert sorted(shell.folder.iterdir()) == []
