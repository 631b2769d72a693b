"""The store: a journal of accepted messages, and a checkpoint of the state.

One SQLite database in WAL mode. A commit to the journal is one row with all messages since the last commit, so its
cost hardly depends on their number. A checkpoint replaces the previous one and takes out of the journal what it
covers, in one transaction: at any time the database holds a checkpoint and all messages after it.

What the newest checkpoint covers stays beside the journal until the next checkpoint, for those who follow the
journal (state/follower.py): a checkpoint comes a moment after the last commit, so they would miss it otherwise. Row
ids increase by one over both tables and over restarts, so that they also notice what they have missed.
"""

from __future__ import annotations

import io
import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qoemon.config.sections.state import Durability
from qoemon.core.arrays import Arrays
from qoemon.core.wire.message import Arrived
from qoemon.state.directory import StateError, locked
from qoemon.state.frames import StoredMessage, decode, encode
from qoemon.state.read_only import DATABASE

LOG = logging.getLogger("qoemon.state")

APPLICATION = 0x716F656D
VERSION = 1
PAGE_BYTES = 16_384
"""With this page size a large commit costs a third less than with SQLite's default of 4 KiB. Larger pages gain
little more, and a small commit writes at least two pages."""

_JOURNAL = "CREATE TABLE journal (id INTEGER PRIMARY KEY, messages BLOB NOT NULL)"
_COVERED = "CREATE TABLE IF NOT EXISTS covered (id INTEGER PRIMARY KEY, messages BLOB NOT NULL)"
"""What the newest checkpoint has taken from the journal. Earlier versions ignore this table, so the version of the
database is the same as theirs."""

_SCHEMA = f"{_JOURNAL}; CREATE TABLE checkpoint (name TEXT PRIMARY KEY, array BLOB NOT NULL);"

_PASSING = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_NOMEM,
}
"""Errors that say nothing about the content."""

_SYNCHRONOUS = {Durability.PROCESS: "NORMAL", Durability.POWER: "FULL"}


class CorruptError(Exception):
    """The stored state cannot be read."""


