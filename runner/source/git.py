"""What git says of a folder. It is asked, never changed: nothing of the repository is run, and no network is used."""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from runner.nanochat.command_lines import COMMIT, REPOSITORY
from runner.text.sanitize import sanitize_line

TIMEOUT_S = 30.0
_QUIET = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "maintenance.auto=false")
# Set where git itself has started us, and about another repository.
_OF_A_REPOSITORY = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS",
    "GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE", "GIT_LITERAL_PATHSPECS",
}  # fmt: skip
# Without a word to the contrary no network is used.
_ASKS_NOBODY = {
    "GIT_ALLOW_PROTOCOL": "none", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_ASKPASS": "true",
    "LC_ALL": "C",
}  # fmt: skip


class NoGit(Exception):
    """Git gives no answer; says why in a few words."""


class GitState(Struct, frozen=True):
    """Where a folder's code stands: `base` is nanochat's own commit that it is built on; each is empty if not known.

    `dirty` is true where files differ from the commit, or are new.
    """

    commit: str = ""
    branch: str = ""
    dirty: bool = False
    base: str = ""


def ask(
    folder: Path, *words: str, input_: bytes = b"", env: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
) -> bytes:
    """What a git command prints; `env` goes over what it would see. Raises NoGit."""
    import subprocess

    kept = {name: value for name, value in os.environ.items() if name not in _OF_A_REPOSITORY}
    argv = ["git", *_QUIET, "-C", str(folder), *words]
    try:
        done = subprocess.run(
            argv,
            env=kept | _ASKS_NOBODY | dict(env or {}),
            input=input_,
            capture_output=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise NoGit(f"git did not answer within {timeout_s:.0f} s") from error
    except FileNotFoundError as error:
        raise NoGit("git is not installed") from error
    except OSError as error:
        raise NoGit(f"git does not start ({error.strerror})") from error
    if done.returncode:
        raise NoGit(_why(done.stderr.decode("utf-8", "replace")))
    return done.stdout


def state_of(folder: Path) -> GitState:
    """Commit, branch, changes and base of a folder; all empty where git has no answer."""
    try:
        said = ask(folder, "status", "--porcelain=v2", "--branch", "-z", "--", ".").decode("utf-8", "replace")
    except NoGit:
        return GitState()
    lines = said.split("\0")
    heads = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch.") and line.count(" ") > 1)
    commit, branch = heads.get("branch.oid", ""), heads.get("branch.head", "")
    dirty = any(line and not line.startswith("# ") for line in lines)
    if commit == "(initial)":
        return GitState("", branch, dirty)
    return GitState(commit, "" if branch == "(detached)" else branch, dirty, base_of(folder, "HEAD"))


def base_of(folder: Path, commit: str) -> str:
    """The newest commit of nanochat's own repository below this one: by its remote, or the one that we know."""
    refs = [ref for remote in _remotes(folder) for ref in _heads(folder, remote)]
    try:
        if refs:
            return ask(folder, "merge-base", commit, *refs).decode().strip()
        ask(folder, "merge-base", "--is-ancestor", COMMIT, commit)
    except NoGit:
        return ""
    return COMMIT


def _remotes(folder: Path) -> list[str]:
    """The remotes that are nanochat's own repository."""
    try:
        said = ask(folder, "config", "-z", "--get-regexp", r"^remote\..*\.url$").decode("utf-8", "replace")
    except NoGit:
        return []
    name = REPOSITORY.partition("://")[2].partition("/")[2].lower()
    urls = (entry.partition("\n") for entry in said.split("\0"))
    return [
        key.removeprefix("remote.").removesuffix(".url")
        for key, _, url in urls
        if url.lower().rstrip("/").removesuffix(".git").replace(":", "/").endswith(f"/{name}")
    ]


def _heads(folder: Path, remote: str) -> list[str]:
    try:
        where = [f"refs/remotes/{remote}/{name}" for name in ("HEAD", "master", "main")]
        return ask(folder, "for-each-ref", "--format=%(objectname)", *where).decode().split()
    except NoGit:
        return []


def files_at(folder: Path, commit: str) -> dict[str, bytes]:
    """The files of a commit by their paths in this folder, a link's target as its content. Raises NoGit."""
    words = ask(folder, "ls-tree", "-r", "-z", commit).split(b"\0")
    rows = [(meta.split(), path) for meta, tab, path in (word.partition(b"\t") for word in words) if tab]
    blobs = [(meta[2].decode(), path) for meta, path in rows if meta[1] == b"blob"]
    said = ask(folder, "cat-file", "--batch", input_=("\n".join(sha for sha, _ in blobs) + "\n").encode())
    found, at = {}, 0
    for _, path in blobs:
        head, _, _ = said[at : at + 200].partition(b"\n")
        size = int(head.split()[2])
        at += len(head) + 1
        found[path.decode("utf-8", "surrogateescape")] = said[at : at + size]
        at += size + 1
    return found


def _why(stderr: str) -> str:
    """Git's own reason in a few words."""
    if "not a git repository" in stderr:
        return "it is no git repository"
    if "dubious ownership" in stderr:
        return "git does not trust it, as it belongs to another user"
    lines = [sanitize_line(line).removeprefix("fatal: ") for line in stderr.split("\n") if line.strip()]
    return f"git says: {lines[-1][:160]}" if lines else "git gives no reason"
