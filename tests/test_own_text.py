"""A person's own text: looked at before a byte is sent, and trained on as it is, with nothing downloaded beside it."""

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner.errors import UsageError
from runner.model.spec import RunSpec
from runner.model.states import State
from runner.nanochat import layout
from runner.nanochat.layout import Inventory
from runner.planning.plan import make_plan
from runner.rehearsal.text import document
from runner.transfer import corpus, upload
from runner.volumes import deletion
from runner.volumes.base import Entry
from runner.volumes.folder import FolderVolume
from runner.volumes.holdings import inventory
from tests import own_nanochat
from tests.conftest import Cli
from tests.place import Place
from tests.test_own_code import log

TO = f"{layout.DATA}/"
FOOTER = bytes(8) + (8).to_bytes(4, "little") + b"PAR1"


def shard(folder: Path, index: int, *, column: str = "text", values: Any = ("some words", "more words")) -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    folder.mkdir(exist_ok=True)
    path = folder / f"shard_{index:05d}.parquet"
    parquet.write_table(arrow.table({column: list(values)}), path)
    return path


def lines(folder: Path, indices: list[int], *, wrapped: bool = False) -> Path:
    """Shards as the rehearsal reads them; `wrapped` with the ends of parquet files."""
    folder.mkdir(exist_ok=True)
    for index in indices:
        rng = random.Random(1000 + index)
        text = "\n".join(document(rng) for _ in range(200)).encode() + b"\n"
        (folder / f"shard_{index:05d}.parquet").write_bytes(b"PAR1" + text + FOOTER if wrapped else text)
    return folder


def put(cli: Cli, folder: Path, *words: str, code: int = 0) -> str:
    done = cli("volume", "put", "--engine", "nanochat", str(folder), TO, *words, code=code)
    return done.stderr


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    for index in range(4):
        shard(folder, index)
    return folder


def sent(cli: Cli) -> list[str]:
    return sorted(p.name for p in cli.home.glob(f"volumes/*/{layout.DATA}/*"))


def test_whole_shards_go_into_the_data_folder_itself_and_are_marked(cli: Cli, mine: Path) -> None:
    put(cli, mine)
    assert sent(cli) == [layout.OWN_TEXT, *(f"shard_{n:05d}.parquet" for n in range(4))]
    assert "already on the volume, unchanged: 4 files" in put(cli, mine)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / "shard_00002.parquet").write_bytes(b"PAR1" + bytes(50)), "shard_00002.parquet: no whole parq"),
        (lambda f: (f / "shard_00002.parquet").write_bytes(b""), "shard_00002.parquet: no whole parquet file"),
        (lambda f: (f / "shard_00001.parquet").rename(f / "wiki.parquet"), "wiki.parquet: nanochat reads shard_00000"),
        (lambda f: (f / "notes.md").write_text("x"), "notes.md: nanochat reads"),
        (lambda f: shard(f, 1, column="content"), "shard_00001.parquet: no column text of strings"),
        (lambda f: shard(f, 1, values=(1, 2)), "shard_00001.parquet: no column text of strings"),
        (lambda f: [shard(f, n).unlink() for n in (1, 2, 3)], "1 shard: the last is for validation"),
        (lambda f: [shard(f, n).unlink() for n in (0, 1, 2, 3)], "0 shards: the last is for validation"),
    ],
)
def test_what_is_wrong_is_said_before_a_byte_is_sent_and_sent_all_the_same_when_that_is_said(
    cli: Cli, mine: Path, spoil: Any, says: str
) -> None:
    spoil(mine)
    said = put(cli, mine, code=2)
    assert says in said and "--anyway" in said and not sent(cli)
    assert says in put(cli, mine, "--anyway") and sent(cli)


def test_text_that_is_there_already_is_not_mixed_with_a_persons_own(cli: Cli, mine: Path, tmp_path: Path) -> None:
    put(cli, mine)
    more = shard(tmp_path / "more", 9).parent
    shard(more, 10)
    said = put(cli, more, code=2)
    assert "shard_00000.parquet, shard_00001.parquet, shard_00002.parquet and 1 more on the volume" in said
    cli("volume", "put", "--engine", "nanochat", str(more / "shard_00009.parquet"), TO)
    assert "shard_00009.parquet" in sent(cli), "one shard may come after the others"


def test_any_bytes_have_an_answer(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "shard_00000.parquet").write_bytes(b"PAR1" + bytes(range(256)) + FOOTER)
    (folder / "\x1b[2Jshard.parquet").write_bytes(b"x")
    items, _ = upload.plan_upload(folder, layout.DATA)
    found = corpus.look(items, ["shard_99999.parquet"], "nanochat", whole=True)
    assert len(found.problems) >= 3 and "\x1b" not in "".join(found.problems)


