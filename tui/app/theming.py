"""Which colours the app has: what is set, what somebody tries in the palette, what the terminal says."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual import on
from textual.await_complete import AwaitComplete
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.widgets import OptionList

from tui.app.driver import TerminalDriver
from tui.presentation.terminal_background import dark_by_variable
from tui.presentation.theme_names import ABOUT, AUTO, DARK, LIGHT
from tui.presentation.themes import OURS
from tui.widgets.dialogs import Palette

if TYPE_CHECKING:
    from tui.app.base_app import TerminalApp

PALETTE = "app.command_palette"


class Themes:
    """The choice of a theme. With `auto` it is dark or light as the terminal is.

    The variable decides the first frame, for which nobody waits; the terminal is asked always, as a variable may be of
    another one, and its answer comes among the keys, mostly before that frame.
    """

    def __init__(self, app: TerminalApp) -> None:
        self._app = app
        self._chosen = AUTO
        self._dark = dark_by_variable(os.environ) is not False
        for theme in OURS.values():
            app.register_theme(theme)
        self._show(AUTO)

    @property
    def chosen(self) -> str:
        """What is set: a theme, or `auto`."""
        return self._chosen

    def begin(self, said: str) -> None:
        """Take what a person has set, where there is such a theme."""
        wanted = said or AUTO
        if self._known(wanted):
            self._chosen = wanted
        else:
            self._app.notify(
                f"there is no theme {said!r}: {self._app.key(PALETTE)}, then Theme, lists them", severity="warning"
            )
        self._show(self._chosen)
        self.ask()

    def ask(self) -> None:
        """Ask the terminal, where it decides."""
        if self._chosen == AUTO and isinstance(self._app.driver, TerminalDriver):
            self._app.driver.ask_background()

    def told(self, dark: bool) -> None:
        """The terminal has answered."""
        self._dark = dark
        if self._chosen == AUTO:
            self._show(AUTO)

    def show(self, name: str) -> None:
        """Let a theme be seen; nothing is set."""
        self._show(name)

    def choose(self, name: str) -> None:
        """Set a theme for good."""
        changed, self._chosen = name != self._chosen, name
        self._show(name)
        self.ask()
        if changed:
            self._app.keep(("theme", name))

    def take_back(self) -> None:
        """Show again what is set."""
        self._show(self._chosen)

    def _known(self, name: str) -> bool:
        return name == AUTO or self._app.get_theme(name) is not None

    def _show(self, name: str) -> None:
        # Textual takes several names for the first of them that there is.
        theme = None if name == AUTO else self._app.get_theme(name)
        self._app.theme = theme.name if theme else (DARK if self._dark else LIGHT)


class Offered(Provider):
    """All themes, the one that is set on top, so that opening the list changes nothing."""

    def _all(self) -> list[tuple[str, Text]]:
        app = cast("TerminalApp", self.app)
        about = {AUTO: "dark or light as your terminal is", **ABOUT}
        others = sorted(app.available_themes.keys() - about.keys())
        ordered = sorted([*about, *others], key=lambda name: name != app.looks.chosen)
        return [(name, Text.assemble((f"{name:<22}", "bold"), about.get(name, "of Textual"))) for name in ordered]

    async def discover(self) -> Hits:
        for name, line in self._all():
            yield DiscoveryHit(line, partial(cast("TerminalApp", self.app).looks.choose, name), text=name)

    async def search(self, query: str) -> Hits:
        for number, (name, line) in enumerate(self._all()):
            if all(word in line.plain.lower() for word in query.lower().split()):
                score = 1.0 - number * 1e-4 - (query.lower() not in name) * 0.5
                yield Hit(score, line, partial(cast("TerminalApp", self.app).looks.choose, name), text=name)


class ThemePalette(Palette):
    """The list of themes: the one under the cursor is seen at once, Enter sets it, Escape takes it back."""

    PROVIDERS: ClassVar = [Offered]

    def __init__(self) -> None:
        super().__init__(providers=self.PROVIDERS, placeholder="Search for themes…")
        self._over = False

    @on(OptionList.OptionHighlighted)
    def _try(self, event: OptionList.OptionHighlighted) -> None:
        if not self._over and (hit := getattr(event.option, "hit", None)):
            cast("TerminalApp", self.app).looks.show(str(hit.text))

    def dismiss(self, result: None = None) -> AwaitComplete:
        if self.app.screen is self and not self._over:
            self._over = True
            if self._selected_command is None:
                cast("TerminalApp", self.app).looks.take_back()
        return super().dismiss(result)
