"""A person's own nanochat is what is trained, here and on Modal, and stays what it was when the run began."""

import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.errors import UsageError
from runner.fleet.fleet import Fleet
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.model.states import State
from runner.nanochat import layout
from runner.source.unpack import unpack
from tests import own_nanochat
from tests.conftest import Cli
from tests.modal_cloud import ROOT, Cloud
from tests.own_nanochat import changed
from tests.place import Place

SHORT = "--engine nanochat --task base --model d4 --gpus 1 --iterations 30 --save-every 10".split()


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that could train."""
    made = own_nanochat.python_with_torch(tmp_path / "python")
    monkeypatch.setenv("NANOCHAT_PYTHON", str(made))
    return made


@pytest.fixture
def mine(cli: Cli, tmp_path: Path, python: Path) -> Path:
    """A fork in a repository of its own."""
    cli.env["NANOCHAT_PYTHON"] = str(python)
    folder = own_nanochat.make(tmp_path / "fork")
    own_nanochat.commit(folder)
    return folder


def spec(place: Place, folder: Path, flags: tuple[str, ...] = (), **overrides: Any) -> RunSpec:
    return RunSpec.create(
        task="base",
        model="d4",
        backend=place.backend,
        engine="nanochat",
        gpus=1,
        code=place.fleet.code(str(folder)),
        flags=flags,
        overrides={"iterations": 30, "save_every": 10, "core_every": -1, **overrides},
    )


def log(place: Place, run: Run) -> str:
    return place.volume().read(f"{run.path}/log").decode()


def device(place: Place) -> str:
    return "cpu" if place.backend == "local" else "cuda"


def test_a_changed_file_of_a_dirty_folder_is_what_is_trained(cli: Cli, mine: Path) -> None:
    changed(mine, 7)
    (mine / "notes.txt").write_text("never committed\n")
    cli("launch", *SHORT, "--code", str(mine), "--tag", "mine", "--watch")
    assert "the model was changed 7 times" in (cli.run_dir("mine") / "log").read_text()
    code = cli.json("show", "mine")["code"]
    assert (code["origin"], code["branch"], code["dirty"]) == (str(mine), "main", True)
    diff = (cli.run_dir("mine") / "code.diff").read_text()
    assert "-CHANGED = 0\n+CHANGED = 7" in diff and "+never committed" in diff
    assert diff in cli("show", "mine", "--diff").stdout
    assert f"fork@{code['commit'][:8]} with changes, {code['sha'][:12]}" in cli("show", "mine").stdout


def test_a_run_is_resumed_with_the_code_that_it_began_with_whatever_has_become_of_the_folder(
    place: Place, python: Path, tmp_path: Path
) -> None:
    folder = own_nanochat.make(tmp_path / "fork", device=device(place))
    place.gate.hold(15)
    run = place.fleet.launch(spec(place, folder), backend=place.backend)
    place.gate.reached(15)
    changed(folder, 1)
    place.fleet.cancel(run)
    run = place.ended(run)
    shutil.rmtree(folder)
    place.gate.open()
    done = place.ended(place.fleet.resume(run))
    assert done.state is State.DONE, done.outcome
    assert log(place, done).count("the model was changed 0 times") == 2
    assert done.status and done.status.training.step == 30


def test_two_versions_train_at_once_each_with_its_own_code(place: Place, python: Path, tmp_path: Path) -> None:
    folder = own_nanochat.make(tmp_path / "fork", device=device(place))
    runs = []
    for times in (1, 2):
        changed(folder, times)
        runs.append(place.fleet.launch(spec(place, folder), backend=place.backend))
    for times, run in enumerate(runs, 1):
        done = place.ended(run)
        assert done.state is State.DONE, done.outcome
        assert f"changed {times} times" in log(place, done)
    assert len(place.volume().list(layout.CODE)) == 2


@pytest.mark.parametrize(
    "fork",
    [
        {"renamed": {"device-batch-size": "micro-batch", "eval-every": "eval_every"}},
        {"extra": "gnorm: 0.1234 | mem: 12,345"},
        {"inside": "src"},
        {"without": ("resume-from-step", "window-pattern", "fp8-recipe")},
        {"more": ('parser.add_argument("--mlp-type", choices=["relu2", "swiglu"], default="relu2")',)},
    ],
    ids=["renamed flags", "more in the line of a step", "in src", "without flags", "flags of its own"],
)
def test_a_fork_goes_through_plan_launch_and_resume(
    place: Place, python: Path, tmp_path: Path, fork: dict[str, Any]
) -> None:
    folder = own_nanochat.make(tmp_path / "fork", device=device(place), **fork)
    flags = ("base.mlp-type=swiglu",) if "more" in fork else ()
    wanted = spec(place, folder, flags)
    planned = place.fleet.plan(wanted, place.backend)
    words = next(stage.commands[0] for stage in planned.stages if stage.name == "base")
    assert ("--mlp-type=swiglu" in words) == ("more" in fork)
    assert ("--eval_every=50" in words) == ("renamed" in fork and place.backend == "local")
    left_out = [w for w in planned.warnings if "is left out" in w]
    missing = {"renamed": 1, "without": int(place.backend == "local")}
    assert len(left_out) == sum(missing.get(name, 0) for name in fork), planned.warnings
    place.gate.hold(15)
    run = place.fleet.launch(wanted, backend=place.backend)
    place.gate.reached(15)
    place.fleet.cancel(run)
    run = place.ended(run)
    place.gate.open()
    done = place.ended(place.fleet.resume(run))
    assert done.state is State.DONE, done.outcome
    assert done.status and done.status.training.step == 30
    resumed = "Resuming optimization from step 10" in log(place, done)
    assert resumed == ("resume-from-step" not in fork.get("without", ()))


def test_other_code_on_resume_is_asked_for_and_recorded(cli: Cli, mine: Path, gate: Any) -> None:
    gate.hold(15)
    cli("launch", *SHORT, "--code", str(mine), "--tag", "mine")
    gate.reached(15)
    cli("cancel", "mine")
    gate.open()
    first = cli.json("show", "mine")["code"]["sha"]
    changed(mine, 3)
    cli("resume", "mine", "--code", str(mine), "--watch")
    text = (cli.run_dir("mine") / "log").read_text()
    assert "changed 0 times" in text and "changed 3 times" in text
    shown = cli.json("show", "mine")
    assert shown["code"]["sha"] != first and shown["state"] == "done"
    assert f"before    fork@{shown['code']['commit'][:8]}, {first[:12]}, to attempt 1" in cli("show", "mine").stdout


def test_what_cannot_be_trained_is_refused_before_anything_is_spent(cli: Cli, mine: Path) -> None:
    def refused(*words: str) -> str:
        said = cli("launch", *SHORT, "--code", str(mine), *words, code=2).stderr
        assert said.count("\n") == 1 and not cli.json("ls")
        return said

    assert "no such flag: it has --warmdown-ratio" in refused("--set", "base.warmdown-rato=0.5")
    assert "needs a number" in refused("--set", "base.warmdown-ratio=much")
    assert "--iterations 30 and --set base.num-iterations=40 contradict" in refused("--set", "base.num-iterations=40")
    assert "nanochat-tui's own flag" in refused("--set", "base.run=x")
    assert "a rehearsal trains a stand-in" in refused("--engine", "rehearsal")
    (mine / "nanochat" / "gpt.py").write_text("def f(:\n")
    assert "nanochat/gpt.py line 1 does not compile" in refused()
    changed(mine, 0)
    (mine / ".env").write_text("WANDB_API_KEY=0123456789012345678901234567890123456789\n")
    assert "looks like a secret: .env" in refused()
    (mine / ".env").unlink()
    (mine / "scripts" / "base_train.py").unlink()
    assert "this is no nanochat: it has no base_train.py" in refused()


def test_a_flag_that_no_stage_of_the_run_takes_is_said_to_do_nothing_and_refused_where_none_ever_does(cli: Cli) -> None:
    short = ("--task", "base", "--iterations", "2", "--step-ms", "0", "--tag", "one", "--watch")
    said = cli(
        "launch", *short, "--set", "sft.init-lr-frac=0.5", "--set", "env.A=1", "--set", "base.matrix-lr=0.03"
    ).stderr
    assert said.count("does nothing") == 1
    assert "--set sft.init-lr-frac=0.5 does nothing: --task base has no such stage" in said
    # What the earlier run was given is none of this one's.
    said = cli("plan", "--task", "eval", "--from", "one", "--set", "tokenizer.x=1").stderr
    assert said.count("does nothing") == 1 and "--set tokenizer.x=1 does nothing: --task eval" in said
    for task in ("speedrun", "base"):
        said = cli("launch", "--task", task, "--set", "rl.num-epochs=2", code=2).stderr
        assert "--set rl.num-epochs: no task has a stage rl, so that nothing would take it" in said
    assert len(cli.json("ls")) == 1


def test_a_ref_of_a_repository_is_trained_without_the_repository(cli: Cli, mine: Path, tmp_path: Path) -> None:
    first = own_nanochat.commit(mine)
    changed(mine, 5)
    own_nanochat.commit(mine, "more")
    bare = tmp_path / "theirs.git"
    shutil.copytree(mine / ".git", bare)
    shutil.rmtree(mine)
    for ref, times in (("", 5), ("@main", 5), (f"@{first[:10]}", 0)):
        cli("launch", *SHORT, "--code", f"file://{bare}{ref}", "--watch")
        assert f"changed {times} times" in (cli.run_dir("last") / "log").read_text()
    said = cli("launch", *SHORT, "--code", f"file://{bare}@nowhere", code=2).stderr
    assert "has no branch, tag or commit nowhere" in said
    assert cli.json("show", "last")["code"]["commit"] == first


def test_code_of_a_run_is_not_deleted_without_a_word(place: Place, python: Path, tmp_path: Path) -> None:
    from runner.volumes import deletion

    folder = own_nanochat.make(tmp_path / "fork", device=device(place))
    run = place.fleet.launch(spec(place, folder), backend=place.backend)
    archive = layout.code_archive(run.spec.code.sha) if run.spec.code else ""
    entry = place.volume().stat(archive)
    plan = deletion.plan_deletion([archive], [entry], [run])
    assert plan.blockers and "could no longer be resumed: its code goes" in plan.notes[0]
    place.ended(run)


def test_code_that_is_gone_from_everywhere_ends_the_resume_in_words(cli: Cli, mine: Path, gate: Any) -> None:
    gate.hold(15)
    cli("launch", *SHORT, "--code", str(mine), "--tag", "mine")
    gate.reached(15)
    cli("cancel", "mine")
    gate.open()
    shutil.rmtree(cli.run_dir("mine").parents[1] / "code")
    shutil.rmtree(cli.home / "code")
    said = cli("resume", "mine", code=2).stderr
    assert "is neither on the volume nor on this machine" in said and "--code" in said


def test_a_rehearsal_takes_the_flags_that_a_real_run_would(place: Place) -> None:
    with pytest.raises(UsageError, match="no such flag"):
        place.fleet.plan(
            RunSpec.create(task="base", backend=place.backend, engine="rehearsal", flags=["base.x=1"]), place.backend
        )
    wanted = RunSpec.create(
        task="speedrun",
        backend=place.backend,
        engine="rehearsal",
        flags=["base.matrix-lr=0.05", "sft.init-lr-frac=0.5", "env.NANOCHAT_DTYPE=float16", "chat_eval.a=GSM8K"],
        overrides={"iterations": 10, "step_ms": 0},
    )
    done = place.ended(place.fleet.launch(wanted, backend=place.backend))
    assert done.state is State.DONE, done.outcome
    assert "--matrix-lr=0.05" in log(place, done) and "--init-lr-frac=0.5" in log(place, done)


def test_a_launch_that_is_killed_anywhere_leaves_no_half_of_an_archive_and_the_next_one_works(
    cli: Cli, mine: Path
) -> None:
    launch = [sys.executable, "-m", "tests.killed_at"], ("launch", *SHORT, "--code", str(mine))

    def killed(at: int) -> str:
        changed(mine, at)
        done = subprocess.run(
            [*launch[0], str(at), *launch[1]], cwd=ROOT, env=cli.env, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.stderr

    effects = int(killed(10**9).split()[-2])
    assert effects > 30
    for at in random.Random(3).sample(range(1, effects + 1), 10):
        killed(at)
        for run in cli.json("ls"):
            if run["state"] in ("launching", "interrupted"):
                cli("rm", run["id"], "--yes", code=None)
    volume = cli.home / "volumes" / "nanochat"
    for archive in (*(volume / layout.CODE).glob("*.tar.gz"), *(cli.home / "code").glob("*.tar.gz")):
        unpack(archive, cli.home / "unpacked" / archive.name, archive.name.removesuffix(".tar.gz"))
    changed(mine, 77)
    cli("launch", *SHORT, "--code", str(mine), "--watch")
    assert "the model was changed 77 times" in (cli.run_dir("last") / "log").read_text()


def test_a_launch_killed_inside_the_upload_of_its_code_leaves_nothing_half_and_the_next_one_works(
    modal_cli: Cli, cloud: Cloud, python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.killed_upload import STEPS
    from tests.test_modal_launch import later

    folder = own_nanochat.make(tmp_path / "fork", device="cuda")
    short = [*SHORT, "--core-every", "-1", "--backend", "modal", "--volume", modal_cli.volume, "--code", str(folder)]
    for at in range(1, len(STEPS) + 2):
        # A block has several pieces, none of which Modal has already.
        (folder / "large.bin").write_bytes(random.Random(at).randbytes(1 << 20))
        changed(folder, at)
        done = subprocess.run(
            [sys.executable, "-m", "tests.killed_upload", str(at), "launch", *short, "--tag", f"at-{at}"],
            cwd=ROOT, env=modal_cli.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == (-signal.SIGKILL if at <= len(STEPS) else 0), done.stderr
        archives = list((cloud.folder(modal_cli.volume) / layout.CODE).glob("*"))
        assert len(archives) == (at > len(STEPS))
        for archive in archives:
            unpack(archive, tmp_path / "unpacked" / f"{at}-{archive.name}", archive.name.removesuffix(".tar.gz"))
    assert done.stderr.rstrip().endswith(str(list(STEPS)))
    modal_cli("watch", f"at-{at}")
    assert f"the model was changed {at} times" in modal_cli("logs", f"at-{at}").stdout
    for name, value in cloud.env.items():
        monkeypatch.setenv(name, value)
    with Fleet(modal_cli.home, volume=modal_cli.volume, clock=later) as fleet:
        found = {run.tag: run for run in fleet.poll_all()}
        assert {found[f"at-{n}"].state for n in range(1, at)} == {State.INTERRUPTED}
        # Begun again by its record, with the code of its own.
        fleet.resume(found["at-2"])
    modal_cli("watch", "at-2")
    assert "the model was changed 2 times" in modal_cli("logs", "at-2").stdout
