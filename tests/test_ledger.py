"""The ledger is exact: what was paid when, for what, whatever became of the run, of its machine and of the clocks."""

import time
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.fleet.registry import Registry
from runner.job.environment import LocalEnvironment
from runner.job.restarts import close_container, initial_status
from runner.model.paid import MOST, PaidInterval, account_of, by_day, day_of
from runner.model.run import Run
from runner.model.stages import Part
from runner.model.states import State
from runner.model.status import Status, job_status_of
from runner.monitoring.ledger import Known, account, month_so_far, spending
from runner.nanochat import layout
from runner.volumes import run_records
from runner.volumes.folder import FolderVolume
from tests.conftest import Cli, wait_until
from tests.statuses import a_status
from tests.test_run import run

DAY = 86_400.0
NOON = datetime(2026, 11, 10, 12, tzinfo=ZoneInfo("UTC")).timestamp()
RATE = Decimal(36)


class Site(LocalEnvironment):
    """A place that costs a cent a second."""

    def usd_per_hour(self, run: Run, part: Part | None) -> Decimal:
        return RATE


def container(earlier: Status | None, now: float, seconds: float, *, said: int = 3, attempt: int = 1) -> Status:
    """A container that ran so long, and told of itself so often."""
    told = msgspec.structs.replace(run(), attempt=attempt)
    status = initial_status(told, earlier, Site("c"), Part.TRAIN, now)
    for nth in range(1, said + 1):
        status.tell(seconds * nth / said, now + seconds * nth / said)
    return status


def of(status: Status, **given: object) -> Run:
    return msgspec.structs.replace(run(State.FAILED, status=status), **{"backend": "modal", **given})


def test_what_a_run_over_midnight_paid_is_of_both_days_and_no_cent_is_lost() -> None:
    found = by_day(PaidInterval(NOON, NOON + DAY, DAY, Decimal("31.6001")))
    assert list(found) == ["2026-11-10", "2026-11-11"]
    assert sum(found.values()) == Decimal("31.6001") and abs(found["2026-11-10"] - Decimal("15.8")) < Decimal("0.01")


def test_weeks_in_which_nothing_ran_cost_nothing() -> None:
    first = container(None, NOON, 500.0)
    second = container(first, NOON + 40 * DAY, 100.0, attempt=2)
    found = spending([of(second)], [], NOON + 41 * DAY)
    assert found.days == {"2026-12-20": 1, "2026-11-10": 5} and found.total == 6


def test_a_container_that_was_told_to_go_is_a_row_and_the_wait_after_it_is_none() -> None:
    first = container(None, NOON, 500.0)
    close_container(first, NOON + 500)
    first.tell(0.0, NOON + 501)
    second = container(first, NOON + 9000, 100.0)
    rows = account(of(second)).rows
    assert [(row.seconds, int(row.usd)) for row in rows] == [(500, 5), (100, 1)] and rows[1].began == NOON + 9000


def test_while_a_laptop_sleeps_nothing_is_paid() -> None:
    status = initial_status(run(), None, Site("c"), Part.TRAIN, NOON)
    status.tell(100.0, NOON + 100)
    status.tell(101.0, NOON + 101 + 9 * DAY)
    status.tell(200.0, NOON + 200 + 9 * DAY)
    found = spending([of(status)], [], NOON + 10 * DAY)
    assert found.days == {"2026-11-19": 1, "2026-11-10": 1}


def test_a_clock_that_is_set_back_while_a_run_goes_on_moves_nothing_that_was_paid_before() -> None:
    status = initial_status(run(), None, Site("c"), Part.TRAIN, NOON)
    status.tell(100.0, NOON + 100)
    status.tell(200.0, NOON + 200 - 2 * DAY)
    assert spending([of(status)], [], NOON).days == {"2026-11-10": 1, "2026-11-08": 1}


def test_a_limit_counts_what_was_paid_before_a_clock_was_set_back_from_the_next_month() -> None:
    paid = of(container(None, NOON + 30 * DAY, 100.0))
    assert (month_so_far([paid], [], NOON), month_so_far([paid], [], NOON + 60 * DAY)) == (Decimal(1), Decimal(0))


