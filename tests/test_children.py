"""What a stage's command lines are started with, and what becomes of a job that could write nothing down."""

import sys
from pathlib import Path

import msgspec
import pytest

from runner import engines
from runner.backends.local import LocalBackend
from runner.job.children import Children
from runner.job.journal import Journal
from runner.job.limits import LimitMonitor
from runner.job.stop import Stop
from runner.model.spec import RunSpec
from runner.model.stages import StageName
from runner.model.states import State
from runner.model.status import Outcome, OutcomeKind
from runner.model.transitions import apply_poll
from runner.nanochat.layout import Inventory
from runner.planning.estimate import shape_of
from runner.planning.plan import make_plan
from runner.volumes.folder import FolderVolume
from tests.statuses import a_status
from tests.test_run import NOW, SPEC, run


def test_a_child_sees_nothing_that_opens_the_persons_modal_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOCHAT_TUI_HOME", str(tmp_path))
    for name in ("MODAL_TOKEN_SECRET", "MODAL_TASK_ID", "MODAL_SERVER_URL"):
        monkeypatch.setenv(name, "of-the-person")
    monkeypatch.setattr(
        engines,
        "engine_command",
        lambda engine, home, code, folder: engines.EngineCommand(sys.executable, str(tmp_path)),
    )
    status = a_status(1, State.RUNNING, "c", 0.0, 0.0, stage="base")
    journal = Journal(FolderVolume(str(tmp_path)), "runs/abc", status, hold_open=False)
    stop = Stop(LimitMonitor(run(), shape_of(12, SPEC.overrides), journal.say), None)
    children = Children(
        run(), FolderVolume(str(tmp_path)), tmp_path, journal, stop, compiled=None, tick=lambda beat: None, grace_s=1.0
    )
    shows = ("python", "-c", "import os; print(os.environ)")
    assert children.run(StageName.BASE, [shows], make_plan(SPEC, Inventory(), backend="local")) is None
    journal.close()
    journal.flush()
    log = (tmp_path / "runs" / "abc" / "log").read_text()
    assert "NANOCHAT_BASE_DIR" in log and "of-the-person" not in log


def test_a_training_that_takes_the_processor_while_gpus_are_paid_for_is_stopped_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOCHAT_TUI_HOME", str(tmp_path))
    monkeypatch.setattr(
        engines,
        "engine_command",
        lambda engine, home, code, folder: engines.EngineCommand(sys.executable, str(tmp_path)),
    )
    paid = RunSpec.create(task="base", model="d12", backend="modal", engine="nanochat")
    here = run(spec=paid, backend="modal")
    status = a_status(1, State.RUNNING, "c", 0.0, 0.0, stage="base")
    journal = Journal(FolderVolume(str(tmp_path)), "runs/abc", status, hold_open=False)
    stop = Stop(LimitMonitor(here, shape_of(12, paid.overrides), journal.say), None)
    children = Children(
        here, FolderVolume(str(tmp_path)), tmp_path, journal, stop, compiled=None, tick=lambda beat: None, grace_s=1.0
    )
    says = "print('Autodetected device type: cpu', flush=True)"
    for code in (f"import time; {says}; time.sleep(900)", f"{says}; raise MemoryError"):
        ended = children.run(StageName.BASE, [("python", "-c", code)], make_plan(paid, Inventory(), backend="modal"))
        assert ended and (ended.kind, ended.stage) == (OutcomeKind.ENVIRONMENT, "base")
        assert ended.message.startswith("8 × H100 are paid for, nanochat runs on the CPU")
    status.containers.device = "4 × NVIDIA H100 80GB HBM3"
    fewer = children.gpu_mismatch(make_plan(paid, Inventory(), backend="modal"))
    assert fewer and "the container has 4 × NVIDIA H100" in fewer.message
    journal.close()


@pytest.mark.parametrize(
    ("said", "kind", "state"),
    [
        (
            msgspec.json.encode(Outcome(OutcomeKind.DISK, "No space left on device: /v/x", "make room")).decode(),
            "disk",
            "failed",
        ),
        ("Traceback (most recent call last):\n  File\nOSError: [Errno 5] Input/output\x1b[2J error", "disk", "failed"),
        ("a warning of some library", "killed", "interrupted"),
        ("", "killed", "interrupted"),
    ],
)
def test_what_a_dead_job_could_say_nowhere_else_is_read_from_its_own_output(
    tmp_path: Path, said: str, kind: str, state: str
) -> None:
    work = tmp_path / "work" / "abc"
    work.mkdir(parents=True)
    (work / "job.out").write_text(f"something before\n{said}\n" if said else "")
    here = run(volume=str(tmp_path))
    found = apply_poll(here, LocalBackend(tmp_path).poll(here), NOW)
    assert found.outcome is not None
    assert (found.state.value, found.outcome.kind) == (state, kind) and "\x1b" not in found.outcome.message
