"""`settings`: what is set for all runs on this machine."""

import argparse
from typing import TYPE_CHECKING

from runner import settings
from runner.errors import UsageError
from runner.exit_codes import Exit
from runner.model.overrides import closest_name
from tui.cli.parser import Parser
from tui.presentation import console
from tui.presentation.theme_names import NAMES

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet


def options(name: str, sub: Parser) -> None:
    """Add what the command takes."""
    sub.add_argument("name", nargs="?", metavar="NAME")
    sub.add_argument("value", nargs="?", metavar="VALUE", help="the new value, or `default`")


def _settings(fleet: "Fleet", args: argparse.Namespace) -> int:
    if args.name and args.value is None:
        raise UsageError(f"no value for {args.name[:40]!r}", "give one, or `default`")
    if args.name == "theme":
        _check_theme(args.value)
    if args.name:
        fleet.put_setting(args.name, args.value)
    settings.check(fleet.home)
    if said := _odd_keys(fleet):
        fleet.say(said)
    origins, shown = fleet.effective.origins, settings.setting_text(fleet.settings)
    if args.name and origins[args.name] in (settings.VARIABLES[args.name], settings.ALSO.get(args.name)):
        fleet.say(f"{origins[args.name]} is set in this shell and goes before it")
    if args.json:
        console.as_json({**shown, "from": origins})
        return Exit.OK
    rows = [(name, settings.typed(value), origins[name], settings.MEANING[name]) for name, value in shown.items()]
    console.table(("setting", "value", "from", "meaning"), rows, right=frozenset(), plain=args.plain)
    return Exit.OK


def _check_theme(name: str) -> None:
    """Raises UsageError for a theme that there is not, with the nearest and all of them."""
    if name in ("", "default", *NAMES):
        return
    every = f"choose one of {', '.join(NAMES)}"
    near = closest_name(name, NAMES)
    raise UsageError(f"unknown theme {name[:40]!r}", near if near == every else f"{near} Or {every}", field="theme")


def _odd_keys(fleet: "Fleet") -> str:
    """What of the keys that are set is not obeyed."""
    from tui.presentation.key_choice import chosen, summary

    return summary(chosen(fleet.settings.keys_preset, fleet.settings.keys))


COMMANDS = {"settings": _settings}
