"""Plan, launch, watch, stop, resume and download nanochat runs. Knows nothing of screens.

What stands in `__all__` is the public API, loaded when it is first used; everything else may change between releases.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.errors import (
        CredentialsError,
        FileChanged,
        NanochatError,
        NoSuchRun,
        Unreachable,
        UsageError,
        VolumeGone,
    )
    from runner.fleet.fleet import Fleet
    from runner.model.overrides import Overrides
    from runner.model.run import Run
    from runner.model.spec import RunSpec
    from runner.model.states import State
    from runner.model.status import Outcome, Status
    from runner.planning.plan import Plan
    from runner.planning.plan_stages import Stage
    from runner.settings import Settings
    from runner.volumes.checkpoint_verdicts import Checkpoint, Verdict

__version__ = "0.1.0"
__all__ = [
    "Checkpoint",
    "CredentialsError",
    "FileChanged",
    "Fleet",
    "NanochatError",
    "NoSuchRun",
    "Outcome",
    "Overrides",
    "Plan",
    "Run",
    "RunSpec",
    "Settings",
    "Stage",
    "State",
    "Status",
    "Unreachable",
    "UsageError",
    "Verdict",
    "VolumeGone",
]

_ROOMS = {
    "runner.fleet.fleet": ("Fleet",),
    "runner.model.run": ("Run",),
    "runner.model.spec": ("Overrides", "RunSpec"),
    "runner.model.states": ("State",),
    "runner.model.status": ("Outcome", "Status"),
    "runner.planning.plan": ("Plan",),
    "runner.planning.plan_stages": ("Stage",),
    "runner.settings": ("Settings",),
    "runner.volumes.checkpoint_verdicts": ("Checkpoint", "Verdict"),
    "runner.errors": (
        "CredentialsError", "FileChanged", "NanochatError", "NoSuchRun", "Unreachable", "UsageError", "VolumeGone",
    ),
}  # fmt: skip
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'runner' has no attribute {name!r}")
    return getattr(importlib.import_module(_ROOM_OF[name]), name)
