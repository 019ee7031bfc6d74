"""Every theme by name; free of Textual, for the command line."""

AUTO, DARK, LIGHT, TERMINAL = "auto", "nanochat", "nanochat-light", "terminal"
# Ours, and what each is for.
ABOUT = {
    DARK: "dark",
    LIGHT: "light",
    TERMINAL: "the 16 colours that your terminal has",
    "nanochat-contrast": "high contrast",
    "nanochat-deuteranopia": "for eyes that take red and green for each other (protanopia, too)",
    "nanochat-tritanopia": "for eyes that take blue and green, yellow and pink for each other",
}
OF_TEXTUAL = (
    "ansi-dark",
    "ansi-light",
    "atom-one-dark",
    "atom-one-light",
    "catppuccin-frappe",
    "catppuccin-latte",
    "catppuccin-macchiato",
    "catppuccin-mocha",
    "dracula",
    "flexoki",
    "gruvbox",
    "monokai",
    "nord",
    "rose-pine",
    "rose-pine-dawn",
    "rose-pine-moon",
    "solarized-dark",
    "solarized-light",
    "textual-dark",
    "textual-light",
    "tokyo-night",
)
# `auto` is dark or light as the terminal is.
NAMES = (AUTO, *ABOUT, *OF_TEXTUAL)
