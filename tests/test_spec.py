"""What a person types: good values are taken, bad ones are named with what to do."""

import contextlib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import UsageError
from runner.model import overrides, spec

GOOD: dict[str, Any] = {"task": "speedrun", "model": "d12", "backend": "local"}


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("task", {"task": "sppedrun"}),
        ("model", {"model": "d13"}),
        ("model", {"model": "d36"}),
        ("model", {"model": "gpt2"}),
        ("model", {"model": "d²"}),
        ("model", {"model": "d14", "engine": "nanochat"}),
        ("gpus", {"gpus": 3}),
        ("gpus", {"gpus": 2, "engine": "nanochat", "model": "d4"}),
        ("gpu", {"gpu": "H1000"}),
        ("engine", {"engine": "torch"}),
        ("budget", {"budget": "-1"}),
        ("budget", {"budget": "NaN"}),
        ("budget", {"budget": "1e999999999"}),
        ("overrides", {"overrides": {"iteratons": "5"}}),
        ("overrides", {"overrides": {"iterations": "many"}}),
        ("overrides", {"overrides": {"save_every": "0"}}),
        ("overrides", {"overrides": {"window_pattern": "XL"}}),
        ("overrides", {"overrides": {"fault": ["explode@3"]}}),
        ("overrides", {"overrides": {"step_ms": "5"}, "engine": "nanochat", "model": "d4", "gpus": 1}),
    ],
)
def test_a_bad_value_is_refused_at_its_field_with_what_to_do(field: str, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        spec.RunSpec.create(**{**GOOD, **change})
    assert caught.value.field == field
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_defaults_follow_the_task() -> None:
    assert spec.RunSpec.create(**GOOD).gpus == 8
    assert spec.RunSpec.create(**{**GOOD, "task": "test"}).gpus == 1
    assert spec.RunSpec.create(**{**GOOD, "budget": "$25.50"}).budget_usd == Decimal("25.50")


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean --iterations"):
        overrides.parse_overrides({"iteration": "5"})


@given(st.text(max_size=60))
def test_any_text_as_a_model_is_a_depth_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert spec.parse_depth(text) % 2 == 0


@given(st.text(max_size=60))
def test_any_text_as_a_budget_is_money_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert spec.parse_money(text) > 0


@given(st.text(max_size=80))
def test_any_text_in_the_overrides_field_is_understood_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        overrides.parse_overrides(overrides.parse_override_words(text))


@pytest.mark.parametrize(
    ("backend", "overrides", "engine"),
    [
        ("local", {}, "rehearsal"),
        ("modal", {}, "nanochat"),
        ("modal", {"step_ms": "5"}, "rehearsal"),
        ("modal", {"fault": ["crash@3"]}, "rehearsal"),
        ("modal", {"iterations": "5"}, "nanochat"),
    ],
)
def test_where_no_engine_is_named_modal_means_the_real_thing_but_for_what_only_a_rehearsal_understands(
    backend: str, overrides: dict[str, Any], engine: str
) -> None:
    made = spec.RunSpec.create(**{**GOOD, "backend": backend, "overrides": overrides})
    assert made.engine == engine
