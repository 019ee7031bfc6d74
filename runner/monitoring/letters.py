"""Notices on their way out: what is kept of them until they have arrived, and by whom."""

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple, Protocol

from runner.model.run import Run

LONGEST_PAUSE_S = 3600.0


class PendingDelivery(NamedTuple):
    """A notice that is to be delivered in one way, and how often that was tried."""

    key: str
    way: str
    notice: bytes
    tries: int


class NotificationClaim(Enum):
    """Who tells of something."""

    OURS = "ours"
    OTHERS = "others"
    TOLD = "told"


class Outbox(Protocol):
    """Remembers what was told and what is yet to be delivered, for all processes of this machine."""

    def all(self) -> list[Run]: ...

    def claim_notification(self, key: str) -> NotificationClaim:
        """Whose it is to tell of this: ours from now on, that of another process while it lives, or it is told."""
        ...

    def queue_deliveries(self, key: str, notice: bytes = b"", ways: Iterable[str] = ()) -> None:
        """Put down that it is told here; what there is to deliver beyond, by each way, stays until it is delivered."""
        ...

    def claim_delivery(self, way: str, now: float) -> PendingDelivery | None:
        """What is due to be delivered in one way, ours from now on; nothing that another process is at."""
        ...

    def mark_delivered(self, letter: PendingDelivery) -> None:
        """It has arrived, or is given up."""
        ...

    def deliver_later(self, letter: PendingDelivery, until: float, tries: int) -> None:
        """Leave it to whoever looks then."""
        ...