class Store:
    """One database in one locked directory. Used from one thread at a time.

    directory       created if missing
    durability      process or power
    journal_limit   size at which a checkpoint is due, bytes; at twice this size, commits fail until one succeeds

    raises   StateError if the directory or the database cannot be used
    """

    def __init__(self, directory: Path, durability: Durability, journal_limit: int) -> None:
        self.directory, self.journal_limit = directory, journal_limit
        self._synchronous = _SYNCHRONOUS[durability]
        self._file = directory / DATABASE
        self._lock: IO[str] = locked(directory)
        self.journal_bytes = 0
        """Size of the messages that no checkpoint covers yet."""
        self._newest = 0
        """Id of the newest row of the journal, also if a checkpoint covers it."""
        try:
            self._database = self._opened()
        except BaseException:
            self._lock.close()
            raise

    def append(self, messages: Sequence[Arrived], *, limited: bool = True) -> None:
        """Commit messages to the journal; OSError if that fails.

        limited  False for messages that the next checkpoint covers: without them it could not be written
        """
        frame = encode(messages)
        # Not with the frame: what waits while nothing can be stored may be larger, and has to be stored then.
        if limited and self.journal_bytes > 2 * self.journal_limit:
            raise OSError(f"the journal holds {self.journal_bytes:,} bytes, and no checkpoint could be written")
        self._execute("INSERT INTO journal VALUES (?, ?)", self._newest + 1, frame)
        self._newest += 1
        self.journal_bytes += len(frame)

    def checkpoint(self, state: Arrays) -> None:
        """Replace the checkpoint by this state, which covers all messages so far; OSError if that fails."""
        try:
            with self._database:
                self._database.execute("BEGIN")
                self._database.execute("DELETE FROM checkpoint")
                rows = ((name, _npy(array)) for name, array in state.items())
                self._database.executemany("INSERT INTO checkpoint VALUES (?, ?)", rows)
                if self.journal_bytes:  # Otherwise the newest row is in the other table, and keeps its id taken.
                    self._database.execute("DROP TABLE covered")
                    self._database.execute("ALTER TABLE journal RENAME TO covered")
                    self._database.execute(_JOURNAL)
        except sqlite3.Error as error:
            raise OSError(str(error)) from None
        self.journal_bytes = 0

    def state(self) -> dict[str, NDArray[Any]]:
        """The checkpoint, without arrays if there is none; CorruptError if it cannot be read."""
        try:
            rows = self._database.execute("SELECT name, array FROM checkpoint").fetchall()
            return {name: np.load(io.BytesIO(array), allow_pickle=False) for name, array in rows}
        except (sqlite3.DatabaseError, ValueError, EOFError) as error:
            raise self._unreadable("the checkpoint", error) from None

    def journal(self) -> Iterator[StoredMessage]:
        """The messages that the checkpoint does not cover, in order; CorruptError if one cannot be read."""
        try:
            for (frame,) in self._database.execute("SELECT messages FROM journal ORDER BY id"):
                yield from decode(frame)
        except (sqlite3.DatabaseError, msgspec.MsgspecError) as error:
            raise self._unreadable("the journal", error) from None

    def quarantine(self, why: str) -> None:
        """Rename the database, so that it can be examined, and continue with an empty one."""
        self._database.close()
        self._set_aside(why)
        self._database = self._opened()

    def close(self) -> None:
        """Close the database and unlock the directory."""
        self._database.close()
        self._lock.close()

    def _unreadable(self, what: str, error: Exception) -> StateError | CorruptError:
        """The error to raise: what is damaged is given up, and what only cannot be read now is not."""
        # Errors of Python's own module have no code.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING:
            return StateError(f"cannot read {what} in {self._file}: {error}; is the disk in order?")
        return CorruptError(f"{what} cannot be read: {error}")

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._connected()
        except sqlite3.OperationalError as error:
            raise StateError(f"cannot open {self._file}: {error}; is the disk full, or not writable?") from None
        except (sqlite3.DatabaseError, CorruptError) as error:
            self._set_aside(str(error))
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(database)
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # Affects new databases only.
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {self._synchronous}")
        application, version = (_pragma(database, name) for name in ("application_id", "user_version"))
        if (application, version) == (0, 0) and not _pragma(database, "schema_version"):
            database.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA application_id = {APPLICATION};PRAGMA user_version = {VERSION}; COMMIT;"
            )
        elif application != APPLICATION:
            raise StateError(f"{self._file} is a database of another program: set another state.dir")
        elif version != VERSION:
            raise StateError(
                f"{self._file} has version {version}, this qoemon reads version {VERSION}:"
                " run the qoemon that wrote it, or move the file away, which resets the state"
            )
        verdict = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise CorruptError(verdict)
        database.execute(_COVERED)
        size, newest = database.execute(
            "SELECT coalesce(sum(length(messages)), 0), coalesce(max(id), 0) FROM journal"
        ).fetchone()
        covered = database.execute("SELECT coalesce(max(id), 0) FROM covered").fetchone()[0]
        self.journal_bytes, self._newest = int(size), max(int(newest), int(covered))

    def _execute(self, statement: str, *values: object) -> None:
        try:
            self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise OSError(str(error)) from None

    def _set_aside(self, why: str) -> None:
        stamp = f"corrupt-{int(time.time())}"
        aside = self._file.with_name(f"{self._file.name}.{stamp}")
        for suffix in ("", "-wal", "-shm"):
            file = self._file.with_name(f"{self._file.name}{suffix}")
            if file.exists():
                file.rename(aside.with_name(f"{aside.name}{suffix}"))
        LOG.error(
            "the state cannot be read (%s): it is renamed to %s, and all state is reset; "
            "windows fill again within their length",
            why,
            aside,
        )


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
