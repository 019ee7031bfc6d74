"""The file with settings as a person writes it: a value is changed in its line, nothing else; two at once."""

import json
import re
import subprocess
import sys
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import settings, settings_file
from runner.errors import UsageError
from runner.settings import MEANING, Settings
from runner.text import toml_text
from tests.conftest import Cli

BY_HAND = """# Mine.
gpu = "A10"   # the lab has no others
  'gpus'=8

# What it may cost:
ask_above_usd = 20.50 # dollars # not euros
theme = "a # b"# no space
palette = { dark = true }

# This is about the table.
[colours]
gpu = "red"
note = '''
gpu = "H100"
[x]
'''
"""


@pytest.fixture
def by_hand(cli: Cli) -> Path:
    cli.home.mkdir()
    path = cli.home / settings.FILE
    path.write_text(BY_HAND)
    return path


@pytest.mark.parametrize(
    ("name", "value", "line", "becomes"),
    [
        ("gpu", "b200", 'gpu = "A10"   # the', 'gpu = "B200"   # the'),
        ("gpus", "4", "  'gpus'=8\n", "  gpus = 4\n"),
        ("ask_above_usd", "7", "= 20.50 # dollars # not", "= 7 # dollars # not"),
        ("theme", "nord", '"a # b"# no', '"nord"# no'),
        ("gpus", "default", "  'gpus'=8\n", ""),
        ("engine", "nanochat", "dark = true }\n", 'dark = true }\nengine = "nanochat"\n'),
        ("secrets", "hf, wandb", "dark = true }\n", 'dark = true }\nsecrets = ["hf", "wandb"]\n'),
        ("gpu", "A10", "", ""),
    ],
)
def test_what_a_person_wrote_stays_around_the_value_that_is_changed(
    cli: Cli, by_hand: Path, name: str, value: str, line: str, becomes: str
) -> None:
    by_hand.chmod(0o644)
    said = cli("settings", name, value)
    assert by_hand.read_text() == BY_HAND.replace(line, becomes, 1) and BY_HAND.count(line)
    assert by_hand.stat().st_mode & 0o777 == 0o600
    # Told once: what no release knows.
    assert said.stderr.count("\n") == 1 and "colours, palette mean nothing" in said.stderr


def test_line_ends_and_mark_of_another_system_stay(tmp_path: Path) -> None:
    path = tmp_path / settings.FILE
    path.write_bytes(b'\xef\xbb\xbf# one\r\ngpu = "H100" # two\r\n[x]\r\ny = 1')
    settings.put(tmp_path, "gpu", "B200")
    settings.put(tmp_path, "gpus", "2")
    assert path.read_bytes() == b'\xef\xbb\xbf# one\r\ngpu = "B200" # two\r\ngpus = 2\r\n[x]\r\ny = 1'


@pytest.mark.parametrize(
    ("text", "name"),
    [("secrets = [\n'a', # b\n]\n# c\n", "secrets"), ("# d\n[gpu]\nx = 1\n", "gpu")],
    ids=["lines", "table"],
)
def test_a_file_that_is_written_anew_is_kept_as_it_was_and_that_is_said(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / settings.FILE).write_text(f"bell = false\n{text}")
    said: list[str] = []
    settings.put(tmp_path, name, "H100", said.append)
    assert len(said) == 1 and f"{settings.FILE}.old" in said[0]
    assert (tmp_path / f"{settings.FILE}.old").read_text() == f"bell = false\n{text}"
    found = settings.read(tmp_path)
    assert found.given == ("bell", name) and not found.settings.bell and "H100" in getattr(found.settings, name)
    settings.put(tmp_path, name, "default", said.append)
    assert len(said) == 1 or name == "secrets"
    assert settings.load(tmp_path) == Settings(bell=False)


def test_settings_of_an_earlier_release_are_obeyed_and_carried_over_at_the_first_change(cli: Cli) -> None:
    cli.home.mkdir()
    old = cli.home / settings_file.JSON
    written = {
        "keep_logs_gb": "0.5",
        "bell": False,
        "palette": [1, None, {"a": None, "b": 2.5}],
        "log_times": 3,
        "x": None,
    }
    old.write_text(json.dumps(written))
    assert cli.json("settings")["keep_logs_gb"] == 0.5 and cli.json("settings")["from"]["bell"] == settings_file.JSON
    assert old.exists()
    said = cli("settings", "ask_above_usd", "7.5").stderr
    assert "settings.json.old" in said and not old.exists()
    assert json.loads((cli.home / "settings.json.old").read_text()) == written
    found = tomllib.loads((cli.home / settings.FILE).read_text())
    kept = {"keep_logs_gb": 0.5, "bell": False, "palette": [1, {"b": 2.5}], "log_times": 3}
    assert found == {**kept, "ask_above_usd": 7.5}
    assert (cli.home / settings.FILE).stat().st_mode & 0o777 == 0o600
    # One that an earlier release writes again later does not count.
    old.write_text('{"bell": true}')
    cli("settings", "gpus", "2")
    assert cli.json("settings")["bell"] is False and old.exists()


def test_a_file_of_an_earlier_release_that_is_damaged_stays(tmp_path: Path) -> None:
    (tmp_path / settings_file.JSON).write_text("{")
    with pytest.raises(UsageError, match="mend or remove it"):
        settings.put(tmp_path, "bell", "off")
    assert not (tmp_path / settings.FILE).exists()


