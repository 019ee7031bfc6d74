"""Charts as pictures: what a terminal is sent is what its protocol says, and nothing of it is left behind."""

import base64
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.chart_app import ChartApp
from tests.terminal import Terminal
from tui.presentation import terminal_images
from tui.presentation.terminal_images import DIACRITICS, PLACEHOLDER, Protocol, protocol
from tui.widgets.chart_image import ImageRequest, draw, encoded
from tui.widgets.chart_layout import laid_out
from tui.widgets.metrics import Metrics
from tui.widgets.plot import Plot
from tui.widgets.plot_window import PlotWindow
from tui.widgets.run_curves import layers

TRUE = {"COLORTERM": "truecolor"}


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"TERM": "xterm-kitty", **TRUE}, Protocol.KITTY),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "3", **TRUE}, Protocol.KITTY),
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty", **TRUE}, Protocol.KITTY),
        ({"TERM": "xterm-kitty"}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, Protocol.ITERM2),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, Protocol.ITERM2),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, Protocol.ITERM2),
        ({"TERM": "foot"}, Protocol.SIXEL),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, None),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/tmux", "KITTY_WINDOW_ID": "3", **TRUE}, None),
        ({"TERM": "screen", "STY": "1.a", "TERM_PROGRAM": "iTerm.app"}, None),
        ({"TERM": "screen-256color", "LC_TERMINAL": "iTerm2"}, None),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1", **TRUE}, None),
        ({"TERM": "dumb", "TERM_PROGRAM": "iTerm.app"}, None),
        ({}, None),
    ],
)
def test_only_a_terminal_known_to_take_pictures_gets_one(env: dict[str, str], expected: Protocol | None) -> None:
    assert protocol(env) is expected


class Command(NamedTuple):
    """One message of the Kitty protocol, its chunks put together."""

    said: dict[str, str]
    data: bytes


def kitty_commands(raw: str) -> Iterator[Command]:
    """What a terminal with the Kitty protocol is told."""
    said, data = dict[str, str](), ""
    for keys, payload in re.findall(r"\x1b_G([^;\x1b]*)(?:;([^\x1b]*))?\x1b\\", raw):
        piece = dict(pair.split("=") for pair in keys.split(","))
        assert len(payload) <= 4096 and (not data or piece.keys() <= {"m", "q"})
        said, data = said or piece, data + payload
        if piece.get("m", "0") == "0":
            yield Command(said, base64.b64decode(data, validate=True))
            said, data = {}, ""
    assert not said


def sixel_pixels(raw: str) -> tuple[int, int, dict[tuple[int, int], int]]:
    """A picture in Sixel, as a terminal reads it: its size, and the number of the colour of each pixel."""
    found = re.fullmatch(r'\x1bP0;1;0q"1;1;(\d+);(\d+)((?:#\d+;2;\d+;\d+;\d+)*)(.*)\x1b\\', raw, re.S)
    assert found
    pixels, x, top, colour = dict[tuple[int, int], int](), 0, 0, -1
    for number, many, sign, control in re.findall(r"#(\d+)|(?:!(\d+))?([?-~])|([$-])", found[4]):
        if number:
            colour = int(number)
        elif control:
            x, top = 0, top + (6 if control == "-" else 0)
        else:
            end = x + int(many or 1)
            bits = [bit for bit in range(6) if (ord(sign) - 63) >> bit & 1]
            pixels |= {(at, top + bit): colour for at in range(x, end) for bit in bits}
            x = end
    return int(found[1]), int(found[2]), pixels


