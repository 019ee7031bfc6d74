"""Names of strangers on this disk, on a terminal and in a shell: harmless, distinct, and as they were."""

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.text.filenames import path_for_terminal, safe_filename, safe_paths, shell_quote
from runner.text.sanitize import sanitize_line

ODD = list("aA.~ :\\/*?<>|%\x00\n\r\t\x1b\x7f\x9b\u202e\u200b\ufeff\udcff\u0130\u00e9")


HOSTILE = st.text(st.sampled_from(ODD) | st.characters(), min_size=1, max_size=300)


@given(st.lists(HOSTILE, max_size=30))
def test_no_name_leads_out_of_the_folder_and_no_two_become_one(names: list[str]) -> None:
    paths = list(dict.fromkeys(n.strip("/") for n in names if n.strip("/")))
    found = safe_paths(paths)
    folded = {t.casefold() for t in found.values()}
    assert len(folded) == len(found)
    for target in found.values():
        for part in target.split("/"):
            assert part not in ("", ".", "..") and "\\" not in part and len(part.encode()) <= 255
            assert part == sanitize_line(part) and part[-1] not in " ."
    assert safe_paths(reversed(paths)) == found, "the same names go to the same places"


@pytest.mark.parametrize("name", ["con", "CON.txt", "nul", "..", ".", "a.", " ", "com1", "LPT9.log"])
def test_names_that_mean_something_else_on_some_system_are_changed(name: str) -> None:
    assert safe_filename(name) != name and "%" in safe_filename(name)


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("model_007500.pt", "report.md", "openai--gsm8k", ".hidden", "é.txt", "console"):
        assert safe_filename(name) == name
    assert safe_paths(["Log", "log"]) == {"Log": "Log", "log": safe_paths(["Log", "log"])["log"]}


def test_what_a_terminal_would_hide_is_made_visible() -> None:
    assert path_for_terminal("a\u202eb\x1b[31m\n\udcff") == "a\\u202eb\\x1b[31m\\x0a\\xff"


def test_names_for_a_shell_are_taken_back_as_they_were() -> None:
    quotes = ("it's", "'a' b", "'$HOME'", "'\"'", "'!'")
    for name in ("plain", "with space", "e\x1b]0;P\x07\x1b[31mred.txt", "n\n'q'", *quotes, "\udcff\\", "a\u202eb"):
        said = shell_quote(name)
        assert said == path_for_terminal(said) and all(32 <= ord(c) < 127 for c in said)
        back = subprocess.run(["bash", "-c", f"printf %s {said}"], capture_output=True, check=True).stdout
        assert back == os.fsencode(name)
