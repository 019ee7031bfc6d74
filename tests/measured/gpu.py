"""The real nanochat on one real GPU: through the job, and bare, in one call.

NANOCHAT_DIR=checkout NANOCHAT_PYTHON=python python -m tests.measured.gpu VOLUME OUT H100 cold warm speed resume oom

VOLUME holds `tokenizer/` and `base_data_climbmix/`; OUT gets a line of results per measurement, and the logs.
The machine needs no network: the attention kernel is then missing, as it would be if its download failed.
"""

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from runner import engines
from runner.job.compile_cache import CompileCache, compile_cache_of
from runner.job.environment import LocalEnvironment, local_gpus
from runner.job.job import Job
from runner.model.backend_name import BackendName
from runner.model.code import Code
from runner.model.identifiers import new_run_id
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.model.states import State
from runner.nanochat import grammar, layout
from runner.nanochat.command_lines import HOPPER_KERNEL, OTHER_KERNEL
from runner.planning.plan import make_plan
from runner.source.pack import pack
from runner.text.sanitize import strip_ansi
from runner.volumes import holdings, run_records
from runner.volumes.folder import FolderVolume

# Without the attention kernel a sliding window is slow; everything else is nanochat's own choice.
SMOKE: dict[str, Any] = {"window_pattern": "L", "shards": 1}
SPEED: dict[str, Any] = {**SMOKE, "iterations": 40, "save_every": 40}


class GpuSite(LocalEnvironment):
    """A container's job without the cloud: this machine's GPUs, and a compile cache on the volume."""

    def device(self) -> str:
        return local_gpus()

    def compile_cache(self, volume: FolderVolume, run: Run, work: Path) -> CompileCache:
        return compile_cache_of(volume, run, work)


class Bench:
    """Runs on one volume; results as they come."""

    def __init__(self, volume: str, out: str, gpu: str) -> None:
        self.volume, self.out, self.gpu = FolderVolume(volume), Path(out), gpu
        self.out.mkdir(parents=True, exist_ok=True)
        # What the plan would fetch from the network is taken to be there.
        for kernel in (HOPPER_KERNEL, OTHER_KERNEL):
            refs = self.volume.path(f"{layout.HF_CACHE}/hub/{kernel.folder}/refs")
            refs.mkdir(parents=True, exist_ok=True)
            (refs / "main").write_text(kernel.revision)

    def put(self, what: str, **found: Any) -> None:
        line = json.dumps({"what": what, **found})
        print(line, flush=True)
        with (self.out / "results.jsonl").open("a") as file:
            file.write(line + "\n")

    def run(
        self,
        task: str,
        model: str,
        *,
        gpus: int = 1,
        code: Code | None = None,
        wandb: str | None = None,
        **overrides: Any,
    ) -> Run:
        spec = RunSpec.create(
            task=task,
            model=model,
            backend="modal",
            engine="nanochat",
            gpus=gpus,
            gpu=self.gpu,
            code=code,
            wandb=wandb,
            overrides=overrides,
        )
        run = Run(new_run_id(), f"{task}-{model}", spec, BackendName.MODAL, self.volume.location, time.time())
        run_records.write_run(self.volume, run)
        return run

    def job(self, run: Run, *, until: Callable[[Run], bool] | None = None) -> dict[str, Any]:
        """One attempt, in a process of its own; killed with all it started once `until` holds."""
        work = Path(tempfile.gettempdir()) / "measured" / run.id
        work.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.measured.gpu", self.volume.location, str(self.out), self.gpu]
        began = time.time()
        child = subprocess.Popen([*command, "--job", run.id, str(work)])
        while child.poll() is None:
            if until and until(run):
                child.send_signal(signal.SIGKILL)
            time.sleep(0.1)
        folder = self.volume.path(run.path)
        shutil.copy(folder / layout.LOG_FILE, self.out / f"{run.tag}-{run.id}.log")
        found = [json.loads(line) for line in (folder / layout.EVENTS_FILE).read_text().splitlines()]
        return {"began": began, "seconds": time.time() - began, "events": [e for e in found if e["t"] >= began]}

    def bare(self, run: Run) -> dict[str, Any]:
        """`base_train` of the same run without the job: the same command line, the same folder layout."""
        work = Path(tempfile.mkdtemp(prefix="bare"))
        for name in layout.SHARED:
            (work / name).symlink_to(self.volume.path(name).absolute())
        today = make_plan(run.spec, holdings.inventory(self.volume, "nanochat"), backend="modal")
        argv = next(s for s in today.stages if s.name == "base").commands[0]
        where = engines.engine_command("nanochat", work)
        cache = compile_cache_of(self.volume, run, work)
        cache.restore()
        env = {**os.environ, **today.env, **cache.environment(), "NANOCHAT_BASE_DIR": str(work)}
        env["PYTHONPATH"] = where.folder
        command, pipe = where.resolve(argv), subprocess.PIPE
        began, found = time.time(), []
        with subprocess.Popen(command, cwd=where.folder, env=env, stdout=pipe, stderr=subprocess.STDOUT) as child:
            assert child.stdout
            for raw in child.stdout:
                event = grammar.parse(strip_ansi(raw.decode("utf-8", "replace").rstrip("\n")))
                if event:
                    found.append({"t": time.time(), **msgspec.to_builtins(event)})
        shutil.rmtree(work)
        assert child.returncode == 0, found[-1:]
        return {"began": began, "seconds": time.time() - began, "events": found}