@given(st.integers(1, 30), st.integers(1, 20), st.data())
def test_a_picture_in_sixel_is_read_as_the_same_pixels(width: int, height: int, data: st.DataObject) -> None:
    drawn = data.draw(st.binary(min_size=width * height, max_size=width * height))
    pixels = bytes(one % 5 for one in drawn)
    sent = terminal_images.sixel(width, height, [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)], pixels)
    assert sixel_pixels(sent) == (width, height, {(n % width, n // width): one for n, one in enumerate(pixels)})


@given(st.binary(min_size=1, max_size=20_000), st.integers(1, 2**24 - 1))
def test_a_picture_for_kitty_arrives_whole_and_asks_for_no_answer(data: bytes, number: int) -> None:
    (command,) = kitty_commands(terminal_images.kitty(data, number, 80, 20))
    assert command.data == data and command.said["q"] == "2" and command.said["i"] == str(number)
    red, green, blue = terminal_images.kitty_colour(number)
    assert red << 16 | green << 8 | blue == number


def test_each_cell_of_kitty_says_which_piece_of_the_picture_it_is() -> None:
    cells = terminal_images.kitty_cells(2, 5, 8)
    assert cells == "".join(PLACEHOLDER + DIACRITICS[2] + DIACRITICS[column] for column in (5, 6, 7))
    assert len(set(DIACRITICS)) == 297 and DIACRITICS[:3] == ("\u0305", "\u030d", "\u030e")


def asked(runs: int = 1) -> ImageRequest:
    known, view = ChartApp(runs).known, PlotWindow()
    drawn = laid_out(layers(known, "loss"), view, "loss", 60, 12)
    return ImageRequest(
        drawn, view, 12, (8, 16), (0, 0, 0), (200, 200, 200), [(255, 60, 60), (60, 255, 60)][: len(drawn.lines)]
    )


def test_the_curves_are_in_the_picture_where_they_are_in_the_cells() -> None:
    given_ = asked()
    image = draw(given_)
    assert image.size == (given_.drawn.canvas.width * 8, 12 * 16)
    smoothed = {
        (x // 8, y // 16)
        for x in range(image.width)
        for y in range(image.height)
        if image.getpixel((x, y))[1] > 200 and image.getpixel((x, y))[0] < 120
    }
    owned = {
        (x, y)
        for y, row in enumerate(given_.drawn.canvas.owners)
        for x, owner in enumerate(row)
        if owner >= 0 and given_.drawn.lines[owner].number == 0 and not given_.drawn.lines[owner].raw
    }
    near = {(x + dx, y + dy) for x, y in owned for dx in (-1, 0, 1) for dy in (-1, 0, 1)}
    assert len(smoothed) > 40 and smoothed <= near


@pytest.mark.parametrize("how", list(Protocol))
def test_a_chart_is_sent_in_each_protocol_and_no_name_goes_along(how: Protocol) -> None:
    given_ = asked(2)
    sent = encoded(given_, how, 77)
    columns = given_.drawn.canvas.width
    if how is Protocol.SIXEL:
        width, height, pixels = sixel_pixels(sent)
        assert (width, height) == (columns * 8, 192) and len(pixels) == width * height
        return
    if how is Protocol.KITTY:
        (command,) = kitty_commands(sent)
        data = command.data
        assert {name: command.said[name] for name in "aUfcr"} == {
            "a": "T",
            "U": "1",
            "f": "100",
            "c": str(columns),
            "r": "12",
        }
    else:
        found = re.fullmatch(r"\x1b]1337;File=([^:]*):([A-Za-z0-9+/=]*)\x07", sent)
        assert found and f"width={columns};height=12" in found[1]
        data = base64.b64decode(found[2])
    assert Image.open(io.BytesIO(data)).size == (columns * 8, 192)


def started(**env: str) -> Terminal:
    around = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "PYTHONPATH", "LANG")}
    return Terminal([sys.executable, "-m", "tests.chart_app"], {**around, "COLORTERM": "truecolor", **env}, 90, 30)


def test_kitty_gets_a_picture_where_its_placeholders_are_and_it_is_taken_back_in_the_end() -> None:
    terminal = started(KITTY_WINDOW_ID="1")
    try:
        terminal.wait_for("step 0")
        assert "\x1b_G" not in terminal.raw.decode()
        terminal.press("I")
        for _ in range(50):
            terminal.settle()
            if PLACEHOLDER in terminal.raw.decode():
                break
        raw = terminal.raw.decode()
        (command,) = kitty_commands(raw)
        assert Image.open(io.BytesIO(command.data)).format == "PNG"
        rows, columns = int(command.said["r"]), int(command.said["c"])
        red, green, blue = terminal_images.kitty_colour(int(command.said["i"]))
        drawn = raw[raw.index(PLACEHOLDER) - 200 :]
        assert f"38;2;{red};{green};{blue}" in drawn
        cells = set(re.findall(f"{PLACEHOLDER}(.)(.)", drawn))
        assert cells == {(DIACRITICS[row], DIACRITICS[column]) for row in range(rows) for column in range(columns)}
        # Its numbers and its names are text of the terminal.
        terminal.press("I")
        terminal.settle()
        assert [one.said["a"] for one in kitty_commands(terminal.raw.decode())] == ["T", "d"]
        terminal.press("I")
        terminal.settle()
        terminal.press("q")
        terminal.press("\x03")
        terminal.settle()
    finally:
        terminal.kill()


def test_a_terminal_that_takes_no_pictures_is_sent_none_and_that_is_said() -> None:
    terminal = started(TMUX="/tmp/t,1,0", KITTY_WINDOW_ID="1")
    try:
        terminal.wait_for("step 0")
        terminal.press("I")
        terminal.wait_for("takes no pictures")
        assert b"\x1b_G" not in terminal.raw and b"\x1bP" not in terminal.raw and b"1337" not in terminal.raw
    finally:
        terminal.kill()


def test_a_picture_that_is_put_over_cells_is_put_again_when_these_are_drawn_again() -> None:
    terminal = started(TERM_PROGRAM="iTerm.app")
    placed = re.compile(rb"\x1b7\x1b\[(\d+);(\d+)H\x1b]1337;File=[^:]*:[A-Za-z0-9+/=]*\x07\x1b8")
    try:
        terminal.wait_for("step 0")
        terminal.press("I")
        for _ in range(50):
            terminal.settle()
            if placed.search(terminal.raw):
                break
        first = placed.findall(bytes(terminal.raw))
        assert first and first[0] == (b"2", b"9")
        terminal.press("h")
        terminal.settle()
        assert len(placed.findall(bytes(terminal.raw))) > len(first)
        assert "1337" not in terminal.screen
    finally:
        terminal.kill()


async def test_what_lies_over_a_chart_is_not_covered_by_its_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMUX", "STY", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM_PROGRAM", "iTerm.app")
    monkeypatch.setenv("TERM", "xterm-256color")
    app, sent = ChartApp(), list[str]()
    monkeypatch.setattr(Plot, "_write", lambda self, text: sent.append(text))
    async with app.run_test(size=(90, 30)) as pilot:
        await pilot.press("I")
        plot = app.query_one(Metrics).query(Plot)[0]
        for _ in range(100):
            await pilot.pause(0.05)
            if sent:
                break
        assert sent and plot._is_free()
        await pilot.press("S")
        assert not plot._is_free()
        sent.clear()
        plot.redraw()
        await pilot.pause(0.1)
        assert not sent
