"""Charts on the screen: a mouse reads and moves them, keys smooth them, and several have one axis."""

import re
from collections.abc import Callable

import pytest
from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.pilot import Pilot

from runner.metrics.series import NONE, Curves, Series
from tests.chart_app import ChartApp, curves
from tests.test_app import text_of, until
from tests.test_run import run
from tui.presentation.keymap import KEYS
from tui.widgets.curves import lines
from tui.widgets.metric_list import MetricList
from tui.widgets.metrics import Metrics
from tui.widgets.plot import Plot
from tui.widgets.plot_window import DASHES, Layer, PlotWindow, curve_tone
from tui.widgets.ranges import RATES
from tui.widgets.run_curves import CHARTS, RunCurves, layers


class Small(Plot):
    """A chart that needs no screen."""

    size = Size(30, 6)


def drawn(
    layer: list[Layer], view: PlotWindow | None = None, size: tuple[int, int] = (30, 6), of: str = "loss"
) -> list[str]:
    plot = Small(of, lambda tone: Style(), view or PlotWindow(), id="p")
    plot.size = Size(*size)
    plot.show(layer)
    return ["".join(segment.text for segment in row) for row in plot._draw()]


def known(*begins_s: float) -> list[RunCurves]:
    return [RunCurves(run(tag=f"r{n}", id=f"run000{n}"), curves(n, begins_s=begin)) for n, begin in enumerate(begins_s)]


@pytest.mark.parametrize("width", [2, 5, 9, 14, 20, 30, 38, 60, 120])
@pytest.mark.parametrize("height", [1, 2, 3, 4, 6, 9, 14, 30])
def test_a_chart_of_any_size_is_drawn_to_its_edges_and_shows_its_curve(width: int, height: int) -> None:
    for charts in (layers(known(40.0), "loss"), layers(known(40.0, 40.0), "loss"), []):
        for view in (PlotWindow(), PlotWindow(cursor=600.0, log=True)):
            rows = drawn(charts, view, (width, height))
            assert len(rows) == height and all(len(row) == width for row in rows)
            if charts and height > 1 and width >= 9:
                assert any("\u2800" < sign <= "\u28ff" for row in rows for sign in row)


def test_a_small_chart_has_a_value_a_place_and_its_last_number() -> None:
    rows = drawn(layers(known(40.0), "tok/s"), of="tok/s")
    assert rows[0].startswith("tok/s  127")
    assert any(row[:7].strip() for row in rows[1:-1]) and rows[-1].split()[:2] == ["step", "0"]


def test_a_pace_that_hardly_changes_is_a_flat_line_in_the_middle() -> None:
    rows = drawn(layers(known(40.0), "tok/s"), size=(60, 12), of="tok/s")
    with_dots = [y for y, row in enumerate(rows) if any("\u2800" < sign <= "\u28ff" for sign in row)]
    assert len(with_dots) == 1 and with_dots[0] in (5, 6)
    assert "tok/s" in RATES and set(RATES) <= set(CHARTS)


def test_charts_beside_each_other_have_one_axis() -> None:
    found = known(40.0)
    view = PlotWindow()
    spans = {view.span(layers(found, name)) for name in ("loss", "val bpb", "tok/s", "MFU")}
    assert spans == {(0.0, 1199.0)}


def test_runs_are_aligned_by_the_time_since_their_start() -> None:
    view = PlotWindow("time")
    both = layers(known(40.0, 90.0), "loss")
    assert view.span(both) == (0.0, 90.0 + 1199 * 1.3)
    firsts = [layer.axis("time")[0][0] for layer in both]
    assert firsts == [40.0, 90.0]


def test_a_run_that_goes_on_from_another_begins_where_it_does() -> None:
    series = Series()
    for step in range(5000, 6000):
        series.add(step, step, 1.0)
    assert PlotWindow().span([Layer("", series)]) == (5000.0, 5999.0)


