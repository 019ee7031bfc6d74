"""Text that is not ours, made harmless for a terminal."""

import re

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
# Characters that show nothing, or turn the text around them.
HIDDEN = re.compile(
    r"[\u00ad\u061c\ud800-\udfff\U000e0000-\U000e0fff\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)


def clean(text: str) -> str:
    """Text without terminal escapes and control characters; tabs stay."""
    return _ESCAPES.sub("", text)


def safe(text: str) -> str:
    """One line that a terminal shows as it stands: no controls, no bidirectional tricks; tabs become spaces."""
    return HIDDEN.sub("", clean(text.replace("\n", " ").replace("\r", " "))).expandtabs(8)


_SGR = re.compile(r"\x1b\[([0-9;]{0,40})m")
# A span of a line: from, to, a colour as `color(2)` or `#rrggbb` ("" for none), bold.
Span = tuple[int, int, str, bool]


def coloured(text: str) -> tuple[str, list[Span]]:
    """A line as `safe` makes it, and the colours that its SGR sequences asked for; every other sequence is gone."""
    if "\x1b[" not in text:
        return safe(text), []
    plain, spans, colour, bold, at = "", list[Span](), "", False, 0
    for found in [*_SGR.finditer(text), None]:
        piece = safe(text[at : found.start() if found else len(text)])
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
