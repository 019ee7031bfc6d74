"""The themes of nanochat-tui, and what every theme, Textual's too, is given besides: readable tones, curves, cursor."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from textual.color import Color
from textual.theme import Theme

from tui.presentation.theme_names import DARK, LIGHT, TERMINAL

# What text needs to its background (WCAG 2, level AA).
READABLE = 4.5
CURVES = tuple(f"curve-{number}" for number in range(1, 7))
# The variable of each tone of `Cell`.
TONES = {
    "text": "foreground",
    "dim": "text-muted",
    "success": "text-success",
    "warning": "text-warning",
    "error": "text-error",
    "secondary": "text-secondary",
    "accent": "text-accent",
    **{name: name for name in CURVES},
}
# On which text stands in a tone.
GROUNDS = ("background", "surface", "panel", "cursor")


def _theme(
    name: str, colours: Sequence[str], states: Sequence[str], muted: str, curves: Sequence[str], *, dark: bool = True
) -> Theme:
    """A theme; `colours` are background, surface, panel, cursor, text and accent, `states` those of states."""
    background, surface, panel, cursor, foreground, accent = colours
    success, warning, error, secondary = states
    return Theme(
        name=name,
        primary=accent,
        accent=accent,
        secondary=secondary,
        foreground=foreground,
        background=background,
        surface=surface,
        panel=panel,
        success=success,
        warning=warning,
        error=error,
        dark=dark,
        variables={
            "cursor": cursor,
            "text": foreground,
            "text-muted": muted,
            "text-disabled": muted,
            "foreground-muted": muted,
            "foreground-disabled": muted,
            "text-primary": accent,
            "text-accent": accent,
            "text-secondary": secondary,
            "text-success": success,
            "text-warning": warning,
            "text-error": error,
            "block-cursor-background": cursor,
            "block-cursor-foreground": foreground,
            "block-cursor-blurred-background": cursor,
            "block-cursor-blurred-foreground": foreground,
            "input-selection-background": cursor,
            "screen-selection-background": cursor,
            "button-color-foreground": background,
            "link-background-hover": cursor,
            **dict(zip(CURVES, curves, strict=True)),
        },
    )


# The colours that a terminal has are a person's own: text stands on its background alone, and nothing is said by a
# bright colour, which some palettes have as grey.
_OF_THE_TERMINAL = Theme(
    name=TERMINAL,
    ansi=True,
    primary="ansi_cyan",
    accent="ansi_cyan",
    secondary="ansi_blue",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    variables={
        "cursor": "ansi_default",
        "ansi-background": "ansi_default",
        "ansi-foreground": "ansi_default",
        "text-muted": "ansi_default",
        "text-disabled": "ansi_default",
        "foreground-muted": "ansi_default",
        "foreground-disabled": "ansi_default",
        "border": "ansi_cyan",
        "border-blurred": "ansi_default",
        "block-cursor-foreground": "ansi_black",
        "block-cursor-background": "ansi_cyan",
        "block-cursor-blurred-foreground": "ansi_black",
        "block-cursor-blurred-background": "ansi_cyan",
        "input-cursor-text-style": "reverse",
        "input-selection-background": "ansi_cyan",
        "input-selection-foreground": "ansi_black",
        "footer-key-foreground": "ansi_cyan",
        **{
            name: f"ansi_{colour}"
            for name, colour in zip(CURVES, ("cyan", "yellow", "magenta", "green", "red", "blue"), strict=True)
        },
    },
)

OURS: dict[str, Theme] = {
    theme.name: theme
    for theme in (
        _theme(
            DARK,
            ("#101318", "#181c23", "#262c36", "#1d3532", "#d4d7dd", "#4fb3a5"),
            ("#8fbf6f", "#e0b05a", "#f08a82", "#8aa8d8"),
            "#a2a8b3",
            ("#4fb3a5", "#fce343", "#fdc6f7", "#6d97f8", "#df8a4b", "#c3f9c3"),
        ),
        _theme(
            LIGHT,
            ("#ffffff", "#f3f5f8", "#e6eaf0", "#d3ebe7", "#1f2328", "#0f6b60"),
            ("#1f6b2b", "#7a4f00", "#b3261e", "#2f55a4"),
            "#505864",
            ("#0f6b60", "#8d5901", "#8140d0", "#020171", "#962339", "#1a3a00"),
            dark=False,
        ),
        _OF_THE_TERMINAL,
        _theme(
            "nanochat-contrast",
            ("#000000", "#0c0c0c", "#1c1c1c", "#26323f", "#ffffff", "#5ce1ff"),
            ("#7df07d", "#ffd24a", "#ffa49c", "#b3ccff"),
            "#d0d0d0",
            ("#5ce1ff", "#fed835", "#d191b5", "#46b0ff", "#ee8b3e", "#edffba"),
        ),
        _theme(
            "nanochat-deuteranopia",
            ("#101318", "#181c23", "#262c36", "#1d2f42", "#d4d7dd", "#56b4e9"),
            ("#3cc9a0", "#f0e442", "#f0824a", "#8aa8d8"),
            "#a2a8b3",
            ("#68a0fe", "#fcee28", "#d784a5", "#3bb212", "#f9b597", "#80e5fd"),
        ),
        _theme(
            "nanochat-tritanopia",
            ("#101318", "#181c23", "#262c36", "#1d3532", "#d4d7dd", "#4fb3a5"),
            ("#5fc98a", "#f2b38f", "#ff6f7d", "#c9a6e8"),
            "#a2a8b3",
            ("#4fb3a5", "#fe7222", "#b385fb", "#90a827", "#faafbf", "#dee8fd"),
        ),
    )
}


def contrast(one: Color, other: Color) -> float:
    """How well one of two colours is read on the other, from 1 to 21 (WCAG 2)."""
    dark, light = sorted(_light(colour) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


@lru_cache(256)
def _light(colour: Color) -> float:
    """The relative luminance, from 0 to 1."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def lifted(colour: Color, grounds: Sequence[Color], towards: Color) -> Color:
    """A colour, or the nearest on the way to another, that can be read on all grounds; the other where none can."""
    for tenth in range(20):
        found = colour.blend(towards, tenth / 20, 1.0)
        if all(contrast(found, ground) >= READABLE for ground in grounds):
            return found
    return towards


def completed(theme: Theme, variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a theme with what our screens need besides: a theme of Textual's gets tones that can be read."""
    if theme.name in OURS:
        return dict(variables)
    if theme.ansi:
        own = OURS[TERMINAL].variables
        return {**variables, **{name: own[name] for name in ("cursor", "text-muted", "text-disabled", *CURVES)}}
    parsed = {name: Color.parse(variables[name]) for name in ("background", "surface", "panel", "accent", "foreground")}
    background = parsed["background"]
    parsed["cursor"] = background.blend(parsed["accent"], 0.2, 1.0)
    grounds = [parsed[name] for name in GROUNDS]
    best = background.get_contrast_text(1.0)
    muted = background.blend(parsed["foreground"], 0.6, 1.0)
    curves = OURS[DARK if theme.dark else LIGHT].variables
    wanted = {
        name: Color.parse(variables[name])
        for name in TONES.values()
        if name.startswith("text-") and name != "text-muted"
    }
    wanted |= {name: Color.parse(curves[name]) for name in CURVES} | {"text-muted": muted, "text-disabled": muted}
    tones = {name: lifted(colour, grounds, best).hex for name, colour in wanted.items()}
    return {**variables, **tones, "cursor": parsed["cursor"].hex}
