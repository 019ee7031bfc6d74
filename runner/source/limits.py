"""How large the code of a run may be, on its way in and out of an archive."""

# Code is a few megabytes: more than this is data or a checkpoint, and each launch would carry it.
MOST_PACKED = 50_000_000
# Out of an archive may come more than goes in, as another release may have had other limits; but no bomb.
MOST_UNPACKED = 200_000_000
# Files, links and folders together.
MOST_MEMBERS = 20_000
# Bytes of one name, and of a path inside the folder: what every disk takes, with room for the folder's own path.
MOST_NAME, MOST_PATH = 255, 1_000
