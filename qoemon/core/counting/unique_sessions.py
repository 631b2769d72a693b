"""Number of distinct sessions in a window.

A session with conditions in all sixty rating intervals of an hour is one user, not sixty. It is counted in the
newest interval in which it has a condition: with each new one, its count moves there. So the sum over the
intervals of a window counts each session once, also those that have left the table since. A session with conditions
in several groups is a user of each: its home is the first group; further groups are stored separately, as few
sessions have any.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qoemon.core.arrays import Arrays, Ints, SmallInts, grow_columns
from qoemon.core.counting.session_table import NO_GROUP, ROWS_AT_ONCE, SessionTable

GONE = -2
"""Home of a session whose first group was removed: unlike one without a home, it has no other home."""

Recounted = dict[int, Ints]
"""(G,) sessions by the age, in intervals, of the interval that counted them."""


class UniqueSessions:
    """The interval in which each session of a table is counted, for windows of up to `intervals` intervals."""

    def __init__(self, sessions: SessionTable, intervals: int) -> None:
        self._sessions, self._intervals = sessions, intervals
        # Late conditions may belong to intervals before the first one here: these have numbers above 0, too.
        self._closed = intervals
        self._used = 0
        self._counted_in = np.zeros(0, np.int32)
        """(rows,) number of the interval in which each session is counted in its home group, from 1; 0 for none."""
        self._home = np.zeros(0, np.int32)
        """(rows,) its home group, or NO_GROUP."""
        self._elsewhere: dict[int, dict[int, int]] = {}
        """By row and group, the interval in which sessions are counted in further groups."""

    def close(self, rows: SmallInts, group: SmallInts, groups: int) -> Mapping[int, Ints]:
        """Count the sessions of a closed interval; returns those that an earlier interval counted so far.

        rows, group  rows of sessions with conditions, ascending, and the group of each; every pair is unique
        groups       number of groups, G
        returns      (G,) sessions by the age of the interval that counted them; age 1 is the interval before
        """
        self._grow()
        self._closed += 1
        recounted: Recounted = {}
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            part = slice(begin, begin + ROWS_AT_ONCE)
            before = int(rows[begin - 1]) if begin else -1
            self._count(rows[part], group[part], before, groups, recounted, self._closed)
        return recounted

    def age(self, rows: Ints, group: Ints) -> Ints:
        """(N,) intervals since the one that counts each session in a group; at most the longest window's number."""
        self._grow()
        counted_in = self._counted(rows, group)
        return np.where(counted_in == 0, self._intervals, np.minimum(self._closed - counted_in, self._intervals))

    def count_late(self, rows: Ints, group: Ints, groups: int, ago: int) -> tuple[Ints, Mapping[int, Ints]]:
        """Count sessions in an interval that has closed before, unless a newer one counts them.

        rows, group, groups  as in close()
        ago      age of the interval, in intervals; 0 is the newest closed one
        returns  (G,) sessions that this interval counts now, and those that an earlier one counted so far, by the
                 age of that one
        """
        self._grow()
        recounted: Recounted = {}
        number = self._closed - ago
        if number <= 0 or ago >= self._intervals:
            return np.zeros(groups, np.int64), recounted
        moves = np.flatnonzero(self._counted(rows, group) < number)
        rows, group = rows[moves], group[moves]
        self._count(rows, group, -1, groups, recounted, number)
        return np.bincount(group, minlength=groups), recounted

    def _counted(self, rows: Ints, group: Ints) -> Ints:
        """(N,) the interval that counts each session in a group; 0 for none."""
        counted_in = self._counted_in[rows].astype(np.int64)
        for index in np.flatnonzero((self._home[rows] != group) & (self._home[rows] != NO_GROUP)).tolist():
            counted_in[index] = self._elsewhere.get(int(rows[index]), {}).get(int(group[index]), 0)
        return counted_in

    def remove(self, rows: Ints) -> None:
        """Free these rows for other sessions; intervals keep the counts of the former ones."""
        self._grow()
        self._counted_in[rows], self._home[rows] = 0, NO_GROUP
        for row in self._elsewhere.keys() & set(rows.tolist()):
            del self._elsewhere[row]

    def remove_groups(self, groups: Ints) -> None:
        """Forget these groups, which no window covers any more; sessions that have left them stay."""
        self._grow()
        self._home[: self._used][np.isin(self._home[: self._used], groups)] = GONE
        removed = set(groups.tolist())
        for counted_in in self._elsewhere.values():
            for group in counted_in.keys() & removed:
                del counted_in[group]

    def dump(self) -> Arrays:
        """The whole state, with the sessions in the order of SessionTable.dump()."""
        self._grow()
        occupied = self._sessions.occupied
        index = np.searchsorted(occupied, list(self._elsewhere)).tolist()
        found = zip(index, self._elsewhere.values(), strict=True)
        elsewhere = [(at, *pair) for at, pairs in found for pair in pairs.items()]
        return {
            "closed": np.array(self._closed),
            "judged_in": self._counted_in[occupied].astype(np.int64),
            "home": self._home[occupied].astype(np.int64),
            "abroad": np.array(elsewhere, np.int64).reshape(len(elsewhere), 3),
        }

    def load(self, state: Arrays, rows: Ints) -> None:
        """Restore a dump(); rows are those that SessionTable.load() returned."""
        self._grow()
        self._closed = int(state["closed"])
        self._counted_in[rows], self._home[rows] = state["judged_in"], state["home"]
        for index, group, interval in state["abroad"].tolist():
            self._elsewhere.setdefault(int(rows[index]), {})[group] = interval

    def _count(
        self, rows: SmallInts, group: SmallInts, row_before: int, groups: int, recounted: Recounted, number: int
    ) -> None:
        """Count sessions in the interval of this number."""
        home = self._home[rows]
        at_home = home == group
        if at_home.all():
            self._recount(rows, group, groups, recounted, number)
            return
        self._recount(rows[at_home], group[at_home], groups, recounted, number)
        new = (home == NO_GROUP) & (np.diff(rows, prepend=row_before) != 0)
        self._home[rows[new]], self._counted_in[rows[new]] = group[new], number
        elsewhere = ~(new | at_home)
        for row, other in zip(rows[elsewhere].tolist(), group[elsewhere].tolist(), strict=True):
            self._recount_elsewhere(row, other, groups, recounted, number)

    def _recount(self, rows: SmallInts, group: SmallInts, groups: int, recounted: Recounted, number: int) -> None:
        """Move the counts of sessions in their home group to the interval of this number."""
        self._subtract(self._counted_in[rows], group, groups, recounted)
        self._counted_in[rows] = number

    def _recount_elsewhere(self, row: int, group: int, groups: int, recounted: Recounted, number: int) -> None:
        counted_in = self._elsewhere.setdefault(row, {})
        if group in counted_in:
            self._subtract(np.array([counted_in[group]]), np.array([group]), groups, recounted)
        counted_in[group] = number

    def _subtract(self, counted_in: SmallInts, group: SmallInts, groups: int, recounted: Recounted) -> None:
        """Add to recounted the intervals that counted these sessions, if a window may still cover them."""
        age, remaining = self._closed - counted_in, len(counted_in)
        for ago in range(1, min(self._intervals, self._closed - 1) + 1):
            same_age = age == ago
            if number := int(np.count_nonzero(same_age)):
                counted = group if number == len(group) else group[same_age]
                sessions = np.bincount(counted, minlength=groups)
                recounted[ago] = recounted[ago] + sessions if ago in recounted else sessions
                remaining -= number
            if not remaining:  # nearly all were counted in the interval before
                return

    def _grow(self) -> None:
        """Extend the columns to all rows of the table; new rows have no home."""
        used, room = self._used, self._sessions.capacity
        if room > len(self._home):
            self._counted_in = grow_columns(self._counted_in, used, room)
            self._home = grow_columns(self._home, used, room)
        self._used = self._sessions.rows
        self._home[used : self._used] = NO_GROUP
