"""`python -m tests.faulty_launch HOME VOLUME N`: a launch on Modal whose process is killed before its Nth effect.

An effect is anything that outlives the process: a change of the registry, a file on the volume, a deployment, a spawn.
Without N it prints the effects in their order.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.backends.modal.backend import ModalBackend
from runner.backends.modal.deploy import Deployments
from runner.backends.modal.volume import ModalVolume
from runner.fleet.fleet import Fleet
from runner.fleet.registry import Registry
from runner.model.spec import RunSpec

EFFECTS: list[str] = []


def dies_at(number: int, owner: Any, name: str, label: str) -> None:
    """Count calls of a method as effects, and die before the one with this number."""
    original: Callable[..., Any] = vars(owner)[name]
    original = getattr(original, "__func__", original)

    def counted(*args: Any, **kwargs: Any) -> Any:
        EFFECTS.append(label)
        if len(EFFECTS) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args[-1:], **kwargs) if name == "_spawn" else original(*args, **kwargs)

    setattr(owner, name, counted)


def main() -> None:
    home, volume, *rest = sys.argv[1:]
    number = int(rest[0]) if rest else 0
    dies_at(number, Registry, "add", "intent")
    dies_at(number, Registry, "update", "record")
    dies_at(number, ModalVolume, "make", "make volume")
    dies_at(number, ModalVolume, "write", "write on volume")
    dies_at(number, Deployments, "_deploy", "deploy")
    dies_at(number, ModalBackend, "_spawn", "spawn")
    fleet = Fleet(Path(home), volume=volume)
    spec = RunSpec.create(task="test", model="d12", backend="modal", engine="rehearsal")
    fleet.launch(spec, backend="modal", tag="once")
    EFFECTS.append("return")
    if len(EFFECTS) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    fleet.close()
    print("\n".join(EFFECTS))


if __name__ == "__main__":
    main()
