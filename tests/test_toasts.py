"""What is told beside the screens: one line, in the last row, gone with the next key, which does its work."""

from pathlib import Path

import pytest
from textual.notifications import SeverityLevel

from runner.fleet.fleet import Fleet
from runner.monitoring.notifications import Notification, NotificationKind
from tests.test_app import put, text_of, until
from tui.app.app import NanochatApp
from tui.screens.launch import LaunchScreen
from tui.widgets.dialogs import TextPage
from tui.widgets.key_line import Item, arranged
from tui.widgets.toasts import DOWNLOADED, Toast, Toasts


def notice(number: int, kind: str) -> Notification:
    return Notification(
        f"r{number}",
        f"tag-{number}",
        NotificationKind(kind),
        f"tag-{number} {kind}: and what else there is to say",
        f"k{number}",
    )


def test_news_of_many_runs_is_one_line_and_everything_can_be_read_later() -> None:
    toasts = Toasts()

    def told(text: str, severity: SeverityLevel, kind: str = "") -> str:
        toasts.add(Toast(1.0, text, severity, kind))
        return toasts.line()

    lines = [told(f"d12-{n} finished: 10 steps", "information", "finished") for n in range(3)]
    assert lines == ["d12-0 finished: 10 steps", "2 runs finished", "3 runs finished"]
    assert told("bad failed: oom", "warning", "failed") == "3 runs finished, bad failed: oom"
    assert toasts.severity == "warning"
    assert told("no such run", "error") == "no such run · 4 more, ! shows all"
    toasts.seen()
    assert told("one more", "information") == "one more"
    assert len(toasts.all) == 6
    toasts.seen()
    assert [told(f"run-{n} is in out", "information", DOWNLOADED) for n in range(2)][-1] == "2 downloads finished"


async def test_news_takes_the_last_row_only_and_the_next_key_clears_it_and_does_its_work(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    for number in range(20):
        put(fleet, number)
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: len(app.toasts.all) == 20 and "20 runs" in app.toasts.line(), "what is told first")
        await pilot.press("j")
        await until(pilot, lambda: "runs finished" not in text_of(app), "nothing to be told any more")
        before = text_of(app).splitlines()
        for number in range(5):
            app._show_notice(notice(number, "finished"))
        await until(pilot, lambda: "5 runs finished" in text_of(app), "the line")
        now = text_of(app).splitlines()
        assert now[:-1] == before[:-1] and now[-1].endswith("? Help  q Quit ")
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, LaunchScreen), "the key's own work")
        assert "5 runs finished" not in text_of(app)
        await pilot.press("escape", "exclamation_mark")
        await until(pilot, lambda: isinstance(app.screen, TextPage) and "tag-3 finished" in text_of(app), "all of it")


async def test_an_answer_to_a_key_is_read_whole_and_is_never_markup(tmp_path: Path) -> None:
    app = NanochatApp(Fleet(tmp_path))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        text = "[red]no such folder[/red] " + "and what to do about it " * 5 + "END"
        app.notify(text, severity="error")
        await until(pilot, lambda: "END" in text_of(app) and "[red]no" in text_of(app), "all of it")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
def test_the_way_out_and_the_help_are_at_the_foot_of_every_width(width: int) -> None:
    words = ("Search", "Filter", "Error", "Cancel", "Resume", "Metrics", "Plan", "Report")
    items = [*(Item(word[0].lower(), word) for word in words), Item("escape", "Back")]
    items += [Item("question_mark", "Help"), Item("q", "Quit")]
    placed, left_out = arranged(items, width)
    last = [item.label for _, item in placed][-2:]
    assert last == ["Help", "Quit"] and all(at + item.width <= width for at, item in placed)
    assert (left_out == 0) == (width > 100) and ("Back" in [i.label for _, i in placed]) == (width > 20)
    ends = [at + item.width for at, item in placed]
    assert all(begin > end for (begin, _), end in zip(placed[1:], ends, strict=False))


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
@pytest.mark.parametrize("mode", ["runs", "volume", "cost"])
async def test_what_is_told_cuts_no_key_at_the_foot_and_leaves_nothing_of_itself(
    tmp_path: Path, mode: str, size: tuple[int, int]
) -> None:
    app = NanochatApp(Fleet(tmp_path))
    async with app.run_test(size=size, notifications=True) as pilot:
        app.action_show(mode)
        await until(pilot, lambda: app.current_mode == mode and "q Quit" in text_of(app), mode)
        keys = text_of(app).splitlines()[-1]
        ways = keys[keys.rindex("Esc Back") if "Esc Back" in keys else keys.rindex("? Help") :]
        for severity in ("information", "error"):
            for again in range(3):
                app.notify("~ " * 300, severity=severity)
                await until(pilot, lambda: "~" in text_of(app).splitlines()[-1], f"the line, {again}")
                last = text_of(app).splitlines()[-1]
                assert last.endswith(ways) and set(last.removesuffix(ways)) <= {*"▌ ~…"}, last
                app.toasts.seen()
            app.clear_notifications()
            await until(pilot, lambda: "~" not in text_of(app), "it is gone")
            assert text_of(app).splitlines()[-1] == keys


async def test_nothing_but_names_stands_in_the_tree_of_a_volume_that_is_narrow(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    (Path(fleet.volume_location("local", "rehearsal")) / "base_data_climbmix").mkdir(parents=True)
    app = NanochatApp(fleet)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "base_data" in text_of(app), "the folder")
        assert not text_of(app).splitlines()[-2].strip()


@pytest.mark.parametrize("mode", ["volume", "cost", "checkpoints", "sizes"])
async def test_the_help_and_the_way_out_are_seen_on_a_screen_that_is_opened_while_something_is_told(
    tmp_path: Path, mode: str
) -> None:
    app = NanochatApp(Fleet(tmp_path))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: "q Quit" in text_of(app), "the first screen")
        app.notify("~ " * 300)
        await until(pilot, lambda: "~" in text_of(app).splitlines()[-1], "the line")
        app.action_show(mode)
        ways = "Esc Back  ? Help  q Quit "
        await until(pilot, lambda: "~" in text_of(app) and text_of(app).splitlines()[-1].endswith(ways), "both")


async def test_nothing_of_the_keys_behind_a_window_shows_beside_what_is_told(tmp_path: Path) -> None:
    app = NanochatApp(Fleet(tmp_path))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: "q Quit" in text_of(app), "the first screen")
        app.action_messages()
        await until(pilot, lambda: isinstance(app.screen, TextPage), "a window")
        app.notify("~ " * 300)
        await until(pilot, lambda: "~" in text_of(app), "the line")
        assert set(text_of(app).splitlines()[-1]) <= {*"▌ ~…"}
