"""How busy, full, hungry and hot the GPUs are, asked of the driver every ten seconds."""

import subprocess
import threading
from collections.abc import Callable

from runner.model.status import GpuSample

EVERY_S = 10.0
QUERY = "utilization.gpu,memory.used,memory.total,power.draw,temperature.gpu"


def parse(said: str) -> GpuSample | None:
    """The driver's CSV, a line a GPU -> one sample; None where it says nothing that makes sense."""
    rows = []
    for line in said.splitlines():
        try:
            rows.append([float(word) for word in line.split(",")])
        except ValueError:
            continue
    rows = [row for row in rows if len(row) == 5]
    if not rows:
        return None
    load, used, total, watts, celsius = zip(*rows, strict=True)
    return GpuSample(
        load=sum(load) / len(load),
        memory=int(max(used)) << 20,
        memory_total=int(max(total)) << 20,
        watts=sum(watts),
        celsius=max(celsius),
    )


def query() -> GpuSample | None:
    """One sample; None on a machine without the driver."""
    try:
        argv = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
        return parse(subprocess.run(argv, capture_output=True, text=True, timeout=EVERY_S, check=True).stdout)
    except (OSError, subprocess.SubprocessError):
        return None


class Sampler:
    """A thread that hands each sample to `told`; it ends by itself where the first one shows that there is no GPU."""

    def __init__(self, told: Callable[[GpuSample], None]) -> None:
        self._told, self._stop = told, threading.Event()
        threading.Thread(target=self._loop, name="gpus", daemon=True).start()

    def _loop(self) -> None:
        sample = query()
        if sample is None:
            return
        self._told(sample)
        while not self._stop.wait(EVERY_S):
            # A driver that is busy for once is asked again.
            if sample := query():
                self._told(sample)

    def close(self) -> None:
        self._stop.set()
