"""What the app and the view of a log have in common: their looks, and keys that are typed ahead."""

from typing import ClassVar

from rich.style import Style
from textual import events
from textual.app import App
from textual.widgets import Input

from tui.screens.base import tone_style
from tui.theme import CSS, THEME


class TerminalApp(App[int]):
    """An app in the colours of nanochat-tui."""

    CSS: ClassVar[str] = CSS

    def __init__(self) -> None:
        super().__init__()
        self.register_theme(THEME)
        self.theme = THEME.name

    def tone(self, name: str) -> Style:
        """A tone of the theme as a style; with NO_COLOR Textual takes the colours out again."""
        return tone_style(self.theme_variables, name) if name else Style()

    async def _on_key(self, event: events.Key) -> None:
        """A letter that was typed before the prompt it is meant for had opened is text, not a command."""
        if isinstance(self.focused, Input) and event.is_printable and event.character:
            self.focused.insert_text_at_cursor(event.character)
            event.prevent_default()


def exit_code(app: TerminalApp) -> int:
    """Run an app to its end; what the shell is told, which is not 0 when it crashed."""
    said = app.run()
    return said if said is not None else app.return_code or 0
