"""Files that look as if they held a secret, by their name or by what is in them; what the secret is is never said."""

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from runner.text.secrets import TOKEN

_EXAMPLES = re.compile(r"\.(example|examples|sample|template|tmpl|dist|pub|md|rst)$", re.IGNORECASE)
# Code has such names, too: what is in it decides.
_CODE = re.compile(r"\.(py|pyi|ipynb|sh|rs|c|cpp|h|js|ts|go|html|css)$", re.IGNORECASE)
_NAMES = tuple(
    (re.compile(names, re.IGNORECASE), why)
    for names, why in (
        (r"\.env|\.env\..+|.+\.env|\.envrc", "holds settings of an environment"),
        (r"[._]netrc|\.git-credentials|\.pgpass|\.htpasswd", "holds passwords"),
        (r"id_(rsa|dsa|ecdsa|ed25519)(_sk)?(\..+)?", "is a private key"),
        (r".+\.(pem|key|p12|pfx|ppk|jks|keystore)", "is a private key"),
        (r"\.npmrc|\.pypirc|\.modal\.toml|\.boto|\.s3cfg|\.dockercfg", "holds credentials"),
        (r"\.?(aws[-_])?credentials(\.(json|ya?ml|toml|ini|txt|csv))?", "holds credentials"),
        (r"(client_secrets?|service[-_]account).*\.json", "holds credentials"),
        (r"(kaggle|\.?secrets?)(\.(json|ya?ml|toml|ini|txt|env))", "holds secrets"),
        (r"\.?(.+[-_])?token(\.txt)?|.+\.token", "holds a token"),
    )
)
# Of what begins like a token, how it goes on when it is one; whose it is.
_TOKENS = tuple(
    (re.compile(shape), whose)
    for shape, whose in (
        (rb"hf_[A-Za-z0-9]{34}(?![A-Za-z0-9])", "Hugging Face"),
        (rb"sk-[A-Za-z0-9_-]{20,}", "OpenAI, or a service like it"),
        (rb"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,}", "GitHub"),
        (rb"(?:ak|as|wk|ws)-[A-Za-z0-9]{20,}", "Modal"),
        (rb"xox[abeoprs]-[A-Za-z0-9-]{20,}", "Slack"),
        (rb"glpat-[A-Za-z0-9_-]{20,}", "GitLab"),
        (rb"AKIA[A-Z0-9]{16}(?![A-Za-z0-9])", "AWS"),
        (rb"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])", "Google"),
    )
)
_PUBLIC = re.compile(
    rb"\A\s*(?:-----BEGIN (?:CERTIFICATE|(?:[A-Z]+ )?PUBLIC KEY)-----|ssh-[a-z0-9]+ |ecdsa-[a-z0-9-]+ )"
)
_PEM = (
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\s|\\n|\\r|[\"',+])+(?:[A-Za-z-]+: [^\n]*\s+)*"
    r"[A-Za-z0-9+/]{40}"
)
_WANDB = (
    r"(?:WANDB_API_KEY[^A-Za-z0-9\n]{1,12}|api\.wandb\.ai\s+login\s+\S+\s+password\s+)[0-9a-f]{40}"
    r"|\bwandb_v1_[A-Za-z0-9_]{40,}"
)
_PLACEHOLDER = re.compile(rb"example|placeholder|your|token|secret|dummy|fake|test|x{4}|abcdef|123456", re.IGNORECASE)
# A random text of twenty letters or more has more different ones than this, and what a person makes up has fewer.
_VARIETY = 9


def suspicion(path: str, data: bytes) -> str:
    """Why a file is taken for a secret; empty where it is not."""
    is_public = _PUBLIC.search(data) and b"PRIVATE KEY" not in data
    return ("" if is_public else by_name(path)) or by_content(data)


def by_name(path: str) -> str:
    """Why a file of this name is taken for a secret; empty where it is not."""
    name = path.rpartition("/")[2]
    if _EXAMPLES.search(name) or _CODE.search(name):
        return ""
    return next((why for shape, why in _NAMES if shape.fullmatch(name)), "")


def by_content(data: bytes) -> str:
    """Why a file with this in it is taken for a secret; empty where it is not."""
    for found in _candidates()(data):
        text = found.group()
        if text.startswith(b"-----"):
            return "holds a private key"
        if text.startswith((b"WANDB", b"api.wandb", b"wandb_")):
            if _is_random(text[-40:]):
                return "holds a key of Weights & Biases"
            continue
        if whose := _whose(text):
            return f"holds a token of {whose}"
    return ""


def _whose(text: bytes) -> str:
    """Whose token it is; empty for what is none."""
    for shape, whose in _TOKENS:
        if found := shape.match(text):
            longest = max(re.split(rb"[-_]", found[0]), key=len)
            is_one = len(longest) >= 10 and _is_random(longest) and not _PLACEHOLDER.search(found[0])
            return whose if is_one else ""
    return ""


def _is_random(text: bytes) -> bool:
    """Whether letters look drawn: many different ones, and not all of one kind."""
    kinds = sum(re.search(kind, text) is not None for kind in (rb"[a-z]", rb"[A-Z]", rb"[0-9]"))
    return len(set(text)) >= _VARIETY and kinds >= 2


@functools.cache
def _candidates() -> Callable[[bytes], Iterator[Any]]:
    """What finds all that may be a secret in one pass over the bytes."""
    import re2

    options = re2.Options()
    options.log_errors = False
    find: Callable[[bytes], Iterator[Any]] = re2.compile(f"{TOKEN}|{_PEM}|{_WANDB}".encode(), options).finditer
    return find
