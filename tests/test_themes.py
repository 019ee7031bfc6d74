"""Every theme can be read, by all eyes; it is chosen, tried, taken back and found as a person means it."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.color import Color
from textual.command import CommandList
from textual.pilot import Pilot
from textual.theme import BUILTIN_THEMES

from runner.fleet.fleet import Fleet
from runner.model.states import State
from runner.model.status import StageState
from runner.monitoring.health import HealthStatus
from runner.settings import effective, load, put
from tests.colour_vision import EYES, apart, ciede2000, contrast
from tests.conftest import CLI, Cli, wait_until
from tests.demo import demo_app
from tests.drawn import drawn
from tests.terminal import Terminal
from tests.test_app import text_of, until
from tests.test_snapshots import keys
from tui.app.app import NanochatApp
from tui.app.theming import ThemePalette
from tui.presentation import run_format
from tui.presentation.app_style import tone_style
from tui.presentation.terminal_background import QUERY, Answers, dark_by_answer, dark_by_variable
from tui.presentation.theme_names import ABOUT, AUTO, NAMES, OF_TEXTUAL, TERMINAL
from tui.presentation.themes import CURVES, GROUNDS, OURS, READABLE, TONES, completed

COMPUTED = [name for name in OURS if name != TERMINAL]
# CIEDE2000 between two curves. 1 is seen between large fields side by side; for lines of dots of a braille cell with
# other lines between them a tenth of black to white is not to be missed, and who chose colours for such eyes gets more.
APART, FURTHER_APART = 12.0, 16.0
COLOUR_BLIND = {
    "nanochat-deuteranopia": ("all colours", "deuteranopia", "protanopia"),
    "nanochat-tritanopia": ("all colours", "tritanopia"),
}
LIGHT_ANSWER, DARK_ANSWER = "\x1b]11;rgb:ffff/fafa/f0f0\x1b\\", "\x1b]11;rgb:1010/1313/1818\x07"


def variables(name: str) -> dict[str, str]:
    """What screens see of a theme."""
    theme = OURS.get(name) or BUILTIN_THEMES[name]
    return completed(theme, {**theme.to_color_system().generate(), **theme.variables})


def test_the_yardsticks_are_those_of_the_standards() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21) and contrast("#777777", "#ffffff") == pytest.approx(
        4.48, abs=0.01
    )
    # Of the data that the authors of the formula published for its tests.
    assert ciede2000((50, 2.6772, -79.7751), (50, 0, -82.7485)) == pytest.approx(2.0425, abs=1e-4)
    assert ciede2000((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387)) == pytest.approx(1.2644, abs=1e-4)
    assert ciede2000((50, 2.5, 0), (73, 25, -18)) == pytest.approx(27.1492, abs=1e-4)


def test_the_list_of_themes_is_true() -> None:
    assert list(ABOUT) == list(OURS) and sorted(BUILTIN_THEMES) == sorted(OF_TEXTUAL)
    assert set(NAMES) == {AUTO, *OURS, *BUILTIN_THEMES}


@pytest.mark.parametrize("name", [*COMPUTED, *(n for n in OF_TEXTUAL if not BUILTIN_THEMES[n].ansi)])
def test_every_tone_can_be_read_on_every_ground(name: str) -> None:
    found = variables(name)
    tones = {tone: found[variable] for tone, variable in TONES.items()}
    if name in OURS:
        tones["disabled"] = found["text-disabled"]
    else:
        # The text of Textual's themes is theirs.
        del tones["text"]
    poor = {
        (tone, ground): round(ratio, 2)
        for tone, colour in tones.items()
        for ground in GROUNDS
        if (ratio := contrast(Color.parse(colour).hex6, Color.parse(found[ground]).hex6)) < READABLE
    }
    assert not poor


@pytest.mark.parametrize("name", COMPUTED)
def test_no_two_curves_are_taken_for_each_other_by_any_eyes_that_the_theme_is_for(name: str) -> None:
    found = variables(name)
    eyes = COLOUR_BLIND.get(name, ("all colours", "deuteranopia", "protanopia"))
    least = FURTHER_APART if name in COLOUR_BLIND else APART
    near = {
        (one, other, by): round(distance, 1)
        for one, other in itertools.combinations(CURVES, 2)
        for by in eyes
        if (distance := apart(found[one], found[other], by)) < least
    }
    assert set(eyes) <= set(EYES) and not near


def test_states_are_told_apart_by_the_eyes_that_a_theme_is_for() -> None:
    for name, eyes in COLOUR_BLIND.items():
        found = variables(name)
        states = [found[f"text-{state}"] for state in ("success", "warning", "error")]
        assert all(apart(*pair, by) >= APART for pair in itertools.combinations(states, 2) for by in eyes), name


def test_the_terminals_own_colours_stay_its_own() -> None:
    found = variables(TERMINAL)
    for tone in TONES:
        style = tone_style(found, tone)
        assert style.dim if tone == "dim" else style.color and style.color.is_system_defined
    assert len({found[name] for name in CURVES}) == len(CURVES)


def test_every_state_has_a_glyph_and_a_word_of_its_own() -> None:
    for kind, table in ((State, run_format.STATES), (StageState, run_format.STAGES), (HealthStatus, run_format.HEALTH)):
        assert set(table) == set(kind)
        for state, (glyph, tone) in table.items():
            assert len(glyph) == 1 and not glyph.isalnum() and str(state).isprintable() and str(state)
            assert tone in TONES


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NanochatApp:
    return demo_app(tmp_path, monkeypatch)


async def shown_in(pilot: Pilot[int], name: str) -> None:
    """Show a theme, once all is drawn in it."""
    app = pilot.app
    assert isinstance(app, NanochatApp)
    app.looks.show(name)
    for _ in range(4):
        await pilot.pause()


@pytest.mark.parametrize("plain", [False, True], ids=["colours", "NO_COLOR"])
async def test_the_terminals_own_colours_are_all_that_is_drawn_in_them(
    app: NanochatApp, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
        app = NanochatApp(app.fleet)
    async with app.run_test(size=(120, 36)) as pilot:
        await shown_in(pilot, TERMINAL)
        await until(pilot, lambda: "d4-blue" in text_of(app), "the runs")
        styles = [s.style for strip in app.screen._compositor.render_strips() for s in strip if s.style]
        colours = {colour for style in styles for colour in (style.color, style.bgcolor) if colour}
        assert all(c.is_default if plain else c.is_system_defined or c.is_default for c in colours)
        assert any(style.reverse for style in styles), "the row under the cursor"


async def test_charts_have_the_room_of_a_terminal_that_was_enlarged_after_another_theme_was_shown(
    app: NanochatApp,
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await keys("enter")(pilot)
        await shown_in(pilot, "nanochat-light")
        await pilot.resize_terminal(120, 36)
        await until(pilot, lambda: "ema 0.8661" in text_of(app), "the whole heading of a chart")


async def themes_open(pilot: Pilot[int]) -> CommandList:
    app = pilot.app
    assert isinstance(app, NanochatApp)
    await pilot.press("ctrl+p", *"theme")
    await until(pilot, lambda: "Theme" in text_of(app) and app.screen.query_one(CommandList).option_count == 1, "it")
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, ThemePalette) and "nanochat-light" in text_of(app), "the list")
    return app.screen.query_one(CommandList)


async def test_a_theme_is_seen_while_the_cursor_is_on_it_and_escape_takes_it_back(tmp_path: Path) -> None:
    app = NanochatApp(Fleet(tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        await themes_open(pilot)
        assert app.theme == "nanochat", "to open the list changes nothing"
        await pilot.press("down", "down")
        await until(pilot, lambda: app.theme == "nanochat-light", "the theme under the cursor")
        await until(pilot, lambda: all(piece.contrast >= READABLE for piece in drawn(app)), "the list in it, too")
        text = OURS["nanochat-light"].foreground
        assert {piece.colour for piece in drawn(app) if piece.text == "of Textual"} == {text}
        await pilot.press(*"dracula")
        await until(pilot, lambda: app.theme == "dracula", "the theme that is found")
        await pilot.press("escape")
        await until(pilot, lambda: app.theme == "nanochat" and not isinstance(app.screen, ThemePalette), "the old one")
    assert load(tmp_path).theme == ""


async def test_enter_keeps_a_theme_which_is_not_kept_once_more_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = NanochatApp(Fleet(tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        await themes_open(pilot)
        await pilot.press(*"textual-light", "enter")
        await until(pilot, lambda: load(tmp_path).theme == "textual-light", "the setting")
        await until(pilot, lambda: app.theme == "textual-light", "the theme")
    written: list[str] = []
    again = NanochatApp(Fleet(tmp_path))
    monkeypatch.setattr(again, "put_setting", lambda name, value: written.append(value))
    async with again.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: again.theme == "textual-light", "the theme")
        await themes_open(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(again.screen, ThemePalette), "the list closed")
        assert not written, "it was set, and maybe by somebody else since"


async def test_what_is_drawn_already_follows_the_theme(app: NanochatApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: "d4-blue" in text_of(app), "the runs")
        await shown_in(pilot, "nanochat-light")
        ours = OURS["nanochat-light"]
        [title] = {piece.colour for piece in drawn(app) if piece.text == "nanochat"}
        assert title == ours.accent


@pytest.mark.parametrize(
    ("environ", "kept", "theme"),
    [
        ({}, "", "nanochat"),
        ({"COLORFGBG": "0;15"}, "", "nanochat-light"),
        ({"COLORFGBG": "0;15"}, "auto", "nanochat-light"),
        ({"COLORFGBG": "0;15"}, "nord", "nord"),
        ({"TEXTUAL_THEME": "dracula"}, "nord", "dracula"),
        ({"TEXTUAL_THEME": "no-such,dracula"}, "", "dracula"),
        ({"TEXTUAL_THEME": "dracula", "NANOCHAT_TUI_THEME": "gruvbox"}, "nord", "gruvbox"),
        ({"NANOCHAT_TUI_THEME": "auto", "COLORFGBG": "0;15"}, "nord", "nanochat-light"),
        ({}, "no-such", "nanochat"),
    ],
)
async def test_a_variable_goes_before_the_setting_and_the_setting_before_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], kept: str, theme: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    if kept:
        put(tmp_path, "theme", kept)
    app = NanochatApp(Fleet(tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert app.theme == theme
        assert (kept == "no-such") == any("no theme" in told.text for told in app.toasts.all)


def test_the_command_knows_all_themes_and_the_nearest(cli: Cli) -> None:
    wrong = cli("settings", "theme", "nanochat-lihgt", code=2).stderr
    assert "did you mean nanochat-light?" in wrong and "nanochat-tritanopia" in wrong and "tokyo-night" in wrong
    for name in (*NAMES, "default"):
        cli("settings", "theme", name)
    cli("settings", "theme", AUTO)
    assert effective(cli.home, {}).settings.theme == AUTO
    cli.env["TEXTUAL_THEME"] = "nord"
    shown = cli.json("settings")
    assert (shown["theme"], shown["from"]["theme"]) == ("nord", "TEXTUAL_THEME")
    assert "TEXTUAL_THEME is set in this shell" in cli("settings", "theme", "dracula").stderr


@pytest.mark.parametrize(
    ("said", "dark"),
    [
        ("15;0", True),
        ("0;15", False),
        ("0;default;7", False),
        ("12;8", True),
        ("", None),
        ("x;y", None),
        ("0;99", None),
    ],
)
def test_what_the_variable_of_terminals_says(said: str, dark: bool | None) -> None:
    assert dark_by_variable({"COLORFGBG": said}) is dark


@pytest.mark.parametrize(
    ("said", "dark"),
    [("rgb:ffff/ffff/ffff", False), ("rgb:00/2b/36", True), ("rgba:f/f/f/f", False), ("rgb:", None), ("red", None)],
)
def test_what_the_answer_of_terminals_says(said: str, dark: bool | None) -> None:
    assert dark_by_answer(said) is dark


@given(
    st.text("jq\r\x1b[A", max_size=4),
    st.sampled_from([LIGHT_ANSWER, DARK_ANSWER]),
    st.text("jq\r", max_size=4),
    st.sets(st.integers(1, 40), max_size=3),
)
def test_an_answer_in_any_pieces_is_no_key_and_takes_none_along(
    before: str, answer: str, after: str, cuts: set[int]
) -> None:
    answers, left = Answers(), ""
    told: list[bool] = []
    answers.expect(0.0)
    whole = before + answer + after
    for first, last in itertools.pairwise(sorted({0, len(whole), *(c for c in cuts if c < len(whole))})):
        text, found = answers.take(whole[first:last], 0.1)
        left, told = left + text, told + found
    left += answers.take("", 0.2)[0]
    assert left == before + after and told == [answer == DARK_ANSWER]


def test_a_key_that_begins_like_an_answer_is_that_key_after_a_pause() -> None:
    answers = Answers()
    assert answers.take("\x1b]", 0.0) == ("", []) and answers.take("", 0.1) == ("\x1b]", [])
    assert answers.take("\x1b", 0.0) == ("\x1b", []), "nothing was asked"


def background(terminal: Terminal) -> Any:
    """The colour below the last line but one, which is empty."""
    with terminal._lock:
        return terminal._screen.buffer[12][40].bg


def asked(terminal: Terminal) -> bool:
    return QUERY.encode() in terminal.raw


def test_the_app_is_as_light_as_the_terminal_answers_and_the_answer_is_no_key(cli: Cli) -> None:
    env = {name: value for name, value in cli.env.items() if name not in ("NO_COLOR", "COLORFGBG", "TEXTUAL_THEME")}
    terminal = Terminal(CLI, {**env, "COLORTERM": "truecolor"}, 80, 24)
    try:
        terminal.wait_for("No runs yet")
        # The first frame waits for no answer.
        wait_until(lambda: asked(terminal) and background(terminal) == "101318")
        terminal.write(f"/{LIGHT_ANSWER}ab")
        terminal.wait_for("/ab")
        wait_until(lambda: background(terminal) == "ffffff")
        terminal.press("escape", "q")
        assert terminal.wait_exit() == 0
    finally:
        terminal.kill()


@pytest.mark.parametrize("why", ["TERM=linux", "NANOCHAT_TUI_THEME=nord"])
def test_a_terminal_that_does_not_decide_is_not_asked(cli: Cli, why: str) -> None:
    terminal = Terminal(["env", why, *CLI], cli.env, 80, 24)
    try:
        terminal.wait_for("No runs yet")
        assert not asked(terminal)
    finally:
        terminal.kill()
