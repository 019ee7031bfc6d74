"""A process named so that a reused pid is never mistaken for it: pid and start time."""

import contextlib
import os
import signal
from pathlib import Path

from runner import atomic

PREFIX = "local"


def boot_id() -> str:
    """What tells this run of the machine from the one before; empty where that is not known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return ""


def _stat(pid: int) -> tuple[str, str] | None:
    """State letter and start time of a process; None when there is none."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
        fields = raw[raw.rindex(b")") + 2 :].split()
        return fields[0].decode(), f"{boot_id()}.{fields[19].decode()}"
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    import subprocess

    listed = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = listed.stdout.strip().partition(" ")
    return (state[:1], "".join(c for c in started if c.isalnum())) if state else None


def age_s() -> float:
    """Seconds since this process began; 0 where the system does not tell."""
    try:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0


def call_id(pid: int) -> str:
    """`local-<pid>-<start>`. Raises ProcessLookupError when the process is gone."""
    found = _stat(pid)
    if found is None:
        raise ProcessLookupError(pid)
    return f"{PREFIX}-{pid}-{found[1]}"


def pid_if_alive(name: str) -> int | None:
    """The pid of a call id while that very process runs; a zombie counts as gone and is reaped if it is ours."""
    prefix, _, rest = name.partition("-")
    digits, _, start = rest.partition("-")
    if prefix != PREFIX or not digits.isdecimal():
        return None
    pid = int(digits)
    found = _stat(pid)
    if found is None or found[1] != start:
        return None
    if found[0] in "ZX":
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return None
    return pid


def stop(pid: int) -> None:
    """SIGTERM, also for a process that is suspended; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)


def kill_group(pid: int, sig: signal.Signals) -> None:
    """Signal a whole process group, suspended or not; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, sig)
        os.killpg(pid, signal.SIGCONT)


def runs(pid: int, words: tuple[str, ...]) -> bool:
    """Whether the command line of a process holds all these words; one that is just being executed has none yet."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        import subprocess

        listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
        command = listed.stdout
    return not command or all(word in command for word in words)


def kill_marked(mark: str) -> bool:
    """End every process of ours whose environment holds `mark`; only where /proc tells. Whether there was one."""
    found = False
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"{mark}\0".encode() in (entry / "environ").read_bytes() + b"\0"
        except OSError:
            continue
        if marked and int(entry.name) != os.getpid():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(entry.name), signal.SIGKILL)
                found = True
    return found


def note_child(path: Path, pid: int) -> None:
    """Write down the child that a job has started, so that whoever finds the job dead can end it."""
    atomic.write(path, call_id(pid).encode())


def kill_leftover(path: Path) -> bool:
    """End the child group noted in `path` if it outlived its job. Returns whether there was one."""
    try:
        name = path.read_text()
    except FileNotFoundError:
        return False
    pid = pid_if_alive(name)
    if pid is not None:
        kill_group(pid, signal.SIGKILL)
    path.unlink(missing_ok=True)
    return pid is not None