def test_processes_that_set_different_things_at_once_lose_none(tmp_path: Path) -> None:
    (tmp_path / settings_file.JSON).write_text('{"bell": false}')
    program = "import sys\nfrom pathlib import Path\nfrom runner import settings\n"
    program += "for n in range(40): settings.put(Path(sys.argv[1]), sys.argv[2], sys.argv[3])\n"
    program += "for n in range(20): settings.put(Path(sys.argv[1]), sys.argv[2], ('default', sys.argv[3])[n % 2])\n"
    chosen = {"gpu": "B200", "gpus": "4", "wandb": "mine", "secrets": "a,b"}
    all_ = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), *one]) for one in chosen.items()]
    assert [one.wait(60) for one in all_] == [0] * len(all_)
    assert settings.load(tmp_path) == Settings(gpu="B200", gpus=4, wandb="mine", secrets=("a", "b"), bell=False)


TYPED = {
    "backend": "modal", "engine": "rehearsal", "gpu": "H200", "gpus": "2", "volume": "modal:lab.1",
    "wandb": "my project", "code": "https://x.y/z@main", "secrets": "a, b,", "env": "dev", "keep_logs_gb": "1e-400",
    "log_times": "clock", "log_wrap": "on", "local_usd_per_hour": "0.10", "ask_above_usd": "-0",
    "monthly_limit_usd": "999999999.5", "trash_days": "30",
    "bell": "off", "theme": "a \"b\" '''c'''", "on_notice": "echo '\"'", "webhook": "https://h.example/x",
    "keys_preset": "emacs", "keys": "runs.cancel=k log.search=ctrl+s,slash",
}  # fmt: skip


def test_every_setting_comes_back_as_it_was_typed_and_can_be_taken_back(tmp_path: Path) -> None:
    assert TYPED.keys() == MEANING.keys()
    wanted = Settings()
    for name, value in TYPED.items():
        wanted = settings.changed(wanted, name, value)
        assert settings.put(tmp_path, name, value) == wanted == settings.load(tmp_path)
        assert settings.changed(Settings(), name, settings.typed(getattr(wanted, name))) == settings.changed(
            Settings(), name, value
        )
    assert settings.read(tmp_path).odd == () and wanted.keep_logs_gb == Decimal("1e-400")
    for name in TYPED:
        settings.put(tmp_path, name, "default")
    assert settings.load(tmp_path) == Settings() and (tmp_path / settings.FILE).read_text() == ""


def test_a_folder_with_code_is_the_same_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings.changed(Settings(), "code", "./mine").code == str(tmp_path / "mine")
    assert settings.changed(Settings(), "code", "owner/name@v1").code == "owner/name@v1"
    said = settings.setting_text(Settings(code="https://me:hunter2@git.example/nanochat@main"))["code"]
    assert "hunter2" not in said and "git.example" in said


KEYS = st.one_of(st.sampled_from(["gpu", "gpus", "a", "a.b", "'", '"', "", "#", "é", "\x1b"]), st.text(max_size=6))
SCALARS = st.one_of(
    st.text(max_size=20).filter(lambda text: "\r" not in text),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.decimals(allow_nan=True).filter(lambda number: not number.is_snan()),
    st.datetimes(),
    st.dates(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
CHANGES = st.one_of(
    st.none(), st.text(max_size=9), st.integers(0, 8), st.booleans(), st.lists(st.text(max_size=4), max_size=3)
)
COMMENTS = st.lists(st.sampled_from(["", "# gpu = 1", "#", "  # [x]", "\t"]), max_size=4)


@given(st.dictionaries(KEYS, VALUES, max_size=6), COMMENTS, COMMENTS, KEYS, CHANGES, st.booleans())
def test_whatever_a_file_holds_one_value_is_changed_and_every_other_line_stays(
    values: dict[str, Any], above: list[str], below: list[str], name: str, value: Any, crlf: bool
) -> None:
    text = "\n".join([*above, toml_text.whole(values), *below])
    text = text.replace("\n", "\r\n") if crlf else text
    before = toml_text.parse(text)
    changed = toml_text.with_value(text, name, value)
    if changed is None:
        # Tables, and what is spelled in another way than we would.
        assert name in before and (isinstance(before[name], list | dict) or not re.fullmatch(r"[A-Za-z]*", name))
        return
    rest = {key: kept for key, kept in before.items() if key != name}
    assert toml_text.same(toml_text.parse(changed), rest if value is None else {**rest, name: value})
    old, new = text.split("\n"), changed.split("\n")
    assert abs(len(new) - len(old)) <= 1 + (not text.endswith("\n"))
    gone = [line for line in old if line not in new and f"{line}\r" not in new]
    assert len(gone) <= 1 and not any(line.lstrip().startswith("#") for line in gone)


@given(st.text(alphabet="ag=[]\"'#\n\r\\ .1,{}tru_é", max_size=60), CHANGES)
def test_no_text_is_changed_into_something_else_than_was_wanted(text: str, value: Any) -> None:
    try:
        before = toml_text.parse(text)
    except (ValueError, RecursionError):
        return
    changed = toml_text.with_value(text, "a", value)
    rest = {key: kept for key, kept in before.items() if key != "a"}
    wanted = rest if value is None else {**rest, "a": value}
    assert changed is None or toml_text.same(toml_text.parse(changed), wanted)
    assert toml_text.same(toml_text.parse(toml_text.whole(wanted)), wanted)
