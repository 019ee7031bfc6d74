"""Words that the command line and the screens share."""

from runner.text import filenames, units
from runner.transfer.download import Progress


def transfer_text(progress: Progress) -> str:
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
