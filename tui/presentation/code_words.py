"""How the code of one run differs from another's, in the words that the command line and the screens share."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from runner.metrics.compare import UPSTREAM
from runner.model.run import Run
from runner.text.filenames import path_for_terminal

if TYPE_CHECKING:
    from runner.source.difference import Change

Files = Sequence[tuple[str, "Change"]]


def counted(files: Files) -> str:
    """`2 changed, 1 added`; or that they are the same."""
    kinds = [change for _, change in files]
    return ", ".join(f"{kinds.count(kind):,} {kind}" for kind in dict.fromkeys(sorted(kinds))) or "the same code"


def upstream_of(runs: Sequence[Run]) -> list[str]:
    """Tags of the runs that train the pinned upstream, whose files are kept nowhere."""
    return [run.tag for run in runs if run.spec.code is None]


def lines(old: Run, new: Run, files: Files, most: int = 20) -> Iterator[str]:
    """What differs: a line for the two of them, then one for each file, made harmless."""
    if upstream := upstream_of([old, new]):
        yield f"code of {' and '.join(upstream)}: {UPSTREAM}"
        return
    yield f"code of {new.tag} against {old.tag}: {counted(files)}"
    for name, change in files[:most]:
        yield f"  {change:<8} {path_for_terminal(name)}"
    if len(files) > most:
        yield f"  and {len(files) - most:,} more"
