"""The history: what closed rating intervals added, in SQLite, and the alerts that fired.

Ratings are rows of one service and one interval (history_rows). Each close writes the interval that closed and what
came late of earlier ones as rows of their own, under the time of the close: a reader adds up all rows of an
interval. So a close that is replayed from the journal replaces what it wrote before, and nothing is counted twice.

After FINE_S, intervals are rolled up to blocks. Without a file, the history is in memory.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qoemon.core.arrays import Ints
from qoemon.core.counting.closed_ratings import ClosedRatings
from qoemon.core.qoe.scale import Scale
from qoemon.core.snapshot.past import MOST_ALERTS, Kept, PastAlert, PastAlerts, PastQuery, PastRatings
from qoemon.state import history_alerts, history_reader
from qoemon.state.history_rows import DamagedError, Rows, pack, rolled_up, rows_of, unpack
from qoemon.state.history_sql import labels_text, one, scale_text

LOG = logging.getLogger("qoemon.state")

FINE_S = 2 * 86_400
"""How long ratings are kept by rating intervals."""

BLOCK_S = 300
"""Least length of a block, into which older intervals are rolled up."""

MEMORY_S = 3600
"""How long ratings are kept in memory, without a file."""

SETTLE = 10
"""Closes before anything is rolled up or deleted: a clock that is wrong at the start is usually right by then."""

BLOCKS_AT_ONCE = 12
"""Blocks rolled up or deleted after a close: after a long pause, the rest follows with the next closes."""

BEHIND = 60
"""Closes in a row before the end of what is rolled up, after which they are no replay. The clock was ahead then,
and nothing would be kept until it is as late again."""

TABLES = ("block", "interval")

DAY_S = 86_400
APPLICATION, VERSION = 0x716F6568, 1

PAGE_BYTES = 4096
"""Rows are some kilobytes or more: larger pages waste more of the last one."""

CACHE_KIB = 512
"""What SQLite may hold in memory of it. By default that is 2 MiB, which fill up over hours."""

WAL_PAGES = 512
"""Pages after which the write-ahead log is copied into the database: a few intervals, 2 MiB."""

_SCHEMA = """
CREATE TABLE service (id INTEGER PRIMARY KEY, name TEXT NOT NULL, scale TEXT NOT NULL, UNIQUE (name, scale));
CREATE TABLE labels (id INTEGER PRIMARY KEY AUTOINCREMENT, value TEXT NOT NULL UNIQUE, seen_s INTEGER NOT NULL);
CREATE TABLE interval (
  service INTEGER NOT NULL, end_s INTEGER NOT NULL, closed_s INTEGER NOT NULL, rows BLOB NOT NULL,
  UNIQUE (end_s, service, closed_s));
