"""A volume whose content is hostile: names, links out of it, records that lie; listed, shown, fetched."""

import os
import re
import shutil
from pathlib import Path

from tests.chaos.bench import Bench
from tests.conftest import Cli
from tests.place import hostile_names

UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LOOKS = (("volume", "ls", "odd"), ("volume", "tree"), ("volume", "du"), ("checkpoints",), ("show", "a"), ("logs", "a"))
NONSENSE = (b"[" * 50_000, b'"\\ud800"', b"{}", b'{"attempt": "x"}', b"\xff", b"", b"\x1b]0;x\x07")


def strike(bench: Bench) -> None:
    template = bench.once("template", lambda: _template(bench))
    cli, rng = bench.copy_of(template.home), bench.rng
    volume = cli.home / "volumes" / "rehearsal"
    outside = bench.root / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "precious").write_text("precious")
    shutil.rmtree(cli.home / "registry.db", ignore_errors=True)
    for file in cli.home.glob("registry.db*"):
        file.unlink()
    _fill(bench, volume, outside)
    for words in rng.sample(LOOKS, 4):
        out = bench.say(cli, "commands go on over hostile content", *words)
        bench.claim("nothing hostile reaches the terminal", not UNSAFE.search(out), (words, UNSAFE.findall(out)[:5]))
    home = bench.root / f"got{rng.randrange(10**9)}"
    bench.say(cli, "commands go on over hostile content", "volume", "get", "odd", str(home))
    inside = home.resolve()
    stray = [p for p in home.rglob("*") if not p.resolve().is_relative_to(inside)]
    bench.claim("what is brought home stays in its folder", not stray, stray)
    shutil.rmtree(home, ignore_errors=True)
    bench.say(cli, "commands go on over hostile content", "volume", "rm", "--yes", "odd")
    bench.claim("nothing outside is touched", (outside / "precious").read_text() == "precious", "")


def _template(bench: Bench) -> Cli:
    cli = bench.cli("template")
    cli("launch", "--tag", "a", "--step-ms", "0", "--watch")
    return cli


def _fill(bench: Bench, volume: Path, outside: Path) -> None:
    odd = volume / "odd"
    odd.mkdir()
    for name in bench.rng.sample(hostile_names(300), 40):
        (odd / name).write_bytes(bench.rng.randbytes(20))
    (odd / "out").symlink_to(outside)
    (odd / "loop").symlink_to(odd)
    os.mkfifo(odd / "pipe")
    files = [p for p in (volume / "runs").rglob("*") if p.is_file()]
    for path in bench.rng.sample(files, min(4, len(files))):
        if path.name != "run.json":
            path.write_bytes(bench.rng.choice(NONSENSE))
