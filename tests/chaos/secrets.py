"""What is secret stays so: nothing of the environment on disk or in command lines, records for their owner alone."""

import os
from pathlib import Path

from tests.chaos.bench import Bench

NAMES = ("MY_API_TOKEN", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "WANDB_API_KEY")
HOOK = "https://hooks.example.com/T0/"


def strike(bench: Bench) -> None:
    cli, secret = bench.cli(), bench.rng.randbytes(12).hex()
    umask = bench.rng.choice((0o022, 0o077, 0o002, 0o000))
    before = os.umask(umask)
    try:
        cli("settings", "webhook", f"{HOOK}{secret}")
        cli.env |= dict.fromkeys(NAMES, f"env-{secret}")
        cli("launch", "--tag", "s", "--fault", "hang@3", "--step-ms", "0")
        lines = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in cli.processes())
        cli("cancel", "s")
    finally:
        os.umask(before)
    bench.claim("no secret in a command line", secret.encode() not in lines, lines)
    files = [p for p in cli.home.rglob("*") if p.is_file()]
    leaked = [p for p in files if f"env-{secret}".encode() in p.read_bytes()]
    bench.claim("nothing of the environment is on disk", not leaked, leaked)
    volume = [p for p in files if "volumes" in p.parts and secret.encode() in p.read_bytes()]
    bench.claim("no webhook is on the volume", not volume, volume)
    private = [p for p in cli.home.iterdir() if p.name == "settings.toml" or p.name.startswith("registry.db")]
    readable = [(p.name, oct(p.stat().st_mode)) for p in private if p.stat().st_mode & 0o077]
    bench.claim("settings and registry are their owner's alone", not readable, (oct(umask), readable))
    written = [p for p in files if p.stat().st_mode & 0o002]
    bench.claim("nothing can be written by everybody", not written or not umask, (oct(umask), written[:5]))
