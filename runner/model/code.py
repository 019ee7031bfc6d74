"""Whose nanochat a run trains: a person's own code by its content address, and where it came from."""

from msgspec import Struct


class Code(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One state of somebody's nanochat, kept on the volume as `code/<sha>.tar.gz`.

    `sha` is the sha256 of the archive's content; `origin` the folder or address that it came from, `commit` and
    `branch` what git says of it, `dirty` whether it held changes that are in no commit; `base` is the commit that
    `code.diff` in the run's folder is against, empty where there is none.
    """

    sha: str
    origin: str
    commit: str = ""
    branch: str = ""
    dirty: bool = False
    base: str = ""
    bytes: int = 0

    @property
    def short(self) -> str:
        """Enough of the address to tell two of them apart."""
        return self.sha[:12]

    def __str__(self) -> str:
        where = self.origin.rstrip("/").removesuffix(".git").rstrip("/").rpartition("/")[2] or self.origin
        at = f"@{self.commit[:8]}" if self.commit else ""
        return f"{where}{at}{' with changes' if self.dirty else ''}, {self.short}"


class EarlierCode(Struct, frozen=True):
    """The code of attempts up to `until`; None is the pinned upstream."""

    until: int
    code: Code | None
