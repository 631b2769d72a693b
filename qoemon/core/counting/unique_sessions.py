"""Number of distinct sessions in a window, and what is needed for their weights in it.

A session with conditions in all sixty rating intervals of an hour is one user, not sixty. It is counted in the
newest interval in which it has a condition: with each new one, its count moves there. So the sum over the
intervals of a window counts each session once, also those that have left the table since. A session with conditions
in several groups is a user of each: its home is the first group; further groups are stored separately, as few
sessions have any.

A session with k observations in a window has the weight k in its means. Of each session, the first and the last
interval and the number of observations are kept. They are taken to be spread evenly from the first to the last:
that is exact for a session with one in each interval, and for its first one after a pause.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qoemon.core.arrays import Arrays, Floats, Ints, SmallInts, grow_columns
from qoemon.core.counting.counts import Counted
from qoemon.core.counting.distances import UNITS
from qoemon.core.counting.pairs import Pairs
from qoemon.core.counting.session_table import NO_GROUP, ROWS_AT_ONCE, SessionTable

GONE = -2
"""Home of a session whose first group was removed: unlike one without a home, it has no other home."""

Recounted = dict[int, Ints]
"""(G,) sessions by the age, in intervals, of the interval that counted them."""


class _Spans(NamedTuple):
    """Observations of sessions in a group, (N,) each: intervals of the first and the last, from 1.

    extra  observations beyond one in each interval from first to last, less than 0 after pauses
    """

    first: Ints
    last: Ints
    extra: Ints

    @property
    def length(self) -> Ints:
        return self.last - self.first + 1

    @property
    def observed(self) -> Ints:
        return self.length + self.extra

    def pairs_each(self, numbers: Ints) -> Ints:
        """Units of pairs of (N,) new observations with each interval of the span."""
        return np.rint(numbers * self.observed * UNITS / self.length).astype(np.int64)

    def with_newer(self, number: int, numbers: Ints, intervals: int) -> _Spans:
        """With observations in an interval after the span. No window has both if the pause is too long."""
        last = np.full(len(self.last), number)
        forgotten = number - self.last >= intervals
        first = np.where(forgotten, number, self.first)
        observed = np.where(forgotten, 0, self.observed) + numbers
        return _Spans(first, last, observed - (last - first + 1))

    def with_older(self, number: int, numbers: Ints) -> _Spans:
        """With observations in an interval that is not after the span."""
        first = np.minimum(self.first, number)
        return _Spans(first, self.last, self.observed + numbers - (self.last - first + 1))


class _Into:
    """Where sessions are counted."""

    def __init__(self, number: int, groups: int, intervals: int) -> None:
        self.number, self.groups = number, groups
        self.recounted: Recounted = {}
        self.pairs = Pairs(groups, intervals)
        self.later: Ints = np.zeros(groups, np.int64)
        """(G,) pairs with the same interval and newer ones."""


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
        self._first = np.zeros(0, np.int32)
        self._extra = np.zeros(0, np.int32)
        """(rows,) of the session's _Spans in its home group, the last interval of which is _counted_in."""
        self._elsewhere: dict[int, dict[int, tuple[int, int, int]]] = {}
        """By row and group, the _Spans of sessions in further groups: first, last, extra."""

    def close(
        self, rows: SmallInts, group: SmallInts, users: Ints, squares: Ints, numbers: Ints | None = None
    ) -> Counted:
        """Count the sessions of a closed interval.

        rows, group     rows of sessions with conditions, ascending, and the group of each; every pair is unique
        users, squares  (G,) number of these sessions, and sum of the squares of their observations
        numbers         (N,) observations of each; None for one each
        """
        self._grow()
        self._closed += 1
        into = _Into(self._closed, len(users), self._intervals)
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            part = slice(begin, begin + ROWS_AT_ONCE)
            before = int(rows[begin - 1]) if begin else -1
            self._count(rows[part], group[part], None if numbers is None else numbers[part], before, into)
        return Counted(users, into.recounted, squares, into.pairs.by_range())

    def age(self, rows: Ints, group: Ints) -> Ints:
        """(N,) intervals since the one that counts each session in a group; at most the longest window's number."""
        self._grow()
        counted_in = self._counted(rows, group)
        return np.where(counted_in == 0, self._intervals, np.minimum(self._closed - counted_in, self._intervals))

    def observed(self, rows: Ints, group: Ints, intervals: int) -> Floats:
        """(N,) observations of sessions in a group in the last intervals that have closed."""
        self._grow()
        spans = self._spans(rows, group)
        begin = np.maximum(spans.first, self._closed - intervals + 1)
        share = np.maximum(spans.last - begin + 1, 0) / np.maximum(spans.length, 1)
        return np.where(spans.last == 0, 0.0, spans.observed * share)

    def count_late(self, rows: Ints, group: Ints, numbers: Ints, groups: int, ago: int) -> Counted:
        """Count sessions in an interval that has closed before, unless a newer one counts them.

        rows, group  rows of sessions with conditions, ascending, and the group of each; every pair is unique
        numbers      (N,) observations of each
        groups       number of groups, G
        ago          age of the interval, in intervals; 0 is the newest closed one
        """
        self._grow()
        number = self._closed - ago
        into = _Into(number, groups, self._intervals)
        own = squared_sums(group, groups, numbers)
        if number <= 0 or ago >= self._intervals:
            return Counted(np.zeros(groups, np.int64), {}, own, into.pairs.by_range())
        newer = self._counted(rows, group) < number
        moves, stays = np.flatnonzero(newer), np.flatnonzero(~newer)
        self._insert(rows[stays], group[stays], numbers[stays], into)
        rows, group = rows[moves], group[moves]
        self._count(rows, group, numbers[moves], -1, into)
        users = np.bincount(group, minlength=groups)
        return Counted(users, into.recounted, own + 2 * into.later, into.pairs.by_range())

    def _counted(self, rows: Ints, group: Ints) -> Ints:
        """(N,) the interval that counts each session in a group; 0 for none."""
        return self._spans(rows, group).last

    def _spans(self, rows: Ints, group: Ints) -> _Spans:
        """The spans of sessions in a group; 0 for none."""
        first, last, extra = (
            column[rows].astype(np.int64) for column in (self._first, self._counted_in, self._extra)
        )
        for index in np.flatnonzero((self._home[rows] != group) & (self._home[rows] != NO_GROUP)).tolist():
            known = self._elsewhere.get(int(rows[index]), {}).get(int(group[index]), (0, 0, 0))
            first[index], last[index], extra[index] = known
        return _Spans(first, last, extra)

    def _insert(self, rows: Ints, group: Ints, numbers: Ints, into: _Into) -> None:
        """Add observations to sessions that the interval or a newer one counts."""
        spans = self._spans(rows, group)
        inside = spans.first <= into.number
        each = spans.pairs_each(numbers)
        # Of the span, what is not before the interval: the pairs belong to the older interval of the two.
        share = np.where(inside, (spans.last - into.number + 1) / np.maximum(spans.length, 1), 1.0)
        later = np.rint(numbers * spans.observed * share).astype(np.int64)
        np.add.at(into.later, group, later)
        into.pairs.add(group, np.where(inside, into.number - spans.first, 0), each)
        self._store(rows, group, spans.with_older(into.number, numbers))

    def _store(self, rows: SmallInts, group: SmallInts, spans: _Spans) -> None:
        home = self._home[rows] == group
        at = rows[home]
        self._first[at], self._counted_in[at], self._extra[at] = (column[home] for column in spans)
        for index in np.flatnonzero(~home).tolist():
            of_row = self._elsewhere.setdefault(int(rows[index]), {})
            of_row[int(group[index])] = int(spans.first[index]), int(spans.last[index]), int(spans.extra[index])

    def remove(self, rows: Ints) -> None:
        """Free these rows for other sessions; intervals keep the counts of the former ones."""
        self._grow()
        self._counted_in[rows], self._first[rows], self._extra[rows], self._home[rows] = 0, 0, 0, NO_GROUP
        for row in self._elsewhere.keys() & set(rows.tolist()):
            del self._elsewhere[row]

    def remove_groups(self, groups: Ints) -> None:
        """Forget these groups, which no window covers any more; sessions that have left them stay."""
        self._grow()
        self._home[: self._used][np.isin(self._home[: self._used], groups)] = GONE
        removed = set(groups.tolist())
        for spans in self._elsewhere.values():
            for group in spans.keys() & removed:
                del spans[group]

    def dump(self) -> Arrays:
        """The whole state, with the sessions in the order of SessionTable.dump()."""
        self._grow()
        occupied = self._sessions.occupied
        index = np.searchsorted(occupied, list(self._elsewhere)).tolist()
        found = zip(index, self._elsewhere.values(), strict=True)
        elsewhere = [(at, group, *spans) for at, pairs in found for group, spans in pairs.items()]
        return {
            "closed": np.array(self._closed),
            "judged_in": self._counted_in[occupied].astype(np.int64),
            "home": self._home[occupied].astype(np.int64),
            "first": self._first[occupied].astype(np.int64),
            "extra": self._extra[occupied].astype(np.int64),
            "elsewhere": np.array(elsewhere, np.int64).reshape(len(elsewhere), 5),
        }

    def load(self, state: Arrays, rows: Ints) -> None:
        """Restore a dump(); rows are those that SessionTable.load() returned."""
        self._grow()
        self._closed = int(state["closed"])
        self._counted_in[rows], self._home[rows] = state["judged_in"], state["home"]
        # Earlier versions have not kept the weights of sessions: they begin with the newest interval.
        self._first[rows] = state.get("first", state["judged_in"])
        self._extra[rows] = state.get("extra", 0)
        for index, group, *span in (state["elsewhere"] if "elsewhere" in state else _former(state)).tolist():
            first, last, extra = span
            self._elsewhere.setdefault(int(rows[index]), {})[group] = first, last, extra

    def _count(self, rows: SmallInts, group: SmallInts, numbers: Ints | None, row_before: int, into: _Into) -> None:
        """Count sessions in an interval that is newer than all that have counted them."""
        home = self._home[rows]
        at_home = home == group
        if at_home.all():
            self._recount(rows, group, numbers, into)
            return
        self._recount(rows[at_home], group[at_home], None if numbers is None else numbers[at_home], into)
        new = (home == NO_GROUP) & (np.diff(rows, prepend=row_before) != 0)
        self._home[rows[new]], self._counted_in[rows[new]], self._first[rows[new]] = (
            group[new],
            into.number,
            into.number,
        )
        self._extra[rows[new]] = 0 if numbers is None else numbers[new] - 1
        elsewhere = np.flatnonzero(~(new | at_home))
        of_each = np.ones(len(elsewhere), np.int64) if numbers is None else numbers[elsewhere]
        self._recount_elsewhere(rows[elsewhere], group[elsewhere], of_each, into)

    def _recount(self, rows: SmallInts, group: SmallInts, numbers: Ints | None, into: _Into) -> None:
        """Move the counts of sessions in their home group to this interval."""
        at = _index(rows)
        last, first, extra = self._counted_in[at], self._first[at], self._extra[at]
        followed = self._subtract(last, group, into)
        if followed and numbers is None and not extra.any():
            into.pairs.add_runs(group, into.number - first)
            self._counted_in[at] = into.number
            return
        plain = (extra == 0) & (last == into.number - 1)
        if numbers is not None:
            plain &= numbers == 1
        into.pairs.add_runs(group[plain], (into.number - first)[plain])
        some = np.flatnonzero(~plain)
        spans = _Spans(*(column[some].astype(np.int64) for column in (first, last, extra)))
        of_each = np.ones(len(some), np.int64) if numbers is None else numbers[some]
        self._counted_in[at] = into.number
        self._extend(rows[some], group[some], spans, of_each, into)

    def _recount_elsewhere(self, rows: SmallInts, group: SmallInts, numbers: Ints, into: _Into) -> None:
        """Move the counts of sessions in further groups to this interval; those that are new there begin."""
        if not len(rows):
            return
        rows, group = rows.astype(np.int64), group.astype(np.int64)
        spans = self._spans(rows, group)
        known = spans.last > 0
        self._subtract(spans.last[known], group[known], into)
        new = np.full(np.count_nonzero(~known), into.number)
        self._store(rows[~known], group[~known], _Spans(new, new, numbers[~known] - 1))
        self._extend(rows[known], group[known], _Spans(*(column[known] for column in spans)), numbers[known], into)

    def _extend(self, rows: SmallInts, group: SmallInts, spans: _Spans, numbers: Ints, into: _Into) -> None:
        """Add observations after the spans of sessions, and their pairs with those."""
        each = spans.pairs_each(numbers)
        remembered = np.where(into.number - spans.last < self._intervals, into.number, 0)
        into.pairs.add(group, np.maximum(remembered - spans.first, 0), each)
        into.pairs.add(group, np.maximum(remembered - spans.last - 1, 0), -each)
        self._store(rows, group, spans.with_newer(into.number, numbers, self._intervals))

    def _subtract(self, counted_in: SmallInts, group: SmallInts, into: _Into) -> bool:
        """Add to `recounted` the intervals that counted these sessions, if a window may still cover them.

        Returns whether that was the interval before this one for all of them, as far as is known without looking.
        """
        recounted = into.recounted
        age, remaining = self._closed - counted_in, len(counted_in)
        for ago in range(1, min(self._intervals, self._closed - 1) + 1):
            same_age = age == ago
            if number := int(np.count_nonzero(same_age)):
                counted = group if number == len(group) else group[same_age]
                sessions = np.bincount(counted, minlength=into.groups)
                recounted[ago] = recounted[ago] + sessions if ago in recounted else sessions
                remaining -= number
            if not remaining:  # nearly all were counted in the interval before
                return ago == 1 and into.number == self._closed
        return False

    def _grow(self) -> None:
        """Extend the columns to all rows of the table; new rows have no home."""
        used, room = self._used, self._sessions.capacity
        if room > len(self._home):
            self._counted_in = grow_columns(self._counted_in, used, room)
            self._first = grow_columns(self._first, used, room)
            self._extra = grow_columns(self._extra, used, room)
            self._home = grow_columns(self._home, used, room)
        self._used = self._sessions.rows
        self._home[used : self._used] = NO_GROUP


def squared_sums(group: SmallInts, groups: int, numbers: Ints) -> Ints:
    """(G,) sum over sessions of the square of their observations."""
    total: Ints = np.zeros(groups, np.int64)
    np.add.at(total, group, numbers**2)
    return total


def _index(rows: SmallInts) -> SmallInts | slice:
    """Distinct rows, ascending; as a slice if there is none between them: without a copy of what they index."""
    whole = len(rows) and int(rows[-1]) - int(rows[0]) == len(rows) - 1
    return slice(int(rows[0]), int(rows[-1]) + 1) if whole else rows


def _former(state: Arrays) -> Ints:
    """The sessions in further groups, from a state of an earlier version."""
    index, group, last = state["abroad"].T
    return np.column_stack([index, group, last, last, np.zeros_like(last)])
