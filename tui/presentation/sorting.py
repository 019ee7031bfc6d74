"""Rows by a column, which some have no value in."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def sorted_by(items: Iterable[T], value: Callable[[T], Any], *, reverse: bool = False) -> list[T]:
    """Items by a value; those that have none, or nan, come last either way, in the order that they had."""
    keyed = [(value(item), item) for item in items]
    known = sorted((k for k in keyed if k[0] is not None and k[0] == k[0]), key=lambda k: k[0], reverse=reverse)
    return [item for _, item in known] + [item for key, item in keyed if key is None or key != key]
