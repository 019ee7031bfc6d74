"""`nanochat-tui volume` and what the command line does with checkpoints, over real runs."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import zipfile
from pathlib import Path

import pytest

from runner.nanochat import layout
from runner.transfer import download
from runner.volumes.folder import FolderVolume
from tests.conftest import CLI, Cli, wait_until
from tests.modal_cloud import Cloud
from tui.screens import downloads

# Root may read everything, unless it gives that up.
AS_NOBODY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
SAVED = ("--save-every", "10", "--iterations", "50")


@pytest.fixture
def crashed(cli: Cli) -> Cli:
    """A run that crashed at step 45 and has checkpoints every 10 steps."""
    cli("launch", "--task", "base", "--tag", "one", "--watch", "--fault", "crash@45", *SAVED, code=1)
    return cli


def train(cli: Cli) -> None:
    """A run called live that has begun to train, and goes on until it is ended."""
    cli("launch", "--task", "speedrun", "--tag", "live", "--step-ms", "0", "--fault", "hang@2")
    wait_until(lambda: cli.run("live")["step"], what="a step")


def steps(cli: Cli) -> list[int]:
    return [c["step"] for c in cli.json("checkpoints", "one")]


def test_a_whole_run_is_listed_measured_brought_home_and_the_same(crashed: Cli, tmp_path: Path) -> None:
    run = crashed.run_dir()
    files = [p for p in run.rglob("*") if p.is_file()]
    listed = crashed.json("volume", "ls", "one:")
    assert {Path(e["path"]).name for e in listed} == {p.name for p in run.iterdir()}
    tree = crashed.json("volume", "tree", "one:")
    assert sum(not e["folder"] for e in tree) == len(files)
    used = crashed.json("volume", "du", "one:")
    assert (used["files"], used["bytes"]) == (len(files), sum(p.stat().st_size for p in files))
    brought = crashed.json("volume", "get", "one:", str(tmp_path / "home1"))
    assert brought["files"] == len(files) and brought["to"] == [str(tmp_path / "home1" / "one")]
    for path in files:
        assert (tmp_path / "home1" / "one" / path.relative_to(run)).read_bytes() == path.read_bytes()
    again = crashed.json("volume", "get", "one:", str(tmp_path / "home1"))
    assert again["read"] == 0, "what is here is not read again"


def test_a_file_is_printed_put_moved_and_deleted(crashed: Cli, tmp_path: Path) -> None:
    assert json.loads(crashed("volume", "cat", "one:run.json").stdout)["tag"] == "one"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("hello")
    assert crashed.json("volume", "put", str(tmp_path / "notes"), "one:")["files"] == 1
    assert crashed("volume", "cat", "one:notes/a.txt").stdout == "hello"
    assert (
        "already on the volume, unchanged: 1 file" in crashed("volume", "put", str(tmp_path / "notes"), "one:").stderr
    )
    (tmp_path / "notes" / "a.txt").write_text("jello")
    assert "--force replaces" in crashed("volume", "put", str(tmp_path / "notes"), "one:", code=2).stderr
    (tmp_path / "notes" / "a.txt").write_text("hello")
    crashed("volume", "put", "--force", str(tmp_path / "notes"), "one:")
    crashed("volume", "mv", "one:notes/a.txt", "one:b.txt")
    assert crashed("volume", "cat", "one:b.txt").stdout == "hello"
    assert "-r deletes" in crashed("volume", "rm", "-y", "one:notes", code=2).stderr
    assert crashed.json("volume", "rm", "-r", "-y", "one:notes", "one:b.txt")["files"] == 1
    assert "b.txt" in crashed("volume", "cat", "one:b.txt", code=2).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cat", "nowhere"), "volume ls"),
        (("cat", "runs"), "is a folder"),
        (("ls", "../.."), "no path of a volume"),
        (("rm", "-r", "-y", "."), "volume itself"),
        (("rm", "-r", "-y", "/"), "volume itself"),
        (("mv", "runs", "runs/x"), "into itself"),
        (("mv", "volume.json", "runs"), ""),
        (("put", "/nowhere/at-all"), "is not here"),
        (("ls", "--sort", "colour"), "choose one of name, size, time"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line_and_nothing_happens(cli: Cli, words: tuple[str, ...], said: str) -> None:
    cli("launch", "--task", "test", "--watch", "--tag", "t")
    before = cli.json("volume", "tree")
    done = cli("volume", *words, code=2 if said else 0)
    assert said in done.stderr and "Traceback" not in done.stderr
    if said:
        assert cli.json("volume", "tree") == before


def test_a_script_does_not_delete_unasked_and_a_live_run_loses_nothing_unless_forced(cli: Cli) -> None:
    train(cli)
    for path in ("live:", "base_data_climbmix", "tokenizer", "runs"):
        said = cli("volume", "rm", "-r", "-y", path, code=2).stderr
        assert "live is " in said and "--force" in said
    cli("cancel", "live")
    done = subprocess.run(
        [*CLI, "volume", "rm", "-r", "live:"], env=cli.env, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 2 and "--yes" in done.stderr
    assert cli.run_dir("live").is_dir()


def test_what_would_no_longer_resume_is_said_before_it_is_deleted(crashed: Cli) -> None:
    newest = f"one:base_checkpoints/d12/model_{max(steps(crashed)):06d}.pt"
    assert "no longer resume from step 40" in crashed("volume", "rm", "-y", newest).stderr
    assert "could no longer be resumed" in crashed("volume", "rm", "-r", "-y", "one:base_checkpoints").stderr
    assert steps(crashed) == []


def test_all_but_best_and_last_go(crashed: Cli) -> None:
    assert steps(crashed) == [10, 20, 30, 40]
    (crashed.run_dir() / "base_checkpoints" / "d12" / "model_000050.pt").write_bytes(b"being written")
    found = crashed.json("checkpoints", "one")
    best = min((c for c in found if c["verdict"] == "complete"), key=lambda c: (c["val_bpb"], c["step"]))["step"]
    gone = crashed.json("checkpoints", "one", "--prune", "--yes")
    assert [c["step"] for c in gone["deleted"]] == [s for s in (10, 20, 30) if s != best]
    assert steps(crashed) == sorted({best, 40, 50}), "what is newer than the last whole one may still be written"
    assert "only best and last" in crashed("checkpoints", "one", "--prune", "--yes").stdout


def test_one_checkpoint_is_brought_home_alone_by_its_step_or_as_the_best_or_the_last(
    crashed: Cli, tmp_path: Path
) -> None:
    whole = [c for c in crashed.json("checkpoints", "one") if c["verdict"] == "complete"]
    best = min(whole, key=lambda c: (c["val_bpb"], c["step"]))["step"]
    for words, step in (("best", best), ("last", 40), ("20", 20)):
        crashed("volume", "get", "one:base_checkpoints", str(tmp_path / words), "--step", words)
        home = tmp_path / words / "one"
        names = {p.name for p in (home / "base_checkpoints" / "d12").iterdir()}
        parts = ("model_{}.pt", "meta_{}.json", *(f"optim_{{}}_rank{rank}.pt" for rank in range(8)))
        assert names == {part.format(f"{step:06d}") for part in parts}
        assert (home / "tokenizer" / "tokenizer.pkl").is_file()
    wrong = crashed("volume", "get", "one:", str(tmp_path / "no"), "--step", "15", code=2).stderr
    assert "one has no checkpoint of step '15': there are 10, 20, 30, 40" in wrong
    assert "--step is about checkpoints of a run" in crashed("volume", "get", "runs", "--step", "20", code=2).stderr


def test_a_step_that_is_none_brings_nothing_and_one_that_is_not_whole_is_told(crashed: Cli, tmp_path: Path) -> None:
    for words in ("", "-20", "9" * 5_000, "٢٠", "2,0", " 20", "\x1b[31m20"):
        wrong = crashed("volume", "get", "one:", str(tmp_path / "no"), f"--step={words}", code=2).stderr
        assert "one has no checkpoint of step '" in wrong and "\x1b" not in wrong and len(wrong) < 200
    assert not (tmp_path / "no").exists()
    for path in ("one:chatsft_checkpoints", "one:report.md", "one:nowhere"):
        elsewhere = crashed("volume", "get", path, "--step", "last", code=2).stderr
        assert "that is complete there: they are in one:base_checkpoints/d12" in elsewhere
    (crashed.run_dir() / "base_checkpoints" / "d12" / "model_000050.pt").write_bytes(b"being written")
    for words in ("50", "000050"):
        said = crashed("volume", "get", "one:", str(tmp_path / words), "--step", words).stderr
        assert "base step 50 is not complete: " in said


def test_the_command_that_a_download_shows_brings_the_same_files(crashed: Cli, tmp_path: Path) -> None:
    crashed("resume", "one", "--step", "20", "--watch")
    run, volume = crashed.run_dir(), FolderVolume(crashed.run()["volume"])
    path = f"runs/{run.name}"
    files = [str(p.relative_to(run)) for p in run.rglob("*_000020*")]
    aside = [str(p.relative_to(run)) for p in (run / layout.ASIDE).rglob("*_000040*")]
    assert len(files) == 10 and len(aside) == 10
    weights = sorted(name for name in files if "optim" not in name)
    for number, names in enumerate((["log"], ["base_checkpoints"], [""], files, weights, [*files, "log"], aside[:3])):
        paths, tags = [f"{path}/{name}".rstrip("/") for name in names], {path: "one"}
        app = [i.target for p in paths for i in download.list_files(volume, p, download.home_name(p, tags))]
        into = tmp_path / f"in to {number}"
        for line in downloads.commands(paths, tags, str(into)).split(" && "):
            crashed(*shlex.split(line)[1:])
        brought = {str(p.relative_to(into)) for p in into.rglob("*") if p.is_file() and not p.name.startswith(".")}
        # With a file that is asked for by itself comes no tokenizer.
        assert brought == {name for name in app if names != weights or "tokenizer" not in name}, names


def test_a_run_goes_back_to_a_chosen_checkpoint_and_what_came_later_is_put_aside(crashed: Cli) -> None:
    assert "has no complete checkpoint at step 15" in crashed("resume", "one", "--step", "15", code=2).stderr
    crashed("resume", "one", "--step", "20", "--watch")
    log = crashed("logs", "one").stdout
    assert "[BACK] to step 20; put aside: base 30, base 40" in log
    assert "step 20 is the newest complete checkpoint" in log
    assert crashed.run()["state"] == "done" and steps(crashed) == [10, 20, 30, 40, 50]
    aside = crashed.run_dir() / "put_aside" / "before-attempt-2" / "base_checkpoints" / "d12"
    assert sorted({p.name[:12] for p in aside.glob("model*")}) == ["model_000030", "model_000040"]


def test_no_pickle_that_is_brought_home_or_looked_at_is_ever_loaded(cli: Cli, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    pickle_ = f"cos\nsystem\n(S'touch {trap}'\ntR.".encode()
    cli("launch", "--task", "test", "--watch", "--tag", "t")
    folder = cli.run_dir() / "base_checkpoints" / "d12"
    (folder / "model_000020.pt").write_bytes(pickle_)
    (folder / "meta_000020.json").write_bytes(pickle_)
    (cli.run_dir().parents[1] / "tokenizer" / "tokenizer.pkl").write_bytes(pickle_)
    with zipfile.ZipFile(folder / "model_000030.pt", "w") as archive:
        archive.writestr("model_000030/data.pkl", pickle_)
    for words in (("checkpoints",), ("volume", "ls", "t:base_checkpoints/d12"), ("volume", "du"), ("volume", "tree")):
        cli(*words)
    cli("volume", "get", "t:", str(tmp_path / "out"))
    cli("volume", "cat", "tokenizer/tokenizer.pkl")
    assert (tmp_path / "out" / "t" / "base_checkpoints" / "d12" / "model_000020.pt").read_bytes() == pickle_
    assert not trap.exists()


def test_a_way_back_that_was_cut_short_is_still_gone(crashed: Cli) -> None:
    record = crashed.run_dir() / "run.json"
    crashed("resume", "one", "--step", "20")
    for pid in crashed.processes():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: crashed.run()["state"] != "queued" and not crashed.processes(), what="the end of it")
    shutil.rmtree(record.parent / "put_aside", ignore_errors=True)
    crashed("resume", "one", "--watch")
    assert "[BACK] to step 20" in crashed("logs", "one").stdout and crashed.run()["state"] == "done"


def test_what_another_run_goes_on_from_is_kept(crashed: Cli) -> None:
    crashed("launch", "--task", "base", "--from", "one", "--step", "20", "--tag", "kid", "--step-ms", "200")
    gone = crashed.json("checkpoints", "one", "--prune", "--yes")
    assert 20 not in [c["step"] for c in gone["deleted"]]
    crashed("cancel", "kid")
    crashed("volume", "rm", "-r", "-y", "one:base_checkpoints")
    said = crashed("resume", "kid", code=None)
    kept = [c for c in crashed.json("checkpoints", "kid") if c["verdict"] == "complete"]
    assert kept or (said.returncode == 2 and "has no whole base checkpoint at step 20" in said.stderr)


def test_a_link_is_no_way_around_what_a_live_run_needs(cli: Cli) -> None:
    train(cli)
    run = cli.run_dir("live")
    (run.parents[1] / "alias").symlink_to(Path("runs") / run.name)
    assert "through a link" in cli("volume", "rm", "-r", "-y", "alias/log", code=1).stderr
    assert "through a link" in cli("volume", "mv", "alias/log", "x", code=1).stderr
    assert (run / "log").exists()


def test_nothing_is_put_into_the_folder_of_a_live_run_unless_forced(cli: Cli, tmp_path: Path) -> None:
    cli("launch", "--task", "speedrun", "--tag", "live", "--step-ms", "200")
    (tmp_path / "meta_999999.json").write_text("{}")
    assert "live is " in cli("volume", "put", str(tmp_path / "meta_999999.json"), "live:x/", code=2).stderr


def test_a_folder_that_may_not_be_read_is_said_and_the_rest_is_shown(cli: Cli, tmp_path: Path) -> None:
    cli("launch", "--task", "test", "--watch", "--tag", "t")
    volume = cli.run_dir().parents[1]
    (volume / "closed").mkdir(mode=0)
    for words in (("du",), ("tree",)):
        done = subprocess.run(
            [*AS_NOBODY, *CLI, "volume", *words], env=cli.env, capture_output=True, text=True, check=False
        )
        if os.geteuid() == 0:
            assert "closed may not be read" in done.stderr or "setpriv" in done.stderr
        assert done.returncode == 0 and "runs" in done.stdout


def test_a_run_on_modal_is_measured_and_brought_home_whole(modal_cli: Cli, cloud: Cloud, tmp_path: Path) -> None:
    modal_cli.modal("--task", "test", "--tag", "far", "--watch")
    run = modal_cli.run("far")
    there = cloud.folder(run["volume"]) / run["folder"]
    files = [p for p in there.rglob("*") if p.is_file()]
    used = modal_cli.json("volume", "du", "far:")
    assert (used["files"], used["bytes"]) == (len(files), sum(p.stat().st_size for p in files))
    assert modal_cli.json("volume", "get", "far:", str(tmp_path / "out"))["files"] == len(files)
    for path in files:
        assert (tmp_path / "out" / "far" / path.relative_to(there)).read_bytes() == path.read_bytes()
    (tmp_path / "note").write_text("mine")
    on = ("--backend", "modal", "--volume", run["volume"])
    modal_cli("volume", "put", *on, str(tmp_path / "note"), "notes/")
    assert modal_cli("volume", "cat", *on, "notes/note").stdout == "mine"
    modal_cli("volume", "mv", *on, "notes/note", "notes/other")
    assert modal_cli.json("volume", "rm", *on, "-r", "-y", "notes")["files"] == 1
    assert "nowhere" in modal_cli("volume", "ls", *on, "nowhere", code=2).stderr


def test_a_volume_is_the_one_that_a_launch_would_use_as_it_is_set(modal_cli: Cli, tmp_path: Path) -> None:
    def names(*words: str) -> set[str]:
        return {one["path"] for one in modal_cli.json("volume", "ls", *words)} & {"note", "real"}

    modal_cli.modal("--task", "tokenizer", "--tag", "far", "--watch")
    (tmp_path / "note").write_text("far")
    del modal_cli.env["NANOCHAT_TUI_BACKEND"]
    modal_cli("settings", "volume", f"modal:{modal_cli.volume}")
    modal_cli("volume", "put", "--backend", "modal", str(tmp_path / "note"))
    modal_cli("settings", "backend", "modal")
    assert names() == {"note"} and names("--backend", "local") == set()
    assert modal_cli("volume", "cat", "note").stdout == "far"
    assert modal_cli.json("volume", "du")["bytes"] > 3
    assert modal_cli.json("volume", "get", "note", str(tmp_path / "here"))["files"] == 1
    modal_cli("volume", "mv", "note", "other")
    assert modal_cli.json("volume", "rm", "-y", "other")["files"] == 1
    near = ("--backend", "local", "--engine", "nanochat")
    modal_cli("volume", "put", *near, str(tmp_path / "note"), "real")
    assert names() == names("--backend", "local") == set()
    modal_cli("settings", "engine", "nanochat")
    assert names("--backend", "local") == {"real"}