def test_curves_have_the_tones_of_the_theme_by_number_and_differ_without_them() -> None:
    def theme(name: str) -> Style:
        return Style(color="red") if name == "curve-2" else Style(bold=True) if name == "accent" else Style()

    assert curve_tone(theme, 1) == Style(color="red") and curve_tone(theme, 0) == Style(bold=True)
    assert curve_tone(theme, 7) == curve_tone(theme, 1)
    assert len({mark for mark, _ in DASHES}) == len({dots for _, dots in DASHES}) == 6
    rows = drawn(layers(known(40.0, 40.0), "loss"), size=(80, 6))
    assert "── r0" in rows[0] and "╌╌ r1" in rows[0]


def test_raw_and_smoothed_go_by_what_is_asked_for() -> None:
    one, two = layers(known(40.0), "loss"), layers(known(40.0, 40.0), "loss")

    def shown(charts: list[Layer], **asked: object) -> list[tuple[int, bool, float]]:
        view = PlotWindow()
        for name, value in asked.items():
            setattr(view, name, value)
        return [(line.number, line.raw, line.factor) for line in lines(charts, view)]

    assert shown(one) == [(0, True, 0.0), (0, False, 0.0)]
    assert shown(one, raw=False) == [(0, False, 0.0)]
    assert shown(one, smoothing=0.98) == [(0, True, 0.0), (0, False, 0.98)]
    assert shown(one, smoothing=0.0) == [(0, False, 0.0)]
    assert shown(two) == [(0, False, 0.0), (1, False, 0.0)]
    assert shown(two, raw=True) == [(0, True, 0.0), (1, True, 0.0), (0, False, 0.0), (1, False, 0.0)]
    speed, seldom = layers(known(40.0), "tok/s"), layers(known(40.0), "val bpb")
    assert shown(speed) == [(0, False, 0.9)] and shown(speed, smoothing=0.98) == [(0, False, 0.98)]
    assert shown(speed, smoothing=0.0) == [(0, False, 0.0)] and shown(speed, raw=True)[0] == (0, True, 0.0)
    assert shown(seldom, smoothing=0.99) == [(0, False, 0.0)]


async def ready(pilot: Pilot[int]) -> Metrics:
    metrics = pilot.app.query_one(Metrics)
    await until(pilot, lambda: metrics.query(Plot)[0].size.width < 60 and "step 0" in text_of(pilot.app), "the charts")
    return metrics


def settled(metrics: Metrics, key: str) -> Callable[[], bool]:
    return lambda: key in text_of(metrics.app)


async def test_the_mouse_reads_zooms_pans_and_shows_all() -> None:
    app = ChartApp()
    async with app.run_test(size=(120, 34)) as pilot:
        metrics = await ready(pilot)
        plots, view = metrics.query(Plot), metrics.view
        await pilot.hover(plots[0], offset=(44, 3))
        await until(pilot, settled(metrics, f"at {round(view.hover or 0):,}"), "the values under the mouse")
        assert view.hover is not None and view.cursor is None
        # In every chart, as they have one axis.
        assert text_of(app).count("│") > plots[0].size.height
        before = view.hover
        await pilot._post_mouse_events([events.MouseScrollUp], plots[0], (44, 3))
        assert view.begin is not None and view.end is not None and view.end - view.begin < 1199
        assert view.begin < before < view.end
        width = view.end - view.begin
        await pilot.mouse_down(plots[0], offset=(44, 3))
        await pilot.hover(plots[0], offset=(39, 3))
        begin = view.begin
        await pilot.mouse_up(plots[0], offset=(39, 3))
        assert begin > 0 and view.end - view.begin == pytest.approx(width)
        await pilot.click(plots[0], offset=(20, 3), times=2)
        assert view.begin is None and view.cursor is None
        await pilot.click(plots[0], offset=(20, 3))
        assert view.cursor is not None
        await pilot.press("escape")


async def test_what_the_signs_below_a_curve_stand_for_is_said_beside_it() -> None:
    app = ChartApp()
    async with app.run_test(size=(120, 34)) as pilot:
        await ready(pilot)
        assert "◆ save  ↻ preemption" in text_of(app) and "▲ val" not in text_of(app)


