"""Whether links of a folder stay in it, judged by the links alone. Pure."""

import unicodedata
from collections.abc import Mapping

from runner.source.limits import MOST_PATH

# All steps from name to name, so that links through links through links cost nothing.
MOST_STEPS = 200_000
# What systems follow, one after the other.
MOST_HOPS = 40


def leading_out(links: Mapping[str, str]) -> str:
    """The first of these links, name -> target, that leaves the folder or never arrives; empty where none does.

    No name may lead through a link; targets may. A disk that ignores case is thought of.
    """
    folded = {_folded(name): target for name, target in links.items()}
    steps = 0
    for name in sorted(links):
        at, ahead, hops = name.split("/")[:-1], _ahead(links[name]), 0
        if links[name].startswith("/"):
            return name
        while ahead:
            steps += 1
            part = ahead.pop()
            if part == "..":
                if not at:
                    return name
                at.pop()
                continue
            at.append(part)
            path = "/".join(at)
            target = links.get(path, folded.get(_folded(path)))
            if target is not None:
                hops += 1
                at.pop()
                ahead += _ahead(target)
            too_far = hops > MOST_HOPS or steps > MOST_STEPS or len(path) > 2 * MOST_PATH
            if too_far or (target is not None and target.startswith("/")):
                return name
    return ""


def _ahead(target: str) -> list[str]:
    """The parts of a target, the first one last."""
    return [part for part in reversed(target.split("/")) if part not in ("", ".")]


def _folded(path: str) -> str:
    return path if path.isascii() and path.islower() else unicodedata.normalize("NFC", path.casefold())
