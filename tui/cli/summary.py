"""`nanochat-tui view FILE --summary`: what is in a log, in a few lines or as JSON."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from runner.errors import FileChanged, UsageError
from runner.exit_codes import Exit
from runner.logs.encoding import Text, is_plain
from runner.logs.log_file import LogFile
from runner.logs.summary import Summary, SummaryReader, Training, summarise
from runner.system.given_path import given_path
from tui.cli.logs import LONGEST
from tui.presentation import console

# So much of a log is read before it is said how far it is, and so long nothing is said; so much of a line counts.
TURN, PATIENCE_S, SAID_EVERY_S = 64 << 20, 2.0, 30.0


def summary(args: argparse.Namespace) -> int:
    """`nanochat-tui view FILE --summary`: what is in a log, in a few lines or as JSON."""
    with tempfile.TemporaryDirectory(prefix="nanochat-log-") as folder:
        path = given_path(args.file)
        if args.file != "-" and not path.is_file():
            raise UsageError(f"{args.file} is not a regular file", "give the path of a log, or pipe it to view -")
        if args.file == "-" and sys.stdin.isatty():
            raise UsageError("nothing is piped into view -", "pipe a log into it, or give the path of one")
        if args.file == "-":
            path = _copied(sys.stdin.buffer, "standard input", Path(folder))
        elif not is_plain(path):
            with path.open("rb") as file:
                path = _copied(file, path.name, Path(folder))
        progress = _Progress(args.file)
        try:
            found = read_summary(path, progress)
        finally:
            progress.clear()
    if args.json:
        console.as_json(found)
        return Exit.OK
    for name, value in _said(found):
        console.write(f"{name:<15} {value}")
    for problem in found.problems:
        console.write(f"  line {problem.line:>8,}  {problem.text}")
    return Exit.OK


def _copied(source: BinaryIO, name: str, folder: Path) -> Path:
    """The text of a log that is packed, in another encoding or comes through a pipe; says what of it is missing."""
    text, path = Text(source, name, folder), folder / "text.log"
    with path.open("wb") as file:
        while data := text.read():
            file.write(data)
    if text.said:
        console.message(f"nanochat-tui: {text.said}")
    return path


def read_summary(path: Path, told: Callable[[float], None] = lambda share: None) -> Summary:
    """The summary of a file as it is now, its unfinished last line included; `told` how far it is, now and then.

    Raises FileChanged.
    """
    log, reader, offset, size = LogFile(path), SummaryReader(), 0, path.stat().st_size
    while log.size < size and log.refresh(TURN):
        # Its last line may be most of it, which is only counted.
        told(max(offset, log.size - TURN) / size)
        for reached in summarise(log, reader, offset):
            offset = reached
            told(offset / size)
        if log.anew:
            raise FileChanged(f"{path} was written anew while it was read", "try again")
    if rest := log.read(offset, LONGEST):
        reader.add_line(rest)
    return reader.found


class _Progress:
    """Says on stderr, once it has lasted, how much of a log is read: over and over on a terminal, else at times."""

    def __init__(self, name: str) -> None:
        self._name, self._line = name, console.StatusLine()
        self._due = time.monotonic() + PATIENCE_S

    def __call__(self, share: float) -> None:
        if time.monotonic() < self._due:
            return
        said = f"{share:.0%} of {self._name} is read"
        if not self._line.put(said):
            console.message(f"nanochat-tui: {said}")
            self._due = time.monotonic() + SAID_EVERY_S

    def clear(self) -> None:
        self._line.clear()


def _said(found: Summary) -> Iterator[tuple[str, str]]:
    unknown = "–"
    yield "lines", f"{found.lines:,}, {found.not_understood:,} of them not understood"
    if found.attempts > 1:
        yield "attempts", f"{found.attempts:,}"
    yield "stages", ", ".join(found.stages) or unknown
    yield "steps", _steps(found)
    for name, value, places in (
        ("loss", found.loss, 4),
        ("val bpb", found.val_bpb, 4),
        ("CORE", found.core, 4),
        ("ChatCORE", found.chatcore, 4),
        ("MFU", found.mfu, 1),
        ("MFU as printed", found.mfu_printed, 1),
    ):
        if value is not None:
            yield name, f"{value:.{places}f}"
    if found.tokens_per_s is not None:
        yield "tokens/s", f"{found.tokens_per_s:,}"
    if tuned := found.fine_tuning:
        said = [f"loss {tuned.loss:.4f}"] if tuned.loss is not None else []
        said += [f"val bpb {tuned.val_bpb:.4f}"] if tuned.val_bpb is not None else []
        yield "fine-tuning", ", ".join([f"steps {_steps(tuned)}", *said])
    if found.gpu:
        yield "GPU", found.gpu
    yield "checkpoints", ", ".join(f"{step:,}" for step in found.checkpoints) or unknown
    for warning in found.warnings:
        yield "warning", warning
    yield "outcome", str(found.outcome or unknown)
    if found.outcome and found.outcome.advice:
        yield "do", found.outcome.advice
    yield "errors", f"{found.errors:,}"


def _steps(of: Training) -> str:
    last = "–" if of.step is None else f"{of.step:,}" + (f" of {of.total:,}" if of.total else "")
    return f"{of.steps:,}, the last {last}"
