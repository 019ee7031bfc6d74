"""The map of rooms in ARCHITECTURE.md is the one that is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (`(?:runner|tui)/.*?) \| (.*) \|$", re.MULTILINE)


def rooms() -> dict[str, str]:
    """Folder -> what is said of it, for the rows of the map; several files of one room may share a row."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    return {where: said for where, said in ROW.findall(text[text.index("## Rooms") : text.index("## The way")])}


def modules(folder: str) -> set[str]:
    return {path.stem for path in (ROOT / folder).glob("*.py") if path.stem not in ("__init__", "__main__")}


def test_every_module_stands_in_the_map_in_the_row_of_its_room() -> None:
    unsaid = {"tui/screens", "tui/widgets", "runner/rehearsal"}
    for where, said in rooms().items():
        for folder in re.findall(r"`([a-z/_]+)/`", where):
            known = set(re.findall(r"`([a-z_]+)`", said))
            assert folder in unsaid or modules(folder) <= known, folder
            here = {path.name for path in (ROOT / folder).iterdir() if path.is_dir()}
            assert known - modules(folder) - here <= {"__main__"}, folder


def test_every_room_and_every_file_beside_them_stands_in_the_map() -> None:
    where = " ".join(rooms())
    for package in ("runner", "tui"):
        for path in (ROOT / package).iterdir():
            if path.name.startswith("__") or path.name == "py.typed":
                continue
            name = f"{path.name}/`" if path.is_dir() else path.name
            assert name in where, path
