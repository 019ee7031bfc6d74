"""What everything that is done with runs works with."""

from collections.abc import Callable
from typing import NamedTuple

from runner.fleet.own_code import CodeStore
from runner.fleet.places import Places
from runner.fleet.polling import Poller
from runner.fleet.registry import Registry


class Core(NamedTuple):
    """What this machine remembers, how runs are, where they happen, what time it is, and who is told."""

    registry: Registry
    polls: Poller
    places: Places
    clock: Callable[[], float]
    say: Callable[[str], None]
    code: CodeStore