def test_own_shards_are_all_that_a_launch_takes(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    volume = FolderVolume(str(tmp_path / "v"))
    lines(tmp_path / "v" / layout.DATA, list(range(13)), wrapped=True)
    assert not inventory(volume, "nanochat").validation_shard
    corpus.mark(volume, 13)
    has = inventory(volume, "nanochat")
    assert (has.train_shards, has.validation_shard, has.own_text) == (12, True, True)

    def stage(found: Inventory, **overrides: Any) -> tuple[str, tuple[Any, ...], tuple[str, ...]]:
        spec = RunSpec.create(task="base", engine="nanochat", backend="modal", overrides=overrides)
        planned = make_plan(spec, found, backend="modal")
        commands = tuple(c for c in planned.stages[0].commands if "nanochat.dataset" in c)
        return planned.stages[0].note, commands, planned.warnings

    for wanted in ({"shards": 12}, {"shards": 40}, {}):
        note, commands, warnings = stage(has, **wanted)
        assert "shard" not in note and not commands
        assert any("your own text has 12 shards" in w for w in warnings) == (wanted != {"shards": 12})
    volume.write(f"{layout.DATA}/shard_00003.parquet", b"PAR1 cut")
    with pytest.raises(UsageError, match=r"shard_00003.parquet of your own text is damaged"):
        stage(inventory(volume, "nanochat"), shards=12)
    with pytest.raises(UsageError, match="no shard to train on"):
        stage(msgspec.structs.replace(has, train_shards=0))


def test_a_corpus_is_trained_on_from_the_tokenizer_on_with_nothing_downloaded(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOCHAT_PYTHON", str(own_nanochat.python_with_torch(tmp_path / "python")))
    mine = lines(tmp_path / "mine", [*range(12), 6542], wrapped=True)
    volume = place.volume()
    items, _ = upload.plan_upload(mine, corpus.target_of(mine, f"{TO}mine"))
    with pytest.raises(UsageError, match="no column text"):
        corpus.check(volume, items, "nanochat", whole=True)
    # The trainer that stands in reads lines, which no real parquet file has.
    corpus.check(volume, items, "nanochat", whole=True, anyway=True)
    upload.upload(volume, items)
    corpus.mark(volume, len(items))
    folder = own_nanochat.make(tmp_path / "fork", device="cpu" if place.backend == "local" else "cuda")
    spec = RunSpec.create(
        task="base",
        model="d4",
        backend=place.backend,
        engine="nanochat",
        gpus=1,
        code=place.fleet.code(str(folder)),
        overrides={"iterations": 6, "core_every": -1, "shards": 12},
    )
    run = place.ended(place.fleet.launch(spec, backend=place.backend))
    assert run.state is State.DONE, run.outcome
    text = log(place, run)
    assert "nanochat.dataset" not in text and "Downloading" not in text and "[EXEC] python -m scripts.tok_train" in text
    assert {e.name for e in volume.list(layout.DATA)} == {p.name for p in mine.iterdir()} | {layout.OWN_TEXT}


def test_a_rehearsal_takes_a_corpus_of_lines(cli: Cli, tmp_path: Path) -> None:
    folder = lines(tmp_path / "text", [0, 1, 2])
    (folder / "shard_00001.parquet").write_bytes(b"\0")
    words = ("volume", "put", "--engine", "rehearsal", str(folder), TO)
    assert "shard_00001.parquet: no lines of text" in cli(*words, code=2).stderr
    lines(folder, [1])
    cli(*words)
    cli("launch", "--task", "base", "--iterations", "3", "--step-ms", "0", "--tag", "own", "--watch")
    assert "Downloading" not in (cli.run_dir("own") / "log").read_text()


def test_text_may_come_to_modal_before_any_run(modal_cli: Cli, mine: Path) -> None:
    on = ("--backend", "modal", "--volume", "text-of-mine")
    modal_cli("volume", "put", *on, str(mine), layout.DATA)
    names = {e["path"] for e in modal_cli.json("volume", "ls", *on, layout.DATA)}
    assert names == {f"{layout.DATA}/{name}" for name in (layout.OWN_TEXT, *(p.name for p in mine.iterdir()))}


def test_what_goes_with_a_persons_own_text_is_said() -> None:
    gone = [Entry(f"{layout.DATA}/{name}", False, 5, 0.0) for name in ("shard_00000.parquet", layout.OWN_TEXT)]
    assert deletion.plan_deletion([layout.DATA], gone, []).notes == ("it is your own text, which nothing brings back",)
    assert "downloads the dataset again" in deletion.plan_deletion([layout.DATA], gone[:1], []).notes[0]
