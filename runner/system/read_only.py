"""Whether this process only looks. Whatever changes something asks here first, whoever wants it and by whatever way."""

import os
from collections.abc import Mapping

from runner.errors import ReadOnly

VARIABLE = "NANOCHAT_TUI_READ_ONLY"
# Any other value is taken for yes: who has set it wants nothing changed.
_NO = ("", "0", "off", "no", "false")


def is_set(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether nothing may be launched, ended, written or deleted by this process."""
    return environ.get(VARIABLE, "").strip().lower() not in _NO


def begin() -> None:
    """From now on this process only looks, and so does what it starts."""
    os.environ[VARIABLE] = "1"


def refuse(act: str) -> None:
    """Raises ReadOnly for what would change something, as `cancel a run`, where this process only looks."""
    if is_set():
        raise ReadOnly(f"read-only: it does not {act}", f"start it without --read-only and {VARIABLE}")
