"""How many distinct sessions stand behind a window.

A session that counts in sixty rating intervals of an hour is one user, not sixty. It is counted in the newest
interval in which it was judged: when it is judged again, it moves there. So the sum over the last intervals of a
window counts each session once, also those that have left the table since.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.histogram import Ints, grown
from qoemon.core.sessions import SessionTable


class Users:
    """Distinct sessions of the last `intervals` rating intervals, by group."""

    def __init__(self, sessions: SessionTable, intervals: int) -> None:
        self._sessions = sessions
        self._closed = 0
        self._newest: deque[Ints] = deque(maxlen=intervals)
        self._judged_in = np.zeros(0, np.int64)
        """(rows,) the number of the interval in which each session was judged last, from 1; 0 is never."""
        self._group = np.zeros(0, np.int64)
        """(rows,) the group it was in then."""

    def close(self, rows: Ints, groups: int) -> None:
        """An interval is over in which the sessions of these rows were judged."""
        self._grow()
        self._closed += 1
        group = self._sessions.group[rows].astype(np.int64)
        before = self._closed - self._judged_in[rows]
        # Who has changed the group since was a user of the other one too.
        moves = (before <= len(self._newest)) & (self._group[rows] == group)
        for age in np.unique(before[moves]).tolist():
            np.subtract.at(self._newest[-age], group[moves & (before == age)], 1)
        self._newest.append(np.bincount(group, minlength=groups))
        self._judged_in[rows], self._group[rows] = self._closed, group

    def behind(self, intervals: int, groups: int) -> Ints:
        """(groups,) distinct sessions that were judged in the last so many intervals."""
        total = np.zeros(groups, np.int64)
        for counts in list(self._newest)[-intervals:]:
            total[: len(counts)] += counts
        return total

    def remove(self, rows: Ints) -> None:
        """These rows will serve other sessions; what they were counted for stays."""
        self._grow()
        self._judged_in[rows] = 0

    def dump(self) -> dict[str, NDArray[Any]]:
        """The sessions that are there, in the order of SessionTable.dump, and the counts of each interval."""
        self._grow()
        there = self._sessions.there
        groups = max((len(counts) for counts in self._newest), default=0)
        intervals = [grown(counts, groups) for counts in self._newest]
        return {
            "closed": np.array(self._closed),
            "newest": np.array(intervals).reshape(len(self._newest), groups),
            "judged_in": self._judged_in[there],
            "group": self._group[there],
        }

    def load(self, state: dict[str, NDArray[Any]], rows: Ints) -> None:
        """Take over what dump() gave, for the rows that the session table gave out."""
        self._grow()
        self._closed = int(state["closed"])
        self._newest.extend(state["newest"].copy())
        self._judged_in[rows], self._group[rows] = state["judged_in"], state["group"]

    def _grow(self) -> None:
        self._judged_in = grown(self._judged_in, self._sessions.capacity)
        self._group = grown(self._group, self._sessions.capacity)
