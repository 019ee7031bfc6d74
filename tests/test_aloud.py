"""A run for ears: whole sentences about what changes and how it stands, in words that a screen reader has."""

import os
import re
import signal
import subprocess
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from runner.model import pricing
from runner.model.spec import RunSpec
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import Outcome, OutcomeKind, StageState, StageStatus
from tests.conftest import CLI, DATA, Cli, wait_until
from tests.gate import Gate
from tests.replay import replay, stamped
from tests.statuses import a_status
from tests.terminal import Terminal
from tests.test_run import run
from tui.presentation import spoken
from tui.presentation.narration import Narrator

SENTENCE = re.compile(r"[A-Z][A-Za-z0-9 ,.;:'()/_<>=-]*\.")
# What is read letter by letter, or not at all.
NOT_SAID = re.compile(r"\d[smhdKMB]\b|\d[mh]\d\d|[$%]|\d{4}(?!-)")


def are_sentences(lines: list[str]) -> None:
    for line in lines:
        assert SENTENCE.fullmatch(line) and not NOT_SAID.search(line), line
        assert "  " not in line and ".." not in line, line


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "an unknown time"),
        (0.3, "less than a second"),
        (1, "1 second"),
        (59.6, "1 minute"),
        (125, "2 minutes 5 seconds"),
        (725, "12 minutes"),
        (3720, "1 hour 2 minutes"),
        (3600, "1 hour"),
        (3605, "1 hour"),
        (3 * 86400 + 4 * 3600 + 60, "3 days 4 hours"),
    ],
)
def test_a_time_is_said_in_at_most_two_units(seconds: float | None, said: str) -> None:
    assert spoken.duration(seconds) == said


@pytest.mark.parametrize(
    ("usd", "said"),
    [
        ("0", "nothing"),
        ("0.001", "less than a cent"),
        ("0.01", "1 cent"),
        ("0.45", "45 cents"),
        ("1", "1 dollar"),
        ("2.10", "2 dollars 10"),
        ("2.05", "2 dollars 05"),
        ("1.999", "2 dollars"),
        ("1204.4", "1,204 dollars"),
    ],
)
def test_money_is_said_in_dollars_and_cents(usd: str, said: str) -> None:
    assert spoken.money(Decimal(usd)) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (812, "812"),
        (999.9, "1 thousand"),
        (742_310, "742 thousand"),
        (1.68e9, "1.68 billion"),
        (2_560, "2.56 thousand"),
    ],
)
def test_large_numbers_have_words(number: float, said: str) -> None:
    assert spoken.count(number) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("no progress for 5m00, usual up to 1h02", "no progress for 5 minutes, usual up to 1 hour 2 minutes"),
        ("8×H100 cost $36.50 – <$0.01", "8 times H100 cost 36 dollars 50 to less than a cent"),
        ("\x1b[31mred\x1b[0m ⣿⣿ ✗ wrong…\nnext", "red wrong next"),
        ("Müller", "Müller"),
        ("80% after 41s", "80 per cent after 41 seconds"),
    ],
)
def test_the_text_of_others_is_said_without_signs(given: str, said: str) -> None:
    assert spoken.text(given) == said


class Story:
    """A run on eight GPUs, told look by look; time goes on by itself."""

    def __init__(self) -> None:
        spec = RunSpec.create(task="base", model="d26", backend="modal", engine="nanochat", gpus=8, budget="4")
        self.now, self.narrator, self.said = 10_000.0, Narrator(60.0), list[str]()
        self.status = a_status(1, State.QUEUED, "c", self.now, self.now)
        names = (StageName.PREPARE, StageName.TOKENIZER, StageName.BASE, StageName.REPORT)
        self.status.work.stages = [StageStatus(name) for name in names]
        self.run = run(State.LAUNCHING, spec=spec, backend="modal", tag="red", created_at=self.now - 3)

    def look(self, state: State, seconds: float = 1.0, **values: Any) -> list[str]:
        """The sentences after so many seconds, with the status changed."""
        self.now += seconds
        for name, value in values.items():
            part = next(
                (p for p in (self.status.work, self.status.training, self.status.containers) if hasattr(p, name)), None
            )
            setattr(part or self.status, name, value)
        self.status.updated_at = self.status.work.progress_at = self.now
        known = msgspec.json.decode(msgspec.json.encode(self.status), type=type(self.status))
        self.run = msgspec.structs.replace(
            self.run, state=state, status=known if state is not State.LAUNCHING else None
        )
        new = self.narrator.hear(self.run, self.now)
        self.said += new
        return new

    def stage(self, name: StageName, was: StageState = StageState.DONE) -> None:
        """One stage is over, the next begins."""
        for stage in self.status.work.stages:
            if stage.state is StageState.RUNNING:
                stage.state = was
            if stage.name is name:
                stage.state, stage.started_at = StageState.RUNNING, self.now
        self.status.work.stage = name


