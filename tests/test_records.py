"""Records as releases before this one have written them are read, and written again under the same names."""

import json
from decimal import Decimal

import msgspec

from runner.model.run import Run, decode_run
from runner.model.status import job_status_of
from tests.conftest import DATA

RECORDS = DATA / "records"


def test_a_run_on_record_is_read_and_written_under_the_names_that_it_has_there() -> None:
    data = (RECORDS / "run.json").read_bytes()
    run = decode_run(data)
    assert run.resume_step == 20 and run.calls[1].attempt == 2 and run.status is not None
    recorded = json.loads(data)
    # What later releases ask for besides.
    recorded["spec"] |= {"code": None, "flags": [], "wandb": None, "secrets": [], "pass_env": []}
    recorded["spec"] |= {"recipe": "", "tokenizer_from": ""}
    recorded["status"]["work"]["wandb"] = ""
    recorded["status"]["outcome"]["change"] = None
    assert json.loads(msgspec.json.encode(run)) == recorded | {"earlier_code": []}
    assert msgspec.json.decode(msgspec.json.encode(run), type=Run) == run


def test_a_status_on_record_is_read_and_written_under_the_names_that_it_has_there() -> None:
    data = (RECORDS / "status.json").read_bytes()
    status = job_status_of(data)
    assert (status.container_seconds, status.work.phase) == (12.5, "saving")
    assert (status.containers.log_offsets, status.containers.restarts_without_progress) == ([0, 1234], 2)
    assert (status.money.earlier_cost_usd, status.pace.max_silence_s["training"]) == (Decimal("3.5000"), 1.5)
    assert status.pace.pause_totals["save"].count == 2
    recorded = json.loads(data)
    recorded["work"]["wandb"] = ""
    recorded["outcome"]["change"] = None
    assert json.loads(msgspec.json.encode(status)) == recorded


def test_a_status_of_the_first_release_has_its_values_side_by_side() -> None:
    new = json.loads((RECORDS / "status.json").read_bytes())
    flat = {name: value for name, value in new.items() if not isinstance(value, dict) or name == "outcome"}
    del flat["schema"]
    for part in ("work", "training", "pace", "money", "containers"):
        flat |= new[part]
    assert job_status_of(json.dumps(flat).encode()) == job_status_of(json.dumps(new).encode())
