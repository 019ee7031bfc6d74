"""Words that the command line and the screens share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.text import filenames, units
from runner.text.sanitize import sanitize_line
from runner.transfer.download import TransferProgress

if TYPE_CHECKING:
    from runner.volumes.trash import Trashed, TrashUsage


def transfer_text(progress: TransferProgress) -> str:
    """A transfer in a line: `1.2 of 3.9 GB, 3 of 16 files, 84.0 MB/s, 32s left`."""
    words = [f"{units.size(progress.bytes_done)} of {units.size(progress.bytes)}"]
    if progress.files > 1:
        words.append(f"{progress.files_done:,} of {progress.files:,} files")
    if progress.paused:
        return ", ".join([*words, "paused"])
    if progress.per_s:
        words += [f"{units.size(int(progress.per_s))}/s", f"{units.duration(progress.left_s)} left"]
    return ", ".join(words)


def command_line(*words: str) -> str:
    """The command that does what a screen does, as a dialog shows it."""
    return " ".join(["nanochat-tui", *map(filenames.shell_quote, words)])


def trashed_name(entry: Trashed) -> str:
    """What was deleted at once, by its name: a run by its tag, one file by its path, several by their number."""
    first = sanitize_line(entry.tag) or filenames.path_for_terminal(entry.paths[0])
    return first if len(entry.paths) == 1 else f"{first} and {len(entry.paths) - 1} more"


def trash_text(held: TrashUsage, now: float) -> str:
    """What the trash holds in a few words; empty where that is nothing."""
    if not held.files:
        return ""
    return f"trash {units.size(held.bytes)}, empties in {units.age(now, max(now, held.until))}"


def kept_text(days: int) -> str:
    """What becomes of what is deleted."""
    kept = f"kept {units.pluralize(days, 'day')} in the trash; its bytes are freed only then, or at once for good"
    return kept if days else "for good: it cannot be undone"
