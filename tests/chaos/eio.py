"""A volume whose disk answers EIO now and then: the run ends in words, and a good disk brings it to its end."""

import zipfile
from pathlib import Path

from tests.chaos.bench import SHORT, Bench, shim


def strike(bench: Bench) -> None:
    library = shim(bench, "eio")
    cli, volume = bench.cli(), bench.root / f"volume{bench.rng.randrange(10**9)}"
    bench.say(cli, "a good disk", "launch", "--volume", str(volume), *SHORT, "--step-ms", "0", "--watch", codes=(0,))
    good = dict(cli.env)
    cli.env |= {
        "LD_PRELOAD": str(library),
        "CHAOS_FOLDER": str(volume),
        "CHAOS_ONE_IN": str(bench.rng.choice((20, 50, 100, 200))),
        "CHAOS_SEED": str(bench.rng.randrange(1000)),
    }
    bench.say(
        cli, "launch says what is wrong", "launch", "--volume", str(volume), "--tag", "e", *SHORT, "--step-ms", "0"
    )
    cli.env = good
    if "e" not in {r["tag"] for r in cli.json("ls")}:
        return
    ended = bench.settled(cli, "e")
    said = next((cli.home / "work" / ended["id"]).glob("job.out"), Path("/dev/null")).read_text(errors="replace")
    bench.claim("the job ends without a traceback", "Traceback" not in said, said)
    run = bench.brought_to_its_end(cli, "e")
    bench.claim("a good disk brings it to its end", run["state"] == "done", run["outcome"])
    for one in cli.json("checkpoints", "e"):
        if one["verdict"] == "complete":
            broken = [n for n in one["files"] if n.endswith(".pt") and not _whole(volume / one["path"] / n)]
            bench.claim("what is called complete is whole", not broken, broken)


def _whole(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False
