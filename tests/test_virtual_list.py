"""A list whose rows come in pieces."""

from rich.style import Style
from textual.app import App, ComposeResult

from tui.presentation.cells import Cell
from tui.widgets.virtual_list import Column, VirtualList


class Listed(App[int]):
    def get_css_variables(self) -> dict[str, str]:
        return {**super().get_css_variables(), "cursor": "#123456", "cursor-blurred": "#123456"}

    def compose(self) -> ComposeResult:
        columns = [Column("name", 10)]
        yield VirtualList(columns, lambda key: [Cell(key)], empty="", tones=lambda tone: Style(), id="list")


async def test_the_row_that_was_gone_to_stays_in_view_however_fast_others_come_above_it() -> None:
    app = Listed()
    async with app.run_test(size=(40, 12)) as pilot:
        await pilot.pause()
        shown = app.query_one(VirtualList)
        rows = [f"row {number}" for number in range(40)]
        shown.show(rows)
        shown.go_to("row 30")
        for more in range(1, 4):
            shown.show([*(f"new {number}" for number in range(20 * more)), *rows])
        await pilot.pause()
        assert shown.current == "row 30" and "row 30" in shown.on_screen
