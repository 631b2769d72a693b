"""CPU time, memory and children of another process, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

HERTZ = os.sysconf("SC_CLK_TCK")
RESOLUTION_S = 1 / HERTZ


def seconds(pid: int) -> float:
    """User and system time of all its threads and of the children it waited for, in steps of RESOLUTION_S."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / HERTZ


def resident_bytes(pid: int) -> int:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def tree(pid: int) -> Iterator[int]:
    """A process and all that it has started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text("ascii").split():
            yield from tree(int(child))
