"""A training that logs to W&B never waits for it, never fails by it, and says what it says without."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from runner import wandb_shadow
from runner.job.wandb_sync import environment, without_key

TRAIN = Path(__file__).parent / "data" / "wandb" / "train.py"


def env_of(folder: Path, **more: str) -> dict[str, str]:
    env = without_key(os.environ) | environment("r1", "base", "tag", "", folder)
    return env | {"PYTHONPATH": str(wandb_shadow.FOLDER)} | more


def run(code: str, folder: Path, *python: str, **more: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, *python, "-c", textwrap.dedent(code)]
    return subprocess.run(argv, env=env_of(folder, **more), capture_output=True, text=True, check=False, timeout=200)


def records(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("r1-base.*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines() if line]


def logged(folder: Path) -> list[tuple[int, dict[str, Any]]]:
    return [(one["step"], one["log"]) for one in records(folder) if "log" in one]


def test_the_real_package_is_there_but_for_what_begins_a_run(tmp_path: Path) -> None:
    told = run(
        """
        import wandb, wandb.sdk, sys
        from wandb import Settings
        from wandb.sdk.lib import runid
        import wandb as again
        assert again is wandb and "site-packages" in wandb.__file__ and wandb.Table and Settings(), wandb.__file__
        run = wandb.init(project="nanochat", name="x", config={"depth": 4})
        assert wandb.run is run and wandb.config.depth == 4
        wandb.log({"step": 3, "loss": 1.5})
        run.define_metric("loss"); run.watch(None); wandb.save("x")
        run.summary["best"] = 2; run.config.lr = 0.1
        run.finish()
        """,
        tmp_path,
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    begun, *rest = records(tmp_path)
    assert begun["init"] | {"time": 0} == {
        "id": "r1-base", "project": "nanochat", "entity": None, "name": "tag-base", "group": "tag-r1",
        "tags": None, "notes": None, "job_type": None, "time": 0,
    }  # fmt: skip
    assert begun["config"] == {"depth": 4} and logged(tmp_path) == [(3, {"step": 3, "loss": 1.5})]
    assert [one for one in rest if "log" not in one and one.pop("time")] == [
        {"summary": {"best": 2}}, {"config": {"lr": 0.1}}, {"finish": 0},
    ]  # fmt: skip


def test_a_training_with_it_opens_no_connection_and_starts_nothing(tmp_path: Path) -> None:
    told = run(
        """
        import os, signal, sys, threading
        handlers = {s: signal.getsignal(s) for s in signal.valid_signals()}
        out, err = sys.stdout, sys.stderr
        import wandb
        before = threading.active_count(), set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc") else None
        def banned(event, args):
            if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.fork"):
                raise SystemExit(f"{event} {args}")
        sys.addaudithook(banned)
        wandb.login()
        run = wandb.init(project="nanochat", config={})
        for step in range(100):
            run.log({"step": step, "loss": 0.5})
        run.finish()
        assert threading.active_count() == before[0]
        assert (sys.stdout, sys.stderr) == (out, err)
        assert handlers == {s: signal.getsignal(s) for s in signal.valid_signals()}
        """,
        tmp_path,
        WANDB_API_KEY="0123456789" * 4,
        WANDB_BASE_URL="http://127.0.0.1:9",
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    assert len(logged(tmp_path)) == 100


def test_what_a_training_prints_is_the_same_byte_for_byte(tmp_path: Path) -> None:
    said = []
    for number, (name, path) in enumerate((("dummy", ""), ("x", str(wandb_shadow.FOLDER)))):
        argv = [sys.executable, str(TRAIN), str(tmp_path / f"checkpoint{number}"), f"--run={name}"]
        env = env_of(tmp_path / "wandb", PYTHONPATH=path)
        said.append(subprocess.run(argv, env=env, capture_output=True, check=True, timeout=200))
    assert said[0].stdout == said[1].stdout and said[0].stderr == said[1].stderr == b""
    assert logged(tmp_path / "wandb")


LOGS = """
import wandb
from wandb import Settings, Table
run = wandb.init(project="nanochat", name="x", config={"depth": 4}, settings=Settings(console="off"))
wandb.log({"step": 1, "loss": 0.5, "table": Table()})
with wandb.init() as again:
    again.log({"step": 2})
