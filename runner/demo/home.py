"""A data folder with the runs of the demo, and one that goes on: a rehearsal, the only thing that it starts."""

import contextlib
import shlex
import shutil
import tempfile
import time
from pathlib import Path

import msgspec

from runner.demo.played import Player
from runner.demo.runs import RUNS, Made
from runner.errors import NanochatError, UsageError
from runner.fleet.fleet import Fleet
from runner.model import pricing
from runner.model.backend_name import BackendName
from runner.model.identifiers import new_run_id
from runner.model.run import Run, named, of_schema
from runner.model.spec import RunSpec
from runner.nanochat import layout
from runner.paths import DEMO_MARK, VARIABLE, is_demo
from runner.planning.plan import make_plan
from runner.system.atomic import PRIVATE_FOLDER
from runner.system.given_path import given_path
from runner.volumes import run_records
from runner.volumes.folder import FolderVolume

HAS = layout.Inventory(train_shards=400, validation_shard=True, tokenizer=True, eval_bundle=True, task_data=True)
# Of the run that goes on: it ends by itself after a quarter of an hour.
LIVE_STEPS, LIVE_STEP_MS = 1500, 600


def new_home(given: str = "") -> Path:
    """A folder for the demo: a new one for a while, or the one given. Raises UsageError unless that is empty or new."""
    if not given:
        return Path(tempfile.mkdtemp(prefix="nanochat-tui-demo-"))
    path = given_path(given, field="home")
    try:
        path.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        if is_demo(path):
            opens = f"{VARIABLE}={shlex.quote(str(path))} nanochat-tui opens it"
            raise UsageError(f"{path} is a demo already", opens, field="home")
        if any(path.iterdir()):
            raise UsageError(f"{path} is not empty", "name a folder that is new or empty", field="home")
    except OSError as error:
        raise UsageError(f"cannot use {path} ({error.strerror})", "name a folder that is new or empty") from error
    return path


def fill(home: Path) -> None:
    """Make all runs of the demo in an empty folder, their times shifted to now, and start the one that goes on."""
    (home / DEMO_MARK).write_text("This data folder is a demo of nanochat-tui: it reaches nothing outside it.\n")
    with contextlib.closing(Fleet(home)) as fleet:
        location, now = fleet.volume_location(BackendName.LOCAL, "nanochat"), time.time()
        run_records.check_engine(FolderVolume(location), "nanochat")
        for made in RUNS:
            fleet.registry.add(_made(made, FolderVolume(location), now))
        _start(fleet)


def _made(made: Made, volume: FolderVolume, now: float) -> Run:
    spec = RunSpec.create(backend=BackendName.MODAL, engine="nanochat", **made.asked)
    plan = make_plan(spec, HAS, backend=BackendName.MODAL)
    lines = [*made.lines(spec, plan)]
    began = now - made.ended_s - sum(seconds for seconds, _ in lines)
    # An hour of this machine costs, on record, what one on Modal does: nobody asks Modal about it.
    prices = msgspec.structs.replace(pricing.DATED, local=plan.usd_per_hour)
    run = Run(
        new_run_id(), made.tag, spec, BackendName.LOCAL, volume.location, began - 20, prices=prices,
        estimate=plan.estimate,
    )  # fmt: skip
    run = of_schema(named(run, made.tag))
    run_records.write_run(volume, run)
    player = Player(volume, run, plan, began, made.lost)
    player.play(lines)
    ended = player.end(made.how)
    run_records.write_run(volume, ended)
    return ended


def _start(fleet: Fleet) -> None:
    """A rehearsal that is under way when the app opens; on record it costs what a GPU does, so that money moves."""
    overrides = {"iterations": LIVE_STEPS, "step_ms": LIVE_STEP_MS, "save_every": 100, "eval_every": 50}
    spec = RunSpec.create(task="speedrun", model="d12", gpus=1, engine="rehearsal", overrides=overrides)
    fleet.put_setting("local_usd_per_hour", str(pricing.GPUS["H100"].usd_per_hour))
    fleet.launch(spec, tag="going-on")
    fleet.put_setting("local_usd_per_hour", "default")


def leave(home: Path) -> None:
    """End what the demo runs and remove its folder, which was made for a while."""
    with contextlib.suppress(NanochatError, OSError), contextlib.closing(Fleet(home, or_copy=True)) as fleet:
        for run in fleet.registry.all():
            if run.live:
                with contextlib.suppress(NanochatError, OSError):
                    fleet.backend(run.backend).cancel(run, force=True)
    shutil.rmtree(home, ignore_errors=True)
