"""Addresses that notices go to: parsed when they are set, and shown by their host alone, as the rest is a secret."""

import os
import re
import shlex
import shutil
import subprocess
from urllib.parse import SplitResult, urljoin, urlsplit

from runner.text.secrets import redact

# An address without its scheme, as curl takes it, and what curl signs in with.
_BARE = re.compile(r"(?<![\w./~:@-])((?:[\w-]+\.)+[A-Za-z0-9]+(?::\d+)?|localhost(?::\d+)?)/[^\s\"'|;&]+")
_SIGNED_IN = re.compile(r"(?<!\S)(-u|--user)([ =]?)[^\s-][^\s]*:[^\s]+")
PORTS = {"http": 80, "https": 443}
_PARSED_S = 5.0


def problem(address: str) -> str:
    """What is wrong with an address of a webhook, in words without it; empty when it can be used."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        return "its host or port cannot be read"
    if parts.scheme not in PORTS:
        return "it must begin with https://"
    if parts.username is not None or parts.password is not None:
        return "a name and password in it are not sent: leave them out"
    if not host or not re.fullmatch(r"[^\s\"'<>\\^`{|}]+", host) or parts.port == 0:
        return "it names no host"
    if not address.isascii() or re.search(r"[\s\"<>\\^`{|}]", address):
        return "it holds a character that an address cannot have: write that as %XX"
    return ""


def host_of(address: str) -> str:
    """As much of an address as anybody may see."""
    try:
        parts = urlsplit(address)
        return f"{parts.scheme}://{parts.hostname}" if parts.hostname and parts.scheme else "…"
    except ValueError:
        return "…"


def joined(address: str, to: str) -> str:
    """Where an address says that it has moved to; empty where that is no address."""
    try:
        return urljoin(address, to)
    except ValueError:
        return ""


def redirect_allowed(address: str, there: str) -> bool:
    """Whether what was to be sent to an address may go to another by itself: the same host, as safe as before."""
    if problem(there):
        return False
    old, new = urlsplit(address), urlsplit(there)
    if old.hostname != new.hostname or (old.scheme, new.scheme) == ("https", "http"):
        return False
    return _port(old) == _port(new) or {_port(old), _port(new)} == set(PORTS.values())


def _port(parts: SplitResult) -> int:
    return parts.port or PORTS[parts.scheme]


def problem_of_command(command: str) -> str:
    """What is wrong with a command for /bin/sh, in words without it; empty when it can be begun."""
    read = ["/bin/sh", "-n", "-c", command]
    try:
        code = subprocess.run(read, capture_output=True, timeout=_PARSED_S, check=False).returncode
        words = shlex.split(command, comments=True)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return "a shell cannot read it"
    if code or not words:
        return "a shell cannot read it"
    # Anything else a shell makes a command of by itself.
    if re.fullmatch(r"[A-Za-z0-9_./~-]+", words[0]) and not _known(os.path.expanduser(words[0])):
        return f"there is no command {words[0][:40]}"
    return ""


def _known(word: str) -> bool:
    """Whether a shell has a command of that name, of its own or on PATH."""
    if shutil.which(word):
        return True
    asked = subprocess.run(["/bin/sh", "-c", 'command -v "$1"', "sh", word], capture_output=True, check=False)
    return asked.returncode == 0


def host_only(name: str, value: str) -> str:
    """A setting that may hold an address, as it may be seen."""
    if name == "webhook":
        return host_of(value) if value else value
    return _SIGNED_IN.sub(r"\1\2…", _BARE.sub(r"\1/…", redact(value)))
