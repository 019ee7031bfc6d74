"""How large the code of a run, and the packages that it brings, may be on their way in and out of an archive."""

from typing import NamedTuple

# Code is a few megabytes: more than this is data or a checkpoint, and each launch would carry it.
MOST_PACKED = 50_000_000
# Out of an archive may come more than goes in, as another release may have had other limits; but no bomb.
MOST_UNPACKED = 200_000_000
# Files, links and folders together.
MOST_MEMBERS = 20_000
# Bytes of one name, and of a path inside the folder: what every disk takes, with room for the folder's own path.
MOST_NAME, MOST_PATH = 255, 1_000


class Limits(NamedTuple):
    """What may come out of an archive: bytes, and files with links and folders; `packed` by gzip, or a plain tar."""

    packed: bool
    unpacked: int
    members: int


CODE = Limits(packed=True, unpacked=MOST_UNPACKED, members=MOST_MEMBERS)
# Another PyTorch with its CUDA has 6 GB in 20,000 files; gzip would keep GPUs waiting.
PACKAGES = Limits(packed=False, unpacked=40_000_000_000, members=400_000)
