"""A person's own nanochat, from this disk to the volume of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from runner.errors import NanochatError, UsageError, VolumeGone
from runner.model.code import Code
from runner.model.run import Run
from runner.nanochat import layout
from runner.source.limits import MOST_PACKED
from runner.text.sanitize import sanitize_line
from runner.volumes.base import BLOCK, Volume

if TYPE_CHECKING:
    from runner.nanochat.code_facts import CodeFacts
    from runner.source.difference import Change
    from runner.source.origin import Obtained


class CodeStore:
    """Code that was packed on this machine, by its content."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def obtain(self, text: str, *, include_secrets: bool = False) -> Obtained:
        """Pack what `--code` names; how it differs from its base is kept beside it."""
        from runner.source import origin

        found = origin.obtain(text, self._home, include_secrets=include_secrets)
        origin.keep_diff(found, self._home)
        return found

    def facts(self, sha: str) -> CodeFacts | None:
        """What is known of code by its content; None where it was packed on another machine."""
        from runner.source import origin

        return origin.known_facts(sha, self._home)

    def again(self, code: Code, volume: Callable[[], Volume]) -> Code:
        """That very state of code, packed here or brought from a volume. Raises UsageError where it is nowhere."""
        from runner.source import origin

        here = origin.archive(code.sha, self._home)
        if not here.is_file():
            origin.keep(code.sha, _on(volume(), code), self._home)
        origin.learn(code.sha, self._home)
        return msgspec.structs.replace(code, bytes=here.stat().st_size)

    def bring(self, volume: Volume, run: Run) -> None:
        """Put a run's code on its volume, unless it is there, and its difference into the run's folder.

        Raises UsageError where it is neither there nor here, Unreachable where the volume is.
        """
        code = run.spec.code
        if code is None:
            return
        from runner.source import origin

        there, here = layout.code_archive(code.sha), origin.archive(code.sha, self._home)
        if not _is_there(volume, there, code.bytes):
            if not here.is_file():
                raise UsageError(
                    f"the code {code} is neither on the volume nor on this machine",
                    "give it again with --code",
                    field="code",
                )
            volume.put(here, there, lambda _: None, over=True)
        if diff := origin.kept_diff(code, self._home):
            volume.write(f"{run.path}/{layout.DIFF_FILE}", diff)

    def files(self, volume: Volume, code: Code) -> dict[str, bytes]:
        """The files of code that a volume keeps, by their names; read from this disk where they were read before.

        They are as hostile as whoever wrote them. Raises NanochatError where they are gone or not what they were.
        """
        from runner.source import origin
        from runner.source.archive_reader import BadArchive
        from runner.source.difference import archive_files

        here = origin.archive(code.sha, self._home)
        try:
            if here.is_file():
                return archive_files(here, code.sha)
        except BadArchive:
            # What is on the volume may be whole.
            pass
        return _brought(volume, code, here)

    def difference(self, old: tuple[Volume, Code], new: tuple[Volume, Code]) -> tuple[list[tuple[str, Change]], str]:
        """The files that differ, and how. Raises as `files` does."""
        from runner.source.difference import changed_files, tree_diff

        if old[1].sha == new[1].sha:
            return [], ""
        before, after = self.files(*old), self.files(*new)
        return changed_files(before, after), tree_diff(before, after)


def _brought(volume: Volume, code: Code, here: Path) -> dict[str, bytes]:
    """Bring an archive to this disk, a block at a time; it stays only where it is the right one."""
    import io

    from runner.source.archive_reader import BadArchive
    from runner.source.difference import archive_files
    from runner.source.limits import MOST_UNPACKED
    from runner.system import atomic

    path = layout.code_archive(code.sha)
    try:
        size = volume.stat(path).bytes
        if size > MOST_UNPACKED:
            raise NanochatError(f"the code {code} is too large to be read", "look at it on the volume")
        data = b"".join(volume.read(path, at, min(BLOCK, size - at)) for at in range(0, size, BLOCK))
        found = archive_files(io.BytesIO(data), code.sha)
        here.parent.mkdir(mode=atomic.PRIVATE_FOLDER, parents=True, exist_ok=True)
        atomic.write(here, data, atomic.PRIVATE)
        return found
    except BadArchive as error:
        raise NanochatError(
            f"the code {code} cannot be read ({error})", "its archive on the volume was changed"
        ) from error
    except FileNotFoundError as error:
        raise NanochatError(
            f"the code {code} is gone from the volume", "runs with other code can still be compared"
        ) from error


def _on(volume: Volume, code: Code) -> bytes:
    """The archive of code as a volume has it. Raises UsageError where it has none."""
    path = layout.code_archive(code.sha)
    try:
        if volume.stat(path).bytes <= MOST_PACKED:
            return volume.read(path)
    except (FileNotFoundError, NotADirectoryError, VolumeGone):
        pass
    raise UsageError(
        f"the code {sanitize_line(str(code))} is neither on the volume nor on this machine",
        f"bring {path} to the volume, or give other code with --code",
        field="code",
    )


def _is_there(volume: Volume, path: str, size: int) -> bool:
    try:
        return volume.stat(path).bytes == size
    except FileNotFoundError:
        return False
