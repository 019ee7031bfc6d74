"""`doctor --bundle`: one file for a report of a fault, with nothing secret in it, and a word on what it holds."""

import argparse
import contextlib
import functools
import io
import os
import platform
import sys
import tarfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from runner import __version__, processes, settings
from runner.errors import NoSuchRun, UsageError
from runner.exit_codes import Exit
from runner.logs.log_file import LogFile
from runner.model.run import Run
from runner.system import client_log
from runner.system.atomic import PRIVATE
from runner.system.client_log import LOG
from runner.system.new_files import new_file, whole_files
from runner.text.sanitize import sanitize_line
from runner.text.secrets import redact
from tui.cli import doctor
from tui.presentation import console

if TYPE_CHECKING:
    from runner.fleet.fleet import Fleet

PACKAGES = ("textual", "modal", "rich", "msgspec", "platformdirs", "certifi", "grpclib", "pyarrow", "pillow")
TAIL = 200
# Of a run: what was asked and how it went. Not where: no path, no address, no name of a machine.
OF_A_RUN = (
    "id", "tag", "spec", "backend", "created_at", "state", "attempt", "status", "cancel_requested_at", "asked_at",
    "ended_at", "back_to", "schema",
)  # fmt: skip
SECRET_SETTINGS = ("webhook", "on_notice", "volume", "code")


def bundle(home: Path, args: argparse.Namespace) -> int:
    """Write the file, also where half of what it should hold cannot be had: that is then what it tells."""
    from runner.fleet.fleet import Fleet

    target = new_file(args.bundle or f"nanochat-tui-report-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
    pieces: dict[str, str] = {}

    def put(name: str, what: Callable[[], str]) -> None:
        try:
            text = what()
        except (NoSuchRun, UsageError):
            raise
        except Exception as error:
            LOG.exception("reporting %s", name)
            text = f"{type(error).__name__}: {error}"
        pieces[name] = _harmless(text)

    with contextlib.ExitStack() as stack:
        opened: list[Fleet] = []

        def fleet() -> "Fleet":
            if not opened:
                opened.append(stack.enter_context(contextlib.closing(Fleet(home, volume=args.volume))))
            return opened[0]

        put("versions.json", _versions)
        put("doctor.txt", lambda: "\n".join(doctor.lines(doctor.checks(fleet(), args), args)))
        put("settings.json", lambda: _settings(home))
        put("runs.json", lambda: _json([_of(run) for run in fleet().registry.all()]))
        if args.run:

            def run() -> Run:
                return fleet().registry.find(args.run)

            put("run.json", lambda: _json(_of(run())))
            put("run-log.txt", lambda: _tail(fleet().log_file(run())))
            put("run-job.txt", lambda: _tail(home / "work" / run().id / "job.out"))
    # Last, so that what went wrong up to here is in it.
    for path in client_log.files(home):
        put(path.name, functools.partial(path.read_text, "utf-8", "replace"))
    _write(target, pieces)
    told = [f"{name} ({len(text.encode()):,} bytes)" for name, text in pieces.items()]
    if args.json:
        console.as_json({"file": str(target), "holds": list(pieces)})
    else:
        console.write(str(target))
    console.message(f"nanochat-tui: it holds {', '.join(told)}. No token or address is in it; look before you send it")
    return Exit.OK


def _write(target: Path, pieces: dict[str, str]) -> None:
    try:
        with whole_files([target], PRIVATE) as (new,), tarfile.open(fileobj=new.file, mode="w:gz") as tar:
            for name, text in pieces.items():
                data = text.encode("utf-8", "replace")
                info = tarfile.TarInfo(f"nanochat-tui-report/{name}")
                info.size, info.mtime, info.mode = len(data), int(time.time()), PRIVATE
                tar.addfile(info, io.BytesIO(data))
    except FileExistsError as error:
        raise UsageError(f"{target} is there already", "give another name", field="bundle") from error


def _harmless(text: str) -> str:
    """Without secrets, without escapes, and without where a person lives on this machine."""
    lines = "\n".join(sanitize_line(line) for line in redact(text).splitlines())
    lines = processes.without_host(lines)
    for place, shown in ((os.path.expanduser("~"), "~"), (platform.node(), "HOST")):
        if len(place) > 2:
            lines = lines.replace(place, shown)
    return lines + "\n"


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _versions() -> str:
    found = {"nanochat-tui": __version__, "python": sys.version, "platform": platform.platform()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    around = {name: os.environ.get(name, "") for name in ("TERM", "COLORTERM", "LANG", "LC_ALL", "NO_COLOR")}
    inside = {name: name in os.environ for name in ("TMUX", "STY", "SSH_CONNECTION", "MODAL_PROFILE")}
    return _json({**found, "environment": around | inside})


def _settings(home: Path) -> str:
    found = settings.read(home)
    around = {"file": found.file, "variables": [v for v in settings.VARIABLES.values() if v in os.environ]}
    shown = msgspec.to_builtins(found.settings) | {
        name: "is set" for name in SECRET_SETTINGS if getattr(found.settings, name)
    }
    return _json({"set": shown, "damage": found.damage, "not understood": [*found.odd, *found.unknown], **around})


def _of(run: Run) -> dict[str, Any]:
    return {name: value for name, value in msgspec.to_builtins(run).items() if name in OF_A_RUN}


def _tail(path: Path) -> str:
    log = LogFile(path)
    log.refresh(limit=0)
    return "\n".join(log.tail(TAIL))
