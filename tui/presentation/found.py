"""How a hit of the search is said: of what it is, what it says, when."""

from runner.finding.hits import Hit, Kind
from runner.text import filenames, units
from runner.text.sanitize import sanitize_line

TITLES = {
    Kind.RUN: "runs",
    Kind.CHECKPOINT: "checkpoints",
    Kind.SETTING: "settings",
    Kind.COMMAND: "commands",
    Kind.FILE: "files",
    Kind.LOG: "log lines",
}


def where(hit: Hit) -> tuple[str, str]:
    """Of what it is, and what it says; of strangers, made harmless."""
    if hit.kind is Kind.LOG:
        return f"{sanitize_line(hit.tag)}:{(hit.line or 0) + 1}", sanitize_line(hit.name).strip()
    if hit.kind is Kind.FILE:
        # The name first: a path is longer than its column.
        above, _, name = hit.name.rpartition("/")
        what = f"{name}  {above}" if above else name
        return filenames.path_for_terminal(hit.location.rpartition("/")[2]), filenames.path_for_terminal(what)
    if hit.kind is Kind.CHECKPOINT:
        return sanitize_line(hit.tag), hit.about
    return sanitize_line(hit.name), sanitize_line(hit.about)


def when(hit: Hit, now: float, *, brief: bool = False) -> str:
    """When a line came, where it is to be `brief` as an age; how large a file is; how old a run or checkpoint."""
    if hit.kind is Kind.FILE:
        return units.size(hit.bytes) if hit.bytes is not None else ""
    if hit.at is None:
        return ""
    return units.moment(hit.at, now) if hit.kind is Kind.LOG and not brief else f"{units.age(hit.at, now)} ago"
