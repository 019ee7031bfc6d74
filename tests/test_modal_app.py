"""What is deployed: the image as the client sends it, the functions, and the stock `modal` command line."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from runner.nanochat.command_lines import COMMIT
from tests.conftest import Cli, wait_until
from tests.forks import Forks
from tests.modal_cloud import ROOT, Cloud

# The `modal` command line, with all of it imported.
STOCK = Forks(Path(tempfile.gettempdir()), ["modal.cli.entry_point"], later="modal")


@pytest.fixture
def modal_command(cli: Cli, cloud: Cloud, tmp_path: Path) -> Any:
    env = {**cli.env, **cloud.env}

    def run(*words: str, code: int = 0) -> str:
        done = STOCK.run("modal", list(words), env, str(ROOT), 120)
        assert done.returncode == code, (done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout if code == 0 else done.stdout + done.stderr

    cli.env = env
    return run


def test_the_image_is_built_from_the_pinned_commit_with_its_lock_file_and_without_a_gpu(
    modal_command: Any, cloud: Cloud
) -> None:
    modal_command("deploy", "-m", "runner.modal_app")
    images = cloud.state()["images"]
    steps = [step for image in images for step in image.get("dockerfile_commands", [])]
    assert any(re.fullmatch(r"FROM nvidia/cuda:12\.8\.\d-devel-ubuntu\d+\.04", s) for s in steps)
    assert any(s.startswith("COPY /python/. /usr/local") for s in steps), "a Python of its own"
    assert "ENV UV_PYTHON=3.11" in steps and "ENV NANOCHAT_PYTHON=/opt/nanochat/.venv/bin/python" in steps
    assert "ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64" in steps
    build = next(s for s in steps if "uv sync" in s)
    assert f"git checkout --detach {COMMIT}" in build and "uv sync --frozen --extra gpu" in build
    assert not [i for i in images if i.get("gpu_config", {}).get("gpu_type")], "no GPU is paid for while building"
    assert not [s for s in steps if "runner" in s], "the package is mounted: editing it builds nothing again"


def test_no_part_is_deployed_with_gpus_or_bound_to_a_volume_and_both_get_a_container_of_their_own(
    modal_command: Any, cloud: Cloud
) -> None:
    modal_command("deploy", "-m", "runner.modal_app")
    functions = {n.split(".")[1]: f for n, f in cloud.state()["functions"].items() if n.startswith("nanochat-tui.")}
    for name, hours in (("prepare", 6), ("train", 24)):
        function = functions[name]
        assert function["timeout_secs"] == hours * 3600 and function["single_use_containers"]
        assert not function["resources"]["gpu_config"].get("gpu_type")
        assert "volume_mounts" not in function, "an app that is bound to a volume ends with it"
    assert functions["prepare"]["resources"]["milli_cpu"] == 16_000


@pytest.mark.parametrize(
    "line",
    [
        "run -m runner.modal_app --task test",
        "run -m runner.modal_app --task speedrun",
        "run -m runner.modal_app --task speedrun --model d26 --yes",
        "run -m runner.modal_app --task speedrun --model d32 --force-restart --budget 40",
    ],
)
def test_modal_run_spawns_on_the_deployed_app_and_says_how_to_watch(
    modal_command: Any, cli: Cli, cloud: Cloud, line: str
) -> None:
    cloud.knobs(hold=True)
    said = modal_command(*line.split())
    run = cli.run()
    assert said.index("real nanochat on") < said.index("likely") < said.index("launched")
    assert run["call_ids"][0] in said and f"nanochat-tui watch {run['tag']}" in said
    assert (run["state"], run["engine"]) == ("queued", "nanochat")
    assert run["folder"] == f"runs/{run['tag']}-{run['id']}"
    assert run["folder"] in modal_command("volume", "ls", "nanochat-persistent-storage", "runs")
    cli("cancel", run["id"])


def test_modal_run_shows_the_price_and_does_not_spend_above_the_limit_where_nobody_can_be_asked(
    modal_command: Any, cli: Cli, cloud: Cloud
) -> None:
    said = modal_command("run", "-m", "runner.modal_app", "--task", "speedrun", "--model", "d26", code=2)
    assert "real nanochat on 8 × H100: speedrun of d26" in said and "--yes starts it" in said
    assert "Traceback" not in said and cli.json("ls") == []


def test_modal_run_takes_a_recipe_and_what_is_given_goes_before_it(modal_command: Any, cli: Cli, cloud: Cloud) -> None:
    run = ("run", "-m", "runner.modal_app", "--recipe")
    assert "real nanochat on 8 × H100!: base of d24" in modal_command(*run, "leaderboard", code=2)
    assert "base of d16" in modal_command(
        *run, "leaderboard", "--model", "d16", "--engine", "rehearsal", "--tag", "sixteen"
    )
    assert "the recipe is for local" in modal_command(*run, "cpu", code=2)
    assert [run["tag"] for run in cli.json("ls")] == ["sixteen"]
    cli("cancel", "sixteen", code=None)


def test_a_rehearsal_by_modal_run_outlives_the_command(modal_command: Any, cli: Cli, cloud: Cloud) -> None:
    modal_command("run", "-m", "runner.modal_app", "--engine", "rehearsal")
    wait_until(lambda: cli.run()["state"] == "done", what="the end")


def test_the_app_is_deployed_once_and_again_only_when_its_source_has_changed(
    modal_cli: Cli, cloud: Cloud, tmp_path: Path
) -> None:
    first = modal_cli.modal("--tag", "one")
    assert "deploying nanochat-tui-rehearsal" in first.stderr or cloud.state()["apps"]
    assert "deploying" not in modal_cli.modal("--tag", "two").stderr
    other = "import modal; a = modal.App.lookup('nanochat-tui-rehearsal'); a.set_tags({'source': 'older'})"
    subprocess.run([sys.executable, "-c", other], env=modal_cli.env, check=True)
    third = modal_cli.modal("--tag", "three", "--watch").stderr
    assert re.search(r"deploying nanochat-tui-rehearsal(-\w{6}: .* live in| anew, its source has changed)", third)


def test_the_gpus_of_a_real_run_are_asked_for_by_the_part_that_prepares_and_not_paid_for_when_they_are_none(
    cli: Cli, cloud: Cloud
) -> None:
    """The real engine's way, with a stand-in where the image has nanochat; the server has no GPUs to give."""
    cli.env |= cloud.env
    volume = f"v{os.urandom(4).hex()}"
    words = ("--engine", "nanochat", "--task", "test", "--gpus", "1", "--gpu", "H200", "--tag", "real", "--watch")
    done = cli("launch", "--backend", "modal", "--volume", volume, *words, code=1)
    assert "fetched varunneal/flash-attention-3" in done.stdout
    found = cli.json("show", "real")
    assert (found["outcome"]["kind"], found["outcome"]["resume"]) == ("environment", "yes")
    assert "1 × H200 are paid for, nanochat runs on the CPU" in found["outcome"]["message"]
    prepare, train = found["call_ids"]
    gpus = {t["call"]: t["gpu"] for t in cloud.state()["tasks"].values()}
    assert (gpus[prepare], gpus[train]) == ("", "H200")
    assert float(found["cost_usd"]) > 0
    states = {s["name"]: s["state"] for s in found["stages"]}
    assert (states["prepare"], states["tokenizer"], states["base"]) == ("done", "done", "failed")


