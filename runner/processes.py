"""A process named so that no other is mistaken for it: host, process namespace, pid and start time."""

import contextlib
import os
import re
import signal
import time
from pathlib import Path
from typing import IO

from msgspec import Struct

from runner.system import atomic

PREFIX = "local"
# Its lock is held for as long as a job lives, and names the job.
LOCK_FILE = "lock"
_HOST_LETTERS = 40
# No process, or one that only waits for its parent to ask for its exit code.
_GONE = ("", "Z", "X")
# A process that is killed is gone in milliseconds; one that a disk holds is not waited for any longer.
END_PATIENCE_S = 10.0


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


class _Name(Struct, frozen=True):
    """What a call id says. Names of earlier releases have neither host nor namespace."""

    pid: int
    start: str
    host: str = ""
    namespace: str | None = None

    @property
    def boot(self) -> str:
        return self.start.partition(".")[0] if "." in self.start else ""


_NAME = re.compile(rf"{PREFIX}-(\d{{1,12}})-(?:(.*)-(\d*)-)?([^-]+)", re.ASCII)


def _parsed(name: str) -> _Name | None:
    found = _NAME.fullmatch(name.strip())
    return _Name(int(found[1]), found[4], found[2] or "", found[3]) if found else None


def _namespace() -> str:
    """The numbers of processes mean something within one only, as in one container; empty where there are none."""
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _host() -> str:
    import socket

    return re.sub(r"[^A-Za-z0-9._-]", "", socket.gethostname())[:_HOST_LETTERS]


def call_id(pid: int) -> str:
    """`local-<pid>-<host>-<namespace>-<start>`. Raises ProcessLookupError when the process is gone."""
    found = _stat(pid)
    if found is None:
        raise ProcessLookupError(pid)
    return f"{PREFIX}-{pid}-{_host()}-{_namespace()}-{found[1]}"


def is_here(name: str) -> bool:
    """Whether a process, alive or not, is one of those that can be asked for by their number from here."""
    known = _parsed(name)
    if known is None or known.namespace != _namespace():
        return False
    # Where the system has no name for what it is since it was started, its host's must do.
    return known.boot == boot_id() if known.boot else known.host == _host()


def is_on_this_machine(name: str) -> bool:
    """Whether a process is of this machine as it was started last, maybe in another container."""
    known = _parsed(name)
    return known is not None and bool(known.boot) and known.boot == boot_id()


def host_of(name: str) -> str:
    """The host of a process, for people; empty where its name does not say."""
    known = _parsed(name)
    return known.host if known else ""


def without_host(text: str) -> str:
    """Take the name of the machine out of the call ids in a text."""
    return re.sub(rf"\b({PREFIX}-\d+-)[\w.-]+?(-\d*-[\w.]+)", r"\1HOST\2", text)


def sign(lock: IO[str]) -> None:
    """Write into a lock who has it."""
    lock.truncate(0)
    lock.write(call_id(os.getpid()))
    lock.flush()


def _state(name: str) -> str:
    """State letter of the very process of a call id; empty where it is not to be seen from here."""
    known = _parsed(name)
    if known is None or known.namespace not in (None, _namespace()):
        return ""
    found = _stat(known.pid)
    return found[0] if found and found[1] == known.start else ""


def pid_if_alive(name: str) -> int | None:
    """The pid of a call id while that very process runs; a zombie counts as gone and is reaped if it is ours."""
    known, state = _parsed(name), _state(name)
    if known is None or not state:
        return None
    if state in _GONE:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(known.pid, os.WNOHANG)
        return None
    return known.pid


def stop(pid: int) -> None:
    """SIGTERM, also for a process that is suspended; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)


def _await_end(names: list[str]) -> None:
    """A signal that ends a process is only under way when it has been sent. Its exit code is left to who started it."""
    until = time.monotonic() + END_PATIENCE_S
    while any(_state(name) not in _GONE for name in names) and time.monotonic() < until:
        time.sleep(0.01)


def kill_group(pid: int, sig: signal.Signals) -> None:
    """Signal a whole process group, suspended or not; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, sig)
        os.killpg(pid, signal.SIGCONT)


def group_lives(pid: int) -> bool:
    """Whether anybody of a process group is left."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


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
    ended = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"{mark}\0".encode() in (entry / "environ").read_bytes() + b"\0"
        except OSError:
            continue
        if marked and int(entry.name) != os.getpid():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                name = call_id(int(entry.name))
                os.kill(int(entry.name), signal.SIGKILL)
                ended.append(name)
    _await_end(ended)
    return bool(ended)


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
        _await_end([name])
    if not (host_of(name) and is_on_this_machine(name) and not is_here(name)):
        # One of another container is left to who can see it.
        path.unlink(missing_ok=True)
    return pid is not None
