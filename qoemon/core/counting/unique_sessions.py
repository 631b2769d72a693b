"""How many distinct sessions stand behind a window.

A session that counts in sixty rating intervals of an hour is one user, not sixty. It is counted in the newest
interval in which it was judged: when it is judged again, it moves there. So the sum over the last intervals of a
window counts each session once, also those that have left the table since. A session that was judged in several
groups is a user of each: its home is the first, the few others are kept aside.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Ints, SmallInts, grow_columns, grow_rows
from qoemon.core.counting.session_table import NO_GROUP, ROWS_AT_ONCE, SessionTable


class UniqueSessions:
    """Distinct sessions of the last `intervals` rating intervals, by group."""

    def __init__(self, sessions: SessionTable, intervals: int) -> None:
        self._sessions = sessions
        self._closed = 0
        self._newest: deque[Ints] = deque(maxlen=intervals)
        self._used = 0
        self._judged_in = np.zeros(0, np.int32)
        """(rows,) the number of the interval in which each session was judged at home last, from 1; 0 is never."""
        self._home = np.zeros(0, np.int32)
        """(rows,) its group there, or NO_GROUP."""
        self._abroad: dict[int, dict[int, int]] = {}
        """By row and group, in which interval sessions were judged in other groups last."""

    def close(self, rows: SmallInts, group: SmallInts, users: Ints) -> None:
        """An interval is over in which these sessions, ascending, were judged in these groups, each pair once.

        users  (G,) how many of them in each group
        """
        self._grow()
        self._closed += 1
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            part = slice(begin, begin + ROWS_AT_ONCE)
            self._move(rows[part], group[part], int(rows[begin - 1]) if begin else -1)
        self._newest.append(users.copy())  # those who are judged again will be taken off

    def in_window(self, intervals: int, groups: int) -> Ints:
        """(groups,) distinct sessions that were judged in the last so many intervals."""
        total = np.zeros(groups, np.int64)
        for counts in list(self._newest)[-intervals:]:
            total[: len(counts)] += counts
        return total

    def remove(self, rows: Ints) -> None:
        """These rows will serve other sessions; what they were counted for stays."""
        self._grow()
        self._judged_in[rows], self._home[rows] = 0, NO_GROUP
        for row in self._abroad.keys() & set(rows.tolist()):
            del self._abroad[row]

    def dump(self) -> dict[str, NDArray[Any]]:
        """The sessions that are there, in the order of SessionTable.dump, and the counts of each interval."""
        self._grow()
        there = self._sessions.there
        groups = max((len(counts) for counts in self._newest), default=0)
        intervals = [grow_rows(counts, groups) for counts in self._newest]
        place = {row: index for index, row in enumerate(there.tolist())}
        visits = [(place[row], *visit) for row, groups_ in self._abroad.items() for visit in groups_.items()]
        return {
            "closed": np.array(self._closed),
            "newest": np.array(intervals).reshape(len(intervals), groups),
            "judged_in": self._judged_in[there].astype(np.int64),
            "home": self._home[there].astype(np.int64),
            "abroad": np.array(visits, np.int64).reshape(len(visits), 3),
        }

    def load(self, state: dict[str, NDArray[Any]], rows: Ints) -> None:
        """Take over what dump() gave, for the rows that the session table gave out."""
        self._grow()
        self._closed = int(state["closed"])
        self._newest.extend(state["newest"].astype(np.int64))
        self._judged_in[rows], self._home[rows] = state["judged_in"], state["home"]
        for index, group, interval in state["abroad"].tolist():
            self._abroad.setdefault(int(rows[index]), {})[group] = interval

    def _move(self, rows: SmallInts, group: SmallInts, row_before: int) -> None:
        """Count these sessions in the present interval, and no more where they were before."""
        home = self._home[rows]
        again = home == group
        if again.all():
            self._stay(rows, group)
            return
        self._stay(rows[again], group[again])
        fresh = (home == NO_GROUP) & (np.diff(rows, prepend=row_before) != 0)
        self._home[rows[fresh]], self._judged_in[rows[fresh]] = group[fresh], self._closed
        abroad = ~(fresh | again)
        for row, place in zip(rows[abroad].tolist(), group[abroad].tolist(), strict=True):
            self._visit(row, place)

    def _stay(self, rows: SmallInts, group: SmallInts) -> None:
        """These are judged at home again."""
        self._forget(self._judged_in[rows], group)
        self._judged_in[rows] = self._closed

    def _visit(self, row: int, group: int) -> None:
        groups = self._abroad.setdefault(row, {})
        if group in groups:
            self._forget(np.array([groups[group]]), np.array([group]))
        groups[group] = self._closed

    def _forget(self, interval: SmallInts, group: SmallInts) -> None:
        """Take sessions off the intervals in which they were counted before, as far as those are still held."""
        # The present interval is not appended yet: the one before it is the last.
        age, left = self._closed - interval, len(interval)
        for ago in range(1, len(self._newest) + 1):
            there = age == ago
            if number := int(np.count_nonzero(there)):
                counted = group if number == len(group) else group[there]
                self._newest[-ago] -= np.bincount(counted, minlength=len(self._newest[-ago]))
                left -= number
            if not left:  # nearly all were there in the interval before
                return

    def _grow(self) -> None:
        """Columns for every row of the table; new ones have no home."""
        used, room = self._used, self._sessions.capacity
        if room > len(self._home):
            self._judged_in, self._home = (
                grow_columns(self._judged_in, used, room),
                grow_columns(self._home, used, room),
            )
        self._used = self._sessions.rows
        self._home[used : self._used] = NO_GROUP
