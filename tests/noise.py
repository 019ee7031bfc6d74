"""Bytes that are no pattern, the same each time."""

import random
from pathlib import Path

from runner.volumes.base import BLOCK

BIG = 3 * BLOCK + 12345


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def write_noise(file: Path, size: int) -> None:
    """The same in a file, a block at a time: of hundreds of megabytes no test holds more."""
    with file.open("wb") as out:
        for at in range(0, size, BLOCK):
            out.write(noise(min(BLOCK, size - at), seed=at))
