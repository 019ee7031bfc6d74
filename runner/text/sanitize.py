"""Text that is not ours, made harmless for a terminal."""

import functools
import re

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
# Characters that show nothing, or turn the text around them.
HIDDEN = (
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff"
    r"\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# What joins two emoji into one stays; the same between other letters hides.
_EMOJI = "\u2190-\u2bff\ufe0f\U0001f000-\U0001faff"
_JOINED = f"(?<=[{_EMOJI}])\u200d(?=[{_EMOJI}])"
_UNSEEN = rf"(?!{_JOINED}){HIDDEN}"
_IN_JSON = rf"[\x00-\x08\x0b-\x1f\x7f-\x9f]|{HIDDEN}"


@functools.cache
def _shape(pattern: str) -> re.Pattern[str]:
    """A shape made when it is first needed: classes of so many characters take milliseconds."""
    return re.compile(pattern)


def strip_ansi(text: str) -> str:
    """Text without terminal escapes and control characters; tabs stay."""
    return _ESCAPES.sub("", text)


def sanitize_line(text: str) -> str:
    """One line that a terminal shows as it stands: no controls, no tabs, what hides or turns text by its code."""
    text = strip_ansi(text.replace("\n", " ").replace("\r", " "))
    return (text if text.isascii() else _shape(_UNSEEN).sub(_code, text)).expandtabs(8)


def sanitize_json(text: str) -> str:
    """JSON that says the same, in which no character is left that a terminal would act on, or not show."""
    import json

    return _shape(_IN_JSON).sub(lambda m: json.dumps(m[0])[1:-1], text)


def _code(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 1 << 16 else f"\\U{number:08x}"


_SGR = r"\x1b\[([0-9;]{0,40})m"
# A span of a line: from, to, a colour as `color(2)` or `#rrggbb` ("" for none), bold.
Span = tuple[int, int, str, bool]


def parse_colours(text: str) -> tuple[str, list[Span]]:
    """A line as `sanitize_line` makes it, and the colours that its SGR sequences asked for; all others are gone."""
    if "\x1b[" not in text:
        return sanitize_line(text), []
    plain, spans, colour, bold, at = "", list[Span](), "", False, 0
    for found in [*_shape(_SGR).finditer(text), None]:
        piece = sanitize_line(text[at : found.start() if found else len(text)])
        if piece and (colour or bold):
            spans.append((len(plain), len(plain) + len(piece), colour, bold))
        plain += piece
        if found:
            colour, bold = _sgr(found[1], colour, bold)
            at = found.end()
    return plain, spans


def _sgr(codes: str, colour: str, bold: bool) -> tuple[str, bool]:
    """What a sequence makes of the colour and weight before it; background and the rest are left out."""
    numbers = [int(code) if code else 0 for code in codes.split(";")]
    while numbers:
        code = numbers.pop(0)
        if code == 0:
            colour, bold = "", False
        elif code in (1, 22):
            bold = code == 1
        elif 30 <= code <= 37 or 90 <= code <= 97:
            colour = f"color({code - 30 if code < 90 else code - 82})"
        elif code == 39:
            colour = ""
        elif code == 38 and len(numbers) >= 2 and numbers[0] == 5:
            colour = f"color({min(numbers[1], 255)})"
            del numbers[:2]
        elif code == 38 and len(numbers) >= 4 and numbers[0] == 2:
            colour = "#" + "".join(f"{min(n, 255):02x}" for n in numbers[1:4])
            del numbers[:4]
    return colour, bold
