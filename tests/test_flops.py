"""What nanochat prints of FLOPs and MFU under `--fp8` is made whole, everywhere and only there."""

import csv
import re
from pathlib import Path

import msgspec
import pytest

from runner.job.status_tracker import Tracker
from runner.logs.summary import SummaryReader
from runner.metrics import compare
from runner.metrics.series import CurvesReader
from runner.model import events
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.model.states import State
from runner.nanochat import flops, grammar, shapes
from runner.nanochat.layout import Inventory
from runner.planning.plan import make_plan
from runner.text.sanitize import strip_ansi
from tests.conftest import DATA
from tests.statuses import a_status
from tests.test_run import run

FP8 = DATA / "logs" / "h100_d26_fp8.log"


def parsed(path: Path) -> list[events.Event]:
    lines = re.split(r"[\n\r]", path.read_bytes().decode("utf-8", "replace"))
    return [event for event in map(grammar.parse, map(strip_ansi, lines)) if event]


def facts(path: Path) -> dict[str, str]:
    return {e.name: e.value for e in parsed(path) if isinstance(e, events.Fact)}


def watched(path: Path) -> Run:
    """A run whose base training has printed a log."""
    status = a_status(1, State.RUNNING, "c", 0.0, 0.0, stage="base")
    tracker = Tracker(status)
    for event in parsed(path):
        tracker.take(event, 1.0)
    return run(status=status)


def test_flops_of_a_log_in_fp8_are_those_of_our_shape() -> None:
    found = facts(FP8)
    ours = shapes.model_shape(26, window="L", iterations=5)
    printed = float(found["flops_per_token"])
    assert printed == pytest.approx(ours.flops_per_token / 6.18, rel=0.01), "nanochat counts a sixth"
    assert printed * flops.shortfall(found) == pytest.approx(ours.flops_per_token, rel=1e-6)
    assert float(flops.total(found).split()[0]) == pytest.approx(ours.flops, rel=1e-6)
    assert "nanochat prints 5.574589e+15: it leaves out the layers in FP8" in flops.total(found)


@pytest.mark.parametrize("path", sorted((DATA / "logs").glob("*.log")), ids=lambda p: p.stem)
def test_no_log_without_fp8_is_corrected(path: Path) -> None:
    found = facts(path)
    assert (flops.shortfall(found) != 1.0) == ("fp8" in found)


def test_a_run_in_fp8_does_not_show_a_tenth_of_its_utilisation() -> None:
    status = watched(FP8).status
    assert status and status.training.mfu == pytest.approx(63.8, abs=0.1) and status.training.mfu_printed == 10.32
    plain = watched(DATA / "logs" / "h100_d12_smoke_cold.log").status
    assert plain and plain.training.mfu == pytest.approx(45, abs=1) and plain.training.mfu_printed is None


def test_a_viewed_log_in_fp8_does_not_show_a_tenth_of_its_utilisation() -> None:
    reader = SummaryReader()
    for line in FP8.read_bytes().splitlines():
        reader.add_line(line)
    assert reader.found.mfu == pytest.approx(64, abs=0.1) and reader.found.mfu_printed == 10.36


def test_curves_and_csv_of_a_run_in_fp8_hold_both_numbers(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = [{"t": 1.0 + n, "stage": "base", **msgspec.to_builtins(e)} for n, e in enumerate(parsed(FP8))]
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    reader = CurvesReader(path)
    assert reader.read()
    rows = list(csv.DictReader("".join(compare.as_csv([watched(FP8)], [reader.curves()])).splitlines()))
    last = {row["metric"]: float(row["value"]) for row in rows if row["step"] == "4"}
    assert last["MFU"] == pytest.approx(63.8, abs=0.1) and last["MFU printed"] == 10.32


def test_a_comparison_names_what_nanochat_prints_where_it_differs() -> None:
    rows = {row.name: row for row in compare.final_numbers([watched(FP8)], 0.0)}
    assert rows["MFU % printed"].values == (10.32,)
    plain = watched(DATA / "logs" / "h100_d12_smoke_cold.log")
    assert "MFU % printed" not in {row.name for row in compare.final_numbers([plain], 0.0)}


def test_the_plan_says_what_target_flops_would_do_and_only_where_fp8_is_asked_for() -> None:
    def warned(**overrides: object) -> str:
        spec = RunSpec.create(task="base", model="d26", backend="modal", engine="nanochat", overrides=overrides)
        return "; ".join(make_plan(spec, Inventory(), backend="modal").warnings)

    found = facts(FP8)
    assert f"{flops.shortfall(found):.1f} times too long" in warned(window_pattern="L")
    assert "--target-flops" in warned() and "--target-flops" not in warned(fp8=False)


def test_a_version_that_counts_right_is_not_corrected() -> None:
    found = {**facts(FP8), "flops_per_token": f"{shapes.model_shape(26, window='L').flops_per_token:e}"}
    assert flops.shortfall(found) == 1.0


@pytest.mark.parametrize("odd", ["", "nan", "-1", "1e999", "0", "x" * 50, "1" * 400])
def test_odd_sizes_in_a_log_correct_nothing_and_break_nothing(odd: str) -> None:
    for name in ("flops_per_token", "n_layer", "n_embd", "sequence_len", "window_pattern", "lm_head"):
        assert flops.shortfall({**facts(FP8), name: odd}) in (1.0, pytest.approx(6.18, rel=0.05))
