"""All flags that a person may set: none is missing or without a word on it; names are completed as they are typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.model.stage_flags import OWN, STAGES, parse
from runner.nanochat.code_facts import pinned
from runner.nanochat.flag_help import BY_STAGE, HELP
from runner.nanochat.flag_list import begun, completed, fitting, listed, stages_of, with_flag
from tests.conftest import Cli

FLAGS = listed(pinned())
WORDS = [one.word for one in FLAGS]
typed = st.one_of(st.text("ab.=-' stemluid_", max_size=30), st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join))


def test_every_flag_of_upstream_is_listed_with_a_line_on_it_but_for_our_own() -> None:
    all_ = {(stage, flag.name) for stage in STAGES for flag in pinned().scripts[stage].flags.flags}
    assert {(one.stage, one.name) for one in FLAGS} == {(stage, name) for stage, name in all_ if name not in OWN}
    assert [one for one in FLAGS if not one.help] == []
    names = {name for _, name in all_}
    assert set(HELP) <= names and set(BY_STAGE) <= all_
    assert all(len(said) <= 100 and said == said.strip() for said in (*HELP.values(), *BY_STAGE.values()))


def test_a_flag_that_an_option_stands_for_says_which() -> None:
    by_word = {one.word: one for one in FLAGS}
    assert by_word["base.num-iterations="].instead == "--iterations"
    assert by_word["base.depth="].instead == "--model"
    assert by_word["base.warmdown-ratio="].instead == ""
    assert (by_word["base.fp8="].default, by_word["base.fp8="].takes) == ("off", "on, off")
    assert by_word["base.fp8-recipe="].takes == "rowwise, tensorwise"


def test_only_stages_of_the_task_are_listed() -> None:
    assert stages_of("sft") == ("sft",) and stages_of("eval") == ("base_eval", "chat_eval")
    assert {one.stage for one in listed(pinned(), stages_of("test"))} == {"base", "tokenizer"}


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", ""),
        ("ba", "base."),
        ("base_", "base_eval."),
        ("base.warmd", "base.warmdown-ratio="),
        ("base.warmdown_", "base.warmdown-ratio="),
        ("base.matrix-lr=0.03 sft.init", "base.matrix-lr=0.03 sft.init-lr-frac="),
        ("base.matrix-lr=0", "base.matrix-lr=0"),
        ("nothing.x", "nothing.x"),
        ("base.matrix-lr=1 ", "base.matrix-lr=1 "),
    ],
)
def test_the_last_word_is_completed(text: str, whole: str) -> None:
    assert completed(text, FLAGS) == whole


def test_a_chosen_flag_takes_the_place_of_what_was_begun_and_is_not_put_in_twice() -> None:
    assert with_flag("", 0, "sft.a=") == ("sft.a=", 6)
    assert with_flag("base.x=1 sf", 11, "sft.a=") == ("base.x=1 sft.a=", 15)
    assert with_flag("base.x=1", 8, "sft.a=") == ("base.x=1 sft.a=", 15)
    assert with_flag("base.x=1 sft.a=2", 16, "base.x=") == ("base.x=1 sft.a=2", 7)
    assert begun("base.x=1 sf", 11) == "sf" and begun("base.x=1", 8) == ""


@given(typed, st.integers(0, 60), st.sampled_from(WORDS))
def test_whatever_is_in_the_field_stays_there_and_the_cursor_is_behind_the_name(text: str, at: int, word: str) -> None:
    cursor = min(at, len(text))
    made, end = with_flag(text, cursor, word)
    assert made[:end].endswith(word) and 0 < end <= len(made)
    assert all(one in made.split() for one in text.split() if "=" in one)
    whole = completed(text, FLAGS)
    assert whole.startswith(text.rpartition(" ")[0]) and len(whole) >= len(text)


def test_letters_find_flags_by_name_first_and_by_what_they_are_for() -> None:
    found = [one.word for one in fitting(FLAGS, "warmdown")]
    assert found[:2] == ["base.warmdown-ratio=", "sft.warmdown-ratio="]
    assert "base.matrix-lr=" in [one.word for one in fitting(FLAGS, "muon")]
    assert fitting(FLAGS, "base warmd")[0].word == "base.warmdown-ratio="
    assert fitting(FLAGS, "zzz") == [] and len(fitting(FLAGS, "")) == len(FLAGS)


@pytest.mark.parametrize("word", WORDS)
def test_what_is_listed_is_taken(word: str) -> None:
    assert parse([f"{word}1"])[0].name == word.partition(".")[2].rstrip("=")


def test_the_command_lists_flags_of_a_stage(cli: Cli) -> None:
    said = cli("flags", "sft").stdout
    assert "sft.init-lr-frac" in said and "base." not in said.replace("base training", "")
    rows = cli.json("flags")
    assert len(rows) == len(FLAGS)
    assert {row["option"] for row in rows if row["flag"] == "depth"} == {"--model"}
    assert "did you mean base?" in cli("flags", "bas", code=2).stderr