async def test_where_not_all_curves_have_room_beside_the_title_the_best_are_told() -> None:
    app = ChartApp(6)
    app.known.reverse()
    async with app.run_test(size=(76, 20)) as pilot:
        plot = app.query(Plot)[0]
        await until(pilot, lambda: " +" in str(plot.render_line(0).text), "some left out")
        first = plot.render_line(0).text
        values = [float(word) for word in re.findall(r"[0-9]+\.[0-9]+", first)]
        assert values == sorted(values) and min(values) < 2.5, first


async def test_smoothing_has_a_slider_and_stops_at_its_ends() -> None:
    app = ChartApp()
    async with app.run_test(size=(120, 34)) as pilot:
        metrics = await ready(pilot)
        await pilot.press("right_curly_bracket")
        await until(pilot, settled(metrics, "●───} .95"), "the slider")
        await pilot.press(*["right_curly_bracket"] * 9)
        assert metrics.view.smoothing == 0.995
        await pilot.press(*["left_curly_bracket"] * 20)
        await until(pilot, settled(metrics, "{●───────} off"), "nothing smoothed")


async def test_how_a_loss_began_is_said_and_shown_to_who_asks() -> None:
    app = ChartApp()
    async with app.run_test(size=(120, 34)) as pilot:
        metrics = await ready(pilot)
        await until(pilot, settled(metrics, "↑ up to 10.4"), "what is left out")
        await pilot.press("a")
        await until(pilot, lambda: "↑ up to 10.4" not in text_of(app), "all of it")


async def test_charts_are_chosen_from_a_list_and_stay_chosen() -> None:
    app = ChartApp()
    async with app.run_test(size=(120, 34)) as pilot:
        metrics = await ready(pilot)
        await pilot.press("S")
        await until(pilot, lambda: isinstance(app.screen, MetricList), "the list")
        await pilot.press("space", "j", "space", "enter")
        await until(
            pilot, lambda: [p.display for p in metrics.query(Plot)][:4] == [False, False, False, True], "two less"
        )
        metrics.show(app.known)
        await pilot.press("down")
        assert metrics.chosen == list(CHARTS).index("MFU") or metrics.chosen == list(CHARTS).index("tok/s")
        assert not metrics.query(Plot)[0].display
        await pilot.press("S", "space", "escape")
        await until(pilot, lambda: metrics.query(Plot)[0].display, "the loss again")


async def test_a_run_without_points_has_its_first_charts_and_no_list() -> None:
    app = ChartApp()
    app.known = [RunCurves(run(), NONE)]
    async with app.run_test(size=(120, 34)) as pilot:
        metrics = app.query_one(Metrics)
        await until(pilot, lambda: "reading …" in text_of(app), "the empty charts")
        await pilot.press("S", "right_curly_bracket", "R", "a", "x", "h", "enter", "I")
        assert [plot.display for plot in metrics.query(Plot)].count(True) == 1 and app.screen.query(Metrics)


def test_a_chart_without_a_value_says_whether_one_may_be_on_its_way() -> None:
    plot = Small("loss", lambda tone: Style(), PlotWindow(), id="p")
    for coming, says in ((True, "reading …"), (False, "no values yet")):
        plot.show([], coming=coming)
        for size in ((30, 6), (30, 1), (9, 3)):
            plot.size = Size(*size)
            rows = ["".join(segment.text for segment in row) for row in plot._draw()]
            assert len(rows) == size[1] and all(cell_len(row) == size[0] for row in rows)
        plot.size = Size(40, 6)
        assert says in "".join("".join(segment.text for segment in row) for row in plot._draw())


def test_no_key_of_curves_takes_one_of_the_screens_that_they_are_on() -> None:
    keys = {
        screen: {one for key in KEYS if key.screen == screen for one in key.keys.split(",")}
        for screen in ("", "metrics", "watch", "log", "compare")
    }
    new = {"left_curly_bracket", "right_curly_bracket", "R", "a", "S", "I"}
    assert new <= keys["metrics"] and not any(new & keys[screen] for screen in ("", "watch", "log", "compare"))


def test_curves_of_a_strangers_run_may_be_anything() -> None:
    evil = Curves({name: series for name, series in curves().series.items()}, ())
    rows = drawn(layers([RunCurves(run(tag="a\x1b[31mb"), evil), *known(40.0)], "loss"), size=(90, 9))
    assert not any("\x1b" in row for row in rows)
