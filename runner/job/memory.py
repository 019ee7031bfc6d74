"""What the kernel says of the memory of the group of processes that this one is in."""

import re
from pathlib import Path

# Of cgroups v2, and of v1; in a container its own group is the root.
COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory so far; 0 where it does not say."""
    for path in COUNTERS:
        try:
            found = _KILLS.search(Path(path).read_text())
        except OSError:
            continue
        if found:
            return int(found[1])
    return 0
