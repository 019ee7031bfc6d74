"""What eyes see of a colour: contrast, and how far two colours are apart for all eyes and for colour-blind ones."""

import math
from collections.abc import Sequence

Rgb = tuple[float, float, float]

# Machado, Oliveira and Fernandes 2009, severity 1.0, for linear RGB.
EYES: dict[str, Sequence[Rgb]] = {
    "all colours": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
# From linear sRGB to XYZ over the white of D65.
_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_WHITE = (0.95047, 1.0, 1.08883)


def linear(colour: str) -> Rgb:
    """The light of `#rrggbb`."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return red, green, blue


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2, from 1 to 21."""
    dark, light = sorted(sum(w * c for w, c in zip(_XYZ[1], linear(colour), strict=True)) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def apart(one: str, other: str, eyes: str) -> float:
    """CIEDE2000 between two colours as such eyes see them."""
    return ciede2000(_lab(_seen(linear(one), eyes)), _lab(_seen(linear(other), eyes)))


def _times(matrix: Sequence[Rgb], light: Rgb) -> Rgb:
    red, green, blue = (sum(w * c for w, c in zip(row, light, strict=True)) for row in matrix)
    return red, green, blue


def _seen(light: Rgb, eyes: str) -> Rgb:
    red, green, blue = (min(1.0, max(0.0, c)) for c in _times(EYES[eyes], light))
    return red, green, blue


def _lab(light: Rgb) -> Rgb:
    found = (c / white for c, white in zip(_times(_XYZ, light), _WHITE, strict=True))
    x, y, z = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in found)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def ciede2000(one: Rgb, other: Rgb) -> float:
    """The difference of two colours in Lab; about 1 is the least that is seen side by side."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean_c = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    g = 1.5 - 0.5 * math.sqrt(mean_c**7 / (mean_c**7 + 25**7))
    c1, c2 = math.hypot(a1 * g, b1), math.hypot(a2 * g, b2)
    h1, h2 = (math.degrees(math.atan2(b, a * g)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    mean_h = (h1 + turn / 2) % 360 if c1 * c2 else h1 + h2
    lightness, chroma = l2 - l1, c2 - c1
    hue = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2))
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * math.cos(math.radians(mean_h - 30))
        + 0.24 * math.cos(math.radians(2 * mean_h))
        + 0.32 * math.cos(math.radians(3 * mean_h + 6))
        - 0.20 * math.cos(math.radians(4 * mean_h - 63))
    )
    by_l = 1 + 0.015 * (mean_l - 50) ** 2 / math.sqrt(20 + (mean_l - 50) ** 2)
    by_c, by_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    rotated = -math.sin(math.radians(60 * math.exp(-(((mean_h - 275) / 25) ** 2)))) * (
        2 * math.sqrt(mean_c**7 / (mean_c**7 + 25**7))
    )
    parts = (lightness / by_l, chroma / by_c, hue / by_h)
    return math.sqrt(sum(part**2 for part in parts) + rotated * parts[1] * parts[2])
