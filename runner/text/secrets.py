"""What may be kept or sent on of a text: no token, no password, no address that is a secret in itself. Pure but for
the environment."""

import os
import re

_NAMES = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE|WEBHOOK", re.IGNORECASE)
# A shorter value is a word, and would be taken out of everything.
SHORTEST = 6
# The tokens of Modal, Hugging Face, OpenAI, GitHub, Slack, GitLab, AWS and Google, by how they begin.
TOKEN = (
    r"\b(?:ak|as|wk|ws|hf|sk|gh[pousr]|github_pat|xox[a-z]|glpat)[-_][A-Za-z0-9_-]{8,}"
    r"|\bAKIA[A-Z0-9]{12,}|\bAIza[A-Za-z0-9_-]{30,}"
)
_SHAPES = (
    re.compile(TOKEN),
    re.compile(r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}"),
)
_NAMED = re.compile(
    r"(?i)(\b[a-z_-]*(?:token|secret|password|passwd|api[_-]?key|authorization)\b[\"']?\s*[=:]\s*[\"']?)([^\s\"',;}]{4,})"
)
# Of an address the host says enough: of a webhook the rest is the key to it.
_ADDRESS = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,12}://)(?:[^\s/@\"'<>]*@)?([^\s/?#\"'<>]+)(?:[/?#][^\s\"'<>]*)?")


def redact(text: str) -> str:
    """The text with `…` in the place of each secret."""
    for name, value in os.environ.items():
        if len(value.strip()) >= SHORTEST and _NAMES.search(name):
            text = text.replace(value.strip(), "…")
    text = _ADDRESS.sub(r"\1\2", text)
    for shape in _SHAPES:
        text = shape.sub("…", text)
    return _NAMED.sub(r"\1…", text)


# Names of variables that hold a key, and those that only sound so.
_KEY = rf"(?i)(?!.*TOKENIZ|.*MAX_TOKENS|.*NUM_TOKENS)(?:.*(?:{_NAMES.pattern}))"
_HARMLESS = r"(?i)[\d.,_+-]+|true|false|on|off|yes|no|[~.]?/.*"


def looks_secret(name: str, value: str) -> bool:
    """Whether the value of a variable is a key: by how it begins, or by what the variable is called."""
    value = value.strip()
    if any(shape.search(value) for shape in _SHAPES):
        return True
    return len(value) >= SHORTEST and bool(re.match(_KEY, name)) and not re.fullmatch(_HARMLESS, value)


def secret_hint(stage: str, name: str) -> tuple[str, str]:
    """What is said of a value that looks like a secret, and what to do in its place."""
    instead = f"give it with --secret or --pass-env {name}" if stage == "env" else "leave it out"
    return "looks like a secret, and would stay in the record of the run", instead
