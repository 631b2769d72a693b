"""The layout of a state directory: how sessions are divided among processes.

A state of another layout cannot be used, since each process would have other sessions.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from qoemon.state.durable_file import DurableFile
from qoemon.state.read_only import DATABASE

LOG = logging.getLogger("qoemon.state")

SINGLE = "alone"
"""The layout of one process with all sessions."""

CLUSTER = "cluster"
"""The layout of the driver of a cluster, which has the sessions."""

PARENT = "parent"
"""Directory of the parent's own state; directories of workers are numbers."""

SHARDS = "-shards"
"""Suffix of layouts whose workers have their own connections and client ids at the broker."""

HISTORY = "history.sqlite3"
"""One for all layouts: its groups have numbers of their own."""

BROKER_SESSIONS = "broker-sessions.json"
"""What is known of the sessions at brokers: one file for each process with a connection. It stays in a new layout,
as the brokers keep their sessions."""

LAYOUT = "divided"
"""File with the name of the layout."""


def layout_of(directory: Path) -> str | None:
    """The layout of a state directory; None if it has no state."""
    recorded = DurableFile(directory / LAYOUT).read()
    if recorded:
        return recorded.decode("ascii").strip()
    return SINGLE if (directory / DATABASE).exists() else None


def enter_layout(directory: Path, layout: str) -> str | None:
    """Record the layout of the directory; returns the previous layout if it differs, else None.

    If it differs, an older state of the same layout is outdated, and renamed. The caller has locked the directory.
    """
    before = layout_of(directory)
    if before == layout:
        return None
    DurableFile(directory / LAYOUT).write(f"{layout}\n".encode("ascii"))
    if before is None:
        return None
    names = [f"{DATABASE}{suffix}" for suffix in ("", "-wal", "-shm")] if layout == SINGLE else [layout]
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


def all_stores(directory: Path) -> list[Path]:
    """The directories of all stores in a state directory: those of workers first, that of their parent last."""
    layout = layout_of(directory)
    if layout in {None, SINGLE}:
        found = [directory]
    elif layout == CLUSTER:
        found = [directory / CLUSTER]
    else:
        found = [*store_directories(directory), directory / str(layout) / PARENT]
    return [each for each in found if (each / DATABASE).exists()]


def store_directories(directory: Path) -> list[Path]:
    """The directories of the stores with messages in a state directory, one or one for each worker, which it need
    not lock.
    """
    layout = layout_of(directory)
    if layout in {None, SINGLE}:
        return [directory]
    numbered = (each for each in (directory / str(layout)).glob("*") if each.name.isdigit())
    return sorted(numbered, key=lambda each: int(each.name))


def described(layout: str) -> str:
    """A layout in words."""
    if layout == SINGLE:
        return "one process"
    if layout == CLUSTER:
        return "the driver of a cluster"
    workers, _, shards = layout.removeprefix("workers-").removesuffix(SHARDS).partition("-of-")
    return f"{workers} workers" + (f" with mqtt.shards {shards}" if shards else "")