@pytest.mark.parametrize(
    ("deny", "says", "do"),
    [
        ({"VolumeGetOrCreate": "no access to this environment"}, "does not permit", "owner of the workspace"),
        ({"FunctionMap": "GPU type H100 is not allowed"}, "GPU type H100 is not allowed", "workspace"),
    ],
)
def test_what_is_not_permitted_is_one_line_with_what_to_do(
    modal_cli: Cli, cloud: Cloud, deny: dict[str, str], says: str, do: str
) -> None:
    modal_cli.modal("--tag", "first")
    cloud.knobs(deny=deny)
    failed = modal_cli.modal("--tag", "second", code=4)
    last = failed.stderr.splitlines()[-1]
    assert says in last and do in last
    cloud.knobs(deny={})
    assert [r["tag"] for r in modal_cli.json("ls")] == ["first"]


def test_when_the_gpus_are_not_allowed_the_run_says_so_and_can_be_resumed(modal_cli: Cli, cloud: Cloud) -> None:
    cloud.knobs(deny={"container:FunctionMap": "GPU type H100 is not allowed in this workspace"})
    modal_cli.modal("--tag", "greedy", "--watch", code=1)
    run = modal_cli.run("greedy")
    assert (run["state"], run["outcome"]["kind"]) == ("failed", "launch")
    assert "GPU type H100 is not allowed in this workspace" in run["outcome"]["message"]
    assert "[FAILED] the GPUs could not be asked for" in modal_cli("logs", "greedy").stdout
    cloud.knobs(deny={})
    assert "✓ greedy done" in modal_cli("resume", "greedy", "--watch").stdout


