"""The prompt that searches everything, and the way to what was chosen in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner import settings
from runner.errors import NoSuchRun
from runner.finding.hits import Hit, Kind
from runner.finding.names import Named
from runner.fleet.finding import Finder
from runner.system import read_only
from runner.text.sanitize import sanitize_line
from tui.context import VolumeRef
from tui.presentation.keymap import KEYS, key_label
from tui.presentation.phrases import command_line
from tui.screens.checkpoints import CheckpointsScreen
from tui.screens.watch import WatchScreen
from tui.widgets.dialogs import TextPage
from tui.widgets.find_prompt import FindPrompt

if TYPE_CHECKING:
    from tui.app.app import NanochatApp


def open_prompt(app: NanochatApp) -> None:
    """Ask what to look for over the screen that is open, whose commands are among what can be found."""
    screen = app.screen
    keys = [
        key for section in app.sections(screen) for key in KEYS if key.screen == section and key.id not in app.hidden
    ]
    looking = read_only.is_set()
    named = [
        Named(str(n), key.label, f"{key.does(looking=looking)} ({key_label(key.keys)})") for n, key in enumerate(keys)
    ]
    finder = Finder(app.fleet, named)
    prompt = FindPrompt(finder.search, app.tone, app.fleet.clock)

    def answered(hit: Hit | None) -> None:
        if hit and hit.kind is Kind.COMMAND:
            app.act_later(screen, keys[int(hit.key)])
        elif hit:
            _go(app, hit, prompt.typed)

    app.push_screen(prompt, answered)


def _go(app: NanochatApp, hit: Hit, typed: str) -> None:
    """To what was found."""
    match hit.kind:
        case Kind.RUN | Kind.LOG:
            try:
                run = next((r for r in app.runs if r.id == hit.run), None) or app.fleet.registry.get(hit.run)
            except NoSuchRun as error:
                app.notify(sanitize_line(str(error)), severity="warning")
                return
            app.watch_run(run)
            if hit.line is not None and isinstance(app.screen, WatchScreen):
                app.call_after_refresh(app.screen.show_line, run.id, hit.line, typed)
        case Kind.FILE:
            above, _, name = hit.path.rpartition("/")
            app.browse(VolumeRef(hit.backend, hit.location), above, name)
        case Kind.CHECKPOINT:
            app.action_show("checkpoints")
            if isinstance(app.screen, CheckpointsScreen):
                app.call_after_refresh(app.screen.show_checkpoint, hit.key)
        case Kind.SETTING:
            app.push_screen(setting_page(app, hit.key))


def setting_page(app: NanochatApp, name: str) -> TextPage:
    """What a setting is for, its value, where that comes from, and how it is changed."""
    value = settings.typed(settings.setting_text(app.fleet.settings)[name])
    lines = [
        name,
        "",
        settings.MEANING[name],
        "",
        f"value  {value or '–'}",
        f"from   {app.fleet.effective.origins[name]}",
        "",
        f"$ {command_line('settings', name, 'VALUE')}",
        f"$ {command_line('settings', name, 'default')}",
    ]
    return TextPage("\n".join(map(sanitize_line, lines)))
