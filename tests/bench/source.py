"""A checkout of 300 MB, of which 40 MB are code, packed for the first time and unchanged, beside `git archive`.

python -m tests.bench.source
"""

import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from runner.source.pack import pack
from runner.source.unpack import unpack
from tests.bench.log_view import say

FILES, EACH, HISTORY, IGNORED = 2_000, 20_000, 60_000_000, 200_000_000
ROUNDS = 5
WHO = ("-c", "user.name=b", "-c", "user.email=b@b", "-c", "commit.gpgsign=false")


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", folder, *WHO, *words], check=True, capture_output=True)


def checkout(folder: Path) -> None:
    """Source of words in many folders, a history that holds what is deleted since, data that git ignores."""
    draw = random.Random(1)
    vocabulary = ["".join(draw.choices("abcdefghijklmnop_", k=draw.randrange(2, 11))) for _ in range(4_000)]
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / ".gitignore").write_text("data/\n")
    (folder / "old.bin").write_bytes(draw.randbytes(HISTORY))
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    (folder / "old.bin").unlink()
    for n in range(FILES):
        path = folder / f"part{n % 40:02d}" / f"module_{n:04d}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(" ".join(draw.choices(vocabulary, k=EACH // 6)).ljust(EACH)[: EACH - 1] + "\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "two")
    (folder / "data").mkdir()
    for n in range(20):
        (folder / "data" / f"shard_{n:02d}").write_bytes(draw.randbytes(IGNORED // 20))


def best(what: Callable[[int], object]) -> tuple[float, float]:
    """Seconds of the best round, and of the middle one."""
    taken = []
    for n in range(ROUNDS):
        began = time.perf_counter()
        what(n)
        taken.append(time.perf_counter() - began)
    return min(taken), sorted(taken)[ROUNDS // 2]


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        checkout(top / "repo")
        # What was written in the last seconds is never taken for unchanged.
        time.sleep(2.5)
        archive = ["git", "-C", str(top / "repo"), "archive", "--format=tgz", "HEAD", "-o"]
        peer = best(lambda n: subprocess.run([*archive, str(top / f"peer{n}.tgz")], check=True))
        fast = [*archive[:3], "-c", "tar.tgz.command=gzip -1 -cn", *archive[3:]]
        level = best(lambda n: subprocess.run([*fast, str(top / f"fast{n}.tgz")], check=True))
        plain = best(lambda n: subprocess.run([*archive[:4], "--format=tar", "HEAD", "-o", f"{place}/t"], check=True))
        first = best(lambda n: pack(top / "repo", top / f"cache{n}"))
        again = best(lambda n: pack(top / "repo", top / "cache0"))
        packed = pack(top / "repo", top / "cache0")
        out = best(lambda n: unpack(packed.path, top / f"out{n}", packed.sha256))
        say(
            "packed",
            f"{packed.files:,} files, {packed.bytes / 1e6:.0f} MB, {packed.path.stat().st_size / 1e6:.1f} as gzip",
        )
        for name, (least, middle) in (("git archive", peer), ("… gzip -1", level), ("… no gzip", plain)):
            say(name, f"best {least:.2f} s, median {middle:.2f}")
        for name, (least, middle) in (("first", first), ("unchanged", again), ("unpacked", out)):
            say(name, f"best {least:.3f} s, median {middle:.3f}: {least / peer[0]:.2f} of git archive")


if __name__ == "__main__":
    main()
