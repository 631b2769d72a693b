"""The memory limit of the control group in which this process runs."""

from __future__ import annotations

import contextlib
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def memory_limit(root: Path = ROOT, own: Path = OWN) -> int | None:
    """The least limit of the group and its parents, bytes (MemoryMax= of systemd, or of a container).

    root, own  where the groups of version 2 are mounted, and the file with the group of this process
    returns    None without a limit, or without groups of version 2
    """
    limits = []
    with contextlib.suppress(OSError, ValueError):
        # "0::/system.slice/qoemon.service"; in a container the group is often the root of what it sees.
        path = next((line[3:] for line in own.read_text("ascii").splitlines() if line.startswith("0::")), "")
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder == root.parent:
                break
            with contextlib.suppress(OSError, ValueError):  # The root has none, and "max" is no number.
                limits.append(int((folder / "memory.max").read_text("ascii")))
    return min(limits, default=None)
