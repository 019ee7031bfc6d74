"""`python -m tests.chaos [ATTACK ...] --seconds 120 --seed 1`: every attack for its share of the time, then a table."""

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.chaos.bench import Bench, struck

ATTACKS = (
    "kills", "disks", "eio", "records", "content", "logs", "keys", "noise", "dialogs", "signals", "clocks", "secrets",
    "leaks",
)  # fmt: skip
OWN_MOUNTS = ("unshare", "--map-root-user", "--user", "--mount")
MARK = "CHAOS_MOUNTS"


def in_own_mounts() -> None:
    """Begin again where mounting touches nobody else, if this machine allows that."""
    if MARK in os.environ:
        return
    probe = [*OWN_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    allowed = bool(shutil.which("unshare")) and not subprocess.run(probe, check=False, capture_output=True).returncode
    os.environ[MARK] = "1" if allowed else "0"
    if allowed:
        os.execvp(OWN_MOUNTS[0], [*OWN_MOUNTS, sys.executable, "-m", "tests.chaos", *sys.argv[1:]])


def table(benches: list[Bench]) -> None:
    rows = [("attack", "what must hold", "tries", "survived", "lost")]
    for bench in benches:
        if bench.skipped and not bench.claims:
            rows.append((bench.name, f"skipped: {bench.skipped}", "", "", ""))
        for what, claim in bench.claims.items():
            lost = len(claim.lost)
            rows.append((bench.name, what, str(claim.tries), str(claim.tries - lost), str(lost)))
    widths = [max(len(row[n]) for row in rows) for n in range(5)]
    for row in rows:
        left = "  ".join(cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True))
        right = "  ".join(cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True))
        print(f"{left}  {right}")
    for bench in benches:
        for line in bench.figures:
            print(f"{bench.name}: {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attacks", nargs="*", choices=[*ATTACKS, []], metavar="ATTACK", help=", ".join(ATTACKS))
    parser.add_argument("--seconds", type=float, default=120.0, help="for all attacks together; each strikes once")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    in_own_mounts()
    names = args.attacks or list(ATTACKS)
    root = Path(tempfile.mkdtemp(prefix="chaos-"))
    benches = []
    try:
        for name in names:
            bench = Bench(name, args.seed, root)
            benches.append(bench)
            print(f"{name} …", file=sys.stderr, flush=True)
            struck(importlib.import_module(f"tests.chaos.{name}"), bench, args.seconds / len(names))
    except KeyboardInterrupt:
        print("stopped: what was tried until then", file=sys.stderr)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    for bench in benches:
        for what, claim in bench.claims.items():
            for seen in claim.lost[:3]:
                print(f"\nLOST {bench.name}: {what} (seed {args.seed})\n{seen}")
    print()
    table(benches)
    return int(any(claim.lost for bench in benches for claim in bench.claims.values()))


if __name__ == "__main__":
    sys.exit(main())