CREATE INDEX interval_closed ON interval (closed_s);
CREATE TABLE block (service INTEGER NOT NULL, end_s INTEGER NOT NULL, rows BLOB NOT NULL, UNIQUE (end_s, service));
CREATE TABLE rolled (until_s INTEGER NOT NULL);
INSERT INTO rolled VALUES (0);
"""


@dataclass(frozen=True)
class Written:
    """What one tick adds to the history at time_s, seconds since the epoch.

    labels  names of the group labels
    closed  of each service, rating intervals that have closed
    firing  alerts that fire: with closed intervals all, otherwise those that have just begun
    ended   alerts that ended at this tick
    """

    time_s: int
    labels: tuple[str, ...]
    closed: tuple[ClosedRatings, ...]
    firing: tuple[PastAlert, ...]
    ended: tuple[PastAlert, ...]


class HistoryStore:
    """One database, opened at its first use, from one thread. All methods raise OSError if the database fails.

    file        None: in memory
    interval_s  length of a rating interval
    kept_s      how long ratings and alerts are kept in the file
    """

    def __init__(self, file: Path | None, interval_s: int, kept_s: int) -> None:
        self._file, self._interval_s = file, interval_s
        self._kept_s = MEMORY_S if file is None else kept_s
        self._fine_s = min(FINE_S, self._kept_s)
        self._block_s = -(-BLOCK_S // interval_s) * interval_s
        self._open: sqlite3.Connection | None = None
        self._services: dict[tuple[str, str], int] = {}
        self._numbers: dict[str, int] = {}
        """Numbers of groups by their labels, as JSON."""
        self._seen_s: dict[int, int] = {}
        """By number of a group, the hour in which it was last noted as seen."""
        self._closes = 0
        self._behind = 0
        """How many closes in a row came before the end of what is rolled up."""

    def write(self, written: Written) -> None:
        """Add what closed, and the alerts, in one transaction. Writing the same again changes nothing."""
        with self._transaction() as database:
            rolled_s = one(database, "SELECT until_s FROM rolled")
            if written.closed:
                self._behind = self._behind + 1 if rolled_s > written.time_s else 0
            for closed in written.closed:
                self._add(database, written.labels, closed, rolled_s)
            for alert in (*written.firing, *written.ended):
                history_alerts.put(database, alert)
            if written.closed:
                history_alerts.end_unknown(database, written.time_s, written.firing)
                self._closes += 1
        if written.closed and self._closes >= SETTLE:
            self._tidy(max(closed.closed_s for closed in written.closed))

    def kept(self) -> Kept:
        """What is kept now."""
        with self._reading() as database:
            oldest_s, newest_s = _ends(database)
            blocks = one(database, "SELECT min(end_s) FROM block") is not None
        begin_s = None if oldest_s is None else oldest_s - (self._block_s if blocks else self._interval_s)
        return Kept(self._kept_s, self._fine_s, self._interval_s, self._block_s, begin_s, newest_s)

    def ratings(self, query: PastQuery) -> PastRatings:
        """The ratings of a time range; PastError if they cannot be given in these steps."""
        kept = self.kept()
        with self._reading() as database:
            return history_reader.read(database, query, kept)

    def alerts(self, from_s: int, to_s: int, service: str | None) -> PastAlerts:
        """The alerts that fired at some time in this range, of one service or of all; the newest first."""
        with self._reading() as database:
            found = history_alerts.found(database, from_s, to_s, service)
        return PastAlerts(from_s, to_s, self._kept_s, tuple(found[:MOST_ALERTS]), len(found) > MOST_ALERTS)

    def size_bytes(self) -> int:
        """Size of the database: of its files, or in memory."""
        if self._file is None:
            with self._reading() as database:
                return int(one(database, "PRAGMA page_count")) * int(one(database, "PRAGMA page_size"))
        files = (self._file.with_name(f"{self._file.name}{suffix}") for suffix in ("", "-wal", "-shm"))
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """Close the database."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _add(
        self, database: sqlite3.Connection, labels: Sequence[str], closed: ClosedRatings, rolled_s: int
    ) -> None:
        service = self._service(database, closed.service, closed.scale)
        database.execute("DELETE FROM interval WHERE closed_s = ? AND service = ?", (closed.closed_s, service))
        numbers = self._group_numbers(database, labels, closed)
        for added in closed.added:
            rows = rows_of(added, numbers, self._interval_s)
            # What is older than all that is kept by intervals can only be of a close that is replayed.
            if len(rows.group) and added.end_s > rolled_s:
                database.execute(
                    "INSERT INTO interval VALUES (?, ?, ?, ?)", (service, added.end_s, closed.closed_s, pack(rows))
                )

    def _service(self, database: sqlite3.Connection, name: str, scale: Scale) -> int:
        key = name, scale_text(scale)
        if key not in self._services:
            database.execute("INSERT OR IGNORE INTO service (name, scale) VALUES (?, ?)", key)
            self._services[key] = one(database, "SELECT id FROM service WHERE name = ? AND scale = ?", *key)
        return self._services[key]

    def _group_numbers(self, database: sqlite3.Connection, names: Sequence[str], closed: ClosedRatings) -> Ints:
        """(G,) the number of each group in the history; those with observations are noted as seen."""
        seen = np.zeros(len(closed.groups), np.bool_)
        for added in closed.added:
            seen[: len(added.observations)] |= (added.observations > 0) | (added.users > 0)
            for sessions in added.recounted.values():
                seen[: len(sessions)] |= sessions > 0
        numbers, hour_s = np.zeros(len(closed.groups), np.int64), closed.closed_s // 3600 * 3600
        for index in np.flatnonzero(seen).tolist():
            value = labels_text(dict(zip(names, closed.groups[index], strict=True)))
            number = self._numbers.get(value)
            if number is None or self._seen_s[number] < hour_s:
                # Not an upsert, of which SQLite takes a new number each time, also if the row is there.
                seen_at = closed.closed_s, value
                known = database.execute("UPDATE labels SET seen_s = max(seen_s, ?) WHERE value = ?", seen_at)
                if not known.rowcount:
                    database.execute("INSERT INTO labels (seen_s, value) VALUES (?, ?)", seen_at)
                number = one(database, "SELECT id FROM labels WHERE value = ?", value)
                self._numbers[value], self._seen_s[number] = number, hour_s
            numbers[index] = number
        return numbers

    def _tidy(self, newest_s: int) -> None:
        """Roll up, and delete what is too old, or in the future since the clock was wrong.

        Little at a time: if it is the present time that is wrong, most is still there when the clock is set right.
        """
        cut_s = (newest_s - FINE_S) // self._block_s * self._block_s
        with self._transaction() as database:
            if self._behind >= BEHIND:
                database.execute("UPDATE rolled SET until_s = ?", (cut_s,))
            if self._fine_s == FINE_S:
                self._roll_up(database, cut_s)
            oldest_s, latest_s = _ends(database)
            span_s = BLOCKS_AT_ONCE * self._block_s
            gone_s = min(newest_s - self._kept_s, newest_s if oldest_s is None else oldest_s + span_s)
            ahead_s = max(newest_s + DAY_S, newest_s if latest_s is None else latest_s - span_s)
            for table in TABLES:
                database.execute(
                    f"DELETE FROM {table} WHERE end_s <= ? OR end_s > ?",  # noqa: S608 - constants
                    (gone_s, ahead_s),
                )
            gone = database.execute("DELETE FROM labels WHERE seen_s < ?", (gone_s - 2 * 3600,))
            history_alerts.delete_old(database, gone_s)
        if gone.rowcount:
            self._numbers, self._seen_s = {}, {}

    def _roll_up(self, database: sqlite3.Connection, cut_s: int) -> None:
        """Roll up intervals up to cut_s, the end of a block, some blocks at a time."""
        for _ in range(BLOCKS_AT_ONCE):
            oldest_s = one(database, "SELECT min(end_s) FROM interval WHERE end_s <= ?", cut_s)
            if oldest_s is None:
                break
            end_s = -(-oldest_s // self._block_s) * self._block_s
            span = end_s - self._block_s, end_s
            by_service: dict[int, list[tuple[int, Rows]]] = {}
            for service, part_s, blob in database.execute(
                "SELECT service, end_s, rows FROM interval WHERE end_s > ? AND end_s <= ?", span
            ):
                by_service.setdefault(service, []).append((part_s, unpack(blob)))
            for service, parts in by_service.items():
                rows = rolled_up(end_s, self._block_s, parts)
                database.execute("INSERT OR REPLACE INTO block VALUES (?, ?, ?)", (service, end_s, pack(rows)))
            database.execute("DELETE FROM interval WHERE end_s > ? AND end_s <= ?", span)
            database.execute("UPDATE rolled SET until_s = max(until_s, ?)", (end_s,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as database, database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                self._services, self._numbers, self._seen_s = {}, {}, {}  # they may name rows that are rolled back
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The database; its errors become OSError, and a damaged one is renamed."""
        try:
            yield self._database()
        except (sqlite3.DatabaseError, DamagedError) as error:
            if _damaged(error):
                self._set_aside(error)
            raise OSError(f"{self._file or 'history in memory'}: {error}") from None

    def _database(self) -> sqlite3.Connection:
        if self._open is None:
            self._open = _opened(self._file)
        return self._open

    def _set_aside(self, error: Exception) -> None:
        self.close()
        self._services, self._numbers, self._seen_s = {}, {}, {}
        if self._file is None:
            return
        stamp = f"corrupt-{int(time.time())}"
        for suffix in ("", "-wal", "-shm"):
            file = self._file.with_name(f"{self._file.name}{suffix}")
            if file.exists():
                file.rename(self._file.with_name(f"{self._file.name}.{stamp}{suffix}"))
        LOG.error(
            "the history cannot be read (%s): it is renamed to %s.%s, and a new one begins; nothing else depends "
            "on it, so the renamed file may be deleted",
            error,
            self._file,
            stamp,
        )


def _ends(database: sqlite3.Connection) -> tuple[int | None, int | None]:
    """The ends of the oldest and of the newest interval or block; None if there is none."""
    found = [one(database, f"SELECT {which}(end_s) FROM {table}") for which in ("min", "max") for table in TABLES]  # noqa: S608
    known = [end_s for end_s in found if end_s is not None]
    return min(known, default=None), max(known, default=None)


def _opened(file: Path | None) -> sqlite3.Connection:
    database = sqlite3.connect(file or ":memory:", isolation_level=None, check_same_thread=False)
    try:
        database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        database.execute(f"PRAGMA journal_size_limit = {WAL_PAGES * PAGE_BYTES}")
        application, version = (one(database, f"PRAGMA {name}") for name in ("application_id", "user_version"))
        if (application, version) == (0, 0) and not one(database, "PRAGMA schema_version"):
            database.executescript(
                f"BEGIN; {_SCHEMA} {history_alerts.SCHEMA}"
                f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
            )
        elif application != APPLICATION:
            raise DamagedError("a database of another program")
        elif version > VERSION:  # The daemon has not started with it: it was replaced since.
            raise OSError(f"{file} was written by a newer qoemon: version {version}, this one reads {VERSION}")
    except BaseException:
        database.close()
        raise
    return database


def _damaged(error: Exception) -> bool:
    """Whether the content is damaged, rather than the disk full or the file locked."""
    return not isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError)
