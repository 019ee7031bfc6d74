"""One of a few words, all in view: arrow keys or a letter choose."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class Choice(Widget, can_focus=True):
    """Options side by side, the chosen one marked; where they do not fit, only the chosen one between arrows."""

    DEFAULT_CSS = """
    Choice { height: 1; width: 1fr; }
    Choice:focus { background: $cursor; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", show=False),
        Binding("right,space", "step(1)", show=False),
    ]
    value = reactive("")

    class Changed(Message):
        """Another option was chosen."""

    def __init__(self, options: Sequence[str], value: str, *, id: str) -> None:
        super().__init__(id=id)
        self.options = tuple(options)
        self.set_reactive(Choice.value, value)

    def render(self) -> Text:
        marked = [f"● {o}" if o == self.value else f"○ {o}" for o in self.options]
        whole = " ".join(marked)
        if len(whole) <= self.size.width:
            return Text(whole, no_wrap=True)
        return Text(f"‹ {self.value} ›", no_wrap=True)

    def watch_value(self) -> None:
        self.post_message(self.Changed())

    def action_step(self, by: int) -> None:
        self.value = self.options[(self.options.index(self.value) + by) % len(self.options)]

    def on_key(self, event: events.Key) -> None:
        fitting = [o for o in self.options if event.character and o.lower().startswith(event.character.lower())]
        if fitting:
            at = fitting.index(self.value) + 1 if self.value in fitting else 0
            self.value = fitting[at % len(fitting)]
            event.stop()

    def on_click(self) -> None:
        self.action_step(1)
