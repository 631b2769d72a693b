"""Reads the databases of a state directory, also those of a running daemon, which does not notice.

A reader of a SQLite database in WAL mode takes no lock that a writer waits for.
"""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from qoemon.state.directory import StateError
from qoemon.state.frames import decode
from qoemon.state.history_sql import one

DATABASE = "qoemon.db"
"""File name of a store."""

SHARD_META, EVALUATION_META = "monitor/meta", "evaluation/meta"
"""Arrays with the version and the plan of a checkpoint. Those of version 1 have only the first one."""


class DamagedStateError(StateError):
    """The content of a database is damaged."""


class Journal(NamedTuple):
    """What a store holds beyond its checkpoint.

    entries  commits, each of the messages of some 0.1 s
    newest_s arrival of the newest message, seconds since the epoch; None without one
    """

    entries: int
    bytes: int
    newest_s: float | None


def connected(file: Path) -> sqlite3.Connection:
    """A connection to an existing database that cannot write; sqlite3.Error if that fails."""
    return sqlite3.connect(
        f"{file.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )


@contextlib.contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write, while the block runs; StateError if the database cannot be read."""
    try:
        with contextlib.closing(connected(file)) as database:
            yield database
    except sqlite3.OperationalError as error:
        raise StateError(
            f"cannot read {file}: {error}; read it as root or as the user of the daemon, with the version of qoemon"
            " that wrote it or a later one"
        ) from None
    except (sqlite3.Error, ValueError, EOFError, msgspec.MsgspecError) as error:
        raise DamagedStateError(f"{file} is damaged: {error}") from None


@contextlib.contextmanager
def snapshot(file: Path) -> Iterator[sqlite3.Connection]:
    """The database as it is now, while others go on writing; StateError if it cannot be read."""
    with reading(file) as database:
        database.execute("BEGIN")
        one(database, "SELECT count(*) FROM sqlite_schema")  # A transaction begins with its first read.
        yield database


def array(store: sqlite3.Connection, name: str) -> NDArray[Any] | None:
    """One array of the checkpoint; None if it has none of this name."""
    blob = one(store, "SELECT array FROM checkpoint WHERE name = ?", name)
    return None if blob is None else np.load(io.BytesIO(blob), allow_pickle=False)


def meta(store: sqlite3.Connection) -> dict[str, Any]:
    """The description of the checkpoint: its `version`, `plan`, `groups`; empty without a checkpoint."""
    found = next((each for name in (EVALUATION_META, SHARD_META) if (each := array(store, name)) is not None), None)
    document: dict[str, Any] = {} if found is None else json.loads(found.tobytes())
    return document


def journal(store: sqlite3.Connection) -> Journal:
    """What the store holds beyond its checkpoint."""
    entries, size = store.execute("SELECT count(*), coalesce(sum(length(messages)), 0) FROM journal").fetchone()
    newest = one(store, "SELECT messages FROM journal ORDER BY id DESC LIMIT 1")
    return Journal(entries, size, None if newest is None else decode(newest)[-1].arrival_s)
