"""What is known of a volume's folders: looked at when, sorted, filtered, found by a few letters. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter

from msgspec import Struct

from runner.volumes.base import Entries, Entry

MOST_KNOWN = 500_000


class DirectoryListing(Struct, frozen=True):
    """A look at a folder: its entries, when (epoch seconds), and why it could not be read, if so."""

    entries: Entries
    at: float
    problem: str = ""


class DirectoryCache:
    """The folders of one volume that were looked at; the ones looked at longest ago go when there are too many."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._looks: dict[str, DirectoryListing] = {}
        self._most, self._count = most, 0

    def put(self, path: str, look: DirectoryListing) -> None:
        """Keep a look. One that failed keeps what was known before."""
        old = self._looks.pop(path, None)
        if look.problem and old and not look.entries:
            look = DirectoryListing(old.entries, old.at, look.problem)
        self._count += len(look.entries) - (len(old.entries) if old else 0)
        self._looks[path] = look
        while self._count > self._most and len(self._looks) > 1:
            oldest = next(iter(self._looks))
            self._count -= len(self._looks.pop(oldest).entries)

    def get(self, path: str) -> DirectoryListing | None:
        return self._looks.get(path)

    def everything(self) -> Iterator[Entry]:
        for look in list(self._looks.values()):
            yield from look.entries


# Folders come first where names are sorted; where a number is, the largest or newest comes first.
SORTS = ("name", "size", "time")
_PATH, _BYTES, _MTIME = attrgetter("path"), attrgetter("bytes"), attrgetter("mtime")


def ordered(entries: Iterable[Entry], sort: str, words: str = "", *, reverse: bool = False) -> Entries:
    """Those whose name has all words, without regard to case, sorted by one of SORTS, or the other way round."""
    wanted = words.lower().split()
    found = [e for e in entries if all(w in e.name.lower() for w in wanted)] if wanted else list(entries)
    # One plain key at a time: a hundred thousand tuples would hold up the screen.
    found.sort(key=_PATH, reverse=reverse and sort == "name")
    if sort == "name":
        return [e for e in found if e.is_dir] + [e for e in found if not e.is_dir]
    found.sort(key=_BYTES if sort == "size" else _MTIME, reverse=not reverse)
    return found


def fuzzy(entries: Iterable[Entry], letters: str, most: int = 500, called: Mapping[str, str] | None = None) -> Entries:
    """Entries whose path has these letters in this order, the tightest match first, in the name before in the path.

    `called` are folders, two names deep, that are also known by a name that is not in their path.
    """
    typed = letters.replace(" ", "").lower()
    if not typed:
        return []
    scored: list[tuple[int, int, str, Entry]] = []
    for entry in entries:
        folder, name = "/".join(entry.path.split("/", 2)[:2]) if called else "", entry.name
        if called and folder in called:
            name = f"{name} {called[folder]}" if folder == entry.path else name
            path = f"{folder} {called[folder]}{entry.path.removeprefix(folder)}".lower()
        else:
            path = entry.path.lower()
        if (span := closeness(path, name, typed)) is None:
            continue
        scored.append((span, len(path), entry.path, entry))
    return [entry for *_, entry in sorted(scored, key=lambda s: s[:3])[:most]]


# A match in the name is tighter than any in the path.
IN_PATH = 1000


def closeness(path: str, name: str, letters: str) -> int | None:
    """How few characters of a name, the end of a path, hold all letters in their order; else IN_PATH and of the path.

    Path and letters are lower case. None where they are not in it.
    """
    if _after(path, letters, 0) is None:
        return None
    return _tightest(path[len(path) - len(name) :], letters) or IN_PATH + (_tightest(path, letters) or 0)


def _after(text: str, letters: str, at: int) -> int | None:
    """Where the first match of all letters in their order ends that begins here or later, if there is one."""
    for letter in letters:
        at = text.find(letter, at) + 1
        if not at:
            return None
    return at


def _tightest(text: str, letters: str) -> int | None:
    """The fewest characters that hold all letters in their order."""
    best, at = None, text.find(letters[0])
    while at >= 0 and (end := _after(text, letters, at)) is not None:
        best = min(end - at, best or end)
        at = text.find(letters[0], at + 1)
    return best
