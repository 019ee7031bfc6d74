"""What has changed from one tree of code to another."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Literal

from runner.source import tar
from runner.source.archive_reader import members

Change = Literal["changed", "added", "removed"]
# Bytes of text, after which the rest is only counted.
MOST_TEXT = 2_000_000
# Lines of one file that are compared: the time goes with their square.
MOST_LINES = 10_000
_TOLD_BY = 8_000


def archive_files(archive: Path | BinaryIO, sha256: str = "") -> dict[str, bytes]:
    """The files of an archive by their names; a link's content is its target, as git has it.

    Raises BadArchive, also where its content has another digest than the one that is asked for.
    """
    if isinstance(archive, Path):
        with archive.open("rb") as file:
            return archive_files(file, sha256)
    found = dict[str, bytes]()
    for member in members(archive, sha256):
        if member.kind == tar.LINK:
            found[member.name] = member.target.encode("utf-8", "surrogateescape")
        elif member.kind == tar.FILE:
            found[member.name] = b"".join(member.chunks)
    return found


def changed_files(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> list[tuple[str, Change]]:
    """The files that differ, sorted by name."""
    return [
        (name, "added" if name not in old else "removed" if name not in new else "changed")
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def tree_diff(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> str:
    """A unified diff of two trees, as `git diff` writes it; the text is as hostile as the files are."""
    pieces, size, left_out = list[str](), 0, 0
    for name, _ in changed_files(old, new):
        piece = "" if size >= MOST_TEXT else "".join(_file_diff(name, old.get(name), new.get(name)))
        if not piece or size + len(piece) > MOST_TEXT:
            left_out += 1
            continue
        pieces.append(piece)
        size += len(piece)
    if left_out:
        pieces.append(f"{left_out} more {'file differs' if left_out == 1 else 'files differ'}, left out here\n")
    return "".join(pieces)


def _file_diff(name: str, old: bytes | None, new: bytes | None) -> Iterator[str]:
    import difflib

    before, after = (_quoted(f"{side}/{name}") for side in "ab")
    yield f"diff --git {before} {after}\n"
    if old is None or new is None:
        yield f"{'new' if old is None else 'deleted'} file mode 100644\n"
    from_, to = "/dev/null" if old is None else before, "/dev/null" if new is None else after
    texts = _text(old or b""), _text(new or b"")
    if texts[0] is None or texts[1] is None:
        yield f"Binary files {from_} and {to} differ\n"
        return
    lines = _lines(texts[0]), _lines(texts[1])
    if max(map(len, lines)) > MOST_LINES:
        yield f"Files {from_} and {to} differ, of {len(lines[0]):,} and {len(lines[1]):,} lines\n"
        return
    for line in difflib.unified_diff(*lines, from_, to):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _text(data: bytes) -> str | None:
    """The text of a file; None where it is none."""
    if b"\0" in data[:_TOLD_BY]:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _lines(text: str) -> list[str]:
    lines = [f"{line}\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _quoted(name: str) -> str:
    """A name as git shows it: in quotes where it holds anything that is not plain."""
    raw = name.encode("utf-8", "surrogateescape")
    if name.isprintable() and not set(name) & set('"\\'):
        return name
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03o}" for b in raw) + '"'
