"""Code that git has elsewhere: fetched into a bare repository of ours, and laid out as files. Nothing of it is run."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from runner.errors import Unreachable, UsageError
from runner.source import git
from runner.system import locks

# Programs that an address could name are none of ours to start.
SCHEMES = ("https", "http", "ssh", "git", "file")
FETCH_S = 600.0
_ASKED = "refs/nanochat-tui/asked"
_SHA = re.compile(r"[0-9a-f]{7,40}")


class Fetched(Struct, frozen=True):
    """A commit that is here: its repository on this disk, and the branch, where one was named."""

    repository: Path
    commit: str
    branch: str = ""


def fetch(address: str, ref: str, cache: Path) -> Fetched:
    """Bring a commit to this disk; blocks on the network unless it is a whole commit that is here already.

    Raises UsageError for what the address has not, Unreachable where git cannot get there.
    """
    repository = cache / "git" / hashlib.sha256(address.encode()).hexdigest()[:16]
    repository.mkdir(parents=True, exist_ok=True)
    path = repository / "nanochat-tui.lock"
    with path.open("a") as lock:
        if not locks.take_within(lock, path, FETCH_S):
            raise Unreachable(f"another nanochat-tui fetches {address} for long", "end it, then try again")
        return _fetched(repository, address, ref)


def _fetched(repository: Path, address: str, ref: str) -> Fetched:
    if not (repository / "HEAD").exists():
        _git(repository, "init", "--quiet", "--bare")
    if len(ref) == 40 and _SHA.fullmatch(ref) and (commit := _commit(repository, ref)):
        return Fetched(repository, commit)
    if not ref:
        _fetch(repository, address, f"+HEAD:{_ASKED}")
        return Fetched(repository, _commit(repository, _ASKED))
    _fetch(repository, address, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", more=("--prune",))
    if commit := _commit(repository, f"refs/heads/{ref}"):
        return Fetched(repository, commit, ref)
    if commit := _commit(repository, f"refs/tags/{ref}") or (_commit(repository, ref) if _SHA.fullmatch(ref) else ""):
        return Fetched(repository, commit)
    try:
        # A commit of a pull request, or another ref by its whole name.
        _fetch(repository, address, f"+{ref}:{_ASKED}")
    except Unreachable as error:
        raise UsageError(
            f"{address} has no branch, tag or commit {ref}", "look at its branches, then try again", field="code"
        ) from error
    return Fetched(repository, _commit(repository, _ASKED))


@contextmanager
def laid_out(fetched: Fetched) -> Iterator[Path]:
    """The files of a commit, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="nanochat-code-") as name:
        folder = Path(name) / "code"
        folder.mkdir()
        env = {"GIT_INDEX_FILE": str(Path(name) / "index")}
        _git(fetched.repository, f"--work-tree={folder}", "checkout", "--force", fetched.commit, "--", ".", env=env)
        yield folder


def _commit(repository: Path, name: str) -> str:
    """The commit that a name stands for, empty for none."""
    try:
        return (
            git.ask(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
            .decode()
            .strip()
        )
    except git.NoGit:
        return ""


def _fetch(repository: Path, address: str, *what: str, more: Sequence[str] = ()) -> None:
    try:
        _git(
            repository,
            "fetch",
            "--quiet",
            "--force",
            "--no-auto-maintenance",
            *more,
            "--end-of-options",
            address,
            *what,
        )
    except git.NoGit as error:
        raise Unreachable(
            f"git cannot fetch {address} ({error})", "see whether `git ls-remote` gets there from this machine"
        ) from error


def _git(repository: Path, *words: str, env: dict[str, str] | None = None) -> None:
    allowed = {
        "GIT_ALLOW_PROTOCOL": ":".join(SCHEMES),
        "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -oBatchMode=yes"),
    }
    git.ask(repository, *words, env=allowed | (env or {}), timeout_s=FETCH_S)
