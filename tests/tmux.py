"""A tmux of a test: a server of its own, which reads nobody's settings."""

import subprocess
from pathlib import Path


class Tmux:
    """A server of its own."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._socket, self._env = str(folder / "tmux"), {**env, "TMUX": ""}

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, "-f", "/dev/null", *words], env=self._env, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        return done.stdout
