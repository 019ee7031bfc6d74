"""The help: every key, with what is typed at its top leaving those that have it; Enter does the one that is chosen."""

import re
from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.presentation.bindings import closing, moves
from tui.presentation.key_choice import Chosen
from tui.presentation.keymap import TITLES, Row, rows
from tui.widgets.consent import still
from tui.widgets.dialogs import Choices, Window

KEYS_WIDE = 20
CLOSING = "Runs go on when the app is closed. Every action is also a command: nanochat-tui --help"


def fitting(row: Row, keys: str, words: str) -> bool:
    """Whether every word is in a line of the help: in its keys, its label, what it does, its id or its screen."""
    own = [*keys.lower().split(), row.label.lower(), row.help.lower(), row.id, row.section.lower()]
    return all(any(word in one for one in own) for word in words.lower().split())


class Letters(Input):
    """The field at the top; empty, it leaves the keys that opened the help to close it."""

    async def _on_key(self, event: events.Key) -> None:
        page = self.screen
        if isinstance(page, HelpPage) and not self.value and page.is_opened_by(event.key):
            event.stop()
            page.dismiss("")
        else:
            await super()._on_key(event)


class HelpPage(Window[str]):
    """Every key as it is mapped, those of the sections `first` on top; `looking` has none that changes something.

    Answers with the id of one.
    """

    CSS = """
    HelpPage { align: center middle; }
    HelpPage > Vertical { width: 90%; height: 90%; padding: 1 2 0 2; background: $surface;
                          border-left: thick $accent; }
    HelpPage Letters { margin-bottom: 1; }
    HelpPage OptionList { height: 1fr; border: none; padding: 0; background: $surface; scrollbar-size-vertical: 1; }
    HelpPage #help-about { height: 1; margin-top: 1; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Close"),
        *closing("app.help", "view.help"),
        *moves(
            down="in_list('cursor_down')",
            up="in_list('cursor_up')",
            page_down="in_list('page_down')",
            page_up="in_list('page_up')",
        ),
    ]

    def __init__(
        self, first: Sequence[str], keys: Chosen, tone: Callable[[str], Style], *, looking: bool = False
    ) -> None:
        super().__init__()
        on_top = [TITLES[section] for section in first if section in TITLES]
        place = {title: number for number, title in enumerate(on_top)}
        shown = rows(looking=looking)
        self._rows = {row.id: row for row in sorted(shown, key=lambda row: place.get(row.section, len(place)))}
        self.keys, self._tone = keys, tone

    def is_opened_by(self, key: str) -> bool:
        return key in self.keys.keys["app.help"]

    def compose(self) -> ComposeResult:
        with Vertical():
            yield still(Letters(placeholder="letters of a key or of what it does", compact=True))
            yield Choices(markup=False, compact=True)
            yield Static("", markup=False, id="help-about")

    def on_mount(self) -> None:
        self._list.can_focus = False
        self.query_one(Letters).focus()
        self._show("")

    @property
    def _list(self) -> OptionList:
        return self.query_one(OptionList)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._show(event.value)

    def _show(self, words: str) -> None:
        found: list[Option | None] = []
        section = None
        for row in self._rows.values():
            keys = self.keys.label(row.id)
            if not fitting(row, keys, words):
                continue
            if row.section != section:
                section = row.section
                found += [None] if found else []
                found.append(Option(Text(section, "bold underline"), disabled=True))
            found.append(Option(self._line(keys, row.help, words), id=row.id))
        self._list.clear_options()
        self._list.add_options(found or [Option(Text("no key does that", "dim"), disabled=True)])
        if found:
            self._list.action_first()
            self._list.scroll_to(y=0, animate=False)
        self._about("")

    def _line(self, keys: str, help: str, words: str) -> Text:
        text = Text.assemble((f"{keys:<{KEYS_WIDE}} ", "bold"), help)
        if wanted := [re.escape(word) for word in words.split()]:
            # Not in bold as keys are, which many terminals do not tell from a colour.
            text.highlight_regex(f"(?i:{'|'.join(wanted)})", self._tone("warning") + Style(reverse=True))
        return text

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._about(event.option_id or "")

    def _about(self, id: str) -> None:
        """What is under the cursor is called, in `[keys]` too."""
        row = self._rows.get(id)
        said = f"{row.label}: {row.id} in [keys] of settings.toml; Enter does it" if row else CLOSING
        # One line, whatever it says: nothing else is laid out anew.
        self.query_one("#help-about", Static).update(Text(said), layout=False)

    async def action_in_list(self, action: str) -> None:
        await self._list.run_action(action)

    def on_input_submitted(self) -> None:
        at = self._list.highlighted
        self.dismiss((self._list.get_option_at_index(at).id or "") if at is not None else "")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id or "")

    def on_click(self, event: events.Click) -> None:
        if event.widget is self:
            self.dismiss("")