def test_a_preempted_run_on_modal_is_told_in_sentences_from_its_queue_to_its_score() -> None:
    story = Story()
    assert story.look(State.LAUNCHING) == [
        "Watching the run red: base training, model d26, on Modal with 8 H100 GPUs.",
        "It was launched 4 seconds ago.",
        "It is being launched.",
    ]
    assert story.look(State.QUEUED) == ["It waits to begin, which costs nothing."]
    assert story.look(State.QUEUED, 30) == []
    assert story.look(State.QUEUED, 60) == ["It still waits to begin."]
    story.status.work.stages[0].state = StageState.SKIPPED
    story.status.work.stages[0].note = "240 shards are on the volume"
    story.stage(StageName.TOKENIZER)
    assert story.look(State.PREPARING) == [
        "Preparation is skipped: 240 shards are on the volume.",
        "Tokenizer training begins.",
    ]
    story.stage(StageName.BASE)
    assert story.look(State.RUNNING) == ["Tokenizer training has ended; base training begins."]
    story.status.money.usd_per_hour = Decimal(36)
    story.status.pace.pace_s = 0.36
    said = story.look(State.RUNNING, 61, step=500, total_steps=2520, loss=3.1, tokens_per_s=742_000)
    assert said == [
        "Step 500 of 2,520, loss 3.10, 742 thousand tokens a second, done in 12 minutes, 1 dollar 55 so far."
    ]
    said = story.look(State.RUNNING, 55, step=640, saved_step=600, val_bpb=0.8123)
    assert said == ["Budget: 50 per cent of 4 dollars is spent."]
    said = story.look(State.RUNNING, 6, step=660)
    assert said == [
        "Step 660 of 2,520, loss 3.10, validation 0.812 bits per byte, kept up to step 600, done in 11 minutes,"
        " 2 dollars 16 so far."
    ]
    assert story.look(State.PREEMPTED, preemptions=1) == [
        "It was preempted: its machine was taken away; what it learned up to step 600 is kept.",
        "It goes on by itself on the next one, and costs nothing until then.",
    ]
    assert story.look(State.PREEMPTED, 61) == ["It still waits for another machine, which costs nothing."]
    assert story.look(State.RUNNING, resumed_from=600) == [
        "It has a machine again, and goes on.",
        "It goes on from step 600.",
    ]
    assert story.look(State.RUNNING, warnings=["loss is nan at step 601"]) == ["Warning: loss is nan at step 601."]
    story.status.work.progress_at = story.now
    story.now += 400
    story.status.updated_at = story.now
    stalled = msgspec.structs.replace(story.run, status=story.status)
    assert "Trouble: no progress for 6 minutes 40 seconds" in " ".join(story.narrator.hear(stalled, story.now))
    assert story.look(State.RUNNING)[0] == "All is well again."
    story.status.outcome = Outcome(OutcomeKind.DONE, "CORE 0.2143, val bpb 0.7641")
    story.stage(StageName.REPORT)
    story.status.work.stages[-1].state = StageState.DONE
    assert story.look(State.DONE, step=2520, core=0.2143, val_bpb=0.7641)[-2:] == [
        "The run red is done: CORE 0.21, loss 3.10 and validation 0.764 bits per byte, after 2,520 steps.",
        "It took 11 minutes and cost 6 dollars 82.",
    ]
    are_sentences(story.said)


def test_a_recorded_run_reads_as_sentences_at_any_pace() -> None:
    lines = stamped(DATA / "replays" / "h100_d12_smoke_cold.ts.log")
    narrator, said = Narrator(20.0), list[str]()
    for now, seen in replay(run(prices=pricing.DATED), lines, val_every=10, save_every=10):
        said += narrator.hear(seen, now)
    are_sentences(said)
    assert "It compiles now, which takes minutes in silence." in said
    assert any(re.match(r"Step \d+ of 20, loss \d+\.\d\d, .* tokens a second", line) for line in said), said


def aloud(cli: Cli, *words: str, code: int) -> list[str]:
    """What a command says, through a pipe."""
    done = cli(*words, "--every", "1s", code=code)
    assert "\r" not in done.stdout + done.stderr and "\x1b" not in done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_real_run_that_fails_and_is_resumed_is_told_to_its_end(cli: Cli) -> None:
    said = aloud(
        cli, "launch", "--task", "speedrun", "--tag", "ears", "--iterations", "20", "--fault", "crash@12", code=1
    )
    are_sentences(said)
    assert said[0] == "Watching the run ears: a rehearsal of everything from data to chat, model d12, on this machine."
    assert "The run ears has failed: RuntimeError: rehearsed crash at step 12." in said
    assert said[-2].startswith("What to do: ") and said[-1].endswith("and cost nothing.")
    again = aloud(cli, "resume", "ears", code=0)
    are_sentences(again)
    assert again[1].endswith("this is attempt 2.")
    assert re.match(r"The run ears is done: CORE .* after 20 steps\.", again[-2]), again


def test_a_run_that_is_cancelled_is_told_and_ctrl_c_leaves_it_alone(cli: Cli, gate: Gate) -> None:
    gate.hold(5)
    cli("launch", "--tag", "c")
    gate.reached(5)
    watching = [*CLI, "watch", "c", "--every", "1h"]
    left = subprocess.Popen(watching, env=cli.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert left.stdout and left.stdout.readline().startswith("Watching the run c")
    os.kill(left.pid, signal.SIGINT)
    _, told = left.communicate(timeout=60)
    assert left.returncode == 130 and "The run goes on; to come back to it, type nanochat-tui watch c" in told
    assert cli.run("c")["state"] == "running"
    staying = subprocess.Popen(watching, env=cli.env, stdout=subprocess.PIPE, text=True)
    assert staying.stdout and staying.stdout.readline()
    cli("cancel", "c", "--no-wait")
    gate.open()
    said, _ = staying.communicate(timeout=60)
    are_sentences(said.splitlines())
    assert staying.returncode == 1 and "The run c was cancelled: stopped during base" in said


def test_on_a_terminal_it_says_the_same_and_no_line_changes(cli: Cli) -> None:
    terminal = Terminal([*CLI, "launch", "--tag", "t", "--every", "1s"], cli.env, 100, 40)
    try:
        assert terminal.wait_exit() == 0
        wait_until(lambda: "and cost nothing." in terminal.screen, what="the last sentence")
    finally:
        terminal.kill()
    assert b"\x1b" not in terminal.raw and b"\r" not in terminal.raw.replace(b"\r\n", b"")
