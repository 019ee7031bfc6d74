"""The packages that a nanochat asks for: its pyproject.toml and uv.lock, read as text. Pure."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

PROJECT, LOCK = "pyproject.toml", "uv.lock"
FILES = (PROJECT, LOCK)
# The extra that the image was made with.
EXTRA = "gpu"
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*\(?([^;@)]*)\)?\s*(@?)")


def read(data: bytes) -> dict[str, Any]:
    """A file of TOML; empty where it is none, which uv says better."""
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return {}


def is_project(pyproject: bytes) -> bool:
    """Whether there is anything for uv: a pyproject.toml may hold the settings of tools alone."""
    found = read(pyproject)
    return "project" in found or bool(pyproject and not found)


def extras(pyproject: bytes) -> tuple[str, ...]:
    """The extras of a project that a GPU's image is made with."""
    return tuple(name for name in _table(read(pyproject), "project", "optional-dependencies") if _name(name) == EXTRA)


def has_folders(pyproject: bytes, lock: bytes) -> bool:
    """Whether packages come from folders of the code itself, so that all of it decides what is installed."""
    tool = _table(read(pyproject), "tool", "uv")
    sources = [source for given in _table(tool, "sources").values() for source in _many(given)]
    if "workspace" in tool or any({"path", "workspace"} & set(source) for source in sources if _is_table(source)):
        return True
    where = [_table(package, "source") for package in _packages(read(lock))]
    return any(source.get(kind, ".") != "." for source in where for kind in ("editable", "directory", "path"))


def is_stale(pyproject: bytes, lock: bytes) -> bool:
    """Whether a lock is missing, or not of these dependencies: a frozen one would be installed all the same."""
    if not lock.strip():
        return True
    project = _table(read(pyproject), "project")
    root = _root(read(lock), _name(str(project.get("name", ""))))
    if root is None:
        return True
    if "dependencies" in (project.get("dynamic") or ()):
        return False
    optional = _table(project, "optional-dependencies")
    wanted = [line for lines in (project.get("dependencies"), *optional.values()) for line in _many(lines)]
    locked = [entry for entry in _many(_table(root, "metadata").get("requires-dist")) if _is_table(entry)]
    return {_asked(str(line)) for line in wanted} != {
        (_name(str(entry.get("name", ""))), _specifier(str(entry.get("specifier", "")))) for entry in locked
    }


def packages(lock: bytes) -> dict[str, str]:
    """What a lock would have installed on a machine with GPUs, name -> version or versions, whatever the system."""
    found = read(lock)
    by_name: dict[str, list[dict[str, Any]]] = {}
    for package in _packages(found):
        by_name.setdefault(str(package["name"]), []).append(package)
    root = _root(found, "")
    seen, followed = dict[str, set[str]](), set[tuple[str, str, tuple[str, ...]]]()
    todo = list(_wanted(root, (EXTRA,))) if root else []
    while todo:
        wanted = todo.pop()
        name, version = str(wanted.get("name", "")), wanted.get("version")
        extra_names = tuple(map(str, _many(wanted.get("extra"))))
        for package in by_name.get(name, []):
            at = str(package.get("version", ""))
            if (version and at != version) or (name, at, extra_names) in followed:
                continue
            followed.add((name, at, extra_names))
            seen.setdefault(name, set()).add(at)
            todo += _wanted(package, extra_names)
    return {name: _on_gpus(versions) for name, versions in sorted(seen.items())}


def differing(theirs: Mapping[str, str], baked: Mapping[str, str]) -> list[str]:
    """What is to be installed beside what is there, as `name==version`."""
    return [f"{name}=={version}" if version else name for name, version in theirs.items() if baked.get(name) != version]


def _wanted(package: Mapping[str, Any], more: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """What a package of a lock asks for, with these extras; markers are not judged."""
    optional = _table(package, "optional-dependencies")
    lists = [package.get("dependencies"), *(optional.get(extra) for extra in more)]
    yield from (entry for given in lists for entry in _many(given) if _is_table(entry))


def _on_gpus(versions: set[str]) -> str:
    """Of the builds of a package those for GPUs, where it has such."""
    built = {version for version in versions if "+cu" in version} or versions
    return " or ".join(sorted(filter(None, built)))


def _root(lock: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The project itself in its lock."""
    for package in _packages(lock):
        source = _table(package, "source")
        is_here = "." in (source.get("virtual"), source.get("editable"), source.get("directory"))
        if is_here and (not name or _name(str(package["name"])) == name):
            return package
    return None


def _packages(lock: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [package for package in _many(lock.get("package")) if _is_table(package) and "name" in package]


def _asked(line: str) -> tuple[str, tuple[str, ...]]:
    """A requirement as its name and bounds, as a lock has them; of one with an address the name alone."""
    found = _REQUIREMENT.match(line)
    return (_name(found[1]), () if found[3] else _specifier(found[2])) if found else (line, ())


def _specifier(text: str) -> tuple[str, ...]:
    return tuple(sorted("".join(part.split()) for part in text.split(",") if part.strip()))


def _name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def _table(found: Mapping[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        inner = found.get(name)
        found = inner if isinstance(inner, dict) else {}
    return dict(found)


def _many(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [] if given is None else [given]


def _is_table(given: object) -> bool:
    return isinstance(given, dict)
