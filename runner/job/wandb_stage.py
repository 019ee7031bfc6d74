"""A stage that logs to Weights & Biases: what its training sees, and what is sent and kept of it meanwhile."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from runner.job import wandb_sync
from runner.job.status_tracker import warn
from runner.model.run import Run
from runner.model.stages import StageName
from runner.model.status import Status
from runner.volumes.folder import FolderVolume
from runner.wandb_shadow import FOLDER

STAGES = (StageName.BASE, StageName.SFT)
KEPT = "wandb"
# A container may be killed at any time; what was logged is small.
KEEP_EVERY_S = 60.0
# What a stage that is stopped gives to it: the next attempt sends the rest.
HURRY_S = 2.0


class WandbStage:
    """One stage's way to W&B. Whatever goes wrong with it is a warning of the run, and never its end."""

    def __init__(
        self, run: Run, stage: StageName, volume: FolderVolume, work: Path, python: str, say: Callable[[str], None]
    ) -> None:
        self._run, self._stage, self._say = run, stage, say
        self._folder, self._kept = work / KEPT, volume.path(f"{run.path}/{KEPT}")
        self._sync = wandb_sync.WandbSync(python, self._folder, wandb_sync.wandb_id(run.id, stage), os.environ)
        self._keep_at, self._link, self._problem = time.monotonic() + KEEP_EVERY_S, "", ""

    def environment(self, env: dict[str, str]) -> dict[str, str]:
        """What the training gets to see in the place of `env`: no key, as only what sends has a use for it."""
        mine = wandb_sync.environment(
            self._run.id, self._stage, self._run.tag, self._run.spec.wandb or "", self._folder
        )
        path = os.pathsep.join([str(FOLDER), env["PYTHONPATH"]])
        return wandb_sync.without_key(env) | mine | {"PYTHONPATH": path}

    def start(self) -> None:
        self._sync.start()

    def tick(self, status: Status) -> None:
        """Called all the time: tend what sends, note the link, keep what was logged."""
        self._sync.tend()
        self._tell(status)
        if time.monotonic() >= self._keep_at:
            self._keep_at = time.monotonic() + KEEP_EVERY_S
            self._keep(status)

    def close(self, status: Status, *, for_good: bool) -> None:
        """Send and keep the rest. `for_good`: no later attempt repeats a step; else there is something more urgent."""
        self._sync.close(wandb_sync.LAST_S if for_good else HURRY_S, for_good=for_good)
        self._tell(status)
        self._keep(status)

    def _tell(self, status: Status) -> None:
        if (link := self._sync.link) and link != self._link:
            self._link = status.work.wandb_link = link
            self._say(f"[WANDB] {link}")
        if (problem := self._sync.problem) and problem != self._problem:
            self._problem = problem
            self._say(f"[WANDB] {problem}")
            if problem != wandb_sync.NO_KEY:
                warn(status, f"W&B: {problem}")

    def _keep(self, status: Status) -> None:
        try:
            wandb_sync.keep(self._folder, self._kept)
        except OSError as error:
            warn(status, f"W&B: what was logged is not kept ({error.strerror or error})")
