"""What runs cost, side by side and by day; who is told of what, once; what asks before it spends."""

import csv
import http.server
import io
import json
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from runner.diagnosis.alarms import NO_KERNEL, SLOW_WINDOWS
from runner.errors import UsageError
from runner.fleet.fleet import Fleet
from runner.fleet.registry import Registry
from runner.metrics import compare
from runner.metrics.series import CurvesReader
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.model.states import State
from runner.model.status import Outcome, OutcomeKind
from runner.monitoring.ledger import confirmation_reason, per_hour, spending
from runner.monitoring.notifications import (
    Notification,
    NotificationKind,
    Notifier,
    pending_notifications,
    terminal_sequence,
)
from runner.settings import Settings
from runner.volumes.run_records import status_of
from tests.conftest import Cli
from tests.statuses import a_status
from tests.test_run import run
from tests.test_series import event, step

DAY = 86_400.0
NOON = time.mktime((2026, 11, 10, 12, 0, 0, 0, 0, -1))


def paid(usd: str, began: float, ended: float, **given: Any) -> Run:
    state = given.pop("state", State.DONE)
    status = a_status(
        1, state, "c", began, ended, ended_at=ended, first_started_at=began, earlier_cost_usd=Decimal(usd)
    )
    return run(state, **{"id": f"r{usd}", "tag": f"t{usd}", "status": status, "backend": "modal", **given})


def test_spending_adds_up_by_day_month_and_model() -> None:
    runs = [paid("10", NOON, NOON + 60), paid("20", NOON - 15 * DAY, NOON - 15 * DAY + 60), run(State.QUEUED)]
    found = spending(runs, [], NOON + DAY)
    assert found.total == 30 and found.models == {"d12": 30}
    assert found.months == {"2026-11": 10, "2026-10": 20} and list(found.days) == ["2026-11-10", "2026-10-26"]
    working = paid("1", NOON, NOON, state=State.RUNNING)
    assert working.status is not None
    working.status.money.usd_per_hour = Decimal("31.60")
    assert per_hour([*runs, working]) == Decimal("31.60")


def test_a_launch_asks_above_its_limits_and_not_below() -> None:
    few, none = Settings(ask_above_usd=Decimal(50), monthly_limit_usd=Decimal(600)), Decimal(0)
    assert confirmation_reason(few, Decimal(49), None, none, none) == ""
    assert "above the $50.00" in confirmation_reason(few, Decimal(51), None, none, none)
    assert confirmation_reason(few, Decimal(51), Decimal(40), none, none) == ""
    assert "month's limit is $600.00" in confirmation_reason(few, Decimal(20), None, Decimal(590), none)
    assert "$300.00 that live runs are yet to spend" in confirmation_reason(
        few, Decimal(20), None, Decimal(290), Decimal(300)
    )
    assert "up to its budget of $40.00" in confirmation_reason(few, Decimal(20), Decimal(40), Decimal(570), none)
    assert confirmation_reason(Settings(ask_above_usd=none), Decimal(10**4), None, Decimal(10**4), none) == ""


def test_a_dear_launch_by_a_script_is_refused_without_yes_and_a_budget_is_the_most_it_can_cost(cli: Cli) -> None:
    cli("settings", "local_usd_per_hour", "36000")
    cli("settings", "ask_above_usd", "300")
    words = ("--task", "base", "--iterations", "400", "--step-ms", "100")
    assert "--yes" in cli("launch", *words, code=2).stderr and cli.json("ls") == []
    cli("launch", *words, "--budget", "240", "--watch", code=1)
    cli("launch", *words, "--yes")
    cli("cancel", "last")
    assert [r["state"] for r in cli.json("ls")] == ["cancelled", "out of budget"]


def test_cost_tells_what_was_estimated_projected_and_spent(cli: Cli) -> None:
    cli("settings", "local_usd_per_hour", "3.60")
    cli("launch", "--tag", "a", "--watch", "--step-ms", "20")
    cli("launch", "--tag", "b", "--fault", "hang@5", "--step-ms", "20", "--model", "d14")
    while not (cli.run("b")["step"] or 0) > 3:
        time.sleep(0.1)
    found = cli.json("cost")
    assert [r["tag"] for r in found["runs"]] == ["b", "a"] and set(found["models"]) == {"d12", "d14"}
    live, done = found["runs"]
    assert done["projected_usd"] is None and live["projected_usd"][1] >= live["spent_usd"] > 0
    assert abs(sum(r["spent_usd"] for r in found["runs"]) - found["total_usd"]) < 0.001
    assert found["usd_per_hour_now"] == 3.6 and "d14" in cli("cost").stdout


