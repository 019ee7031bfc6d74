"""A person's own nanochat, from the volume to the disk where it is run."""

from pathlib import Path

from msgspec import Struct

from runner.model.code import Code
from runner.model.status import Outcome, OutcomeKind
from runner.nanochat import layout, python_project
from runner.nanochat.code_facts import CodeFacts, facts_of
from runner.source.unpack import BadArchive, unpack
from runner.volumes.folder import FolderVolume

AGAIN = "launch it anew from the folder or address that it came from"


class UnpackedCode(Struct, frozen=True):
    """Code that can be run: all of it, the folder that modules are imported from, and what is known of it."""

    top: Path
    folder: Path
    facts: CodeFacts


def unpacked(volume: FolderVolume, code: Code, work: Path) -> UnpackedCode | Outcome:
    """Lay a run's code out on this disk, once; why that cannot be, where it cannot. Raises OSError, UsageError."""
    folder = work / "code" / code.sha
    try:
        unpack(volume.path(layout.code_archive(code.sha)), folder, code.sha)
    except FileNotFoundError:
        return Outcome(OutcomeKind.ENVIRONMENT, f"the code {code} is not on the volume any more", AGAIN)
    except BadArchive as error:
        return Outcome(OutcomeKind.ENVIRONMENT, f"the code {code} cannot be unpacked: {error}", AGAIN)
    sources = [*sorted(folder.rglob("*.py")), *(folder / name for name in python_project.FILES)]
    facts = facts_of((path.relative_to(folder).as_posix(), path.read_bytes()) for path in sources if path.is_file())
    return UnpackedCode(folder, folder / facts.root, facts)
