"""Shared by all tests: a home of their own, the command line as a subprocess, and patience with a limit."""

import compileall
import gc
import inspect
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.forks import Forks, forkable
from tests.tmux import Tmux

if TYPE_CHECKING:
    from tests.gate import Gate
    from tests.modal_cloud import Cloud
    from tests.place import Place

# What is set in the shell of whoever runs the tests is no part of them.
for _variable in [name for name in os.environ if name.startswith("NANOCHAT_TUI_")]:
    del os.environ[_variable]
for _variable in ("COLORFGBG", "TEXTUAL_THEME"):
    os.environ.pop(_variable, None)
# Hundreds of programs are started, many from one copy of our source: none should compile what another has compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ["TZ"] = "UTC"
time.tzset()
# `nohup` and a shell's `&` leave signals ignored, which every child would inherit, and then no Ctrl-C would reach it.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# The same examples every time, and a busy machine is no fault of theirs.
hypothesis.settings.register_profile(
    "suite", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")

DATA = Path(__file__).parent / "data"
CLI = [sys.executable, "-m", "tui.cli"]
# For commands by the dozen. Modal's client is there for those that import it.
COMMANDS = Forks(
    Path(tempfile.gettempdir()),
    [
        "modal",
        "runner.fleet.fleet",
        "tui.cli.dispatch",
        "tui.cli.launching",
        "tui.cli.runs",
        "tui.cli.watch",
        "tui.cli.checkpoints",
        "tui.cli.logs",
        "tui.cli.cost",
        "tui.cli.volume",
        "urllib.request",
        "certifi",
        "pickletools",
    ],
    later="modal",
)


def pytest_configure(config: pytest.Config) -> None:
    """Nor is their Modal token, but for the tests that are about it."""
    if not hasattr(config, "workerinput"):
        # Hundreds of programs are started: where nobody may write bytecode, each would compile all of it anew.
        for folder in ("runner", "tui", "tests"):
            compileall.compile_dir(config.rootpath / folder, quiet=2)
    if "not live" in config.option.markexpr:
        os.environ["MODAL_CONFIG_PATH"] = os.devnull
        for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"):
            os.environ.pop(name, None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """More than there are processors: many tests wait for processes and clocks."""
    processors = os.cpu_count() or 2
    return max(processors * 3 // 2, min(processors * 3, 6))


def pytest_collection_finish() -> None:
    """Thousands of tests stay to the end, and a screen is many objects: a quarter of the time would go into looking for
    garbage among them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5000, 10, 50)


def wait_until(true: Callable[[], Any], *, seconds: float = 60.0, what: str = "") -> Any:
    """The first truthy answer of `true`; fails after `seconds`, a generous limit for a busy machine."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:.0f}s: {what or true}")


def in_own_mounts(folder: Path) -> list[str]:
    """A prefix under which a command may mount on `folder`; skips the test where the machine forbids that."""
    prefix = ["unshare", "--map-root-user", "--user", "--mount"]
    try:
        probe = subprocess.run(
            [*prefix, "mount", "-t", "tmpfs", "tmpfs", str(folder)], check=False, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if probe.returncode:
        pytest.skip("this machine lets nobody mount a small file system")
    return prefix


class Cli:
    """Runs `nanochat-tui` in a home of its own; `limit_s` ends a command that hangs."""

    limit_s = 120.0

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {
            **os.environ,
            "NANOCHAT_TUI_HOME": str(home),
            "NO_COLOR": "1",
            "MODAL_CONFIG_PATH": str(home / "modal.toml"),
        }
        self.volume = ""
        for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"):
            self.env.pop(name, None)

    def __call__(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        if forkable(self.env):
            done = COMMANDS.run(CLI[-1], list(words), self.env, str(Path.cwd()), self.limit_s)
        else:
            done = subprocess.run(
                [*CLI, *words], env=self.env, capture_output=True, text=True, timeout=self.limit_s, check=False
            )
        if code is not None and done.returncode != code:
            # Raised, as an assertion would be shortened where it is told.
            said = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            raise AssertionError(f"{' '.join(words)}: exit code {done.returncode}, not {code}\n{said}")
        return done

    def modal(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """`launch` of a rehearsal on Modal, unless `words` say otherwise, on a volume of its own."""
        engine = () if "--engine" in words or "--from" in words else ("--engine", "rehearsal")
        return self("launch", "--backend", "modal", "--volume", self.volume, *engine, *words, code=code)

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json").stdout)

    def run(self, name: str = "last") -> Any:
        return self.json("show", name)

    def run_dir(self, name: str = "last") -> Path:
        shown = self.run(name)
        return Path(shown["volume"], shown["folder"])

    def processes(self) -> list[int]:
        """Every process of a job of this home, and its children."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    command = (entry / "cmdline").read_bytes()
                    environ = (entry / "environ").read_bytes()
                    state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
                except (FileNotFoundError, ProcessLookupError, PermissionError):
                    continue
                ours = f"NANOCHAT_TUI_HOME={self.home}\0".encode() in environ + b"\0"
                if ours and state not in b"ZX" and (b"runner.job" in command or b"scripts." in command):
                    found.append(int(entry.name))
        return found


@pytest.fixture
def tmux(tmp_path: Path, cli: Cli) -> Iterator[Tmux]:
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    made = Tmux(tmp_path, cli.env)
    yield made
    made("kill-server")


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    made = Cli(tmp_path / "home")
    yield made
    for pid in made.processes():
        os.kill(pid, 9)


class _Noted(logging.Handler):
    """Keeps what background work of the app failed at and nobody had foreseen."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(logging.Formatter().format(record))


@pytest.fixture(autouse=True)
def failed_work() -> Iterator[list[str]]:
    """A test is red when a thread of the app failed unexpectedly, unless it takes that out of this list."""
    noted, log = _Noted(logging.ERROR), logging.getLogger("nanochat_tui.background")
    log.addHandler(noted)
    yield noted.said
    log.removeHandler(noted)
    assert not noted.said, "\n".join(noted.said)


# Before the app runs; and what is written down when something has gone wrong.
MAY_BLOCK = [
    ("tui/app/app.py", {"__init__"}),
    ("tui/app/log_viewer.py", {"__init__"}),
    ("tui/background.py", {"as_ours", "submit"}),
    ("tui/app/base_app.py", {"_handle_exception"}),
    ("<frozen importlib._bootstrap_external>", {"get_code", "get_data", "path_stats"}),
    # Coverage, where it is counted, has a lock of its own.
    ("coverage/collector.py", {"lock_data", "unlock_data"}),
]


@pytest.fixture(autouse=True)
def nothing_blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Of what the app does on its event loop nothing waits for a disk, a database, a lock or a network."""
    if not inspect.iscoroutinefunction(request.function):
        yield
        return
    from blockbuster import BlockBuster

    guard = BlockBuster("tui")
    # Where the app was started is asked of the kernel, not of a disk.
    guard.functions["os.getcwd"].can_block_predicate = lambda: True
    for function in guard.functions.values():
        function.can_block_functions += MAY_BLOCK
    guard.activate()
    yield
    guard.deactivate()


@pytest.fixture
def gate(cli: Cli) -> "Gate":
    """Holds the training of this test's local runs before a step."""
    from tests.gate import Gate

    made = Gate(cli.home.parent / "gate")
    cli.env |= made.env
    return made


@pytest.fixture(scope="session")
def one_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Cloud"]:
    from tests.modal_cloud import Cloud

    made = Cloud(tmp_path_factory.mktemp("cloud"))
    yield made
    made.close()


@pytest.fixture
def cloud(one_cloud: "Cloud") -> Iterator["Cloud"]:
    """The test server for Modal, behaving well at first and without anything of an earlier test but deployed apps."""
    one_cloud.well()
    yield one_cloud
    one_cloud.well()
    one_cloud.clean()


@pytest.fixture
def modal_cli(cli: Cli, cloud: "Cloud") -> Cli:
    """The command line with a Modal token, and a volume of its own."""
    cli.env |= cloud.env
    cli.volume = f"v{os.urandom(4).hex()}"
    return cli


@pytest.fixture(params=["local", "modal"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Place"]:
    """Each backend in turn, with a volume of its own."""
    from tests.place import places

    yield from places(request, tmp_path, monkeypatch)


@pytest.fixture
def store(place: "Place", request: pytest.FixtureRequest) -> Path:
    """The folder behind the volume of `place`: itself, or where the test server keeps it."""
    if place.backend == "local":
        return Path(place.location)
    cloud: Cloud = request.getfixturevalue("cloud")
    return cloud.folder(place.location)
