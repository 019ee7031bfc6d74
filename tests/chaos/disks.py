"""A volume that is full, read-only or away for a while: said in words, nothing lost, and the run goes on afterwards."""

import subprocess
import time

from tests.chaos.bench import SHORT, Bench, mounted, mounts, remounted
from tests.conftest import Cli

LOOKS = (("ls",), ("show", "f"), ("checkpoints", "f"), ("logs", "f", "-n", "5"), ("volume", "du"), ("cost",))
CALM = "commands say what is wrong and go on"


def strike(bench: Bench) -> None:
    mounts()
    cli = bench.cli()
    volume = cli.home.parent / f"volume-{cli.home.name}"
    how = bench.rng.choice((_full, _read_only, _away))
    how(bench, cli, str(volume))
    if cli.json("ls"):
        run = bench.brought_to_its_end(cli, "f")
        bench.claim(f"{how.__name__[1:]}: the run is done afterwards", run["state"] == "done", run["outcome"])
    bench.claim("no process is left", not cli.processes(), cli.processes())
    subprocess.run(["umount", "-l", str(volume)], check=False, capture_output=True)


def _launch(bench: Bench, cli: Cli, volume: str) -> None:
    bench.say(cli, CALM, "launch", "--volume", volume, "--tag", "f", *SHORT, "--step-ms", "10")


def _look(bench: Bench, cli: Cli) -> None:
    for words in LOOKS:
        bench.say(cli, CALM, *words)


def _full(bench: Bench, cli: Cli, volume: str) -> None:
    path = cli.home.parent / f"volume-{cli.home.name}"
    mounted(path, f"size={bench.rng.choice((100, 400, 1500, 4000))}k")
    _launch(bench, cli, volume)
    if cli.json("ls"):
        bench.settled(cli, "f")
        _look(bench, cli)
    remounted(path, "size=200m")


def _read_only(bench: Bench, cli: Cli, volume: str) -> None:
    path = cli.home.parent / f"volume-{cli.home.name}"
    mounted(path, "size=100m")
    bench.say(cli, CALM, "launch", "--volume", volume, "--tag", "f", *SHORT, "--fault", "crash@35", "--watch")
    remounted(path, "ro")
    _look(bench, cli)
    for words in (("resume", "f"), ("rm", "f", "--yes"), ("checkpoints", "f", "--prune", "--yes")):
        bench.say(cli, CALM, *words)
    state = cli.run("f")["state"]
    bench.claim("read-only: a refused rm leaves the run as it was", state == "failed", state)
    remounted(path, "rw")


def _away(bench: Bench, cli: Cli, volume: str) -> None:
    path = cli.home.parent / f"volume-{cli.home.name}"
    path.mkdir()
    _launch(bench, cli, volume)
    time.sleep(bench.rng.uniform(0, 1.5))
    away = path.with_name(f"away-{path.name}")
    path.rename(away)
    _look(bench, cli)
    away.rename(path)
