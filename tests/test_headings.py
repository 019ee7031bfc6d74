"""The headings of charts: whose number is whose, and no number is ever cut."""

from rich.cells import cell_len

from runner.metrics.compare import final_numbers
from runner.metrics.series import NONE
from runner.model.states import State
from tests.statuses import a_status
from tests.test_run import run
from tui.presentation.run_format import said
from tui.widgets.metrics import RunCurves, layers
from tui.widgets.plot import MISSED, heading_pieces


def text(room: int, *values: tuple[str, str], where: str = "", missed: str = "") -> str:
    pieces = heading_pieces(values, where, missed, room)
    assert sum(cell_len(piece) for piece, _ in pieces) <= room
    return "".join(piece for piece, _ in pieces)


def test_the_smoothed_loss_goes_before_a_number_is_cut_and_nothing_is_said_twice() -> None:
    loss, ema = ("", "3.102"), ("ema", "3.62")
    assert text(40, loss, ema, where="at 1,200") == "3.102 · ema 3.62  at 1,200"
    assert text(20, loss, ema, where="at 1,200") == "3.102 · ema 3.62"
    assert text(15, loss, ema) == "3.102" and text(4, loss, ema) == "" and text(20) == ""
    assert text(30, loss, missed="3 not finite") == "3.102  3 not finite"
    assert heading_pieces([loss], "", "3 not finite", 30)[-1][1] == MISSED


def test_of_several_runs_every_number_is_whole_or_not_there() -> None:
    for room in range(60):
        found = text(room, ("d12-gold", "0.4101"), ("d12-bronze", "0.5793"), ("d12-red", "0.6123"))
        numbers = [word for word in found.replace("·", " ").split() if word[0].isdigit()]
        assert numbers == ["0.4101", "0.5793", "0.6123"][: len(numbers)]
        assert ("d12-bronze 0.5793" in found) == (room >= 52) and ("+" not in found or numbers)


def test_the_legend_and_the_table_of_a_comparison_say_which_loss_is_meant() -> None:
    def known(tag: str) -> RunCurves:
        return RunCurves(run(tag=tag), NONE)

    assert [one.name for one in layers([known("a")], "loss")] == ["", "ema"]
    assert [one.name for one in layers([known("a"), known("b")], "loss")] == ["a", "b"]
    status = a_status(1, State.DONE, "c", 0.0, 40.552, loss=0.4196, mfu=0.0)
    rows = {row.name: row for row in final_numbers([run(status=status), run(status=status)], 41.0)}
    assert rows["loss"].label == "loss, last step"
    shown = {name: said(row.values[0], row.digits) for name, row in rows.items()}
    assert (shown["MFU %"], shown["seconds"], shown["loss"]) == ("0.0", "40.6", "0.4196")
