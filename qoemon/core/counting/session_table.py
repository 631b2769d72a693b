"""The sessions of one service: ids as rows of a table, duplicates, and when a session is over.

Reports of a batch are put in the order of their sessions and, within one, of their `seq`; a repeated or older
`seq` is a duplicate. Everything after that works on whole columns.
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
"""Room is cheap, see grow_columns(); moving is not, and what many sessions leave behind is hardly given back."""

ROWS_AT_ONCE = 16_384
"""Rows that are processed at a time: what is computed stays in the cache, and other threads can run between."""


@dataclass(frozen=True)
class Admitted:
    """The reports of a batch that count, sorted by row, then `seq`, then arrival.

    position  (R,) where each stood in the batch
    row       (R,) its session's row, ascending
    first     (R,) whether it is its session's first in this batch
    before_s  (R,) when the same session was last heard before it, seconds since the epoch; NaN if never
    duplicates, refused  how many reports are left out: repeated ones, and those of sessions beyond the limit
    """

    position: Ints
    row: Ints
    first: Flags
    before_s: Floats
    duplicates: int
    refused: int

    @cached_property
    def last(self) -> Ints:
        """Which are their session's last in this batch."""
        return np.flatnonzero(np.append(self.first[1:], True)[: len(self.first)])

    @cached_property
    def again(self) -> Ints:
        """Which are not their session's first: the one before each is of the same session."""
        return np.flatnonzero(~self.first)

    def previous(self, known: Column, reported: Column) -> Column:
        """(R,) the value before each report: that of the report before it in this batch, else the known one.

        known     (R,) what the report's session had before this batch
        reported  (R,) what each report says
        """
        before = known.copy()
        before[self.again] = reported[self.again - 1]
        return before


class SessionTable:
    """Up to `limit` sessions of one service. Rows without a session have NO_GROUP, NO_SEQ, NaN and False.

    group   (rows,) int32
    seq     (rows,) the newest seen, or NO_SEQ
    last_s  (rows,) when last heard, seconds since the epoch
    ended   (rows,) whether its client said that it is over
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
        """How many rows are or were in use: the others need no look."""
        return len(self._ids)

    @property
    def capacity(self) -> int:
        """How many rows there is room for before the columns grow."""
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
        """Enter a batch of R reports: find or make their sessions, and tell which reports count.

        New sessions have no group before assign_group().
        """
        rows = self._find_or_make(session)
        order, row = _by_row(rows, seq)
        fresh = self._fresh(row, seq[order])
        if not fresh.all():
            order, row = order[fresh], row[fresh]
        admitted = Admitted(
            position=order,
            row=row,
            first=np.diff(row, prepend=-1) != 0,
            before_s=at_s,  # set below, once it is known which reports follow one another
            duplicates=int(np.count_nonzero(~fresh)),
            refused=int(np.count_nonzero(rows < 0)),
        )
        at_s = at_s[order]
        admitted = replace(admitted, before_s=admitted.previous(self.last_s[row], at_s))
        self._remember(admitted, seq, at_s, end)
        return admitted

    def assign_group(self, admitted: Admitted, group: Ints) -> None:
        """Put sessions into the group of their newest report; group (R,) of each in the batch, admitted or not."""
        last = admitted.last
        self.group[admitted.row[last]] = group[admitted.position[last]]

    def expired(self, at_s: float, timeout_s: float, interval_s: float) -> Ints:
        """Rows of the sessions that are over: silent for the timeout, or ended and out of every slice."""
        # Nearly all were heard a moment ago: only the others need a look.
        quiet = np.flatnonzero(self.last_s[: self.rows] <= at_s - min(timeout_s, interval_s) + 1)
        leave = np.where(self.ended[quiet], interval_s, timeout_s)
        return quiet[self.last_s[quiet] + leave <= at_s]

    def remove(self, rows: Ints) -> None:
        """Forget these sessions; their rows will serve others."""
        self._clear(rows)
        for row in rows.tolist():
            del self._row_of[self._ids[row]]
            self._ids[row] = NO_ID
        self._free.extend(rows.tolist())

    def dump(self) -> dict[str, NDArray[Any]]:
        """The sessions, row by row, as arrays."""
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
        """Restore what dump() gave, into an empty table; returns the new rows, in the order of the state."""
        ends = np.cumsum(state["id_length"]).tolist()
        text = state["id"].tobytes()
        ids = [
            text[end - length : end].decode() for end, length in zip(ends, state["id_length"].tolist(), strict=True)
        ]
        rows = self._find_or_make(ids)
        for name in ("group", "seq", "last_s", "ended"):
            getattr(self, name)[rows] = state[name]
        return rows

    def _find_or_make(self, session: Sequence[str]) -> Ints:
        rows = np.fromiter(map(self._row_of.get, session, repeat(-1)), np.int64, len(session))
        used = self.rows
        for position in np.flatnonzero(rows < 0).tolist():
            rows[position] = self._make(session[position])
        self._grow(used)
        return rows

    def _make(self, session: str) -> int:
        known = self._row_of.get(session)  # made a moment ago, for an earlier report of the same batch
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
        """Room for all rows, those from `used` on being new."""
        if self.rows > self.capacity:
            growth = _GROWTH_OF_MANY if self.rows > _MANY_ROWS else _GROWTH
            room = min(self._limit, max(_FIRST_ROWS, self.rows * growth))
            self.group, self.seq = grow_columns(self.group, used, room), grow_columns(self.seq, used, room)
            self.last_s, self.ended = grow_columns(self.last_s, used, room), grow_columns(self.ended, used, room)
        self._clear(slice(used, self.rows))

    def _fresh(self, row: Ints, seq: Ints) -> Flags:
        """Which reports are not duplicates; row and seq sorted."""
        newest = self.seq[row]
        again = np.flatnonzero(row[1:] == row[:-1]) + 1
        newest[again] = np.maximum(newest[again], seq[again - 1])
        fresh: Flags = (seq == ABSENT_INT) | (seq > newest)
        return fresh

    def _remember(self, admitted: Admitted, seq: Ints, at_s: Floats, end: Flags) -> None:
        last = admitted.last
        row, position = admitted.row[last], admitted.position[last]
        self.seq[row] = np.maximum(self.seq[row], seq[position])
        self.last_s[row] = np.fmax(self.last_s[row], at_s[last])
        self.ended[row] = end[position]


def _by_row(rows: Ints, seq: Ints) -> tuple[Ints, Ints]:
    """Positions of the reports that have a row, sorted by it, then `seq`, then position; and their rows."""
    bits = len(rows).bit_length()
    # Plain numbers are sorted ten times as fast as positions by them.
    key = np.sort(rows << bits | np.arange(len(rows)))
    key = key[np.searchsorted(key, 0) :]
    order, row = key & ((1 << bits) - 1), key >> bits
    seq = seq[order]
    if np.any((seq[1:] < seq[:-1]) & (row[1:] == row[:-1])):
        order = order[np.lexsort((seq, row))]
    return order, row
