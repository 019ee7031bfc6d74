"""Where a run happens, by name."""

from enum import StrEnum


class BackendName(StrEnum):
    """Where a run is executed."""

    LOCAL = "local"
    MODAL = "modal"
    # Of a newer release: such a run is listed, and nothing else is done with it.
    UNKNOWN = "unknown"
