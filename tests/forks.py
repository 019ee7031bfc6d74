"""A Python that has imported once what many commands import, and forks for each of them: a process of its own, sooner.

`Forks` is the way to it; the module itself is the program: python -m tests.forks SOCKET LATER NAME...
It imports every NAME, and puts by what it has of LATER, a package or nothing. A fork that imports that package gets
it as it is, but for its modules ANEW: they read their environment while they are imported, and are executed again.
"""

import atexit
import contextlib
import gc
import importlib
import importlib.abc
import io
import json
import logging
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

# A fork cannot take on what Python reads of its environment before it runs anything.
STARTUP = ("PYTHON", "LC_", "LANG", "LD_", "COVERAGE", "MALLOC", "COV_")
MAY_DIFFER = ("PYTHONPATH", "PYTHONUNBUFFERED")
# Modules of Modal's client that read the environment while they are imported, and the logger that each sets up.
ANEW = {"modal._utils.logger": "modal-utils", "modal.config": "modal-client"}


def forkable(env: dict[str, str]) -> bool:
    """Whether an environment asks of Python itself only what ours does."""
    return hasattr(os, "fork") and all(
        env.get(name) == os.environ.get(name)
        for name in env.keys() | os.environ.keys()
        if name.startswith(STARTUP) and name not in MAY_DIFFER
    )


