"""The layout of a state directory: how sessions are divided among processes.

A state of another layout cannot be used, since each process would have other sessions.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

LOG = logging.getLogger("qoemon.state")

SINGLE = "alone"
"""The layout of one process with all sessions."""

CLUSTER = "cluster"
"""The layout of the driver of a cluster, which has the sessions."""

SHARDS = "-shards"
"""Suffix of layouts whose workers have their own connections and client ids at the broker."""

BROKER_SESSIONS = "broker-sessions.json"
"""What is known of the sessions at brokers: one file for each process with a connection. It stays in a new layout,
as the brokers keep their sessions."""

_FILE = "divided"


def enter_layout(directory: Path, layout: str) -> str | None:
    """Record the layout of the directory; returns the previous layout if it differs, else None.

    If it differs, an older state of the same layout is outdated, and renamed. The caller has locked the directory.
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
        "windows fill within their length; the earlier state stays in a folder of %s until you delete it",
        before,
        layout,
        directory,
    )
    return before


def store_directories(directory: Path) -> list[Path]:
    """The directories of the stores with messages in a state directory, one or one for each worker, which it need
    not lock.
    """
    layout = _before(directory, directory / _FILE)
    if layout in {None, SINGLE}:
        return [directory]
    return sorted(each for each in (directory / str(layout)).glob("*") if each.name.isdigit())


def _before(directory: Path, file: Path) -> str | None:
    if file.exists():
        return file.read_text(encoding="ascii").strip()
    return SINGLE if (directory / "qoemon.db").exists() else None
