"""Messages between the watcher, the app and the screens."""

from textual.message import Message

from runner.run import Run


class RunsChanged(Message):
    """A fresh look at all runs, newest first; `unreachable` says by run id what could not be reached."""

    def __init__(self, runs: list[Run], unreachable: dict[str, str]) -> None:
        super().__init__()
        self.runs = runs
        self.unreachable = unreachable

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunsChanged)