class Forks:
    """One such Python, started at the first use; it ends when the socket's folder does, or this process."""

    def __init__(self, folder: Path, names: list[str], later: str = "") -> None:
        # The path of a socket may have a hundred letters; the folder of a test has more.
        where = folder if len(str(folder)) < 60 else Path("/tmp")
        self._at = str(where / f"forks-{os.getpid()}-{id(self):x}")
        self._command = [sys.executable, "-m", "tests.forks", self._at, later, *names]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, home: Path | None = None) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith("MODAL_")}
        if home:
            env["HOME"] = str(home)
        root = Path(__file__).parent.parent
        self._process = subprocess.Popen(self._command, cwd=root, env=env, stdout=subprocess.PIPE)
        assert self._process.stdout and self._process.stdout.read(1)
        atexit.register(self.close)

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout
            self._process.stdout.close()
            self._process = None
            Path(self._at).unlink(missing_ok=True)

    def spawn(
        self, module: str, args: list[str], env: dict[str, str], cwd: str, fds: tuple[int, int, int], *, session: bool
    ) -> tuple[int, socket.socket]:
        """Run a module as a program: its pid, and a socket that gives its wait status when it ends."""
        if self._process is None:
            self.start()
        line = socket.socket(socket.AF_UNIX)
        line.connect(self._at)
        asked = {"module": module, "args": args, "env": env, "cwd": cwd, "session": session}
        text = json.dumps(asked).encode()
        socket.send_fds(line, [len(text).to_bytes(4, "big")], fds)
        line.sendall(text)
        return int.from_bytes(_read(line, 4), "big"), line

    def run(
        self, module: str, args: list[str], env: dict[str, str], cwd: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run`, with what it prints, in UTF-8."""
        out_r, out_w = os.pipe()
        err_r, err_w = os.pipe()
        with Path(os.devnull).open() as nothing, os.fdopen(out_r, "rb") as out, os.fdopen(err_r, "rb") as err:
            try:
                pid, line = self.spawn(module, args, env, cwd, (nothing.fileno(), out_w, err_w), session=False)
            finally:
                os.close(out_w)
                os.close(err_w)
            said = _drain([out, err], time.monotonic() + timeout)
            if said is None:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired([module, *args], timeout)
            with line:
                code = os.waitstatus_to_exitcode(int.from_bytes(_read(line, 4), "big"))
        return subprocess.CompletedProcess([module, *args], code, said[0].decode(), said[1].decode())


def _drain(pipes: list[Any], deadline: float) -> list[bytes] | None:
    said = {pipe: b"" for pipe in pipes}
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(deadline - time.monotonic())
            if not ready:
                return None
            for key, _ in ready:
                block = os.read(key.fd, 1 << 16)
                said[key.fileobj] += block
                if not block:
                    selector.unregister(key.fileobj)
    return [said[pipe] for pipe in pipes]


def _read(line: socket.socket, size: int) -> bytes:
    text = b""
    while len(text) < size:
        block = line.recv(size - len(text))
        if not block:
            raise ConnectionError("the Python that forks has ended")
        text += block
    return text


def _become(asked: dict[str, Any], fds: list[int]) -> None:
    """Turn this process into what a fresh Python would be for this request, short of running the module."""
    if asked["session"]:
        os.setsid()
    for target, fd in enumerate(fds):
        os.dup2(fd, target)
    os.closerange(3, 256)
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    os.chdir(asked["cwd"])
    paths = [p for p in asked["env"].get("PYTHONPATH", "").split(os.pathsep) if p]
    sys.path[:] = [asked["cwd"], *paths, *sys.path[1:]]
    sys.argv = ["", *asked["args"]]
    through = bool(asked["env"].get("PYTHONUNBUFFERED"))
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    for name, fd, errors in (("stdout", 1, sys.stdout.errors), ("stderr", 2, "backslashreplace")):
        raw = io.FileIO(fd, "w", closefd=False)
        text = io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", errors, write_through=through)
        text.reconfigure(line_buffering=fd == 2 or raw.isatty())
        setattr(sys, name, text)
        setattr(sys, f"__{name}__", text)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _serve(line: socket.socket, listener: socket.socket) -> dict[str, Any] | None:
    """Fork for a request, twice. In the one that is to run the module: the request; else nothing."""
    head, fds, _, _ = socket.recv_fds(line, 4, 3)
    asked: dict[str, Any] = json.loads(_read(line, int.from_bytes(head, "big")))
    if os.fork():
        for fd in fds:
            os.close(fd)
        return None
    pid = os.fork()
    if not pid:
        line.detach()
        listener.detach()
        _become(asked, fds)
        return asked
    # This one only waits, and tells.
    for fd in (0, 1, *fds):
        os.close(fd)
    with contextlib.suppress(OSError):
        line.sendall(pid.to_bytes(4, "big"))
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):
        line.sendall(status.to_bytes(4, "big"))
    os._exit(0)


def _next(at: str) -> dict[str, Any] | None:
    """Serve until the process that started this one is gone; in a fork, what it is to run."""
    parent, listener = os.getppid(), socket.socket(socket.AF_UNIX)
    listener.bind(at)
    listener.listen(64)
    listener.settimeout(2)
    print(end=".", flush=True)
    while os.getppid() == parent:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        try:
            line, _ = listener.accept()
        except TimeoutError:
            continue
        if asked := _serve(line, listener):
            return asked
        line.close()
    return None


class _Later(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a package that was imported before the fork to the first who imports it after that."""

    def __init__(self, package: str) -> None:
        self._package, inside = package, f"{package}."
        self._kept = {n: m for n, m in sys.modules.items() if n == package or n.startswith(inside)}
        for name in self._kept:
            del sys.modules[name]

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name == self._package and self._kept else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = self._kept[self._package]
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        kept, self._kept = self._kept, {}
        module.__spec__ = self._spec
        sys.modules.update(kept)
        try:
            for name, logger in ANEW.items():
                logging.getLogger(logger).handlers.clear()
                importlib.reload(sys.modules[name])
        except BaseException:
            # What its own import would have left: nothing, so that the next import fails in the same way.
            self._kept = kept
            for name in kept:
                sys.modules.pop(name, None)
            raise


def main() -> None:
    at, later, *names = sys.argv[1:]
    for name in names:
        importlib.import_module(name)
    if later:
        sys.meta_path.insert(0, _Later(later))
    # What is shared stays shared: no collection in a fork looks at it, which would copy it.
    gc.collect()
    gc.freeze()
    if asked := _next(at):
        sys.modules.pop(asked["module"], None)
        code: object = None
        try:
            runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
        _end(code)


def _end(code: object) -> None:
    """End as Python does, but for taking apart all that was imported: most of the time of a short command."""
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    vars(threading)["_shutdown"]()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except OSError:
            code = 120
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    main()
