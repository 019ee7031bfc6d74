"""Names of a volume -> names that are harmless on any disk. Pure."""

import re
import shlex
import unicodedata
from collections.abc import Iterable
from hashlib import sha256

from runner.text.sanitize import HIDDEN, sanitize_line

# Where downloads keep what is not whole yet; nothing on a volume is brought home under this name.
PARTS_FOLDER = ".nanochat-tui-parts"
# What was brought is put down in this file of the chosen folder; nor is anything brought under its name.
BROUGHT = ".nanochat-tui-brought"
MOST_BYTES = 200
_UNFIT = re.compile(rf'[\x00-\x1f\x7f-\x9f<>:"|?*\\%]|{HIDDEN}')
_UNSEEN = re.compile(rf"[\x00-\x1f\x7f-\x9f]|{HIDDEN}")
_RESERVED = re.compile(
    r"(con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$)(\..*)?|" + f"{re.escape(PARTS_FOLDER)}|{re.escape(BROUGHT)}",
    re.IGNORECASE,
)


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def safe_filename(name: str) -> str:
    """One name of a volume as a name on this disk: what some system would not take, or would hide, is `%XX`."""
    fit = _UNFIT.sub(lambda m: _percent(m[0]), name)
    if fit.strip(" .") == "" or _RESERVED.fullmatch(fit):
        fit = _percent(fit[:1] or "_") + fit[1:]
    if fit[-1] in " .":
        fit = fit[:-1] + _percent(fit[-1])
    return fit if len(fit.encode()) <= MOST_BYTES else _shortened(fit, name)


def _shortened(fit: str, name: str) -> str:
    """A long name by its beginning and a digest of all of it; its ending stays."""
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    stem, dot, ending = fit.rpartition(".")
    ending = dot + ending if stem and len(ending.encode()) <= 12 else ""
    room = MOST_BYTES - len(ending.encode()) - len(digest) - 1
    return fit.encode()[:room].decode("utf-8", "ignore").rstrip(" .%") + "~" + digest + ending


def safe_paths(paths: Iterable[str]) -> dict[str, str]:
    """Paths of a volume -> relative paths on this disk, no two of which are one on a disk that ignores case.

    The same paths give the same answer, so that a download that was cut finds what it has.
    """
    taken: dict[str, str] = {}
    found: dict[str, str] = {}

    def placed(path: str) -> str:
        if path in found:
            return found[path]
        folder, _, name = path.rpartition("/")
        above = f"{placed(folder)}/" if folder else ""
        wanted = above + safe_filename(name)
        if taken.setdefault(_folded(wanted), path) != path:
            wanted = f"{above}{_shortened(safe_filename(name), path)}"
            taken[_folded(wanted)] = path
        found[path] = wanted
        return wanted

    ordered = sorted(paths)
    return {path: placed(path) for path in ordered}


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def path_for_json(path: str) -> str:
    """A path for JSON and people: what is no text stays readable, as `\\udcff` does not in UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def path_for_terminal(path: str) -> str:
    """A path on a terminal, with what `sanitize_line` would drop made visible, so that no two names look alike."""
    return sanitize_line(_UNSEEN.sub(lambda m: _code(ord(m[0])), path_for_json(path)))


def shell_quote(path: str) -> str:
    """A path for a shell, in letters that every terminal shows and takes back as they stand."""
    if path == path_for_terminal(path):
        # In these nothing means anything to a shell but what ends them.
        plain = "'" in path and not any(sign in path for sign in '"$`\\!')
        return f'"{path}"' if plain else shlex.quote(path)
    raw = path.encode("utf-8", "surrogateescape")
    return "$'" + "".join(chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\x{b:02x}" for b in raw) + "'"


def _code(number: int) -> str:
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
