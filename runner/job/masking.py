"""What a child prints, with its keys left out: whatever it does with them, they reach no log. Pure."""

import re
from collections.abc import Iterable, Mapping

from runner.text.secrets import looks_secret

# A shorter value is a word, and would be taken out of everything.
SHORTEST = 8
MASKED = b"***"


def secret_values(env: Mapping[str, str], named: Iterable[str] = ()) -> tuple[bytes, ...]:
    """The values of an environment that are keys: of the `named` variables, and of those that are called like one."""
    wanted = set(named)
    found = {value.strip() for name, value in env.items() if name in wanted or looks_secret(name, value)}
    values = (value.encode("utf-8", "surrogateescape") for value in found if len(value) >= SHORTEST)
    return tuple(sorted(values, key=len, reverse=True))


class Mask:
    """Takes values out of a stream of bytes, also where one comes in pieces."""

    def __init__(self, values: Iterable[bytes]) -> None:
        self._values = tuple(values)
        self._pattern = re.compile(b"|".join(map(re.escape, self._values))) if self._values else None
        self._held = b""

    def take(self, data: bytes) -> bytes:
        """What of the stream can be said by now; what may be the beginning of a value waits for the next piece."""
        if self._pattern is None:
            return data
        text = self._pattern.sub(MASKED, self._held + data)
        kept = max((self._overlap(text, value) for value in self._values), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def rest(self) -> bytes:
        """What has waited, now that nothing more comes."""
        held, self._held = self._held, b""
        return held

    @staticmethod
    def _overlap(text: bytes, value: bytes) -> int:
        """How many of the last bytes begin a value."""
        most = min(len(text), len(value) - 1)
        return next((size for size in range(most, 0, -1) if text.endswith(value[:size])), 0)
