"""The key table as people may change it: ids that stay, names of keys, presets, and what cannot be, in words."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.binding import Binding
from textual.events import Key as Pressed
from textual.keys import Keys
from textual.widgets import Input

from runner import settings
from tests.conftest import Cli
from tui.presentation import key_names
from tui.presentation.bindings import key_overrides
from tui.presentation.key_choice import FIXED, NEEDED, PLACES, Chosen, chosen, clashes, ids, summary
from tui.presentation.key_presets import PRESETS
from tui.presentation.keymap import HOMES, KEYS, TITLES, key_label, rows


def test_every_key_has_an_id_of_its_own_made_of_its_screen_and_what_it_does() -> None:
    assert len(ids()) == len(rows()) > len(KEYS)
    assert {
        "runs.cancel",
        "log.search",
        "move.down",
        "app.volume",
        "metrics.closer",
        "sizes.focus_next",
    } <= ids().keys()
    assert {key.screen for key in KEYS} == TITLES.keys() == {section for p in PLACES for section in p.sections}
    assert HOMES.keys() == TITLES.keys() - {"", "view"}


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_has_a_key_for_two_things_on_any_screen_nor_one_that_no_terminal_sends(preset: str) -> None:
    assert PRESETS[preset].keys() <= ids().keys()
    found = chosen(preset)
    assert list(clashes(found.keys)) == [] and found.told == ()
    for id, keys in found.keys.items():
        assert keys and all(key_names.normal(key) == key for key in keys), id


SOME = st.lists(
    st.sampled_from(["c", "n", "j", "g", "X", "f5", "ctrl+n", "escape", "enter", "tab", "?", "nokey"]), max_size=3
)


@given(st.sampled_from([*PRESETS]), st.dictionaries(st.sampled_from([*ids(), "no.such"]), SOME, max_size=12))
def test_whatever_is_set_no_key_does_two_things_and_the_way_out_stays(preset: str, own: dict[str, list[str]]) -> None:
    found = chosen(preset, own)
    assert list(clashes(found.keys)) == []
    assert all(FIXED[id] in found.keys[id] for id in FIXED) and all(found.keys[id] for id in NEEDED)
    obeyed = {id for id in own if found.origins.get(id) == "[keys]"}
    assert len(found.told) == len(own) - len(obeyed)
    before = chosen(preset).keys
    assert all(found.keys[id] == before[id] for id in ids().keys() - obeyed)


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"runs.cancl": ["k"]}, "there is no action 'runs.cancl': did you mean runs.cancel?"),
        ({"runs.cancel": ["spcae"]}, "runs.cancel: 'spcae' is no key: did you mean space?"),
        ({"runs.cancel": ["n"]}, "runs.cancel cannot be n: that is New (runs.new) on Runs; it stays c"),
        ({"runs.cancel": ["J", "j"]}, "runs.cancel cannot be j: that is Down (move.down) on Runs; it stays c"),
        ({"watch.plan": ["e"]}, "watch.plan cannot be e: that is Error (log.error) on Watch; it stays p"),
        ({"runs.cancel": ["ctrl+i"]}, "runs.cancel cannot be Tab: that is the next field on Runs; it stays c"),
        (
            {"launch.save": ["x"]},
            "launch.save cannot be x: that is what is typed into its fields on New run; it stays F4",
        ),
        ({"app.help": []}, "app.help must have a key; it stays ? F1"),
        ({"runs.new": ["ctrl+c"]}, "runs.new cannot be Ctrl-C: that is Quit (app.leave) on Runs; it stays n"),
        ({"preset": ["vim"]}, "there is no action 'preset': keys_preset is a setting of its own"),
        ({"runs.sort": ["\x1b[2J"]}, "runs.sort: '\\x1b[2J' is no key: nanochat-tui keys lists all"),
    ],
)
def test_what_cannot_be_is_told_in_words_and_the_key_stays(own: dict[str, list[str]], told: str) -> None:
    found = chosen("default", own)
    assert found.told == (told,) and found.keys == chosen().keys
    assert summary(found) == f"[keys]: {told}"


def test_two_actions_may_swap_their_keys_and_of_two_that_want_one_the_first_has_it() -> None:
    assert chosen("default", {"runs.cancel": ["n"], "runs.new": ["c"]}).told == ()
    found = chosen("default", {"runs.cancel": ["X"], "runs.new": ["X"], "runs.sort": ["n"]})
    assert (
        found.keys["runs.cancel"] == ("X",) and found.keys["runs.new"] == ("n",) and found.keys["runs.sort"] == ("s",)
    )
    assert len(found.told) == 2 and summary(found).endswith("and 1 more (nanochat-tui keys)")


def test_an_action_may_go_without_a_key() -> None:
    found = chosen("emacs", {"runs.delete": []})
    put = key_overrides(found)
    assert put["runs.delete"] == "none" and "runs.cancel" not in put
    assert "g" in put["move.top"].split(",")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("?", "question_mark"), ("Ctrl-S", "ctrl+s"), ("ctrl+s", "ctrl+s"), ("C-x", "ctrl+x"), ("F5", "f5"),
        ("M-<", "alt+less_than_sign"), ("Shift-Tab", "shift+tab"), ("shift+a", "A"), (" ", "space"), (",", "comma"),
        ("PgDn", "pagedown"), ("alt+shift+x", "alt+shift+x"), ("↑", "up"), ("alt+ctrl+x", ""), ("shift+1", ""),
        ("Esc", "escape"), ("ctrl+m", "enter"), ("alt+X", "alt+shift+x"), ("ctrl+shift+up", "ctrl+shift+up"),
        ("-", "minus"), ("ctrl+-", "ctrl+minus"), ("flop", ""), ("", ""), ("ctrl+", ""), ("ctrl+ctrl+a", ""),
    ],
)  # fmt: skip
def test_a_key_is_understood_as_people_write_it(written: str, name: str) -> None:
    assert key_names.normal(written) == name
    if name:
        assert key_names.normal(key_label(name)) == name


async def test_names_of_keys_are_those_that_textual_has_for_what_a_terminal_sends() -> None:
    from textual._xterm_parser import XTermParser

    sent = {"\x13": "Ctrl-S", "\x1bv": "M-v", "\x1bV": "M-V", "/": "/", "?": "?", "\x1b[15~": "F5", "\x1f": "ctrl+_"}
    sent |= {
        "\x1b[60;3u": "alt+<",
        "\x1b[118;4u": "alt+V",
        "\x1b[1;6A": "ctrl+shift+up",
        "\t": "ctrl+i",
        "\r": "ctrl+m",
    }
    for data, written in sent.items():
        parser = XTermParser()
        pressed = [e.key for part in (data, "") for e in parser.feed(part) if isinstance(e, Pressed)]
        assert pressed == [key_names.normal(written)], written
    named = {key.value for key in Keys if "+" not in key.value}
    assert {*key_names.NAMED} <= named
    edits = {binding.key for binding in Binding.make_bindings(Input.BINDINGS)}
    assert edits == key_names.EDITING


def test_the_file_may_name_keys_with_dots_and_lists_and_one_that_is_wrong_loses_no_other(tmp_path: Path) -> None:
    file = 'bell = false\n[keys]\nruns.cancel = "k"\n"log.search" = ["/", "ctrl+s"]\n"app.watch" = 1\n"x" = "\\u001b"\n'
    (tmp_path / settings.FILE).write_text(file)
    found = settings.load(tmp_path).keys
    assert found == {"runs.cancel": ("k",), "log.search": ("/", "ctrl+s"), "app.watch": ("1",), "x": ("�",)}
    settings.put(tmp_path, "bell", "on")
    assert (tmp_path / settings.FILE).read_text() == file.replace("false", "true")


def test_keys_are_listed_as_they_are_mapped_and_what_is_wrong_is_told_in_one_line(cli: Cli) -> None:
    cli("settings", "keys_preset", "emacs")
    said = cli("settings", "keys", "runs.cancl=X runs.cancel=X runs.new=Q,q").stderr
    assert said.count("\n") == 1 and "did you mean runs.cancel?" in said and "1 more" in said
    listed = {row["id"]: row for row in cli.json("keys")}
    assert listed["runs.cancel"]["keys"] == ["X"] and listed["runs.cancel"]["from"] == "[keys]"
    assert listed["move.down"]["keys"][1] == "ctrl+n" and listed["move.down"]["from"] == "keys_preset"
    assert cli("keys").stderr.count("\n") == 2
    cli("settings", "keys", "default")
    assert cli("settings").stderr == ""


def test_a_label_without_keys_is_empty() -> None:
    assert Chosen({"a.b": ()}, {}).label("a.b") == ""


@pytest.mark.parametrize("preset", PRESETS)
def test_what_deletes_has_the_same_key_on_every_screen(preset: str) -> None:
    deleting = [key.id for key in KEYS if key.label == "Delete"]
    keys = {chosen(preset).keys[id] for id in deleting}
    assert len(deleting) > 1 and len(keys) == 1, keys
