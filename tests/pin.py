"""Read flags and packages of the pinned nanochat anew: `python -m tests.pin FOLDER`; the folder is a checkout of it."""

import sys
from pathlib import Path

import msgspec

from runner.nanochat import code_facts, python_project
from runner.nanochat.code_facts import CodeFacts


def facts_of_folder(folder: Path) -> CodeFacts:
    """What is known of the code in a folder; its help is its own text, and stays there."""
    read = [*sorted(folder.rglob("*.py")), *(folder / name for name in python_project.FILES)]
    found = code_facts.facts_of((p.relative_to(folder).as_posix(), p.read_bytes()) for p in read if p.is_file())
    scripts = {
        stage: msgspec.structs.replace(
            script,
            flags=msgspec.structs.replace(
                script.flags, flags=tuple(msgspec.structs.replace(flag, help="") for flag in script.flags.flags)
            ),
        )
        for stage, script in found.scripts.items()
    }
    return msgspec.structs.replace(found, scripts=scripts)


def main() -> None:
    """Write the table that the product has of the pinned commit."""
    code_facts.PINNED_FILE.write_bytes(
        msgspec.json.format(msgspec.json.encode(facts_of_folder(Path(sys.argv[1]))), indent=1) + b"\n"
    )


if __name__ == "__main__":
    main()
