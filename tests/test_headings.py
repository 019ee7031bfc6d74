"""The headings of charts: whose number is whose, and no number is ever cut."""

from hypothesis import given
from hypothesis import strategies as st

from runner.metrics.compare import final_numbers
from runner.metrics.series import NONE
from runner.model.states import State
from tests.statuses import a_status
from tests.test_run import run
from tui.presentation.run_format import said
from tui.widgets.axes import value
from tui.widgets.legend import MISSED, MORE, NOTE, PLAIN, CurveEntry, heading, legend, width_of
from tui.widgets.run_curves import RunCurves, layers


def text(room: int, *values: tuple[str, str], where: str = "", missed: str = "") -> str:
    pieces = legend([CurveEntry(*value) for value in values], [where] if where else [], missed, room)
    assert width_of(pieces) <= room
    return "".join(piece.text for piece in pieces)


def test_the_smoothed_loss_goes_before_a_number_is_cut_and_nothing_is_said_twice() -> None:
    loss, ema = ("", "3.102"), ("ema", "3.62")
    assert text(40, loss, ema, where="at 1,200") == "3.102  ema 3.62  at 1,200"
    assert text(20, loss, ema, where="at 1,200") == "3.102  ema 3.62"
    assert text(14, loss, ema) == "3.102  3.62" and text(10, loss, ema) == "3.102"
    assert text(4, loss, ema) == "" and text(20) == ""
    assert text(30, loss, missed="3 not finite") == "3.102  3 not finite"
    assert legend([CurveEntry(*loss)], [], "3 not finite", 30)[-1].of == MISSED


def test_of_several_runs_every_number_is_whole_or_not_there() -> None:
    for room in range(60):
        found = text(room, ("d12-gold", "0.4101"), ("d12-bronze", "0.5793"), ("d12-red", "0.6123"))
        numbers = [word for word in found.split() if word[0].isdigit()]
        assert numbers == ["0.4101", "0.5793", "0.6123"][: len(numbers)]
        assert ("d12-bronze 0.5793" in found) == (room >= 50) and ("+" not in found or numbers)


NAMES = st.sampled_from(["", "ema", "d12-gold", "d26-" + "very-long-" * 6, "図表", "evil\x1b[31m\r"])
NUMBERS = st.floats(-1e9, 1e9).map(value)


@given(
    st.sampled_from(["loss", "val bpb", "GPU GB (log)"]),
    st.lists(st.builds(CurveEntry, NAMES, NUMBERS, st.sampled_from(["", "──", "╌╌"])), max_size=7),
    st.lists(st.sampled_from(["at 1,200", "{──●───} .9"]), max_size=2, unique=True),
    st.sampled_from(["", "3 not finite"]),
    st.integers(0, 120),
    st.integers(1, 3),
)
def test_title_and_legend_never_collide_and_no_number_is_cut_at_any_width(
    title: str, entries: list[CurveEntry], notes: list[str], missed: str, width: int, rows: int
) -> None:
    found = heading(title, entries, notes, missed, width, rows)
    assert len(found) <= rows and all(width_of(row) <= width for row in found)
    for row in found:
        assert not any("\x1b" in piece.text for piece in row)
        assert all(piece.text.endswith(entries[piece.of].value) for piece in row if piece.of >= 0)
        assert all(piece.text in (*notes, missed) for piece in row if piece.of in (NOTE, MISSED))
        # Something stands between any two pieces that say something.
        assert "xx" not in "".join("p" if piece.of in (PLAIN, MORE) else "x" for piece in row if piece.text)
    shown = [piece.of for row in found for piece in row if piece.of >= 0]
    assert shown == list(range(len(shown)))


def test_one_run_shows_its_number_wherever_title_and_number_fit() -> None:
    for width in range(13, 80):
        assert heading("loss", [CurveEntry("", "3.1024")], ["at 1,200"], "", width)[0][2].text == "3.1024"


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
