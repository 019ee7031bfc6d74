"""Messages between the watcher, the app and the screens."""

from msgspec import structs
from textual.message import Message

from runner.model.run import Run


class RunsChanged(Message):
    """All runs, newest first, after a fresh look at those of one backend.

    `unreachable` says by run id what could not be reached.
    """

    def __init__(self, runs: list[Run], unreachable: dict[str, str], backend: str) -> None:
        super().__init__()
        self.runs, self.unreachable, self.backend = runs, unreachable, backend

    def is_as(self, before: "RunsChanged") -> bool:
        """Whether nothing has changed."""
        return self.runs == before.runs and self.unreachable == before.unreachable

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunsChanged) and message.backend == self.backend


def newest(run: Run, shown: Run | None) -> Run:
    """A run as it is on record, with the numbers that are shown already where those are newer.

    What a look at its backend told is put on record only from time to time.
    """
    if shown is None or shown.status is None or (shown.attempt, shown.state) != (run.attempt, run.state):
        return run
    if run.status and run.status.updated_at >= shown.status.updated_at:
        return run
    return structs.replace(run, status=shown.status)
