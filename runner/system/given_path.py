"""A path that a person gave, in a command, a dialog, a setting or the environment: absolute, or refused in words."""

import os
import pwd
from pathlib import Path

from runner.errors import UsageError

# What the usual file systems take: bytes of a name, and of a whole path.
MOST_NAME, MOST_PATH = 255, 4095


def given_path(text: str, *, field: str = "") -> Path:
    """The path that is meant, `~` and `~name` being home folders. Raises UsageError; the disk is not asked."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise UsageError("that is no path", "leave out what is no text", field=field) from error
    if not text:
        raise UsageError("no path was given", "name a file or folder", field=field)
    if "\0" in text:
        raise UsageError(f"{_said(text)} is no path", "leave out what cannot be seen", field=field)
    try:
        path = Path(_expanded(text))
        raw = os.fsencode(path if path.is_absolute() else Path.cwd() / path)
    except FileNotFoundError as error:
        raise UsageError("the current folder is gone", "cd to another one", field=field) from error
    except _NoHome as error:
        raise UsageError(f"{_said(text)}: {error}", "write the folder out", field=field) from error
    if len(raw) > MOST_PATH or any(len(name) > MOST_NAME for name in raw.split(b"/")):
        raise UsageError(f"{_said(text)} is too long for a path", "give a shorter one", field=field)
    return Path(os.fsdecode(raw))


def _said(text: str) -> str:
    from runner.text.filenames import path_for_terminal

    return path_for_terminal(text if len(text) <= 80 else f"{text[:40]}…{text[-30:]}")


def begin_in() -> Path:
    """The folder that a person is offered: the current one, or where it is gone that of a home, or the root."""
    for find in (Path.cwd, lambda: Path(_expanded("~"))):
        try:
            return find()
        except (OSError, _NoHome):
            continue
    return Path("/")


class _NoHome(Exception):
    """A home folder that is not known."""


def _expanded(text: str) -> str:
    """A text whose first part is no `~` any more."""
    first, slash, rest = text.partition("/")
    if not first.startswith("~"):
        return text
    name = first[1:]
    try:
        home = pwd.getpwnam(name).pw_dir if name else os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    except (KeyError, ValueError) as error:
        raise _NoHome(f"there is no user {_said(name)}" if name else "this user has no home folder") from error
    if not home.startswith("/"):
        raise _NoHome("that home folder has no whole path")
    return home.rstrip("/") + slash + rest if rest else home
