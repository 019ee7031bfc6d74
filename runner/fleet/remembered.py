"""What this machine remembers of runs, for who is in a hurry: read, never mended, made or asked for anywhere."""

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

from runner.model import identifiers

MOST, PATIENCE_S = 1000, 0.1
FILE = "registry.db"


class Remembered(NamedTuple):
    """A run by its names, and what is told of it beside them."""

    tag: str
    id: str
    state: str
    model: str
    backend: str
    volume: str
    path: str
    saved_step: int | None


def remembered(home: Path) -> list[Remembered]:
    """The runs on record, newest first; none where the registry cannot be read as it is."""
    # Opened so, nothing is made where there is none, and what is there is not changed.
    address = f"{(home / FILE).absolute().as_uri()}?mode=ro"
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(address, uri=True, timeout=PATIENCE_S)) as db,
    ):
        asked = "SELECT id, tag, record FROM runs ORDER BY created_at DESC, id LIMIT ?"
        return [found for row in db.execute(asked, (MOST,)) if (found := _of(*row))]
    return []


def _of(run_id: Any, tag: Any, record: Any) -> Remembered | None:
    """A row, if it makes sense."""
    try:
        known = json.loads(record)
        folder = known.get("folder") or ""
        path = identifiers.run_dir(folder if identifiers.is_folder_of(folder, run_id) else run_id)
        saved = ((known.get("status") or {}).get("training") or {}).get("saved_step")
        model, backend, volume = f"d{known['spec']['depth']}", known["backend"], known["volume"]
        return Remembered(tag, run_id, str(known["state"]), model, backend, str(volume), path, saved)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
