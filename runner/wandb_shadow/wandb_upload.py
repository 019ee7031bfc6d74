"""Send what a training has written down to Weights & Biases, as one run: `wandb_upload.py FOLDER ID [offline]`.

Runs in nanochat's Python, beside the training and never in its way: pure standard library and the real wandb. What
the server has decides from which step on rows are sent, so each step is there once, whoever sent the ones before, and
wherever. Ends when its stdin does: `end` there says that no attempt follows. Says how it goes in lines of JSON.
"""

import contextlib
import fcntl
import glob
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

_FOLDER = os.path.dirname(os.path.realpath(__file__))
Record = dict[str, Any]
Row = tuple[int, Record]
POLL_S, RETRY_S, LONGEST_RETRY_S = 2.0, 30.0, 600.0
# Nothing of the machine is watched: the run has its own curves, and its GPUs are for the training alone.
QUIET = {
    "WANDB_CONSOLE": "off",
    "WANDB_SILENT": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_SAVE_CODE": "false",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB__DISABLE_STATS": "true",
    "WANDB__DISABLE_META": "true",
    "WANDB__SAVE_REQUIREMENTS": "false",
}


def tell(**said: object) -> None:
    """One line about how it goes, without the key."""
    key, line = os.environ.get("WANDB_API_KEY", "").strip(), json.dumps(said)
    print(line.replace(key, "...") if len(key) > 5 else line, flush=True)