def test_runs_are_compared_by_numbers_settings_and_curves(cli: Cli, tmp_path: Path) -> None:
    cli("launch", "--tag", "a", "--watch", "--step-ms", "0", "--iterations", "30")
    cli("launch", "--tag", "b", "--watch", "--step-ms", "0", "--iterations", "40", "--save-every", "20")
    table, picture = tmp_path / "c.csv", tmp_path / "c.svg"
    found = json.loads(cli("compare", "a", "b", "--json", "--csv", str(table), "--svg", str(picture)).stdout)
    assert found["settings"] == {"iterations": {"a": "30", "b": "40"}, "save_every": {"a": None, "b": "20"}}
    assert found["final"]["step"] == {"a": 30, "b": 40}
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert sum(r["run"] == "b" and r["metric"] == "loss" for r in rows) == 40
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert "save_every" in cli("compare", "a", "b").stdout
    cli("compare", "a", code=2)
    assert "c.csv" in cli("compare", "a", "b", "--csv", str(table), code=2).stderr


def test_the_best_value_of_a_row_is_marked_and_a_tie_is_none() -> None:
    a = run(id="a", status=a_status(1, State.DONE, "c", 0.0, 1.0, loss=2.0, core=0.2, val_bpb=0.8))
    b = run(id="b", status=a_status(1, State.DONE, "c", 0.0, 1.0, loss=3.0, core=0.3, val_bpb=0.8))
    best = {row.name: row.best for row in compare.final_numbers([a, b], 10.0)}
    assert (best["loss"], best["CORE"], best["val bpb"]) == ((0,), (1,), ())


def test_a_pace_that_is_better_by_chance_alone_is_not_marked_as_the_best() -> None:
    for rate, best in ((1005.0, ()), (1100.0, (1,))):
        a = run(id="a", status=a_status(1, State.DONE, "c", 0.0, 1.0, tokens_per_s=1000.0, loss=2.0))
        b = run(id="b", status=a_status(1, State.DONE, "c", 0.0, 1.0, tokens_per_s=rate, loss=1.999))
        rows = {row.name: row.best for row in compare.final_numbers([a, b], 10.0)}
        assert (rows["tok/s"], rows["loss"]) == (best, (1,))


def test_names_of_runs_are_text_in_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(event(1, "container") + step(2, 0, 3.0) + step(3, 1, 2.0))
    read = CurvesReader(path)
    read.read()
    svg = "".join(compare.as_svg([run(tag="<script>x</script>"), run(tag="&")], [read.curves()] * 2))
    assert "<script>" not in svg and ElementTree.fromstring(svg) is not None


def of(state: State, **status: Any) -> Run:
    known = a_status(1, state, "c", 1000.0, 2000.0, **status)
    return run(state, status=known, ended_at=None if state in (State.RUNNING, State.PREEMPTED) else 2000.0)


@pytest.mark.parametrize(
    ("one", "kinds"),
    [
        (of(State.DONE, outcome=Outcome(OutcomeKind.DONE, "10 steps")), ["finished"]),
        (of(State.FAILED, outcome=Outcome(OutcomeKind.OOM, "no memory")), ["failed"]),
        (of(State.CANCELLED), []),
        (of(State.OUT_OF_BUDGET), ["out of budget"]),
        (of(State.RUNNING, phase="training", progress_at=1999.0), []),
        (of(State.RUNNING, phase="training", progress_at=1000.0), ["stalled"]),
        (of(State.PREEMPTED, preemptions=1), ["preempted"]),
    ],
)
def test_what_a_person_is_told_of(one: Run, kinds: list[str]) -> None:
    assert [n.kind for n in pending_notifications(one, 2001.0)] == kinds


def test_a_slow_kernel_and_a_loss_that_is_nan_are_told_beyond_the_screen_and_once_each() -> None:
    one = of(State.RUNNING, warnings=[NO_KERNEL, SLOW_WINDOWS, "loss is nan at step 7", "the data is used up"])
    found = [n for n in pending_notifications(one, 1001.0) if n.kind == "warning"]
    assert [n.key.rpartition("/")[2] for n in found] == ["attention", "attention", "nan"]
    assert NO_KERNEL in found[0].text


def test_each_notice_is_told_once_by_whoever_sees_it_first_and_old_news_never(tmp_path: Path) -> None:
    told: list[str] = []
    tellers = [Notifier(Registry(tmp_path), Settings, lambda n: told.append(n.kind)) for _ in range(2)]
    spec = msgspec.structs.replace(run().spec, budget_usd=Decimal(10))
    for usd in ("1", "5", "5.1", "8", "9.6"):
        status = a_status(1, State.RUNNING, "c", 2000.0, 2000.0, earlier_cost_usd=Decimal(usd), progress_at=2000.0)
        for teller in tellers:
            teller.check([run(State.RUNNING, spec=spec, status=status)], 2000.0)
    assert told == ["budget"] * 3
    for teller in tellers:
        teller.check([of(State.DONE)], 2001.0)
        teller.check([msgspec.structs.replace(of(State.FAILED), id="old")], 2000.0 + 2 * 3600)
    assert told == ["budget"] * 3 + ["finished"]


