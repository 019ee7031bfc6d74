"""Finding a file by a few letters of its path."""

from hypothesis import given
from hypothesis import strategies as st

from runner.volumes.base import Entry
from runner.volumes.directory_cache import fuzzy


def entries(*paths: str) -> list[Entry]:
    return [Entry(path, False, 1, 0.0) for path in paths]


def test_a_match_in_the_name_comes_before_one_in_the_path_and_the_tighter_one_first() -> None:
    found = fuzzy(entries("abc/x", "x/a-b-c", "x/abc", "x/cba"), "a bc")
    assert [e.path for e in found] == ["x/abc", "x/a-b-c", "abc/x"]


def test_letters_that_are_all_alike_take_no_longer_than_others() -> None:
    assert [e.path for e in fuzzy(entries("a" * 4000, "a" * 4000 + "b"), "aaaaaaab")] == ["a" * 4000 + "b"]


@given(st.lists(st.text("ab/c\n", min_size=1, max_size=12)), st.text("abc", min_size=1, max_size=4))
def test_what_holds_the_letters_in_their_order_is_found_and_nothing_else(paths: list[str], letters: str) -> None:
    def holds(path: str) -> bool:
        rest = iter(path)
        return all(letter in rest for letter in letters)

    assert {e.path for e in fuzzy(entries(*paths), letters)} == set(filter(holds, paths))


def test_what_is_called_otherwise_is_found_by_that_name_and_by_its_own() -> None:
    there = entries("runs/r1", "runs/r1/log", "runs/r2/log")
    for letters, wanted in (
        ("pink", ["runs/r1", "runs/r1/log"]),
        ("pinklog", ["runs/r1/log"]),
        ("r1log", ["runs/r1/log"]),
    ):
        assert [e.path for e in fuzzy(there, letters, called={"runs/r1": "d12-pink"})] == wanted