class Written:
    """What the trainings of one run have written, process after process, as it grows."""

    def __init__(self, folder: str, run_id: str) -> None:
        self._pattern = os.path.join(glob.escape(folder), f"{glob.escape(run_id)}.*.jsonl")
        self._at: dict[str, int] = {}

    def read(self) -> Iterator[Record]:
        """The records that are new, oldest process first; a line that is not whole yet waits."""
        for name in sorted(glob.glob(self._pattern)):
            with open(name, "rb") as file:
                file.seek(self._at.get(name, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._at[name] = self._at.get(name, 0) + len(line)
                    with contextlib.suppress(ValueError):
                        record = json.loads(line)
                        if isinstance(record, dict):
                            yield record


class Rows:
    """Rows by step: what is logged with the same step is one, and each step comes once. Pure.

    A row is out when its step is over. That of a process which ended in the middle is dropped, as the next one, which
    goes back to a checkpoint, makes it anew.
    """

    def __init__(self, last: int = -1) -> None:
        self.last = last
        self._step: int | None = None
        self._row: Record = {}
        self.code: Any = None

    def add(self, record: Record) -> list[Row]:
        """A record -> the rows that are whole by it, as (step, values)."""
        if "init" in record:
            self._step, self._row, self.code = None, {}, None
            return []
        if "finish" in record:
            self.code = record["finish"]
            return self.flush()
        step, data = record.get("step"), record.get("log")
        if not isinstance(step, int) or not isinstance(data, dict) or step <= self.last:
            return []
        if self._step is not None and step < self._step:
            return []
        out = self.flush() if self._step is not None and step > self._step else []
        self._step = step
        self._row.update(data)
        if isinstance(record.get("time"), (int, float)):
            self._row["_timestamp"] = record["time"]
        return out

    def flush(self) -> list[Row]:
        """The row that is not whole, if there is one."""
        if self._step is None:
            return []
        out = [(self._step, self._row)]
        self.last, self._step, self._row = self._step, None, {}
        return out


def begin(folder: str, run_id: str, first: Record, mode: Any) -> tuple[Any, int]:
    """A run of the real wandb, and the last step that it has. Raises whatever wandb does."""
    os.environ.update(QUIET)
    home = os.path.join(folder, "upload")
    os.makedirs(home, exist_ok=True)
    for name in ("WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        os.environ[name] = home
    for name in ("WANDB_MODE", "WANDB_RESUME", "WANDB_RUN_ID", "WANDB_PROJECT"):
        os.environ.pop(name, None)
    sys.path[:] = [place for place in sys.path if os.path.realpath(place or os.curdir) != _FOLDER]
    import wandb

    facts = first["init"] if isinstance(first["init"], dict) else {}
    names = ("project", "entity", "name", "group", "tags", "notes", "job_type")
    run = wandb.init(
        **{name: facts[name] for name in names if facts.get(name)},
        id=run_id,
        resume="allow",
        mode=mode,
        dir=home,
        config=first.get("config") or {},
        allow_val_change=True,
    )
    if type(run).__name__ == "RunDisabled" or getattr(run, "disabled", False):
        raise RuntimeError("wandb is switched off for this Python")
    return run, (getattr(run, "starting_step", 0) or 0) - 1


class Closing:
    """Whether stdin has ended, how long there is after that, and whether no attempt follows."""

    def __init__(self, within_s: float) -> None:
        self.asked, self.for_good, self._within_s = threading.Event(), False, within_s
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.for_good = b"end" in sys.stdin.buffer.read()
        self.asked.set()
        time.sleep(self._within_s)
        leave(3)


def leave(code: int) -> None:
    """End at once, with wandb's helper, which would go on sending while another sender asks what is there."""
    sys.stdout.flush()
    for path in glob.glob("/proc/self/task/*/children"):
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            for pid in file.read().split():
                os.kill(int(pid), signal.SIGKILL)
    os._exit(code)


class Turn:
    """One sender a run: that of a job that was killed may still be at it."""

    def __init__(self, folder: str, run_id: str) -> None:
        self._file = os.open(os.path.join(folder, f".{run_id}.lock"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def mine(self) -> bool:
        """Whether no other process has it; it is kept for as long as this process lives."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def send(folder: str, run_id: str, mode: str, closing: Closing) -> bool:
    """Send all there is and will be, until asked to close; whether the server has taken it."""
    written, rows, failed_at, wait_s = Written(folder, run_id), Rows(), 0.0, RETRY_S
    waiting: list[Record] = []
    turn = Turn(folder, run_id)
    run: Any = None
    told, begun = -1, None
    while True:
        last_look = closing.asked.is_set()
        waiting.extend(written.read())
        first = next((one for one in waiting if "init" in one), None)
        due = last_look or not failed_at or time.monotonic() - failed_at > wait_s
        if run is None and first and due and turn.mine():
            try:
                run, rows.last = begin(folder, run_id, first, mode)
                begun = first
                tell(link=getattr(run, "url", None) or "", problem="")
            except ImportError:
                tell(problem="wandb is not installed for nanochat's Python")
                return False
            except Exception as error:
                wait_s = min(wait_s * 2, LONGEST_RETRY_S) if failed_at else RETRY_S
                failed_at = time.monotonic()
                tell(problem=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        if run is not None:
            for record in waiting:
                put(run, rows.add(record))
                if record is not begun and record.get("config"):
                    run.config.update(record["config"], allow_val_change=True)
                if record.get("summary"):
                    run.summary.update(record["summary"])
            waiting = []
            if last_look and closing.for_good:
                put(run, rows.flush())
            if rows.last != told:
                told = rows.last
                tell(last=told)
        if last_look:
            break
        closing.asked.wait(POLL_S)
    if run is None:
        return not waiting
    run.finish(exit_code=1 if rows.code is None else rows.code)
    # Its helper writes until it has ended.
    sys.modules["wandb"].teardown()
    tell(done=True)
    return True


def put(run: Any, rows: list[Row]) -> None:
    """Hand rows to wandb, which queues them."""
    for step, row in rows:
        run.log(row, step=step)


def main(argv: list[str]) -> None:
    folder, run_id, mode = argv[0], argv[1], argv[2] if len(argv) > 2 else "online"
    with contextlib.suppress(OSError):
        os.nice(10)
    try:
        # Nobody waits for files that are made of files.
        within_s = float(os.environ.get("NANOCHAT_TUI_WANDB_LAST_S", "20" if mode == "online" else "600"))
        code = 0 if send(folder, run_id, mode, Closing(within_s)) else 1
    except Exception as error:
        tell(problem=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        code = 1
    # Not by the end of the interpreter, where wandb would wait for its helper.
    leave(code)


if __name__ == "__main__":
    main(sys.argv[1:])
