"""The table of a service's sessions: a row for each run of a session, found by its id, until it expires.

A run is one stretch of counting from zero by one player. A session that begins a new run, such as after a reload of
its page, gets a new row; the row of its former run is detached: no report finds it again, and it expires as any
other. So each run is rated as a session of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress, repeat
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Flags, Floats, Ints, grow_columns, room_for

Key = str | tuple[str, str]
"""A session id, or a session id and the `run` that its client reports."""

NO_ID = ""
NO_GROUP = -1

_LONGEST_PAUSE_S = 2**15 - 1

ROWS_AT_ONCE = 16_384
"""Rows processed at a time: intermediate results fit in the cache, and other threads can run in between."""

_COLUMNS = ("group", "last_s", "ended", "pause_s")


class SessionTable:
    """Up to `limit` runs of sessions of one service. Rows without one have NO_GROUP, NaN, False and 0.

    group     (rows,) int32
    last_s    (rows,) time of the last report, seconds since the epoch; NaN before the first
    ended     (rows,) whether the last report was marked as the end, or a new run has begun
    pause_s   (rows,) int16, usual time between two reports; 0 before the second
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._row_of: dict[Key, int] = {}
        self._keys: list[Key] = []
        self._free: list[int] = []
        self._newest_run: dict[str, Key] = {}
        """Of sessions whose client reports `run`."""
        self.group = np.zeros(0, np.int32)
        self.last_s = np.zeros(0)
        self.ended = np.zeros(0, np.bool_)
        self.pause_s = np.zeros(0, np.int16)

    def __len__(self) -> int:
        return len(self._keys) - len(self._free)

    def __contains__(self, key: Key) -> bool:
        return key in self._row_of

    def find(self, key: Key) -> int:
        """The row of the run with this key; -1 if there is none."""
        return self._row_of.get(key, -1)

    def newest(self, session: str) -> int:
        """The row of the newest run of a session; -1 if there is none."""
        return self._row_of.get(self._newest_run.get(session, session), -1)

    @property
    def rows(self) -> int:
        """Number of rows that are or were in use; later rows are empty."""
        return len(self._keys)

    @property
    def capacity(self) -> int:
        """Length of the columns, unused rows included."""
        return len(self.group)

    @property
    def parts(self) -> Iterator[slice]:
        """All rows, ROWS_AT_ONCE at a time."""
        for begin in range(0, self.rows, ROWS_AT_ONCE):
            yield slice(begin, min(begin + ROWS_AT_ONCE, self.rows))

    @property
    def occupied(self) -> Ints:
        """The rows that hold a run, ascending."""
        return np.flatnonzero(self.group[: self.rows] != NO_GROUP)

    def key(self, row: int) -> Key:
        """The key of the run in a row."""
        return self._keys[row]

    def find_or_create(self, keys: Sequence[Key]) -> Ints:
        """(R,) rows of the runs with these keys; -1 where the run is new and the table is full.

        New rows have no group before hear().
        """
        rows = np.fromiter(map(self._row_of.get, keys, repeat(-1)), np.int64, len(keys))
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            used = self.rows
            for position in missing.tolist():
                key = keys[position]
                known = self._row_of.get(key)  # created for an earlier report of the same batch
                rows[position] = self._create(key) if known is None else known
            self._grow(used)
        return rows

    def renew(self, rows: Ints) -> Ints:
        """New rows for new runs of these sessions, whose present rows are detached; -1 where the table is full."""
        used = self.rows
        new = np.array([self._create(self._keys[row]) for row in rows.tolist()], np.int64)
        self._grow(used)
        self.succeed(rows[new >= 0], new[new >= 0])
        return new

    def succeed(self, old: Ints, new: Ints) -> None:
        """Begin runs of sessions that were last heard in former ones, which end."""
        self.last_s[new], self.pause_s[new] = self.last_s[old], self.pause_s[old]
        self.ended[old] = True

    def former_runs(self, keys: Sequence[Key], rows: Ints) -> Ints:
        """(R,) rows of the runs before, where these runs are new and their clients report `run`; else -1."""
        former = np.full(len(keys), -1)
        # A row of -1 is the last one of the columns here, and left out below.
        for position in np.flatnonzero(np.isnan(self.last_s[rows])).tolist():
            key = keys[position]
            if isinstance(key, str) or rows[position] < 0:
                continue
            before, self._newest_run[key[0]] = self._newest_run.get(key[0]), key
            if before is not None and before != key:
                former[position] = self._row_of[before]  # remove() forgets both together
        return former

    def outdated(self, keys: Sequence[Key]) -> Flags:
        """(R,) whether a newer `run` of the same session has begun."""
        return np.array(
            [not isinstance(key, str) and self._newest_run.get(key[0]) != key for key in keys], np.bool_
        )

    def hear(self, row: Ints, at_s: Floats, end: Flags, group: Ints) -> None:
        """Record one report of each of these distinct rows."""
        last_s, usual_s = self.last_s[row], self.pause_s[row]
        gap_s = np.clip(np.nan_to_num(at_s - last_s), 0, _LONGEST_PAUSE_S)
        self.pause_s[row] = np.rint(np.where(usual_s == 0, gap_s, (usual_s + gap_s) / 2))
        self.last_s[row] = np.fmax(last_s, at_s)
        self.ended[row] = end
        self.group[row] = group

    def expired(self, at_s: float, timeout_s: float, interval_s: float) -> Ints:
        """Rows without a report for timeout_s, or for interval_s if ended (no slice has them then)."""
        # Nearly all sessions reported recently: only the others need the full check.
        quiet = np.flatnonzero(self.last_s[: self.rows] <= at_s - min(timeout_s, interval_s) + 1)
        limit_s = np.where(self.ended[quiet], interval_s, timeout_s)
        return quiet[self.last_s[quiet] + limit_s <= at_s]

    def remove(self, rows: Ints) -> None:
        """Remove these runs; their rows are reused."""
        self._clear(rows)
        for row in rows.tolist():
            key = self._keys[row]
            if self._row_of.get(key) == row:
                del self._row_of[key]
                if not isinstance(key, str) and self._newest_run.get(key[0]) == key:
                    del self._newest_run[key[0]]
            self._keys[row] = NO_ID
        self._free.extend(rows.tolist())

    def dump(self) -> dict[str, NDArray[Any]]:
        """The runs in the order of their rows, as arrays by name."""
        occupied = self.occupied
        keys = list(map(self._keys.__getitem__, occupied.tolist()))
        found = np.fromiter(map(self._row_of.get, keys, repeat(-1)), np.int64, len(keys)) == occupied
        ids, with_run = cast(list[str], keys), np.zeros(0, np.int64)
        if not {*map(type, keys)} <= {str}:  # rarely: most clients report no run
            ids = [key if isinstance(key, str) else key[0] for key in keys]
            with_run = np.flatnonzero([not isinstance(key, str) for key in keys])
        newest, run_length = np.zeros(len(keys), np.bool_), np.full(len(keys), -1)
        newest[with_run] = [self._newest_run.get(ids[at]) == keys[at] for at in with_run.tolist()]
        id_text, id_length = _joined(ids)
        run_text, run_length[with_run] = _joined([keys[at][1] for at in with_run.tolist()])
        return {
            "row": occupied,
            "id": id_text,
            "id_length": id_length,
            "run": run_text,
            "run_length": run_length,
            "found": found,
            "newest": newest,
            **{name: getattr(self, name)[occupied] for name in _COLUMNS},
        }

    def load(self, state: dict[str, NDArray[Any]]) -> Ints:
        """Restore a dump(), into an empty table; returns the new rows, in the order of the dump."""
        size = len(state["id_length"])
        keys: list[Key] = [*_texts(state["id"], state["id_length"])]
        # States of version 2 and before have no runs.
        lengths = state.get("run_length", np.full(size, -1))
        with_run = np.flatnonzero(lengths >= 0)
        runs = _texts(state.get("run", np.zeros(0, np.uint8)), lengths[with_run])
        for row, run in zip(with_run.tolist(), runs, strict=True):
            keys[row] = (str(keys[row]), run)
        found = state.get("found", np.ones(size, np.bool_)).tolist()
        self._keys, self._row_of = keys, dict(compress(zip(keys, range(size), strict=True), found))
        for row in np.flatnonzero(state.get("newest", np.zeros(size, np.bool_))).tolist():
            self._newest_run[keys[row][0]] = keys[row]
        self._grow(0)
        rows = np.arange(size)
        for name in _COLUMNS:
            if name in state:
                getattr(self, name)[rows] = state[name]
        return rows

    def _create(self, key: Key) -> int:
        """The row of a new run; -1 beyond the limit."""
        if len(self) >= self._limit:
            return -1
        if self._free:
            row = self._free.pop()
            self._keys[row] = key
        else:
            row = len(self._keys)
            self._keys.append(key)
        self._row_of[key] = row
        return row

    def _clear(self, rows: Ints | slice) -> None:
        self.group[rows], self.last_s[rows] = NO_GROUP, np.nan
        self.ended[rows], self.pause_s[rows] = False, 0

    def _grow(self, used: int) -> None:
        """Extend the columns to all rows; rows from `used` on are new."""
        if self.rows > self.capacity:
            # A state may have more than a limit that was lowered since.
            room = room_for(self.rows, max(self._limit, self.rows))
            for name in _COLUMNS:
                setattr(self, name, grow_columns(getattr(self, name), used, room))
        self._clear(slice(used, self.rows))


def _joined(texts: Sequence[str]) -> tuple[NDArray[np.uint8], Ints]:
    """The joined texts, and their lengths in bytes."""
    joined = "".join(texts).encode()
    if not joined.isascii():
        return np.frombuffer(joined, np.uint8), np.array([len(text.encode()) for text in texts], np.int64)
    return np.frombuffer(joined, np.uint8), np.fromiter(map(len, texts), np.int64, len(texts))


def _texts(text: NDArray[np.uint8], lengths: Ints) -> list[str]:
    """The texts that are joined in `text`, by their lengths in bytes."""
    ends = np.cumsum(lengths)
    spans = zip((ends - lengths).tolist(), ends.tolist(), strict=True)
    joined = text.tobytes()
    if not joined.isascii():
        return [joined[begin:end].decode() for begin, end in spans]
    decoded = joined.decode()
    return [decoded[begin:end] for begin, end in spans]
