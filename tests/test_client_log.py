"""What the client writes down of itself: enough to mend a fault by, and nothing that is secret."""

import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runner.system import client_log
from runner.system.client_log import FILE, LOG
from runner.text.secrets import redact
from tests.conftest import Cli


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of a home, written to by this process until the test is over."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(LOG, "handlers", [])
    monkeypatch.setattr(LOG, "propagate", True)
    client_log.begin(tmp_path)
    return tmp_path / FILE


@pytest.mark.parametrize(
    "text",
    [
        "token as-SECRETsecret1234 refused",
        "POST https://hooks.slack.com/services/SECRET/x?y=SECRET failed",
        "http://me:SECRET@proxy.example:3128",
        "Authorization: Bearer SECRETSECRETSECRET",
        '{"token_secret": "SECRET99"}',
        "HF_TOKEN=hf_SECRETSECRETSECRET",
        "the value is SECRET-of-the-environment",
    ],
)
def test_no_secret_is_written_down(log: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MY_TOKEN", "SECRET-of-the-environment\n")
    try:
        raise ValueError(text)
    except ValueError:
        LOG.exception("while saying %s", text)
    assert "SECRET" not in log.read_text() and "ValueError" in log.read_text()
    assert "SECRET" not in redact(text)


def test_what_is_no_secret_stays_readable() -> None:
    for text in ("step 00010/00020 | tok/sec: 742,000", "https://huggingface.co", "runs/d12-amber has 3 tokens: a b c"):
        assert redact(text) == text


def test_hostile_text_is_harmless_in_the_log_and_stays_in_its_record(log: Path) -> None:
    LOG.error("a\x1b]0;t\x07b\x1b[2J\u202e\n2026-01-01T00:00:00Z 1 INFO made up")
    said = log.read_text()
    assert "\x1b" not in said and "\u202e" not in said and said.splitlines()[1].startswith("    2026")


def test_the_log_is_private_bounded_and_shared_by_processes(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_log, "MOST_BYTES", 2000)
    other = client_log.SharedLogHandler(log)
    for number in range(200):
        record = logging.LogRecord("x", logging.INFO, "", 0, f"other {number}", None, None)
        other.emit(record)
        LOG.info("ours %d", number)
    other.close()
    kept = client_log.files(log.parent)
    assert [p.name for p in kept] == [f"{FILE}.2", f"{FILE}.1", FILE]
    assert all(p.stat().st_size <= 2000 and p.stat().st_mode & 0o077 == 0 for p in kept)
    last = "".join(p.read_text() for p in kept).splitlines()[-4:]
    assert [line.split(" INFO ")[1] for line in last] == ["other 198", "ours 198", "other 199", "ours 199"]


def test_a_link_in_the_place_of_the_log_is_not_followed_and_a_log_that_cannot_be_written_ends_nothing(
    tmp_path: Path, log: Path
) -> None:
    LOG.info("begun")
    log.unlink()
    (tmp_path / "precious").write_text("mine")
    log.symlink_to(tmp_path / "precious")
    LOG.info("on")
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_thread_that_dies_leaves_its_traceback_in_the_log_and_nothing_on_the_screen(
    log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    thread = threading.Thread(target=lambda: 1 // 0, name="watcher")
    thread.start()
    thread.join()
    assert "the thread watcher ended" in log.read_text() and "ZeroDivisionError" in log.read_text()
    assert capfd.readouterr().err == ""


FAULT = """
import sys
from runner.fleet import registry
def broken(self): raise ZeroDivisionError("by as-SECRETsecret12")
registry.Registry.all = broken
from tui.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_fault_of_ours_is_one_line_exit_code_70_and_its_traceback_is_in_the_log(cli: Cli) -> None:
    done = subprocess.run([sys.executable, "-c", FAULT, "ls"], env=cli.env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (70, 1, "")
    assert "unexpected error: ZeroDivisionError" in done.stderr and "doctor --bundle" in done.stderr
    said = (cli.home / FILE).read_text()
    assert "Traceback" in said and "in broken" in said and "SECRET" not in said + done.stderr


def test_commands_and_changes_of_state_are_in_the_log_without_what_is_private(cli: Cli) -> None:
    cli("settings", "on_notice", "curl my-private-words")
    cli("launch", "--tag", "one", "--watch", "--step-ms", "0")
    cli("show", "nobody", "--debug", code=3)
    said = (cli.home / FILE).read_text()
    assert "settings on_notice …" in said and "private" not in said
    assert "launch --tag one --watch" in said and "one (" in said and "-> done" in said
    assert "NoSuchRun" in said and "Traceback" in said
    assert (cli.home / FILE).stat().st_mode & 0o777 == 0o600