def test_a_record_of_an_earlier_release_is_one_row_and_goes_on_as_such() -> None:
    old = a_status(1, State.FAILED, "c", NOON, NOON + 100, first_started_at=NOON - 100, earlier_cost_usd=Decimal(3))
    old.ended_at = NOON + 100
    (row,) = account(of(old)).rows
    assert (row.began, row.ended, int(row.usd)) == (NOON - 100, NOON + 100, 3)
    rows = account(of(container(old, NOON + DAY, 100.0))).rows
    assert [row.usd for row in rows] == [3, 1]


def test_rows_are_bounded_and_add_up_all_the_same() -> None:
    status = container(None, NOON, 10.0)
    for nth in range(1, 3 * MOST):
        status = container(status, NOON + nth * (3600 if nth % 2 else 3601), 10.0, said=1)
    found = account(of(status))
    assert len(found.rows) == MOST and found.usd == status.spent_usd == Decimal("0.1") * 3 * MOST


def test_rows_that_make_no_sense_are_one_row_of_what_the_status_says() -> None:
    status = container(None, NOON, 100.0)
    for bad in (
        PaidInterval(NOON, NOON, 1.0, Decimal("NaN")),
        PaidInterval(NOON, NOON, 1.0, Decimal(-1)),
        PaidInterval(NOON, 1e300, 1.0, Decimal(1)),
        PaidInterval(NOON, NOON, 1.0, Decimal(500)),
    ):
        damaged = msgspec.structs.replace(status, money=msgspec.structs.replace(status.money, paid=[bad]))
        assert [row.usd for row in account(of(damaged)).rows] == [1]


def test_a_status_is_told_and_read_with_its_rows() -> None:
    status = container(None, NOON, 100.0)
    assert job_status_of(msgspec.json.encode(status)).money.paid == status.money.paid


def test_what_a_deleted_run_has_paid_stays_known_and_is_counted_once(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    one = of(container(None, NOON, 100.0), workspace="acme")
    registry.add(one)
    registry.remove(one.id)
    (kept,) = registry.saved_accounts()
    assert (kept.tag, kept.model, kept.workspace, int(kept.usd)) == (one.tag, "d12", "acme", 1)
    assert spending([], [kept], NOON).total == 1 and spending([], [kept], NOON).deleted == [kept]
    assert spending([one], [kept], NOON).total == 1 and spending([one], [kept], NOON).deleted == []
    assert spending([msgspec.structs.replace(one, status=None)], [kept], NOON).total == 1
    registry.close()


def test_a_run_of_impossible_times_is_spent_on_one_day_and_holds_nothing_up() -> None:
    assert list(by_day(PaidInterval(0.0, NOON, 5.0, Decimal(3))).values()) == [3]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"id":"x"}', b'{"id":"x","tag":"x","model":"d12","backend":"","workspace":"",'
             b'"environment":"","rows":[[0,1,1,"NaN"]]}']
)  # fmt: skip
def test_a_damaged_account_on_a_volume_is_none(tmp_path: Path, data: bytes) -> None:
    volume = FolderVolume(str(tmp_path))
    volume.write(f"{layout.SPENT}/x.json", data)
    assert run_records.accounts_on(volume) == []
    with pytest.raises((ValueError, msgspec.MsgspecError)):
        account_of(data)


def test_what_another_machine_deleted_is_known_by_what_it_left_on_the_volume(tmp_path: Path) -> None:
    volume, one = FolderVolume(str(tmp_path)), account(of(container(None, NOON, 100.0)))
    run_records.write_account(volume, one)
    assert run_records.accounts_on(volume) == [one] and run_records.accounts_on(volume, {one.id}) == []


ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Pacific/Apia", "America/Sao_Paulo"]


@given(
    st.floats(0, 2e9), st.floats(0, 40 * DAY), st.decimals("0.0001", "9999", places=4), st.sampled_from(ZONES)
)  # fmt: skip
def test_the_days_of_a_row_are_all_the_days_it_touches_and_add_up_to_it(
    began: float, length: float, usd: Decimal, name: str
) -> None:
    zone = ZoneInfo(name)
    found = by_day(PaidInterval(began, began + length, length, usd), zone)
    assert sum(found.values()) == usd and all(part >= 0 for part in found.values())
    touched = {day_of(began + length * n / 200, zone) for n in range(200)}
    assert touched <= found.keys() | {day_of(began + max(length, 1.0), zone)}


