"""The commit that code is compared with: nanochat's own, that it is built on."""

from pathlib import Path

from runner.nanochat.command_lines import COMMIT
from runner.source.git import NoGit, ask


def base_of(repository: Path, commit: str) -> str:
    """The pinned commit where another one is built on it; empty where it is not, or is that commit."""
    if commit == COMMIT:
        return ""
    try:
        ask(repository, "merge-base", "--is-ancestor", COMMIT, commit)
    except NoGit:
        return ""
    return COMMIT


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