def test_a_token_that_is_refused_is_said_once_and_never_shown(modal_cli: Cli, cloud: Cloud) -> None:
    secret = f"as-{os.urandom(12).hex()}"
    modal_cli.env |= {"MODAL_TOKEN_ID": "ak-wrong", "MODAL_TOKEN_SECRET": secret}
    failed = modal_cli.modal("--tag", "x", code=4)
    assert "modal setup" in failed.stderr.splitlines()[-1]
    doctor = modal_cli("doctor", code=1)
    assert "modal setup" in doctor.stdout
    for path in modal_cli.home.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()
    assert secret not in failed.stderr + doctor.stdout and "ak-wrong" not in failed.stderr + doctor.stdout


def test_without_a_token_everything_says_so_at_once(cli: Cli) -> None:
    failed = cli("launch", "--backend", "modal", code=4)
    said = failed.stderr.removeprefix("nanochat-tui: no Modal token on this machine: ").strip()
    assert Path(said.removesuffix(" setup")).is_file() or shutil.which("modal"), said
    assert said in cli("doctor").stdout and said in cli("doctor", "--backend", "modal", code=1).stdout
    assert cli.json("plan", "--backend", "modal")["plan"]["prices"] == "modal.com/pricing, 2026-10-04"


def test_what_was_billed_is_read_back_by_hour_and_left_out_where_the_plan_does_not_tell(
    modal_cli: Cli, cloud: Cloud
) -> None:
    modal_cli.modal("--tag", "paid", "--watch")
    cloud.knobs(billing_lag=-1.0)
    hours = modal_cli.json("show", "paid")["billed_usd_by_hour"]
    assert hours and all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:00Z", h) and float(v) > 0 for h, v in hours.items())
    assert "  billed    " in modal_cli("show", "paid").stdout
    cloud.knobs(deny={"WorkspaceBillingReport": "not in your plan"})
    assert modal_cli.json("show", "paid")["billed_usd_by_hour"] is None
    shown = modal_cli("show", "paid")
    assert "billed" not in shown.stdout and shown.stderr == ""


def test_doctor_says_what_the_month_has_cost_and_where_the_workspace_has_its_limit(
    modal_cli: Cli, cloud: Cloud
) -> None:
    said = modal_cli("doctor", code=None).stdout
    assert "$12.25 this month" in said and "modal.com/settings/usage" in said
    cloud.knobs(deny={"WorkspaceBillingSummary": "not in your plan"})
    assert "this month" not in modal_cli("doctor", code=None).stdout


def test_prices_are_the_workspaces_own_where_it_tells_them(modal_cli: Cli, cloud: Cloud) -> None:
    planned = modal_cli.json("plan", "--backend", "modal", "--engine", "nanochat", "--gpus", "8")["plan"]
    assert planned["prices"].startswith("this workspace's rates, 20")
    assert float(planned["usd_per_hour"]) == pytest.approx(8 * (3.95 + 4 * 0.0473 + 32 * 0.008))


def test_an_environment_is_chosen_by_flag_and_by_setting_and_a_run_belongs_to_it(modal_cli: Cli, cloud: Cloud) -> None:
    cloud.knobs(environments=["main", "dev"])
    launch = ("launch", "--backend", "modal", "--engine", "rehearsal", "--volume", modal_cli.volume, "--watch")
    modal_cli("--env", "dev", *launch, "--tag", "one")
    assert modal_cli.json("--env", "dev", "show", "one")["environment"] == "dev"
    modal_cli("settings", "env", "dev")
    modal_cli(*launch, "--tag", "two")
    assert modal_cli.json("show", "two")["environment"] == "dev"
    assert "set MODAL_ENVIRONMENT=dev" in modal_cli("rm", "two", "--yes", "--env", "main", code=5).stderr
