"""What is damaged in the folders that all runs of a volume share is put aside, so that it is fetched again."""

import contextlib
from pathlib import Path

from runner.job.publish import link_shared
from runner.nanochat import layout
from runner.volumes import holdings
from runner.volumes.folder import FolderVolume


def quarantine_damaged(volume: FolderVolume, base: Path, engine: str) -> list[str]:
    """Move what is damaged out of nanochat's way, which takes any file that is there for a whole one; say what.

    A tokenizer stays: the next one is written over it. So does a person's own text, which nobody else has.
    """
    has = holdings.inventory(volume, engine)
    stays = (layout.TOKENIZER, *([layout.DATA] if has.own_text else []))
    moved = [path for path in has.damaged if not path.startswith(stays)]
    for path in moved:
        to = f"{layout.DAMAGED}/{path}"
        with contextlib.suppress(FileNotFoundError):
            volume.remove(to)
        volume.rename(path, to)
    if moved:
        link_shared(base, volume)
    return [f"[DAMAGED] {path} is put aside in {layout.DAMAGED}/, and fetched again" for path in moved]
