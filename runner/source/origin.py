"""Where a person's code comes from: a folder, or a place that git knows, brought here and packed."""

import io
import os
import re
from pathlib import Path

import msgspec
from msgspec import Struct

from runner.errors import UsageError
from runner.model.code import Code
from runner.nanochat import code_facts
from runner.nanochat.code_facts import CodeFacts
from runner.nanochat.command_lines import COMMIT, REPOSITORY
from runner.source.archive_reader import BadArchive, members
from runner.source.difference import archive_files, tree_diff
from runner.source.fetch import SCHEMES, fetch, laid_out
from runner.source.git import base_of, files_at
from runner.source.pack import Packed, archive_path, pack
from runner.system import atomic
from runner.system.given_path import given_path
from runner.text.sanitize import sanitize_line

UPSTREAM = "upstream"
# In the data folder: archives by their content, and repositories that were fetched.
CACHE = "code"
# Raised when more is read of code than before.
FACTS_VERSION = 3
_SHORT = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")
_SCP = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^\s]+")
_REF = re.compile(r"[A-Za-z0-9._/+-]{1,200}")


class Request(Struct, frozen=True):
    """What `--code` names: a folder, or an address with the ref of it that is wanted, empty for its default branch."""

    folder: Path | None = None
    address: str = ""
    ref: str = ""


class Obtained(Struct, frozen=True):
    """Code that is packed on this disk: its record, its archive, what is known of it, and the folder that git asks."""

    code: Code
    archive: Path
    facts: CodeFacts
    repository: Path
    note: str = ""


def parse(text: str) -> Request:
    """What a person typed for `--code`. Raises UsageError."""
    said = text.strip()
    if not said:
        raise UsageError(
            "--code names nothing", "give a folder, owner/name@REF, an address, or upstream@COMMIT", field="code"
        )
    if said == UPSTREAM or said.startswith(f"{UPSTREAM}@"):
        ref = said.partition("@")[2]
        return Request(address=os.environ.get("NANOCHAT_URL", REPOSITORY), ref=_ref(ref or COMMIT))
    if said.startswith((".", "/", "~")) or Path(said).is_dir():
        return Request(folder=given_path(said, field="code"))
    scheme, sep, rest = said.partition("://")
    if sep:
        if scheme not in SCHEMES:
            raise UsageError(
                f"--code: {sanitize_line(scheme)[:20]}:// is no address of git",
                f"use {', '.join(SCHEMES)}",
                field="code",
            )
        host, slash, path = rest.partition("/")
        if ":" in host.rpartition("@")[0]:
            raise UsageError(
                "--code: a password in an address would stay in the record",
                "leave it to git's own credential helper",
                field="code",
            )
        path, _, ref = path.partition("@")
        return Request(address=f"{scheme}://{host}{slash}{path}", ref=_ref(ref))
    if _SCP.fullmatch(said):
        where, _, path = said.partition(":")
        path, _, ref = path.partition("@")
        return Request(address=f"{where}:{path}", ref=_ref(ref))
    name, _, ref = said.partition("@")
    if _SHORT.fullmatch(name):
        return Request(address=f"https://github.com/{name}", ref=_ref(ref))
    raise UsageError(
        f"--code {sanitize_line(said)[:60]!r} is no folder and no address",
        "give a folder, owner/name@REF, an address, or upstream@COMMIT",
        field="code",
    )


def _ref(text: str) -> str:
    """A branch, tag or commit. Raises UsageError for what git would take for something else."""
    if text and (not _REF.fullmatch(text) or text.startswith("-") or ".." in text):
        raise UsageError(
            f"--code: {sanitize_line(text)[:40]!r} is no branch, tag or commit", "give one after the @", field="code"
        )
    return text


def obtain(text: str, home: Path, *, include_secrets: bool = False) -> Obtained:
    """Bring what `--code` names to this disk and pack it; blocks while git fetches. Raises UsageError, Unreachable.

    What is packed already is not packed again.
    """
    request = parse(text)
    if request.folder is not None:
        return _of_folder(request.folder, home, include_secrets=include_secrets)
    return _of_address(request, home, include_secrets=include_secrets)