assert wandb.Image("x").of.any["shape"](1) is not None and not list(wandb.Api().runs("x"))
run.finish()
print("trained")
"""


def test_without_the_package_a_training_goes_on_and_one_line_says_so(tmp_path: Path) -> None:
    told = run(LOGS, tmp_path, "-S")
    line, left_out, end = told.stdout.splitlines()
    assert line == "[WANDB] wandb is not installed for this Python: nothing is logged to it" and end == "trained"
    assert left_out == "[WANDB] only numbers and texts are logged: not table (_Nothing)"
    assert (told.returncode, told.stderr) == (0, "")
    assert [step for step, _ in logged(tmp_path)] == [1, 2]


@pytest.mark.parametrize("how", ["raise RuntimeError('no')", "import wandb.gone", "import no_such_thing", "1/0", "("])
def test_a_package_that_cannot_be_imported_is_as_one_that_is_missing(tmp_path: Path, how: str) -> None:
    (tmp_path / "broken" / "wandb").mkdir(parents=True)
    (tmp_path / "broken" / "wandb" / "__init__.py").write_text(how)
    path = os.pathsep.join([str(wandb_shadow.FOLDER), str(tmp_path / "broken")])
    told = run(LOGS, tmp_path / "wandb", "-S", PYTHONPATH=path)
    assert told.stdout.startswith("[WANDB] wandb cannot be imported (") and told.stdout.endswith("trained\n")
    assert (told.returncode, told.stderr) == (0, "")


def test_a_folder_called_wandb_is_not_taken_for_the_package(tmp_path: Path) -> None:
    (tmp_path / "here" / "wandb").mkdir(parents=True)
    path = os.pathsep.join([str(wandb_shadow.FOLDER), str(tmp_path / "here")])
    told = run(LOGS, tmp_path / "wandb", "-S", PYTHONPATH=path)
    assert "is not installed" in told.stdout and told.returncode == 0


def test_only_the_first_rank_writes(tmp_path: Path) -> None:
    told = run("import wandb; r = wandb.init(); r.log({'step': 1}); r.finish()", tmp_path / "x", "-S", RANK="3")
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "") and not (tmp_path / "x").exists()


def test_whatever_is_logged_nothing_is_raised_and_numbers_arrive(tmp_path: Path) -> None:
    told = run(
        """
        import wandb
        class Scalar:
            ndim = 0
            def item(self): return 2.5
        class Bad:
            ndim = 0
            def item(self): raise RuntimeError("CUDA error")
            def __str__(self): raise RuntimeError("no text")
        run = wandb.init(config={"scalar": Scalar(), "bad": Bad(), "path": print})
        loop = []; loop.append(loop)
        run.log({"step": 1, "a": Scalar(), "nan": float("nan"), "bad": Bad(), "loop": loop, 7: (1, 2)})
        run.log(None); run.log(5); run.log({"step": "x"}); run.log({"step": float("inf")}); run.log({}, step=4)
        run.log({"b": 1}, commit=False); run.log({"step": True}); run.log({"x": "a" * 10**6})
        run.config.update(5); run.summary.update(None); run.config.update({"z": Bad()})
        run.finish(); run.finish(); print("trained")
        """,
        tmp_path,
        "-S",
    )
    assert told.returncode == 0 and told.stderr == "" and told.stdout.endswith("\ntrained\n")
    assert len(told.stdout.splitlines()) == 3, "of what cannot be logged one line is said"
    first, *rest = logged(tmp_path)
    assert first[0] == 1 and first[1].pop("nan") != 0 and first[1] == {"step": 1, "a": 2.5, "7": [1, 2]}
    assert [step for step, _ in rest] == [1, 1, 1, 4, 4, 4, 4]


def test_code_that_tells_no_steps_counts_its_calls(tmp_path: Path) -> None:
    code = "import wandb; r = wandb.init(); [r.log({'a': n}, commit=n != 1) for n in range(4)]"
    assert run(code, tmp_path, "-S").returncode == 0
    assert [step for step, _ in logged(tmp_path)] == [0, 1, 1, 2]
    assert records(tmp_path)[-1]["finish"] == 0, "a training that ends well has ended"


def test_one_that_fails_has_not_finished(tmp_path: Path) -> None:
    assert run("import wandb; r = wandb.init(); r.log({'a': 1}); 1/0", tmp_path, "-S").returncode == 1
    assert "log" in records(tmp_path)[-1]


def test_a_full_disk_or_no_folder_costs_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code = "import wandb; r = wandb.init(); [r.log({'step': n, 'x': 'y' * 50}) for n in range(99)]; r.finish()"
    told = run(code, tmp_path / "file" / "below", "-S")
    assert told.returncode == 0 and told.stdout.count("[WANDB] not everything is logged") == 1
    limited = """
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    """
    told = run(textwrap.dedent(limited) + code, tmp_path / "full", "-S")
    assert told.returncode == 0 and told.stdout.count("[WANDB] not everything is logged") == 1, told
    (file,) = (tmp_path / "full").iterdir()
    assert file.stat().st_size <= 2000
