"""Follows the journals of a running daemon: the messages that it has stored, without the daemon noticing.

The stores are read through connections that cannot write (state/read_only.py). Messages stay in a store until the
checkpoint after the one that covers them: reading several times in an interval between checkpoints finds them all.
If it does not, the ids of the rows show it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from qoemon.state.directory import StateError
from qoemon.state.frames import StoredMessage, decode
from qoemon.state.layout import store_directories
from qoemon.state.read_only import DATABASE, connected

ROWS_AT_ONCE = 50
"""Commits that are read together. A long read would keep the daemon from reusing the space of its log."""

_NEWEST = "SELECT max(coalesce((SELECT max(id) FROM journal), 0), coalesce((SELECT max(id) FROM covered), 0))"
_AFTER = """
SELECT id, messages FROM covered WHERE id > :after UNION ALL
SELECT id, messages FROM journal WHERE id > :after ORDER BY id LIMIT :rows
"""


@dataclass
class Follower:
    """Reads what the daemon of a state directory stores from now on, also over restarts and with other workers.

    raises   StateError if the directory cannot be read
    """

    directory: Path
    missed: int = 0
    """Commits that were gone before they could be read. A commit holds all messages of some 0.1 s."""
    problem: str | None = None
    """Why a store could not be read the last time; None if all could."""
    _open: dict[Path, _Journal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            for file in self._files():
                self._open[file] = _Journal(file)
                self._open[file].skip()
        except sqlite3.OperationalError as error:
            self.close()
            raise StateError(
                f"cannot read the state in {self.directory}: {error}; read it as the user of the daemon, which is "
                "to have this version of qoemon"
            ) from None
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise StateError(f"cannot read the state in {self.directory}: {error}") from None

    def read(self) -> Iterator[list[StoredMessage]]:
        """What has been stored since the last call, in pieces; in order within each store."""
        self.problem = None
        yield from self._rest(list(self._open.values()))
        try:
            opened = self._look()
        except (OSError, sqlite3.Error) as error:
            self.problem = f"cannot read the state in {self.directory}: {error}"
            return
        yield from self._rest(opened)

    def close(self) -> None:
        """Close all stores."""
        for journal in self._open.values():
            journal.close()
        self._open.clear()

    @property
    def stores(self) -> int:
        """Number of stores that are being read."""
        return len(self._open)

    def _rest(self, journals: list[_Journal]) -> Iterator[list[StoredMessage]]:
        for journal in journals:
            try:
                while some := journal.read():
                    yield some
            except (sqlite3.Error, msgspec.MsgspecError) as error:
                self.problem = f"cannot read {journal.file}: {error}"
            self.missed += journal.missed
            journal.missed = 0

    def _look(self) -> list[_Journal]:
        """Close the stores that the daemon has no longer, which have been read; returns those that are new."""
        now = self._files()
        for file in [each for each, journal in self._open.items() if each not in now or not journal.current]:
            self._open.pop(file).close()
        opened = []
        for file in (each for each in now if each not in self._open):
            with contextlib.suppress(sqlite3.OperationalError):  # It is just being made: the next time.
                self._open[file] = _Journal(file)
                opened.append(self._open[file])
        return opened

    def _files(self) -> list[Path]:
        files = [each / DATABASE for each in store_directories(self.directory)]
        return [file for file in files if file.exists()]


class _Journal:
    """The journal in one database, with the position up to which it has been read: at first, nothing."""

    def __init__(self, file: Path) -> None:
        self.file, self.missed = file, 0
        self._inode, self._read = file.stat().st_ino, 0
        self._database = connected(file)
        try:
            self._newest()
        except BaseException:
            self._database.close()
            raise

    @property
    def current(self) -> bool:
        """Whether the database is still the one under this name: a daemon renames one that it cannot use."""
        with contextlib.suppress(OSError):
            return self.file.stat().st_ino == self._inode
        return False

    def skip(self) -> None:
        """Leave out all that it holds now."""
        self._read = self._newest()

    def read(self) -> list[StoredMessage]:
        """The next messages, empty if there are none; adds to missed what was gone."""
        messages = []
        for number, frame in self._database.execute(_AFTER, {"after": self._read, "rows": ROWS_AT_ONCE}).fetchall():
            self.missed += number - self._read - 1
            self._read = number
            messages += decode(frame)
        return messages

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _newest(self) -> int:
        return int(self._database.execute(_NEWEST).fetchone()[0])
