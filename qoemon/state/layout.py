"""The layout of a state directory: how sessions are divided among processes.

What was stored under another layout is of no use to this one, since each process would have other sessions.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

LOG = logging.getLogger("qoemon.state")

SINGLE = "alone"
"""The layout of one process that has all sessions."""

SHARDS = "-shards"
"""Suffix of layouts whose workers have connections, and names at the broker, of their own."""

_FILE = "divided"


def enter_layout(directory: Path, layout: str) -> str | None:
    """Note the layout of the directory from now on; returns the one before, if that was another.

    What an earlier time of the same layout has left there is out of date then, and set aside. The directory must be
    locked by the caller.
    """
    file = directory / _FILE
    before = _before(directory, file)
    file.write_text(f"{layout}\n", encoding="ascii")
    if before in {None, layout}:
        return None
    names = ["qoemon.db", "qoemon.db-wal", "qoemon.db-shm"] if layout == SINGLE else [layout]
    for old in (directory / name for name in names):
        if old.exists():
            old.rename(old.with_name(f"{old.name}.old-{int(time.time())}"))
    LOG.warning(
        "sessions were divided differently before (%s, now %s): sessions, windows and counters are reset, and "
        "windows fill within their length; delete what else is in %s when you are sure",
        before,
        layout,
        directory,
    )
    return before


def _before(directory: Path, file: Path) -> str | None:
    if file.exists():
        return file.read_text(encoding="ascii").strip()
    return SINGLE if (directory / "qoemon.db").exists() else None
