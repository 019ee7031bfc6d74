"""What somebody's nanochat is made of: its scripts, where they lie, and which flags each takes. Read, never run."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from runner.errors import UsageError
from runner.nanochat import python_project
from runner.nanochat.flags import ScriptFlags, read_flags
from runner.text.sanitize import sanitize_line

# The script of each stage, by the name that `--set` has for the stage; nanochat has them in `scripts/`.
SCRIPTS = {
    "base": "base_train",
    "sft": "chat_sft",
    "rl": "chat_rl",
    "tokenizer": "tok_train",
    "base_eval": "base_eval",
    "chat_eval": "chat_eval",
}
DATASET = "dataset"
# Conversations about itself, which older ones fine-tune on; without the file they go on, and learn nothing of it.
IDENTITY = "identity_conversations.jsonl"
# What cannot be missing, as every plan but an evaluation's trains with it.
NEEDED = ("base", "tokenizer")
# A larger file of Python is data.
LARGEST = 2 << 20
# What decides how fast a step is: of code that is upstream's there, the measured speeds hold.
PACE = ("nanochat/", "scripts/base_train.py")
PINNED_FILE = Path(__file__).with_name("pinned.json")


class Script(Struct, frozen=True):
    """The script of a stage: its module, and the flags that it takes."""

    module: str
    flags: ScriptFlags


class CodeFacts(Struct, frozen=True):
    """What is known of a nanochat without running it.

    `scripts` are the stages that it has, by name; `root` the folder of it that modules are imported from, `dataset` the
    module that downloads text, `task_data` whether it keeps the data of tasks in its base folder, `identity` whether it
    fine-tunes on conversations about itself, which lie there, too, `undercounts` whether
    its FLOPs leave out layers in FP8; `files` are digests of what decides its pace, by path; `project` those of its
    pyproject.toml and uv.lock, `packages` what these would have installed, name -> version.
    """

    scripts: Mapping[str, Script]
    root: str
    dataset: str
    task_data: bool
    undercounts: bool
    files: Mapping[str, str]
    project: Mapping[str, str] = {}
    packages: Mapping[str, str] = {}
    identity: bool = False


def facts_of(files: Iterable[tuple[str, bytes]]) -> CodeFacts:
    """Read the code of a nanochat: paths and contents of all files.

    Raises UsageError for a file of Python that does not compile, by name and line, and for code that is no nanochat.
    """
    found: dict[str, str] = {}
    sources: dict[str, str] = {}
    digests: dict[str, str] = {}
    project: dict[str, bytes] = {}
    for path, data in files:
        if path in python_project.FILES:
            project[path] = data
        if not path.endswith(".py") or len(data) > LARGEST:
            continue
        if path.startswith(PACE) or path.removeprefix("src/").startswith(PACE):
            digests[path.removeprefix("src/")] = _digest(data)
        sources[path] = _compiled(path, data)
    for stage, name in (*SCRIPTS.items(), (DATASET, DATASET)):
        if path := _best(name, sources):
            found[stage] = path
    missing = [SCRIPTS[stage] for stage in NEEDED if stage not in found]
    if missing:
        raise UsageError(
            f"this is no nanochat: it has no {missing[0]}.py",
            "give the folder that holds scripts/base_train.py",
            field="code",
        )
    root = "src/" if found["base"].startswith("src/") else ""
    scripts = {
        stage: Script(_module(path, root), read_flags(sources[path]))
        for stage, path in found.items()
        if stage in SCRIPTS
    }
    common = sources.get(f"{root}tasks/common.py", "")
    return CodeFacts(
        scripts=scripts,
        root=root.rstrip("/"),
        dataset=_module(found[DATASET], root) if DATASET in found else "",
        task_data="def load_hub_dataset" in common,
        undercounts=_undercounts(sources[found["base"]], sources.get(f"{root}nanochat/gpt.py", "")),
        files=digests,
        project={path: _digest(data) for path, data in project.items()},
        identity=IDENTITY in sources.get(found.get("sft", ""), ""),
        packages=python_project.packages(project.get(python_project.LOCK, b"")[:LARGEST]),
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _compiled(path: str, data: bytes) -> str:
    """The text of a file of Python. Raises UsageError where it does not compile."""
    from runner.nanochat.python_source import parse

    try:
        text = data.decode("utf-8-sig")
        parse(text)
    except SyntaxError as error:
        where = f"{path} line {error.lineno}" if error.lineno else path
        raise UsageError(
            sanitize_line(f"{where} does not compile: {error.msg}"), "mend it, then launch again", field="code"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(sanitize_line(f"{path} is not UTF-8"), "save it as UTF-8", field="code") from error
    return text


def _best(name: str, sources: Iterable[str]) -> str:
    """Where a script lies: in `scripts/` or `nanochat/`, else wherever there is one of that name, the least deep."""
    paths = [path for path in sources if path.rpartition("/")[2] == f"{name}.py"]
    usual = ("scripts/", "nanochat/", "src/scripts/", "src/nanochat/")
    return min(paths, key=lambda p: (not p.startswith(usual), p.count("/"), p), default="")


def _module(path: str, root: str) -> str:
    return path.removeprefix(root).removesuffix(".py").replace("/", ".")


def _undercounts(training: str, model: str) -> bool:
    """Whether FLOPs are counted by the class of each layer, after the conversion to FP8 has given it another."""
    converted, counted = training.find("convert_to_float8_training("), training.find("estimate_flops(")
    return 0 <= converted < counted and re.search(r"isinstance\(\w+, Linear\)", model) is not None


def differing(facts: CodeFacts) -> tuple[str, ...]:
    """Files that decide the pace and are not as in the pinned upstream."""
    theirs, ours = facts.files, pinned().files
    return tuple(sorted(path for path in {*theirs, *ours} if theirs.get(path) != ours.get(path)))


def packages_of_its_own(facts: CodeFacts) -> list[str] | None:
    """Packages that it has and the pinned upstream has not, as `name==version`; None where it asks for the same ones.

    What its files ask for is known where it has a lock; else none is named.
    """
    if facts.project == pinned().project or python_project.PROJECT not in facts.project:
        return None
    return python_project.differing(facts.packages, pinned().packages)


def listed(names: Sequence[str]) -> str:
    """`a, b and 5 more`."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


_pinned: CodeFacts | None = None


def pinned() -> CodeFacts:
    """The pinned upstream, as it was read once."""
    global _pinned
    if _pinned is None:
        _pinned = msgspec.json.decode(PINNED_FILE.read_bytes(), type=CodeFacts)
    return _pinned


def unknown() -> CodeFacts:
    """Code of which nothing is known here: its scripts are where upstream has them, and take any flag."""
    known = pinned()
    open_ = {
        stage: msgspec.structs.replace(script, flags=msgspec.structs.replace(script.flags, open=True))
        for stage, script in known.scripts.items()
    }
    return msgspec.structs.replace(known, scripts=open_, files={})
