"""Draws the rooms of both packages from their imports; `python -m tests.rooms` holds ARCHITECTURE.md to that."""

import sys
from pathlib import Path

import grimp

PAGE = Path(__file__).parents[1] / "ARCHITECTURE.md"
BEGIN, END = "<!-- drawn by python -m tests.rooms --write -->\n```\n", "```\n<!-- end of the drawing -->"
PACKAGES = ("tui", "runner")


def arrows() -> dict[str, set[str]]:
    """Room -> the rooms of the same package that it imports."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    rooms = [room for package in PACKAGES for room in graph.find_children(package)]
    for room in rooms:
        if graph.find_children(room):
            graph.squash_module(room)
    return {
        room: {to for to in graph.find_modules_directly_imported_by(room) if to in rooms and to[:4] == room[:4]}
        for room in rooms
    }


def layers(known: dict[str, set[str]]) -> list[list[str]]:
    """Rooms by how far they are from the ones that import nothing, those first. Raises ValueError for a circle."""
    found: list[list[str]] = []
    placed: set[str] = set()
    while left := known.keys() - placed:
        layer = sorted(room for room in left if known[room] <= placed)
        if not layer:
            raise ValueError(f"these import each other: {', '.join(sorted(left))}")
        found.append(layer)
        placed |= set(layer)
    return found


def drawn() -> str:
    """A line a room, the highest first, each with the rooms below it that it imports itself."""
    known, lines = arrows(), []
    for package in PACKAGES:
        own = {room: to for room, to in known.items() if room.startswith(f"{package}.")}
        width = max(map(len, own))
        for layer in reversed(layers(own)):
            for room in layer:
                below = " ".join(sorted(to.partition(".")[2] for to in own[room]))
                lines.append(f"{room:<{width}} -> {below}" if below else room)
            lines.append("")
        lines[-1] = "  |\n  v\n" if package != PACKAGES[-1] else ""
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    made = f"{before}{BEGIN}{drawn()}{END}{after}"
    if "--write" in sys.argv[1:]:
        PAGE.write_text(made)
    elif made != text:
        print("ARCHITECTURE.md shows other rooms than there are: python -m tests.rooms --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
