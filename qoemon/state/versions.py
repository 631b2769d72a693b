"""The versions of what is stored, and whether this qoemon can read it.

The databases have the versions of their tables, a checkpoint has the version of its arrays. A version is raised
when a qoemon of the version before could not read, or would misread, what this one writes. Later versions are
refused before anything is opened to write: what a newer qoemon could read is never overwritten.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from qoemon.core.plan.fingerprint import STATE_VERSION
from qoemon.state import history_store, store
from qoemon.state.directory import UnsuitableStateError
from qoemon.state.history_sql import one
from qoemon.state.layout import HISTORY, all_stores
from qoemon.state.read_only import DATABASE, DamagedStateError, meta, reading

STATE = "state"
READABLE = {"database": store.VERSION, STATE: STATE_VERSION, "history": history_store.VERSION}
"""The latest version of each part that this qoemon reads, and the one that it writes."""

UPGRADED_FROM = "upgraded-from-version-{}.tar.gz"
"""File name of the copy of a state of an earlier version, in the state directory."""


def found_versions(directory: Path) -> dict[str, int]:
    """The latest versions in a state directory, by part; without those that are not there, or are damaged.

    raises  StateError if the directory cannot be read
    """
    files = [each / DATABASE for each in all_stores(directory)]
    found = {
        "database": [_user_version(each) for each in files],
        STATE: [_checkpoint_version(each) for each in files],
        "history": [_user_version(file)] if (file := directory / HISTORY).exists() else [],
    }
    known = {part: [each for each in versions if each is not None] for part, versions in found.items()}
    return {part: max(versions) for part, versions in known.items() if versions}


def newer(versions: Mapping[str, int]) -> str | None:
    """What this qoemon cannot read, in words; None if it can read all of these versions."""
    return ", ".join(
        f"{part} version {version}, this one reads {READABLE[part]}"
        for part, version in versions.items()
        if version > READABLE.get(part, 0)
    )


def require_readable(directory: Path) -> None:
    """UnsuitableStateError if a newer qoemon has written the state or the history in this directory."""
    if what := newer(found_versions(directory)):
        kept = sorted(directory.glob(UPGRADED_FROM.format("*")))
        copy = f"import the copy of before, {kept[-1]}" if kept else "import a backup of before"
        raise UnsuitableStateError(
            f"a newer qoemon has written {directory} ({what}); nothing was changed. Start the newer qoemon again; "
            f"or move its files away, and {copy} (docs/upgrade.md), or begin from scratch"
        )


def _checkpoint_version(file: Path) -> int | None:
    with contextlib.suppress(DamagedStateError), reading(file) as database:
        if one(database, "PRAGMA application_id") == store.APPLICATION:
            return meta(database).get("version")
    return None  # Whoever opens it to write reports that.


def _user_version(file: Path) -> int | None:
    with contextlib.suppress(DamagedStateError), reading(file) as database:
        return int(one(database, "PRAGMA user_version"))
    return None
