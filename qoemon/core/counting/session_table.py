"""The table of a service's sessions: a row for each session id, detection of duplicates, expiry.

The reports of a batch are sorted by session and, within a session, by `seq`; a repeated or older `seq` is a
duplicate. All later steps work on whole columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Column, Flags, Floats, Ints, grow_columns
from qoemon.core.wire.report import ABSENT_INT

NO_ID = ""
NO_GROUP = -1
NO_SEQ = -1
_FIRST_ROWS = 1024
_MANY_ROWS = 65_536
_GROWTH, _GROWTH_OF_MANY = 2, 16
"""Unused rows are cheap, see grow_columns(). Copying is not, and memory that large columns free is rarely returned
to the system."""

ROWS_AT_ONCE = 16_384
"""Rows processed at a time: intermediate results fit in the cache, and other threads can run in between."""


@dataclass(frozen=True)
class Admitted:
    """The accepted reports of a batch, sorted by row, then `seq`, then arrival.

    position  (R,) index of each report in the batch
    row       (R,) row of its session, ascending
    first     (R,) whether it is the first of its session in this batch
    before_s  (R,) time of the session's previous report, seconds since the epoch; NaN if there is none
    duplicates, refused  number of reports that are not accepted: repeated, and of sessions beyond the limit
    """

    position: Ints
    row: Ints
    first: Flags
    before_s: Floats
    duplicates: int
    refused: int

    @cached_property
    def last(self) -> Ints:
        """Indexes of the reports that are the last of their session in this batch."""
        return np.flatnonzero(np.append(self.first[1:], True)[: len(self.first)])

    @cached_property
    def following(self) -> Ints:
        """Indexes of the reports that are not the first of their session: each follows one of the same session."""
        return np.flatnonzero(~self.first)

    def previous(self, known: Column, reported: Column) -> Column:
        """(R,) the value before each report: of the previous report in this batch, else from before the batch.

        known     (R,) the session's value before this batch
        reported  (R,) the value in each report
        """
        before = known.copy()
        before[self.following] = reported[self.following - 1]
        return before


class SessionTable:
    """Up to `limit` sessions of one service. Rows without a session have NO_GROUP, NO_SEQ, NaN and False.

    group   (rows,) int32
    seq     (rows,) the largest received, or NO_SEQ
    last_s  (rows,) time of the last report, seconds since the epoch
    ended   (rows,) whether the last report was marked as the end
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._row_of: dict[str, int] = {}
        self._ids: list[str] = []
        self._free: list[int] = []
        self.group = np.zeros(0, np.int32)
        self.seq = np.zeros(0, np.int64)
        self.last_s = np.zeros(0)
        self.ended = np.zeros(0, np.bool_)

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def rows(self) -> int:
        """Number of rows that are or were in use; later rows are empty."""
        return len(self._ids)

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
        """The rows that hold a session, ascending."""
        return np.flatnonzero(self.group[: self.rows] != NO_GROUP)

    def admit(self, session: Sequence[str], seq: Ints, at_s: Floats, end: Flags) -> Admitted:
        """Enter a batch of R reports: find or create their sessions; returns the accepted reports.

        New sessions have no group before assign_group().

        session, seq, at_s, end  session id, sequence number, time and end flag of each report, (R,) each
        """
        rows = self._find_or_create(session)
        order, row = _by_row(rows, seq)
        fresh = self._fresh(row, seq[order])
        if not fresh.all():
            order, row = order[fresh], row[fresh]
        admitted = Admitted(
            position=order,
            row=row,
            first=np.diff(row, prepend=-1) != 0,
            before_s=at_s,  # replaced below, as it depends on the order
            duplicates=int(np.count_nonzero(~fresh)),
            refused=int(np.count_nonzero(rows < 0)),
        )
        at_s = at_s[order]
        admitted = replace(admitted, before_s=admitted.previous(self.last_s[row], at_s))
        self._store(admitted, seq, at_s, end)
        return admitted

    def assign_group(self, admitted: Admitted, group: Ints) -> None:
        """Set each session's group to that of its newest report; group (R,) is of all reports of the batch."""
        last = admitted.last
        self.group[admitted.row[last]] = group[admitted.position[last]]

    def expired(self, at_s: float, timeout_s: float, interval_s: float) -> Ints:
        """Rows of sessions without a report for timeout_s, or for interval_s if ended (no slice has them then)."""
        # Nearly all sessions reported recently: only the others need the full check.
        quiet = np.flatnonzero(self.last_s[: self.rows] <= at_s - min(timeout_s, interval_s) + 1)
        limit_s = np.where(self.ended[quiet], interval_s, timeout_s)
        return quiet[self.last_s[quiet] + limit_s <= at_s]

    def remove(self, rows: Ints) -> None:
        """Remove these sessions; their rows are reused."""
        self._clear(rows)
        for row in rows.tolist():
            del self._row_of[self._ids[row]]
            self._ids[row] = NO_ID
        self._free.extend(rows.tolist())

    def dump(self) -> dict[str, NDArray[Any]]:
        """The sessions in the order of their rows, as arrays by name."""
        occupied = self.occupied
        texts = [self._ids[row].encode() for row in occupied.tolist()]
        return {
            "row": occupied,
            "id": np.frombuffer(b"".join(texts), np.uint8),
            "id_length": np.array([len(text) for text in texts], np.int64),
            "group": self.group[occupied],
            "seq": self.seq[occupied],
            "last_s": self.last_s[occupied],
            "ended": self.ended[occupied],
        }

    def load(self, state: dict[str, NDArray[Any]]) -> Ints:
        """Restore a dump(), into an empty table; returns the new rows, in the order of the dump."""
        ends = np.cumsum(state["id_length"]).tolist()
        text = state["id"].tobytes()
        ids = [
            text[end - length : end].decode() for end, length in zip(ends, state["id_length"].tolist(), strict=True)
        ]
        rows = self._find_or_create(ids)
        for name in ("group", "seq", "last_s", "ended"):
            getattr(self, name)[rows] = state[name]
        return rows

    def _find_or_create(self, session: Sequence[str]) -> Ints:
        rows = np.fromiter(map(self._row_of.get, session, repeat(-1)), np.int64, len(session))
        used = self.rows
        for position in np.flatnonzero(rows < 0).tolist():
            rows[position] = self._create(session[position])
        self._grow(used)
        return rows

    def _create(self, session: str) -> int:
        """The row of a new session; -1 beyond the limit."""
        known = self._row_of.get(session)  # created for an earlier report of the same batch
        if known is not None:
            return known
        if len(self._row_of) >= self._limit:
            return -1
        if self._free:
            row = self._free.pop()
            self._ids[row] = session
        else:
            row = len(self._ids)
            self._ids.append(session)
        self._row_of[session] = row
        return row

    def _clear(self, rows: Ints | slice) -> None:
        self.group[rows], self.seq[rows] = NO_GROUP, NO_SEQ
        self.last_s[rows], self.ended[rows] = np.nan, False

    def _grow(self, used: int) -> None:
        """Extend the columns to all rows; rows from `used` on are new."""
        if self.rows > self.capacity:
            growth = _GROWTH_OF_MANY if self.rows > _MANY_ROWS else _GROWTH
            room = min(self._limit, max(_FIRST_ROWS, self.rows * growth))
            self.group, self.seq = grow_columns(self.group, used, room), grow_columns(self.seq, used, room)
            self.last_s, self.ended = grow_columns(self.last_s, used, room), grow_columns(self.ended, used, room)
        self._clear(slice(used, self.rows))

    def _fresh(self, row: Ints, seq: Ints) -> Flags:
        """(R,) whether each report is not a duplicate; row and seq are sorted."""
        newest = self.seq[row]
        following = np.flatnonzero(row[1:] == row[:-1]) + 1
        newest[following] = np.maximum(newest[following], seq[following - 1])
        fresh: Flags = (seq == ABSENT_INT) | (seq > newest)
        return fresh

    def _store(self, admitted: Admitted, seq: Ints, at_s: Floats, end: Flags) -> None:
        last = admitted.last
        row, position = admitted.row[last], admitted.position[last]
        self.seq[row] = np.maximum(self.seq[row], seq[position])
        self.last_s[row] = np.fmax(self.last_s[row], at_s[last])
        self.ended[row] = end[position]


def _by_row(rows: Ints, seq: Ints) -> tuple[Ints, Ints]:
    """Positions of the reports with a row, sorted by row, then `seq`, then position; and their rows."""
    bits = len(rows).bit_length()
    # Sorting numbers is ten times as fast as sorting positions by a key.
    key = np.sort(rows << bits | np.arange(len(rows)))
    key = key[np.searchsorted(key, 0) :]
    order, row = key & ((1 << bits) - 1), key >> bits
    seq = seq[order]
    if np.any((seq[1:] < seq[:-1]) & (row[1:] == row[:-1])):
        order = order[np.lexsort((seq, row))]
    return order, row
