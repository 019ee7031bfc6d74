"""A job's log as it travels through a stream of text lines: each piece with its place, so none is lost or doubled."""

import base64
import binascii
import re

from msgspec import Struct

MAX_PAYLOAD = 6000
_FRAME = re.compile(r"(\d{1,9})\.(\d{1,18})([|<+~])(.*)", re.DOTALL)
_PIECE = re.compile(rb"[^\r\n]*[\r\n]|[^\r\n]+")
_ENDS = {b"\n": "|", b"\r": "<"}


class Frame(Struct, frozen=True):
    """Bytes of the log: `offset` counts from the beginning of the part that container number `part` wrote."""

    part: int
    offset: int
    data: bytes


class Framer:
    """Bytes of a log -> lines of text that can be put together again, in whatever order they arrive.

    `12.345|text` was a line, `<` one that ended in a carriage return, `+` has no end yet, `~` is not plain text.
    """

    def __init__(self, part: int) -> None:
        self._part, self._offset, self._pending = part, 0, b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete now."""
        pieces = _PIECE.findall(self._pending + data)
        self._pending = b""
        if pieces and pieces[-1][-1:] not in _ENDS and len(pieces[-1]) < MAX_PAYLOAD:
            self._pending = pieces.pop()
        return [line for piece in pieces for line in self._lines(piece)]

    def flush(self) -> list[str]:
        """What is there of a line that is still being written."""
        pending, self._pending = self._pending, b""
        return self._lines(pending) if pending else []

    def _lines(self, piece: bytes) -> list[str]:
        return [self._line(piece[at : at + MAX_PAYLOAD]) for at in range(0, len(piece), MAX_PAYLOAD)]

    def _line(self, data: bytes) -> str:
        head = f"{self._part}.{self._offset}"
        self._offset += len(data)
        mark = _ENDS.get(data[-1:], "+")
        text = data[:-1] if mark != "+" else data
        try:
            plain = text.decode("utf-8")
        except UnicodeDecodeError:
            plain = "\0"
        if "\0" in plain:
            return f"{head}~{base64.b64encode(data).decode()}"
        return f"{head}{mark}{plain}"


def parse(line: str) -> Frame | None:
    """A line of the stream -> Frame; None for a line that is not of a job's log."""
    match = _FRAME.fullmatch(line.rstrip("\n"))
    if match is None:
        return None
    part, offset, mark, text = match.groups()
    if mark == "~":
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return None
    else:
        data = text.encode("utf-8", "replace") + {"|": b"\n", "<": b"\r", "+": b""}[mark]
    return Frame(int(part), int(offset), data)
