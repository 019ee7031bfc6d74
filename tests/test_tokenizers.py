"""A tokenizer belongs to its run: whatever becomes of the one that all share, its model is of use, here and at home."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner.errors import UsageError
from runner.job.publish import link_shared
from runner.job.tokenizers import RunTokenizer
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.model.states import State
from runner.nanochat import layout
from runner.nanochat.layout import Inventory
from runner.planning.plan import make_plan
from runner.volumes import deletion, tokenizers
from runner.volumes.folder import FolderVolume
from tests.conftest import Cli
from tests.place import Place
from tests.statuses import a_status
from tests.test_run import run as a_run

SHORT = ("--model", "d4", "--gpus", "1", "--iterations", "20", "--save-every", "10", "--step-ms", "0")
QUICK: dict[str, Any] = {"iterations": 4, "step_ms": 0}
OTHER = b'{"alphabet": "another"}'


def log(place: Place, run: Run) -> str:
    return place.volume().read(f"{run.path}/log").decode()


def record(place: Place, folder: str) -> tokenizers.TokenizerRecord:
    found = tokenizers.read_record(place.volume(), folder)
    assert found
    return found


def done(place: Place, run: Run) -> Run:
    ended = place.ended(run)
    assert ended.state is State.DONE, ended.outcome
    return ended


def test_a_run_keeps_its_tokenizer_and_passes_it_on_whatever_becomes_of_the_shared_one(place: Place) -> None:
    first = done(place, place.launch("base", **QUICK))
    volume, own = place.volume(), layout.tokenizer_of(first.path)
    files = record(place, own).files
    assert all(hashlib.sha256(volume.read(f"{own}/{n}")).hexdigest() == files[n] for n in layout.TOKENIZER_FILES)
    volume.remove(layout.TOKENIZER)
    for task in ("sft", "eval"):
        spec = RunSpec.create(
            task=task,
            backend=place.backend,
            source=first.spec,
            source_id=first.id,
            overrides={"sft_iterations": 2} if task == "sft" else {},
        )
        run = done(place, place.fleet.launch(spec, backend=place.backend))
        assert record(place, layout.tokenizer_of(run.path)).files == files
    again = done(place, place.launch("base", **QUICK))
    assert "[EXEC] python -m scripts.tok_train" in log(place, again), "the shared one is made anew for new runs"


def test_two_runs_with_other_tokenizers_train_at_once_and_neither_writes_over_the_other(place: Place) -> None:
    first = place.launch_up_to(3, "base", iterations=6)
    shared = record(place, layout.TOKENIZER)
    spec = RunSpec.create(
        task="base",
        backend=place.backend,
        engine="rehearsal",
        flags=["tokenizer.doc-cap=500"],
        overrides={**QUICK, "vocab_size": 4096},
    )
    note = next(stage for stage in place.fleet.plan(spec, place.backend).stages if stage.name == "tokenizer").note
    if place.backend == "local":
        assert note == "its own, as the one there was made without doc-cap=500, vocab-size=4096"
    other = place.fleet.launch(spec, backend=place.backend)
    place.until(other, lambda r: r.status is not None and (r.status.training.step or 0) >= 2)
    place.gate.open()
    other, first = done(place, other), done(place, first)
    assert log(place, other).count("[EXEC] python -m scripts.tok_train") == 1
    assert record(place, layout.TOKENIZER) == shared
    assert record(place, layout.tokenizer_of(first.path)).asked == ()
    assert record(place, layout.tokenizer_of(other.path)).asked == ("doc-cap=500", "vocab-size=4096")
    third = done(place, place.launch("base", **QUICK))
    assert "tokenizer skipped: kept" in log(place, third)


def test_of_two_that_wait_for_the_same_volume_the_first_shares_its_tokenizer_and_the_other_has_its_own(
    place: Place,
) -> None:
    with place.held():
        plain = place.launch("base", **QUICK)
        spec = RunSpec.create(
            task="base", backend=place.backend, engine="rehearsal", flags=["tokenizer.doc-cap=5"], overrides=QUICK
        )
        other = place.fleet.launch(spec, backend=place.backend)
    runs = [done(place, plain), done(place, other)]
    asked = [record(place, layout.tokenizer_of(run.path)).asked for run in runs]
    assert asked == [(), ("doc-cap=5",)]
    assert record(place, layout.TOKENIZER).asked in asked
    assert sum(log(place, run).count("[EXEC] python -m scripts.tok_train") for run in runs) == 2


def test_a_tokenizer_is_a_task_of_its_own_that_asks_for_no_gpu_and_that_models_begin_with(
    place: Place, request: pytest.FixtureRequest
) -> None:
    spec = RunSpec.create(
        task="tokenizer", backend=place.backend, engine="rehearsal", gpus=8, overrides={"vocab_size": 4096}
    )
    planned = place.fleet.plan(spec, place.backend)
    assert [stage.name for stage in planned.stages] == ["prepare", "tokenizer", "report"] and not planned.parameters
    made = done(place, place.fleet.launch(spec, backend=place.backend))
    assert place.volume().read(f"{made.path}/{layout.REPORT_FILE}")
    if place.backend == "modal":
        tasks = request.getfixturevalue("cloud").state()["tasks"].values()
        assert {task["function"] for task in tasks if task["call"] in {c.call_id for c in made.calls}} == {"prepare"}
    place.volume().remove(layout.TOKENIZER)
    wanted = RunSpec.create(
        task="base", model="d6", backend=place.backend, gpus=1, source=made.spec, source_id=made.id, overrides=QUICK
    )
    assert (wanted.depth, wanted.source, wanted.tokenizer_from, wanted.overrides.vocab_size) == (6, "", made.id, 4096)
    model = done(place, place.fleet.launch(wanted, backend=place.backend))
    assert "tokenizer skipped: kept" in log(place, model)
    own, theirs = (record(place, layout.tokenizer_of(r.path)) for r in (model, made))
    assert own == theirs


def test_what_makes_no_sense_with_a_tokenizer_is_refused_in_words(cli: Cli) -> None:
    cli("launch", "--task", "tokenizer", "--tag", "t", "--watch")

    def refused(*words: str) -> str:
        return cli("launch", "--from", "t", *words, code=2).stderr

    assert "asks for another tokenizer" in refused("--task", "base", "--vocab-size", "999")
    assert "asks for another tokenizer" in refused("--task", "base", "--set", "tokenizer.doc-cap=3")
    assert "has a tokenizer and no model" in refused("--task", "sft")
    assert "is of the rehearsal engine" in refused("--task", "base", "--engine", "nanochat")
    (cli.run_dir("t") / "tokenizer" / "digest.json").unlink()
    assert "has no tokenizer yet" in refused("--task", "base")


def test_a_copy_that_is_not_what_was_put_down_is_refused_in_words(cli: Cli) -> None:
    cli("launch", "--task", "base", "--tag", "h", *SHORT, "--watch")
    (cli.run_dir("h") / "tokenizer" / "tokenizer.pkl").write_bytes(OTHER)
    said = cli("launch", "--task", "base", "--from", "h", "--iterations", "30", "--watch", code=1).stdout
    assert "tokenizer/tokenizer.pkl is not what digest.json beside it says" in said and "put back" in said
    said = cli("launch", "--task", "sft", "--from", "h", "--watch", code=2).stderr
    assert "the tokenizer of h is not on" in said


def test_a_run_of_an_earlier_release_goes_on_with_the_shared_one_and_gets_its_copy(cli: Cli, gate: Any) -> None:
    gate.hold(15)
    cli("launch", "--task", "base", "--tag", "old", *SHORT)
    gate.reached(15)
    cli("cancel", "old")
    gate.open()
    folder = cli.run_dir("old")
    for file in (folder / "tokenizer").iterdir():
        file.unlink()
    (folder / "tokenizer").rmdir()
    cli("resume", "old", "--watch")
    assert "from 10" in (folder / "log").read_text() or "from step 10" in (folder / "log").read_text()
    assert (folder / "tokenizer" / "digest.json").exists()


def fill(volume: FolderVolume, folder: str, tokens: int) -> None:
    volume.write(f"{folder}/tokenizer.pkl", b"\x80\x04.")
    with zipfile.ZipFile(volume.path(f"{folder}/token_bytes.pt"), "w") as archive:
        archive.writestr("token_bytes/data/0", bytes(4 * tokens))


@pytest.fixture
def bench(tmp_path: Path) -> tuple[FolderVolume, RunTokenizer, Path]:
    (tmp_path / "volume").mkdir()
    volume, base = FolderVolume(str(tmp_path / "volume")), tmp_path / "base"
    run = a_run()
    run = msgspec.structs.replace(run, spec=msgspec.structs.replace(run.spec, engine="nanochat"))
    fill(volume, layout.TOKENIZER, 512)
    link_shared(base, volume)
    status = a_status(1, State.RUNNING, "c", 0.0, 0.0, stage="base")
    folder = base / layout.CHECKPOINT_DIRS[layout.CheckpointKind.BASE] / run.spec.model
    folder.mkdir(parents=True)
    return volume, RunTokenizer(volume, run, base, status), folder / "meta_000010.json"


@pytest.mark.parametrize(
    ("meta", "refused"),
    [
        ({"model_config": {"vocab_size": 512}}, False),
        ({"model_config": {"vocab_size": 576}}, False),
        ({"model_config": {"vocab_size": 32_768}}, True),
        ({"model_config": {"vocab_size": 500}}, True),
        ({"model_config": None}, False),
        ([], False),
    ],
)
def test_a_model_whose_table_does_not_fit_the_vocabulary_is_refused(
    bench: tuple[FolderVolume, RunTokenizer, Path], meta: Any, refused: bool
) -> None:
    volume, tokenizer, file = bench
    file.write_text(json.dumps(meta))
    found = tokenizer.settle((), fresh=False)
    assert bool(found) == refused
    assert not found or "the tokenizer has 512 tokens, the model was trained with" in found.message
    own = layout.tokenizer_of(a_run().path)
    assert (tokenizers.read_record(volume, own) is None) == refused
    assert (file.parents[2] / "tokenizer").resolve() == volume.path("tokenizer" if refused else own).resolve()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"files": {}}', b'{"files": {"a": "b"}}', b"\xff" * 99])
def test_a_record_that_cannot_be_read_is_none(bench: tuple[FolderVolume, RunTokenizer, Path], data: bytes) -> None:
    volume, *_ = bench
    volume.write("tokenizer/digest.json", data)
    assert tokenizers.read_record(volume, "tokenizer") is None


def test_only_a_whole_shared_tokenizer_that_was_made_another_way_is_left_alone() -> None:
    def stage(flags: tuple[str, ...] = (), **has: Any) -> tuple[str, str]:
        spec = RunSpec.create(task="base", backend="modal", engine="nanochat", flags=flags)
        there = Inventory(tokenizer=True, token_bytes=4 * 32_768 + 900)
        found = make_plan(spec, msgspec.structs.replace(there, **has), backend="modal").stages[1]
        return found.skip, found.note

    assert stage() == ("kept", ""), "of an earlier release it is not known"
    assert stage(("tokenizer.doc-cap=5",))[1] == "its own, as how the one there was made is not known"
    assert stage(("tokenizer.doc-cap=5",), tokenizer_asked=("doc-cap=5",))[0] == "kept"
    assert stage(tokenizer_asked=("doc-cap=5",))[1] == "its own, as the one there was made with doc-cap=5"
    assert stage(tokenizer_of_run=True, token_bytes=9)[0] == "kept", "its own is never doubted"
    assert stage(tokenizer=False, damaged=("tokenizer/token_bytes.pt",))[1] == "the one there is damaged"


def test_a_checkpoint_comes_home_with_its_tokenizer_where_nanochat_looks_for_both(cli: Cli, tmp_path: Path) -> None:
    cli("launch", "--task", "base", "--tag", "h", *SHORT, "--watch")
    own = cli.run_dir("h") / "tokenizer"
    places = {"h:": "a", "h:base_checkpoints": "b", "h:base_checkpoints/d4": "c"}
    for path, to in places.items():
        cli("volume", "get", path, str(tmp_path / to))
        base = tmp_path / to / "h"
        assert (base / "tokenizer" / "tokenizer.pkl").read_bytes() == (own / "tokenizer.pkl").read_bytes()
        assert (base / "base_checkpoints" / "d4" / "model_000020.pt").exists()
    for file in own.iterdir():
        file.unlink()
    cli("volume", "get", "h:base_checkpoints", str(tmp_path / "d"))
    assert (tmp_path / "d" / "h" / "tokenizer" / "tokenizer.pkl").exists(), "of an earlier release, the shared one"
    cli("volume", "get", "h:base_checkpoints/d4/meta_000020.json", str(tmp_path / "e"))
    assert [p.name for p in (tmp_path / "e").glob("*")].count("meta_000020.json") == 1


def test_a_run_says_what_it_loses_with_its_tokenizer(cli: Cli) -> None:
    cli("launch", "--task", "base", "--tag", "h", *SHORT, "--watch")
    said = cli("volume", "rm", "-r", "--yes", "h:tokenizer").stderr
    assert "h loses its tokenizer: without it its models are mute" in said
    assert deletion.plan_deletion(["tokenizer"], [], []).notes[0].startswith("runs without a copy")


def test_a_run_that_asks_for_the_tokenizer_of_another_engine_is_refused() -> None:
    made = RunSpec.create(task="tokenizer", engine="rehearsal")
    with pytest.raises(UsageError, match="rehearsal engine"):
        RunSpec.create(task="base", engine="nanochat", source=made, source_id="x")
    assert RunSpec.create(task="base", source=made, source_id="x").own
