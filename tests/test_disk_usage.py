"""What of a volume could go: all that comes again or that no run reads, and nothing that only is there once."""

import msgspec
import pytest

from runner.model.code import Code
from runner.model.run import Run
from runner.model.states import State
from runner.nanochat import layout
from runner.volumes.base import Entry
from runner.volumes.disk_usage import DiskUsage, Suggestion, suggestions
from tests.test_run import run


def could_go(paths: dict[str, int], *runs: Run) -> dict[str, Suggestion]:
    """By the path that would go first."""
    usage = DiskUsage()
    usage.add([Entry(path, False, size, 1.0) for path, size in paths.items()])
    return {one.paths[0]: one for one in suggestions(usage, runs) if one.paths}


def shards(folder: str, count: int = 2) -> dict[str, int]:
    return {f"{folder}/shard_{number:05d}.parquet": 100 for number in range(count)}


CODE = Code(sha="a" * 64, origin="here")
DONE, WAITS, LIVE = (run(state, id=f"r-{state}", tag=str(state)) for state in (State.DONE, State.FAILED, State.RUNNING))


def test_the_dataset_of_an_older_nanochat_is_offered_with_what_would_need_it() -> None:
    found = could_go(shards("base_data") | shards(layout.DATA, 3), DONE)
    old, new = found["base_data"], found[layout.DATA]
    assert (old.what, old.bytes) == ("dataset of an older nanochat, 2 shards", 200)
    assert "no run of the pinned nanochat reads it" in old.why and "downloads it again" in old.why
    assert new.bytes == 300 and "the next launch downloads the dataset again" in new.why


def test_what_a_launch_downloads_again_is_offered_and_who_waits_for_it_is_named() -> None:
    paths = {"eval_bundle/core.yaml": 5, "task_data/a/b": 7, "tokenizer/tokenizer.pkl": 9, **shards(layout.DATA)}
    found = could_go(paths, DONE, WAITS)
    assert found.keys() == {layout.DATA, "eval_bundle", "task_data"}, "a tokenizer does not come again"
    assert all(one.why.endswith(f"; to be resumed, {WAITS.tag} needs it") for one in found.values())


@pytest.mark.parametrize("folder", [layout.DATA, "base_data"])
def test_a_persons_own_text_is_never_offered(folder: str) -> None:
    assert could_go({**shards(folder), f"{folder}/{layout.OWN_TEXT}": 3}, DONE) == {}


def test_text_that_somebody_has_put_elsewhere_is_said_not_to_come_back() -> None:
    assert "nothing brings it back if it is your own" in could_go(shards("mine/text"), DONE)["mine/text"].why


def test_nothing_that_all_runs_share_is_offered_while_one_is_live() -> None:
    paths = shards("base_data") | shards(layout.DATA) | {"eval_bundle/core.yaml": 5, "damaged/x": 1}
    assert could_go(paths, DONE, LIVE) == {}


def test_code_is_offered_only_where_it_is_known_that_no_run_has_it() -> None:
    spec = msgspec.structs.replace(DONE.spec, code=CODE)
    with_code = msgspec.structs.replace(DONE, spec=spec)
    archives = {layout.code_archive(CODE.sha): 10, layout.code_archive("0" * 64): 20}
    assert could_go(archives, with_code).keys() == {layout.code_archive("0" * 64)}
    assert could_go(archives | {"runs/of-another-machine/log": 1}, with_code) == {}


def test_what_nothing_goes_on_from_and_what_was_found_damaged_is_offered() -> None:
    aside = f"{DONE.path}/{layout.ASIDE}/before-attempt-2/base_checkpoints/d12/model_000020.pt"
    found = could_go({aside: 50, f"{DONE.path}/base_checkpoints/d12/model_000010.pt": 5, "damaged/a": 4}, DONE)
    assert found[f"{DONE.path}/{layout.ASIDE}"].bytes == 50 and found["damaged"].bytes == 4