def steps(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [e for e in result["events"] if e["kind"] == "step"]


def pace(result: dict[str, Any]) -> dict[str, Any]:
    """The median of the steps that are not warming up."""
    steady = steps(result)[10:] or steps(result)[2:]
    return {
        "first_step_s": round(steps(result)[0]["t"] - result["began"], 1),
        "tok_s": statistics.median(e["tokens_per_s"] for e in steady),
        "mfu": statistics.median(e["mfu"] for e in steady),
        "wall_s": round(result["seconds"], 1),
        "steps": len(steps(result)),
    }


def smoke(bench: Bench, name: str) -> None:
    result = bench.job(bench.run("test", "d12", **SMOKE))
    facts = {e["name"]: e["value"] for e in result["events"] if e["kind"] == "fact"}
    saved = [e for e in result["events"] if e["kind"] == "checkpoint"]
    bench.put(name, **pace(result), gpu=facts.get("gpu"), peak=facts.get("peak_memory"), checkpoints=saved)


def speed(bench: Bench) -> None:
    """The job and the bare command take turns, so that a drift of the machine is shared."""
    found: dict[str, list[float]] = {"job": [], "bare": []}
    for turn, how in enumerate(("job", "bare", "bare", "job")):
        run = bench.run("base", "d12", **SPEED, eval_every=-1, core_every=-1, sample_every=-1)
        result = bench.job(run) if how == "job" else bench.bare(run)
        found[how].append(pace(result)["tok_s"])
        bench.put(f"speed {turn} {how}", **pace(result))
    job, bare = (statistics.mean(found[how]) for how in ("job", "bare"))
    bench.put("speed", job=job, bare=bare, ratio=round(job / bare, 4))


def own(bench: Bench) -> None:
    """A changed checkout, with W&B at an endpoint that never answers and without it, take turns with the pinned one."""
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as silent:
        mine = Path(name) / "mine"
        shutil.copytree(os.environ["NANOCHAT_DIR"], mine)
        training = mine / "scripts" / "base_train.py"
        every_step = training.read_text().replace("step % 100 == 0", "True")
        training.write_text(every_step.replace("softcap = 15", "softcap = 5") + "\nprint0('this is mine')\n")
        packed = pack(mine, Path(name) / "cache")
        shutil.copytree(packed.path.parent, bench.volume.path(layout.CODE), dirs_exist_ok=True)
        code = Code(sha=packed.sha256, origin=str(mine))
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found: dict[str, list[float]] = {"pinned": [], "own": [], "own, W&B": []}
        for how in (*found, *reversed(found)):
            os.environ.pop("WANDB_API_KEY", None)
            if how == "own, W&B":
                os.environ |= {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": endpoint}
            whose = None if how == "pinned" else code
            project = "mine" if how == "own, W&B" else None
            values = {**SPEED, "eval_every": -1, "core_every": -1, "sample_every": -1}
            run = bench.run("base", "d12", code=whose, wandb=project, **values)
            result = bench.job(run)
            found[how].append(pace(result)["tok_s"])
            status = run_records.read_status(bench.volume, run)
            said = (bench.volume.path(run.path) / layout.LOG_FILE).read_text("utf-8", "replace")
            logged = [p.read_text().count("train/loss") for p in bench.volume.path(f"{run.path}/wandb").glob("*.jsonl")]
            told = {"mine": "this is mine" in said, "logged": logged, "state": status.state if status else None}
            bench.put(f"own {how}", **pace(result), **told, warnings=status.work.warnings if status else None)
        bench.put("own", **{how: round(statistics.mean(each)) for how, each in found.items()})


def resume(bench: Bench) -> None:
    """SIGKILL to the job in mid-training, then the next attempt; its child is left behind on purpose."""
    values = {**SMOKE, "iterations": 40, "save_every": 10, "eval_every": 20, "eval_tokens": 4_194_304}
    run = bench.run("base", "d12", **values, core_every=-1, sample_every=-1)

    def far_enough(run: Run) -> bool:
        status = run_records.read_status(bench.volume, run)
        return bool(status and (status.training.step or 0) >= 25 and (status.training.saved_step or 0) >= 20)

    killed = bench.job(run, until=far_enough)
    again = msgspec.structs.replace(run, attempt=2, state=State.LAUNCHING)
    run_records.write_run(bench.volume, again)
    resumed = bench.job(again)
    bpb = [[e["step"], e["bpb"]] for r in (killed, resumed) for e in r["events"] if e["kind"] == "val_bpb"]
    status = run_records.read_status(bench.volume, run)
    bench.put(
        "resume",
        killed_after=steps(killed)[-1]["step"],
        went_on_at=steps(resumed)[0]["step"],
        first_step_s=pace(resumed)["first_step_s"],
        ended=[status.state, status.training.step] if status else None,
        val_bpb=bpb,
        warnings=status.work.warnings if status else None,
    )


def oom(bench: Bench) -> None:
    run = bench.run(
        "base", "d24", **SMOKE, device_batch_size=128, compile=False, iterations=10, eval_every=-1, core_every=-1
    )
    bench.job(run)
    status = run_records.read_status(bench.volume, run)
    bench.put("oom", outcome=msgspec.to_builtins(status.outcome) if status else None)


def ended(bench: Bench, what: str, run: Run) -> None:
    """How a run ended that could not get what it asked for, and after how long."""
    result = bench.job(run)
    status = run_records.read_status(bench.volume, run)
    outcome = msgspec.to_builtins(status.outcome) if status else None
    bench.put(what, seconds=round(result["seconds"], 1), outcome=outcome)


def fewer(bench: Bench) -> None:
    """Two GPUs asked for where there is one."""
    ended(bench, "fewer", bench.run("base", "d12", **SPEED, gpus=2, eval_every=-1, core_every=-1, sample_every=-1))


def processor(bench: Bench) -> None:
    """A CUDA that does not come up."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    ended(bench, "processor", bench.run("base", "d12", **SPEED, eval_every=-1, core_every=-1, sample_every=-1))
    del os.environ["CUDA_VISIBLE_DEVICES"]


def fp8(bench: Bench) -> None:
    """MFU of the whole model beside the one that nanochat prints."""
    run = bench.run("base", "d12", **SPEED, fp8=True, eval_every=-1, core_every=-1, sample_every=-1)
    result = bench.job(run)
    status = run_records.read_status(bench.volume, run)
    numbers = [status.training.mfu, status.training.mfu_printed] if status else None
    bench.put("fp8", **pace(result), numbers=numbers, warnings=status.work.warnings if status else None)


def main() -> int:
    volume, out, gpu, *what = sys.argv[1:]
    bench = Bench(volume, out, gpu)
    if what[0] == "--job":
        run = run_records.read_run(bench.volume, what[1])
        assert run
        os.environ["NANOCHAT_TUI_HOME"] = what[2]
        return Job(bench.volume, run, Path(what[2]), GpuSite("measured")).main()
    measurements = {
        "own": own,
        "speed": speed,
        "resume": resume,
        "oom": oom,
        "fewer": fewer,
        "processor": processor,
        "fp8": fp8,
    }
    for name in what:
        if name in measurements:
            measurements[name](bench)
        else:
            smoke(bench, name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
