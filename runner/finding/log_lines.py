"""The lines of one log that have a text, a piece of the log at a time: the newest are kept, all are counted."""

from collections.abc import Callable, Iterator
from pathlib import Path

from runner.finding.hits import KEPT, Batch, Hit, Kind
from runner.logs.log_file import LogFile
from runner.logs.search import Query, Scan, exact_query, hit_spans, parse_query
from runner.logs.timestamps import LogTimes
from runner.nanochat import layout
from runner.text.sanitize import sanitize_line

# So much is looked at before what was found is told, and before it is seen whether anybody still wants it.
PIECE, STEP = 32 << 20, 4 << 20
# So much of a line is kept, with so much before what was found.
LONGEST, BEFORE = 400, 60


def query_of(text: str) -> Query:
    """The exact text, without regard to case where none of it is upper case, or `~regex`. Raises UsageError."""
    if text.startswith("!"):
        # The lines without something are nearly all.
        return exact_query(text)
    return parse_query(text)


def is_for_names(text: str) -> bool:
    """Whether names can be meant, too."""
    return not text.startswith(("~", "level:"))


def lines_of(
    path: Path, wanted: Query, run: str, tag: str, stop: Callable[[], bool], kept: int = KEPT
) -> Iterator[tuple[Batch, float]]:
    """Hits in a log as they are found, with the share of it that was looked at. Ends early when told to stop."""
    log = LogFile(path)
    while log.refresh(STEP):
        if stop():
            return
        if not log.behind:
            break
    times = LogTimes(path.with_name(layout.TIMES_FILE))
    times.refresh()
    scan, told, looked = Scan(log, wanted), 0, 0
    while not stop():
        before = scan.fraction_scanned
        more = scan.advance(1)
        looked += 1
        if more and looked * (1 << 19) < PIECE and before < 1.0:
            continue
        if not more:
            scan.look_at_unfinished()
        looked = 0
        new = scan.lines()[told:]
        told += len(new)
        hits = [_hit(log, times, wanted, line, run, tag) for line in reversed(new[-kept:])]
        yield Batch(Kind.LOG, hits, len(new)), scan.fraction_scanned
        if not more:
            return


def _hit(log: LogFile, times: LogTimes, wanted: Query, line: int, run: str, tag: str) -> Hit:
    at = times.at(log.start(line))
    text = excerpt(sanitize_line(log.text(line)), wanted)
    rank = (-(at if at is not None else log.changed_at), -line)
    return Hit(Kind.LOG, f"{run}:{line}", text, rank=rank, run=run, tag=tag, line=line, at=at)


def excerpt(text: str, wanted: Query) -> str:
    """A line as it is shown in a list: from a little before what was found."""
    spans = hit_spans(wanted, text)
    first = spans[0][0] if spans else 0
    if first <= BEFORE + 20:
        return text[:LONGEST]
    return f"…{text[first - BEFORE : first - BEFORE + LONGEST]}"