@pytest.mark.parametrize(("name", "day", "hours"), [
    ("Europe/Berlin", "2026-10-25", 25), ("Europe/Berlin", "2026-03-29", 23), ("America/New_York", "2026-11-01", 25),
    ("Asia/Kolkata", "2026-10-25", 24),
])  # fmt: skip
def test_a_day_of_a_changed_clock_is_as_long_as_it_was(name: str, day: str, hours: int) -> None:
    zone = ZoneInfo(name)
    noon_before = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=zone) - timedelta(days=1)
    began = noon_before.timestamp()
    found = by_day(PaidInterval(began, began + 3 * DAY, 3 * DAY, Decimal(72)), zone)
    assert round(found[day], 6) == hours


# A run that costs about a dollar.
SHORT = ("--task", "base", "--iterations", "30", "--step-ms", "0")


def test_what_a_month_has_cost_is_known_after_its_runs_were_deleted_also_by_a_new_registry(cli: Cli) -> None:
    cli("settings", "local_usd_per_hour", "3600")
    cli("launch", "--tag", "a", "--yes", "--watch", *SHORT)
    before = cli.json("cost")
    cli("rm", "a", "--yes")
    after = cli.json("cost")
    assert after["total_usd"] == before["total_usd"] > 0 and after["months"] == before["months"]
    assert [(one["tag"], one["spent_usd"]) for one in after["deleted"]] == [("a", before["total_usd"])]
    assert "deleted 1 run" in cli("cost").stdout
    for path in cli.home.glob("registry.db*"):
        path.unlink()
    assert cli.json("cost")["total_usd"] == before["total_usd"]
    cli("settings", "monthly_limit_usd", str(after["total_usd"]))
    assert "the month's limit" in cli("launch", "--tag", "b", *SHORT, code=2).stderr


def test_a_launch_counts_what_live_runs_are_yet_to_spend(cli: Cli) -> None:
    cli("settings", "local_usd_per_hour", "3600")
    cli("settings", "ask_above_usd", "0")
    cli("settings", "monthly_limit_usd", "100")
    held = ("--task", "base", "--iterations", "4000", "--step-ms", "50", "--budget")
    cli("launch", "--tag", "a", *held, "60")
    wait_until(lambda: cli.run("a")["state"] == "running")
    said = cli("launch", "--tag", "b", *held, "60", code=2).stderr
    assert "up to its budget of $60.00" in said and "live runs are yet to spend" in said
    cli("launch", "--tag", "c", *held, "30")
    cli("cancel", "a", "c", code=None)


def test_a_run_that_was_paid_for_stays_in_cost_when_it_goes_on_for_free(cli: Cli) -> None:
    cli("settings", "local_usd_per_hour", "3600")
    asked = ("--task", "base", "--iterations", "40", "--save-every", "20", "--fault", "crash@30", "--step-ms", "0")
    cli("launch", "--tag", "r", "--watch", "--yes", *asked, code=1)
    spent = cli.json("cost")["total_usd"]
    cli("settings", "local_usd_per_hour", "0")
    cli("resume", "r", "--watch")
    assert cli.json("cost")["total_usd"] == spent > 0
    rows = [row for row in msgspec.json.decode((cli.run_dir("r") / "status.json").read_bytes())["money"]["paid"]]
    assert len(rows) == 2 and [row[6] for row in rows] == ["local", "local"]
    assert rows[0][1] <= rows[1][0] <= time.time()


def test_who_asks_again_gets_the_sums_of_what_is_there_now() -> None:
    ended, known = of(container(None, NOON, 3600.0)), Known()
    before = spending([ended], [], NOON + DAY, known=known)
    assert spending([ended], [], NOON + DAY, known=known) == before == spending([ended], [], NOON + DAY)
    more = msgspec.structs.replace(ended, status=container(ended.status, NOON + DAY, 3600.0))
    now = spending([more], [], NOON + 2 * DAY, known=known)
    assert now == spending([more], [], NOON + 2 * DAY) and now.total > before.total
