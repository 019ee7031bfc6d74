"""Training that takes longer than one call may, on Modal's test server: a limit of seconds in the place of a day."""

import re
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Cli, wait_until
from tests.modal_cloud import Cloud

# What is kept for closing leaves some twenty seconds of each call to work in.
LIMITED = ("--task", "base", "--model", "d4", "--call-limit", "36", "--step-ms", "0", "--save-every", "10")


def handed_over(log: Path, times: int) -> bool:
    return log.read_text().count("[NEXT CALL]") >= times


def test_training_goes_on_from_call_to_call_with_the_laptop_closed_and_ends_as_in_one(
    modal_cli: Cli, cloud: Cloud
) -> None:
    cloud.gate.hold(45, 115)
    modal_cli.modal(*LIMITED, "--tag", "long", "-y")
    folder = cloud.folder(modal_cli.volume) / modal_cli.run("long")["folder"]
    # Nobody looks until it is over; each of two calls comes to its end where training stands.
    for calls, step in enumerate((45, 115), 1):
        cloud.gate.reached(step)
        wait_until(partial(handed_over, folder / "log", calls), seconds=60, what="the next call")
        cloud.gate.release(step)
    wait_until((folder / "report.md").exists, seconds=240, what="the end")
    cloud.idle()
    run = modal_cli.run("long")
    assert (run["state"], run["step"], run["attempts"], run["preemptions"]) == ("done", 200, 1, 0)
    assert run["val_bpb"] == pytest.approx(0.606380, abs=1e-6)
    log = (folder / "log").read_text()
    starts = [int(s) for s in re.findall(r"--resume-from-step=(\d+)", log)]
    kept = [int(s) for s in re.findall(r"\[NEXT CALL\].*kept up to step (\d+)", log)]
    # On a slow machine a call may also come to its end behind the last step.
    goes_on = [step for step in kept if step < 200]
    assert starts == goes_on and len(starts) >= 2, "each leg begins where the one before it had kept everything"
    calls = run["call_ids"]
    assert len(calls) == len(kept) + 2
    assert len([t for t in cloud.state()["tasks"].values() if t["call"] in calls]) == len(calls)


def test_a_cancel_between_two_calls_ends_the_one_that_waits_for_its_gpus(modal_cli: Cli, cloud: Cloud) -> None:
    cloud.gate.hold(45)
    modal_cli.modal(*LIMITED, "--tag", "between", "-y")
    cloud.gate.reached(45)
    cloud.knobs(hold=True)
    log = cloud.folder(modal_cli.volume) / modal_cli.run("between")["folder"] / "log"
    wait_until(partial(handed_over, log, 1), seconds=60, what="the next call")
    wait_until(lambda: modal_cli.run("between")["state"] == "queued", what="the next call")
    cloud.gate.open()
    modal_cli("cancel", "between")
    cloud.knobs(hold=False)
    assert modal_cli.run("between")["state"] == "cancelled"
    cloud.idle()
    assert modal_cli.run("between")["state"] == "cancelled"
    assert log.read_text().count("-m scripts.base_train") == 1


def test_what_fits_into_no_call_is_not_launched(modal_cli: Cli) -> None:
    slow = ("--call-limit", "20", "--step-ms", "100", "--save-every", "150")
    failed = modal_cli.modal("--task", "base", "--model", "d4", *slow, "--tag", "never", "-y", code=2)
    assert "until its next checkpoint" in failed.stderr and "use --save-every" in failed.stderr
    assert modal_cli.json("ls") == []