def _of_folder(folder: Path, home: Path, *, include_secrets: bool) -> Obtained:
    packed = pack(folder, home / CACHE, include_secrets=include_secrets)
    state = packed.git
    base = state.base or (state.commit if state.dirty else "")
    code = Code(
        sha=packed.sha256,
        origin=str(folder),
        commit=state.commit,
        branch=state.branch,
        dirty=state.dirty,
        base=base,
        bytes=packed.path.stat().st_size,
    )
    return Obtained(code, packed.path, _facts(packed, home), folder, packed.note)


def _of_address(request: Request, home: Path, *, include_secrets: bool) -> Obtained:
    fetched = fetch(request.address, request.ref, home / CACHE)
    with laid_out(fetched) as folder:
        packed = pack(folder, home / CACHE, include_secrets=include_secrets)
    base = base_of(fetched.repository, fetched.commit)
    code = Code(
        sha=packed.sha256,
        origin=request.address,
        commit=fetched.commit,
        branch=fetched.branch,
        base="" if base == fetched.commit else base,
        bytes=packed.path.stat().st_size,
    )
    return Obtained(code, packed.path, _facts(packed, home), fetched.repository, packed.note)


def archive(sha: str, home: Path) -> Path:
    """Where code of that content lies on this disk, if it does."""
    return archive_path(home / CACHE, sha)


def keep(sha: str, data: bytes, home: Path) -> None:
    """Put code that came from elsewhere where packed code lies, if it is what its name says. Raises UsageError."""
    try:
        for _ in members(io.BytesIO(data), sha):
            pass
    except BadArchive as error:
        raise UsageError(f"the code {sha[:12]} on the volume cannot be used: {error}", field="code") from error
    atomic.write(archive(sha, home), data)


def learn(sha: str, home: Path) -> None:
    """See that it is known what code is made of that lies on this disk. Raises UsageError for what is no nanochat."""
    if known_facts(sha, home) is None:
        try:
            files = archive_files(archive(sha, home))
        except BadArchive as error:
            raise UsageError(f"the code {sha[:12]} cannot be used: {error}", field="code") from error
        atomic.write(_facts_path(sha, home / CACHE), msgspec.json.encode(code_facts.facts_of(files.items())))


def known_facts(sha: str, home: Path) -> CodeFacts | None:
    """What is known of code by its content; None where it was never packed here."""
    try:
        return msgspec.json.decode(_facts_path(sha, home / CACHE).read_bytes(), type=CodeFacts)
    except (OSError, msgspec.MsgspecError):
        return None


def _facts_path(sha: str, cache: Path) -> Path:
    return cache / f"{sha}.facts-{FACTS_VERSION}.json"


def _facts(packed: Packed, home: Path) -> CodeFacts:
    """What is known of packed code, read once for each content of it."""
    found = known_facts(packed.sha256, home)
    if found is None:
        found = code_facts.facts_of(archive_files(packed.path).items())
        atomic.write(_facts_path(packed.sha256, home / CACHE), msgspec.json.encode(found))
    return found


def keep_diff(obtained: Obtained, home: Path) -> None:
    """Write down how code differs from its base, where it has one."""
    path = _diff_path(obtained.code, home / CACHE)
    if obtained.code.base and not path.is_file():
        before = files_at(obtained.repository, obtained.code.base)
        text = tree_diff(before, archive_files(obtained.archive))
        atomic.write(path, text.encode("utf-8", "surrogateescape"))


def kept_diff(code: Code, home: Path) -> bytes:
    """How code differs from its base, as a unified diff; empty where that is not known here."""
    try:
        return _diff_path(code, home / CACHE).read_bytes() if code.base else b""
    except FileNotFoundError:
        return b""


def _diff_path(code: Code, cache: Path) -> Path:
    return cache / f"{code.sha}-{code.base[:12]}.diff"
