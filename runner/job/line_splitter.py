"""Raw output -> whole lines, split on newline and carriage return, whatever the chunks."""

import codecs
import re

from runner.text.sanitize import strip_ansi

MAX_PENDING = 1 << 20
_BREAK = re.compile(r"([\n\r])")


class LineSplitter:
    """Feed it bytes as they come; it keeps the unterminated rest, bounded, until the next chunk."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._pending = ""

    def feed(self, data: bytes) -> list[tuple[int, str]]:
        """The lines that are complete now, without colours and control characters; newlines of `data` before each."""
        *broken, self._pending = _BREAK.split(self._pending + self._decode(data))
        newlines, whole = 0, []
        for line, end in zip(broken[::2], broken[1::2], strict=True):
            whole.append((newlines, strip_ansi(line)))
            newlines += end == "\n"
        if len(self._pending) > MAX_PENDING:
            whole.append((newlines, strip_ansi(self._pending)))
            self._pending = ""
        return whole

    def rest(self) -> list[tuple[int, str]]:
        """The last line when it never got its newline."""
        rest, self._pending = self._pending, ""
        return [(0, strip_ansi(rest))] if rest else []
