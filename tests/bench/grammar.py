"""How many lines a second the grammar reads, alone and where a prefix is looked for, against a bare `str.split`.

python -m tests.bench.grammar
"""

import re
import time
from collections.abc import Callable

from runner.logs.prefix import Prefixes
from runner.nanochat.grammar import parse
from runner.text.sanitize import strip_ansi
from tests.conftest import DATA

ROUNDS = 5


def best(read: Callable[[str], object], lines: list[str]) -> float:
    """Lines a second, the best of some rounds."""
    rates = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for line in lines:
            read(line)
        rates.append(len(lines) / (time.perf_counter() - began))
    return max(rates)


def main() -> None:
    for name in ("cpu_base_train_d4", "cpu_chat_sft_d4", "h200x2_x2_sigterm"):
        raw = (DATA / "logs" / f"{name}.log").read_bytes().decode("utf-8", "replace")
        lines = [strip_ansi(line) for line in re.split(r"[\n\r]", raw)] * 200
        floor, ours, whole = (
            best(lambda line: line.split(" | "), lines),
            best(parse, lines),
            best(Prefixes().read, lines),
        )
        rates = f"parse {ours:10,.0f} lines/s   with its prefix {whole:10,.0f}   split {floor:10,.0f}"
        print(f"{name:<20} {rates}   ratio {floor / ours:.1f}, {floor / whole:.1f}")


if __name__ == "__main__":
    main()