class Hook(http.server.BaseHTTPRequestHandler):
    got: ClassVar[list[dict[str, str]]] = []

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def webhook() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def test_watch_runs_the_persons_command_and_calls_their_webhook_once(cli: Cli, tmp_path: Path, webhook: str) -> None:
    cli("settings", "webhook", webhook)
    cli("settings", "on_notice", f'echo "$NANOCHAT_RUN $NANOCHAT_KIND" >> {tmp_path}/told')
    cli("launch", "--tag", "n", "--watch", "--step-ms", "0")
    cli("watch", "n")
    assert (tmp_path / "told").read_text() == "n finished\n"
    assert [(n["tag"], n["kind"]) for n in Hook.got] == [("n", "finished")]
    cli("settings", "webhook", "http://127.0.0.1:9/")
    cli("settings", "on_notice", "exit 3")
    assert "webhook" in cli("launch", "--tag", "m", "--watch", "--step-ms", "0").stderr


def test_a_notice_brings_no_escape_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = Notification("r", "t", NotificationKind.FAILED, "x\x1b]0;title\x07;y\n", "k")
    monkeypatch.delenv("TMUX", raising=False)
    assert terminal_sequence(evil).count("\x1b") == 2 and "title\x07" not in terminal_sequence(evil)
    monkeypatch.setenv("TMUX", "1")
    wrapped = terminal_sequence(evil)
    assert wrapped.startswith("\x1bPtmux;\x1b\x1b]9;") and wrapped.endswith("\x1b\\\x07") and "\n" not in wrapped


@pytest.mark.parametrize("name", ["first_started_at", "started_at", "updated_at", "progress_at"])
@pytest.mark.parametrize("value", [-1e12, 1e17, 1e300])
def test_a_status_of_an_impossible_time_is_no_status(name: str, value: float) -> None:
    status = {"attempt": 1, "state": "running", "call_id": "", "started_at": 5.0, "updated_at": 6.0}
    assert status_of(json.dumps(status).encode()) is not None
    assert status_of(json.dumps({**status, name: value}).encode()) is None


# A run that crashes soon, and has little left to do when it is resumed.
SHORT = ("--task", "base", "--iterations", "40", "--save-every", "20", "--fault", "crash@30")


def test_a_resume_asks_above_its_limits_as_a_launch_does(cli: Cli) -> None:
    cli("settings", "local_usd_per_hour", "3600")
    cli("launch", "--tag", "r", "--watch", "--yes", *SHORT, code=1)
    cli("settings", "monthly_limit_usd", "1")
    assert "--yes" in cli("resume", "r", "--budget", "400", code=2).stderr
    assert cli.run("r")["attempts"] == 1
    cli("resume", "r", "--budget", "400", "--yes", "--watch")


def test_of_two_that_start_in_one_moment_the_one_that_would_exceed_the_months_limit_is_asked_about(
    tmp_path: Path,
) -> None:
    with Fleet(tmp_path) as one, Fleet(tmp_path) as other:
        one.put_setting("local_usd_per_hour", "3600")
        spec = RunSpec.create(task="base", overrides={"iterations": "100000", "step_ms": "1000"})
        likely = one.plan(spec, "local").usd.likely
        for fleet in (one, other):
            fleet.put_setting("ask_above_usd", "0")
            fleet.put_setting("monthly_limit_usd", str(round(likely * Decimal("1.5"), 2)))
            assert not fleet.confirmation_reason(spec, likely)
        first = one.launch(spec, unasked=True)
        with pytest.raises(UsageError, match="the month's limit is"):
            other.launch(spec, unasked=True)
        assert [r.id for r in other.poll_all()] == [first.id]
        second = other.launch(spec)
        for run_ in (first, second):
            *_, ended = one.watch(one.cancel(run_), every_s=0.1)
            assert ended.state is State.CANCELLED
        both = [one.find(run_.id) for run_ in (first, second)]
        assert [one.confirmation_reason_for_resume(run_) for run_ in both] == ["", ""]
        assert "the month's limit is" in one.confirmation_reason_for_resume(both[1], beside=both[:1])


def test_a_run_is_resumed_at_the_price_of_today(cli: Cli) -> None:
    cli("launch", "--tag", "r", "--watch", *SHORT, code=1)
    assert cli.run("r")["cost_usd"] == 0
    cli("settings", "local_usd_per_hour", "3600")
    cli("resume", "r", "--yes", "--watch")
    assert cli.run("r")["cost_usd"] > 0.5


@pytest.mark.parametrize("flag", ["--budget", "--stop-if-stalled"])
def test_a_limit_that_is_empty_is_no_limit_that_was_asked_for(cli: Cli, flag: str) -> None:
    cli("launch", "--task", "test", flag, "", code=2)
    assert cli.json("ls") == []


def test_a_budget_that_only_pays_for_closing_is_refused(cli: Cli) -> None:
    cli("settings", "local_usd_per_hour", "3600")
    assert "or more" in cli("launch", "--task", "test", "--yes", "--budget", "5", code=2).stderr
    assert cli.json("ls") == []
