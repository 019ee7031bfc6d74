"""The file for a report of a fault: all that is needed to mend it, nothing secret, also where little works."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

from runner import settings
from runner.exit_codes import Exit
from runner.system.client_log import FILE
from tests.conftest import Cli


def held(path: Path) -> dict[str, str]:
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as tar:
        files = {m.name.removeprefix("nanochat-tui-report/"): tar.extractfile(m) for m in tar.getmembers()}
        return {name: file.read().decode() for name, file in files.items() if isinstance(file, io.BufferedReader)}


def test_a_bundle_holds_what_a_report_needs_and_no_secret(cli: Cli, tmp_path: Path) -> None:
    cli.env |= {"HOME": str(tmp_path), "MY_API_TOKEN": "SECRET-of-the-environment"}
    cli("settings", "webhook", "https://hooks.example.com/SECRET")
    cli("settings", "on_notice", "curl -H SECRET x")
    cli("launch", "--tag", "one", "--watch", "--step-ms", "0")
    with (cli.run_dir("one") / "log").open("a") as log:
        log.write("\x1b[2Jusing token as-SECRETSECRET12 and SECRET-of-the-environment\n")
    told = cli("doctor", "--bundle", str(tmp_path / "b.tar.gz"), "--run", "one")
    found = held(tmp_path / "b.tar.gz")
    assert set(found) == {
        "versions.json", "doctor.txt", "settings.json", "runs.json", "run.json", "run-log.txt", "run-job.txt", FILE,
    }  # fmt: skip
    everything = "".join(found.values())
    for secret in ("SECRET", "hooks.example.com/", str(tmp_path), "\x1b"):
        assert secret not in everything, secret
    assert all(name in told.stderr for name in found) and told.stdout == f"{tmp_path / 'b.tar.gz'}\n"
    assert "registry" in found["doctor.txt"] and json.loads(found["settings.json"])["set"]["webhook"] == "is set"
    assert json.loads(found["runs.json"])[0]["tag"] == "one" and "volume" not in json.loads(found["run.json"])
    assert "msgspec" in json.loads(found["versions.json"]) and "launch --tag one" in found[FILE]
    assert "using token …" in found["run-log.txt"] and found["run-log.txt"].count("\n") <= 200
    again = cli("doctor", "--bundle", str(tmp_path / "b.tar.gz"), code=Exit.USAGE).stderr
    assert "there already" in again and cli("doctor", "--bundle", "--run", "nobody", code=Exit.NO_SUCH_RUN)


BROKEN = """
import sys
from runner.fleet import registry
def broken(self): raise ZeroDivisionError("nothing works")
registry.Registry.all = broken
from tui.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_bundle_is_made_where_the_registry_and_the_settings_are_what_is_broken(cli: Cli, tmp_path: Path) -> None:
    cli("ls")
    (cli.home / settings.FILE).write_text("{")
    argv = [sys.executable, "-c", BROKEN, "doctor", "--bundle", "--json"]
    done = subprocess.run(argv, env=cli.env, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = held(tmp_path / json.loads(done.stdout)["file"])
    assert "ZeroDivisionError: nothing works" in found["runs.json"] and "cannot be read" in found["settings.json"]
    assert "in broken" in found[FILE]


def test_a_link_in_the_place_of_the_bundle_is_not_followed(cli: Cli, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "b").symlink_to(precious)
    assert "there already" in cli("doctor", "--bundle", str(tmp_path / "b"), code=Exit.USAGE).stderr
    assert precious.read_text() == "mine"
