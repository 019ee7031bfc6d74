"""Raw output -> whole lines, split on newline and carriage return, whatever the chunks."""

import codecs
import re

from runner.terminal import clean

MAX_PENDING = 1 << 20
_BREAK = re.compile(r"[\n\r]")


class Lines:
    """Feed it bytes as they come; it keeps the unterminated rest, bounded, until the next chunk."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._pending = ""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete now, without colours and control characters."""
        text = self._pending + self._decode(data)
        *whole, self._pending = _BREAK.split(text)
        if len(self._pending) > MAX_PENDING:
            whole.append(self._pending)
            self._pending = ""
        return [clean(line) for line in whole]

    def rest(self) -> list[str]:
        """The last line when it never got its newline."""
        rest, self._pending = self._pending, ""
        return [clean(rest)] if rest else []
