"""What both sides of Modal call things: apps, functions, the Dict; and which source an app was deployed from."""

import hashlib
from pathlib import Path

from runner.model.stages import Part

APPS = {"nanochat": "nanochat-tui", "rehearsal": "nanochat-tui-rehearsal"}
VOLUMES = {"nanochat": "nanochat-persistent-storage", "rehearsal": "nanochat-rehearsal"}
REFERENCES = {"nanochat": "runner.modal_app", "rehearsal": "runner.modal_app::rehearsal"}
LIVE_DICT = "nanochat-tui-live"
MOUNT = "/vol"
TAG = "source"


def train_key(run_id: str, attempt: int, leg: int = 1) -> str:
    """Where in the Dict the call id of a leg of the part that trains is written down."""
    return f"train/{run_id}/{attempt}" + _later(leg)


def lease_key(run_id: str, attempt: int, part: Part, leg: int = 1) -> str:
    """Where in the Dict the one call that may do this part, or this leg of it, is written down."""
    return f"lease/{run_id}/{attempt}/{part}" + _later(leg)


def _later(leg: int) -> str:
    return f"/{leg}" if leg > 1 else ""


def stop_key(call_id: str) -> str:
    """Where in the Dict it is written down when a container of a call was last told to stop."""
    return f"stop/{call_id}"


# What of the package a container has: modules, and what they read.
TAKEN = (".py", ".json")


def left_out(path: Path) -> bool:
    """Whether a file of the package stays here."""
    return path.suffix not in TAKEN


def source_fingerprint() -> str:
    """Names the source that a container would run: this package, byte for byte, and the client's version."""
    from importlib.metadata import version

    digest = hashlib.sha256(version("modal").encode())
    root = Path(__file__).parents[2]
    for path in sorted(path for path in root.rglob("*") if path.is_file() and not left_out(path)):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
