"""What was logged is one run at W&B over all attempts; a W&B that is away, refuses or hangs costs nobody anything."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job import wandb_sync
from runner.job.wandb_sync import Told, WandbSync, environment, has_key, keep, parse, wandb_id
from runner.wandb_shadow import UPLOAD, wandb_upload
from tests.test_wandb_training import TRAIN, env_of
from tests.wandb_server import KEY, WandbServer

ID = wandb_id("r1", "base")
LINK = "https://wandb.ai/someone/nanochat/runs/r1-base"
SAID = json.dumps({"link": LINK})


@pytest.fixture
def server() -> Iterator[WandbServer]:
    made = WandbServer()
    yield made
    made.close()


def sender_env(home: Path, url: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return env | {
        "WANDB_API_KEY": KEY,
        "WANDB_BASE_URL": url,
        "HOME": str(home),
        "WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "1",
    }


def train(folder: Path, checkpoint: Path, kill_at: int = -1) -> int:
    argv = [sys.executable, str(TRAIN), str(checkpoint), "--run=x", f"--kill-at={kill_at}"]
    return subprocess.run(argv, env=env_of(folder), capture_output=True, check=False, timeout=60).returncode


def wait_for(what: Any, within_s: float = 100.0) -> None:
    end = time.monotonic() + within_s
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    assert what()


@contextmanager
def sending(folder: Path, env: dict[str, str]) -> Iterator[WandbSync]:
    sync = WandbSync(sys.executable, folder, ID, env)
    sync.start()
    try:
        yield sync
    finally:
        sync.close(0.0)


def expected() -> dict[int, dict[str, Any]]:
    """What the training logs when nothing happens to it."""
    rows: dict[int, dict[str, Any]] = {}
    for step in range(41):
        row: dict[str, Any] = {}
        if step % 5 == 0:
            row["val/bpb"] = 1 / (step + 1)
        if step % 10 == 0:
            row["core_metric"] = step / 100
        if step % 2 == 0 and step < 40:
            row |= {"train/loss": 2 / (step + 1), "train/epoch": f"1 pq: {step}"}
        if row:
            rows[step] = {"step": step, **row}
    return rows


def rows_of(history: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    steps = [row["_step"] for row in history]
    assert steps == sorted(set(steps)), "each step is there once, and they go up"
    return {row["_step"]: {k: v for k, v in row.items() if k[0] != "_"} for row in history}


def marked(sync: WandbSync) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if sync._mark.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_a_run_killed_twice_is_one_run_with_each_step_once_whichever_disk_is_left(
    tmp_path: Path, server: WandbServer
) -> None:
    env, checkpoint = sender_env(tmp_path, server.url), tmp_path / "checkpoint"
    # The second attempt has the disk of the first, the third is in another container.
    for folder, kill_at, last in (("one", 18, 16), ("one", 30, 28), ("two", -1, 40)):
        with sending(tmp_path / folder, env) as sync:
            assert train(tmp_path / folder, checkpoint, kill_at) == (-9 if kill_at > 0 else 0)
            wait_for(lambda: sync._told().last_step == last)  # noqa: B023
            sync.close(55, for_good=kill_at < 0)
            assert sync.problem == "" and sync.link == f"{server.url}/someone/nanochat/runs/{ID}"
    assert list(server.runs) == [ID]
    assert rows_of(server.history(ID)) == expected()
    assert server.config(ID)["num_iterations"] == 40 and server.config(ID)["resume_from_step"] == 28
    run = server.runs[ID]
    assert (run["displayName"], run["groupName"], run["exitcode"]) == ("tag-base", "tag-r1", 0)


def test_a_sender_that_is_killed_is_begun_again_where_the_server_is(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_sync, "AGAIN_S", 0.0)
    assert train(tmp_path, tmp_path / "checkpoint", 22) == -9
    with sending(tmp_path, sender_env(tmp_path, server.url)) as sync:
        wait_for(lambda: ID in server.runs and len(server.history(ID)) > 5)
        assert sync._process is not None
        sync._process.kill()
        sync._process.wait()
        assert train(tmp_path, tmp_path / "checkpoint") == 0
        sync.tend()
        wait_for(lambda: sync._told().last_step == 40)
        sync.close(55)
    assert rows_of(server.history(ID)) == expected()


def test_a_job_that_is_killed_leaves_no_second_sender_at_the_same_run(tmp_path: Path, server: WandbServer) -> None:
    assert train(tmp_path, tmp_path / "checkpoint", 22) == -9
    env = sender_env(tmp_path, server.url)
    with sending(tmp_path, env) as first:
        wait_for(lambda: first._told().last_step == 20)
        with sending(tmp_path, env) as second:
            assert train(tmp_path, tmp_path / "checkpoint") == 0
            wait_for(lambda: first._told().last_step == 40)
            assert second.link == "" and second.problem == ""
            first.close(55)
            wait_for(lambda: second.link)
            second.close(55)
    assert rows_of(server.history(ID)) == expected()


def test_the_last_row_of_a_run_that_nobody_goes_on_with_is_sent_too(tmp_path: Path, server: WandbServer) -> None:
    assert train(tmp_path, tmp_path / "checkpoint", 18) == -9
    with sending(tmp_path, sender_env(tmp_path, server.url)) as sync:
        sync.close(55, for_good=True)
    assert max(rows_of(server.history(ID))) == 18 and server.runs[ID]["exitcode"] == 1


def test_the_key_is_in_no_file_and_on_no_command_line(tmp_path: Path, server: WandbServer) -> None:
    assert train(tmp_path / "wandb", tmp_path / "checkpoint") == 0
    with sending(tmp_path / "wandb", sender_env(tmp_path, server.url)) as sync:
        wait_for(lambda: sync._told().last_step == 40)
        lines = marked(sync)
        assert any("wandb-core" in line for line in lines) and any(UPLOAD.name in line for line in lines)
        assert not [line for line in lines if KEY in line]
        sync.close(55)
        assert not marked(sync), "nothing of it is left"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_server_that_never_answers_holds_up_neither_training_nor_end(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as hanging:
        env = sender_env(tmp_path, f"http://127.0.0.1:{hanging.getsockname()[1]}")
        with sending(tmp_path, env) as sync:
            assert train(tmp_path, tmp_path / "checkpoint") == 0
            began = time.monotonic()
            sync.close(1.0)
            assert time.monotonic() - began < 10
            assert sync.problem == "W&B had not taken everything after 1 s" and sync.link == ""
            assert not marked(sync)
    assert len(list(tmp_path.glob("*.jsonl"))) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_refuses_is_told_in_one_line(tmp_path: Path, server: WandbServer, status: int) -> None:
    server.refusing = status
    assert train(tmp_path, tmp_path / "checkpoint") == 0
    with sending(tmp_path, sender_env(tmp_path, server.url)) as sync:
        wait_for(lambda: sync.problem)
        assert "\n" not in sync.problem and KEY not in sync.problem, sync.problem
    assert server.runs == {}


def test_without_wandb_or_python_or_key_one_line_says_why(tmp_path: Path) -> None:
    assert train(tmp_path, tmp_path / "checkpoint") == 0
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    env = sender_env(tmp_path, "http://127.0.0.1:9")
    sync = WandbSync(str(bare), tmp_path, ID, env)
    sync.start()
    wait_for(lambda: sync.problem)
    assert sync.problem == "wandb is not installed for nanochat's Python"
    sync.close(5)
    gone = WandbSync(str(tmp_path / "gone"), tmp_path, ID, env)
    gone.start()
    gone.tend()
    gone.close(5)
    assert gone.problem == "what sends to W&B cannot be started: No such file or directory"
    del env["WANDB_API_KEY"]
    keyless = WandbSync(sys.executable, tmp_path, ID, env)
    keyless.start()
    keyless.close(5)
    assert keyless.problem == wandb_sync.NO_KEY and keyless._process is None


def test_what_ended_in_the_middle_can_be_made_into_a_run_for_wandb_sync(tmp_path: Path) -> None:
    for kill_at in (18, 30, -1):
        train(tmp_path, tmp_path / "checkpoint", kill_at)
    env = sender_env(tmp_path, "http://127.0.0.1:9")
    argv = [sys.executable, str(UPLOAD), str(tmp_path), ID, "offline"]
    subprocess.run(argv, input=b"end", env=env, check=True, capture_output=True, timeout=200)
    (file,) = tmp_path.glob(f"upload/wandb/offline-run-*/run-{ID}.wandb")
    records = list(transactions(file.read_bytes()))
    assert {one.run.run_id for one in records if one.HasField("run")} == {ID}
    config = {item.key: json.loads(item.value_json) for one in records for item in one.run.config.update}
    assert config["num_iterations"] == 40
    history = [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in one.history.item}
        | {"_step": one.history.step.num}
        for one in records
        if one.HasField("history")
    ]
    assert rows_of(history) == expected()


def transactions(data: bytes) -> Iterator[Any]:
    """The records of a .wandb file: blocks of 32 KiB after a head of 7 bytes, records cut at their ends."""
    from wandb.proto import wandb_internal_pb2

    at, whole = 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


steps = st.integers(-2, 12)
attempts = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12), st.booleans()), max_size=6)


@given(attempts, st.integers(-1, 12))
def test_whatever_is_killed_and_repeated_rows_go_up_and_are_whole(
    lives: list[tuple[int, int, bool]], last: int
) -> None:
    rows, out = wandb_upload.Rows(last), []
    for start, end, ends_well in lives:
        out += rows.add({"init": {}})
        for step in range(start, end):
            for part in "abc":
                out += rows.add({"log": {part: step}, "step": step, "time": 1.0})
        out += rows.add({"finish": 0}) if ends_well else rows.add({"log": {"a": end}, "step": end})
    numbers = [step for step, _ in out]
    assert numbers == sorted(set(numbers)) and all(number > last for number in numbers)
    assert all(row == {"a": step, "b": step, "c": step, "_timestamp": 1.0} for step, row in out)


@given(st.lists(st.tuples(steps, st.dictionaries(st.text(max_size=2), st.integers()))))
def test_rows_in_any_order_go_up(records: list[tuple[int, dict[str, int]]]) -> None:
    rows = wandb_upload.Rows()
    out = [step for number, data in records for step, _ in rows.add({"log": data, "step": number})]
    assert out == sorted(set(out))


def test_a_line_that_is_cut_waits_and_one_that_is_damaged_is_left_out(tmp_path: Path) -> None:
    first, second = tmp_path / f"{ID}.01-1.jsonl", tmp_path / f"{ID}.02-1.jsonl"
    written = wandb_upload.Written(str(tmp_path), ID)
    first.write_bytes(b'{"a": 1}\n{"a"\n[1]\n\xff\n{"a": 2}\n{"a":')
    assert list(written.read()) == [{"a": 1}, {"a": 2}]
    with first.open("ab") as file:
        file.write(b" 3}\n")
    second.write_bytes(b'{"a": 4}\n')
    (tmp_path / "other.01-1.jsonl").write_bytes(b'{"a": 5}\n')
    assert list(written.read()) == [{"a": 3}, {"a": 4}]
    assert list(written.read()) == []


@given(
    st.text(),
    st.lists(st.sampled_from([SAID, '{"problem": "\\u001b[2Jx\\ny"}', '{"link": 5}', "[", "7"])),
)
def test_what_the_sender_says_is_read_whatever_else_is_there(noise: str, lines: list[str]) -> None:
    told = parse("\n".join([noise, *lines]))
    assert told.link in ("", LINK) and told.problem.isprintable()
    assert told.link == LINK or lines.count(SAID) == 0


def test_an_address_that_is_no_run_is_no_link() -> None:
    for bad in ("javascript:alert(1)", "https://wandb.ai/a/b", "https://u:p@wandb.ai/a/b/runs/c", f"{LINK}\n"):
        assert parse(json.dumps({"link": bad})).link == ""
    later = '{"last": 7}\n{"problem": "x"}\n{"problem": ""}\n{"done": true}'
    assert parse(f"{SAID}\n{later}") == Told(LINK, "", 7, True)


def test_a_training_is_told_where_and_as_what_it_logs(tmp_path: Path) -> None:
    env = environment("ab12", "sft", "mine", "chat", tmp_path)
    assert env == {
        "WANDB_MODE": "offline",
        "WANDB_RUN_ID": "ab12-sft",
        "WANDB_NAME": "mine-sft",
        "WANDB_RUN_GROUP": "mine-ab12",
        "NANOCHAT_TUI_WANDB_DIR": str(tmp_path),
        "NANOCHAT_TUI_WANDB_PROJECT": "chat",
    }
    assert "NANOCHAT_TUI_WANDB_PROJECT" not in environment("ab12", "sft", "mine", "", tmp_path)
    with pytest.raises(ValueError, match="no id"):
        wandb_id("../x", "base")


def test_a_key_is_found_in_the_environment_or_where_login_writes_it(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert has_key({"WANDB_API_KEY": KEY} | home)
    assert not has_key(home) and not has_key({"WANDB_API_KEY": " "} | home)
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    netrc.chmod(0o600)
    assert has_key(home) and not has_key(home | {"WANDB_BASE_URL": "https://wandb.example.org"})
    netrc.write_text("nonsense")
    assert not has_key(home)


def test_what_was_logged_is_kept_beside_what_other_containers_kept(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    assert keep(tmp_path / "work", tmp_path / "volume") == 0 and not (tmp_path / "volume").exists()
    one = tmp_path / "work" / f"{ID}.01-1.jsonl"
    one.write_text("1\n")
    (tmp_path / "work" / "upload.out").write_text("x")
    assert keep(tmp_path / "work", tmp_path / "volume") == 1
    assert keep(tmp_path / "work", tmp_path / "volume") == 0
    one.write_text("1\n2\n")
    (tmp_path / "volume" / f"{ID}.00-1.jsonl").write_text("0\n")
    assert keep(tmp_path / "work", tmp_path / "volume") == 1
    assert {path.name: path.read_text() for path in (tmp_path / "volume").iterdir()} == {
        f"{ID}.00-1.jsonl": "0\n",
        f"{ID}.01-1.jsonl": "1\n2\n",
    }
