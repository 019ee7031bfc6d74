"""`python -m tests.killed_upload N COMMAND …`: the command line, killed at the Nth step of sending its code to Modal.

The steps are what `STEPS` names; without that many it goes through and prints those that it took.
"""

import os
import signal
import sys
from typing import Any

from modal._grpc_client import UnaryUnaryWrapper
from modal._utils.bytes_io_segment_payload import BytesIOSegmentPayload

from runner.nanochat import layout
from tui.cli.main import main

STEPS = ("is told what is missing", "a block is half sent", "says that all is sent")
ASK = "VolumePutFiles2"
taken: list[str] = []
sending = False


def step(name: str, last: int) -> None:
    """Count a step, and die at the one with this number."""
    taken.append(name)
    if len(taken) == last:
        os.kill(os.getpid(), signal.SIGKILL)


class HalfSent:
    """A connection that a first piece of a block goes through."""

    def __init__(self, writer: Any, last: int) -> None:
        self._writer, self._last = writer, last

    async def write(self, piece: bytes) -> None:
        await self._writer.write(piece)
        if STEPS[1] not in taken:
            step(STEPS[1], self._last)


def watch(last: int) -> None:
    """Look on as Modal's client sends the archive of the code."""
    ask, write = UnaryUnaryWrapper.direct, BytesIOSegmentPayload.write_with_length

    async def asked(self: Any, req: Any, **how: Any) -> Any:
        global sending
        sending = self.name.endswith(ASK) and req.files[0].path.strip("/").startswith(f"{layout.CODE}/")
        if sending and taken:
            step(STEPS[2], last)
        answer = await ask(self, req, **how)
        if sending and not taken:
            step(STEPS[0], last)
        return answer

    async def written(self: Any, writer: Any, length: int | None) -> None:
        through: Any = HalfSent(writer, last) if sending else writer
        await write(self, through, length)

    for owner, name, new in (
        (UnaryUnaryWrapper, "direct", asked),
        (BytesIOSegmentPayload, "write_with_length", written),
    ):
        setattr(owner, name, new)


if __name__ == "__main__":
    watch(int(sys.argv[1]))
    code = main(sys.argv[2:])
    sys.stderr.write(f"{taken}\n")
    sys.exit(code)
