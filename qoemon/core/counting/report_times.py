"""The time at which a report counts, on the daemon's clock, whatever the clock of its client shows.

With `clock: auto` it is the report's `ts` plus the session's delay: the least difference of arrival and `ts` so
far. A clock that is wrong by years has a delay of years, and its differences are right all the same.

A session's first report cannot show whether its clock is slow or the report is late, such as after an outage of the
daemon during which the broker kept it. Until that is known, `ts` is taken for right if it is in the past, and no
further than the longest window. A delay that stays the same from one report to the next belongs to the clock; a
delay that shrinks while `ts` grows belongs to a backlog.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Flags, Floats, Ints, grow_columns
from qoemon.core.counting.session_table import SessionTable
from qoemon.core.plan.plan import Clock, Timing
from qoemon.core.wire.report import ABSENT_FLOAT

JITTER_S = 1.0
"""By how much the delay of reports that arrive as they are sent may differ."""

_COLUMNS = ("delay_s", "settled")


class Learnt(NamedTuple):
    """What is known of some rows, (R,) each: as the columns of ReportTimes, and SessionTable.last_s."""

    delay_s: Floats
    settled: Flags
    last_s: Floats


class ReportTimes:
    """Columns parallel to a SessionTable, used with `clock: auto` only.

    delay_s  (rows,) the least arrival minus ts of the run, seconds; NaN before the first ts
    settled  (rows,) whether the delay is known to belong to the client's clock
    """

    def __init__(self, sessions: SessionTable, timing: Timing) -> None:
        self._sessions, self._clock = sessions, timing.clock
        self._horizon_s = max(timing.windows_s)
        self._used = 0
        self.delay_s = np.zeros(0)
        self.settled = np.zeros(0, np.bool_)

    @property
    def automatic(self) -> bool:
        """Whether the clocks of clients are estimated."""
        return self._clock is Clock.AUTO

    def place(self, row: Ints, ts_s: Floats, arrival_s: Floats) -> tuple[Floats, Flags]:
        """(R,) time of one report of each of these distinct rows, and (R,) whether its ts is in the future."""
        if self._clock is Clock.ARRIVAL:
            return arrival_s.copy(), np.zeros(len(row), np.bool_)
        with_ts = ts_s != ABSENT_FLOAT
        if self._clock is Clock.REPORT:
            reported = np.where(with_ts, ts_s, arrival_s)
            return np.minimum(reported, arrival_s), reported > arrival_s
        at_s = arrival_s.copy()
        if with_ts.any():
            some = np.flatnonzero(with_ts)
            at_s[some] = self._on_our_clock(row[some], ts_s[some], arrival_s[some])
        return at_s, np.zeros(len(row), np.bool_)

    def learnt(self, row: Ints) -> Learnt | None:
        """What is known of the clocks of these rows, and when they were last heard; None if nothing is learnt."""
        if self._clock is not Clock.AUTO:
            return None
        self._grow()
        return Learnt(self.delay_s[row], self.settled[row], self._sessions.last_s[row])

    def unlearn(self, row: Ints, before: Learnt | None, some: Flags) -> None:
        """Go back to what learnt() returned, for some of these rows (R,): place() was given what does not count."""
        if before is not None:
            rows = row[some]
            self.delay_s[rows], self.settled[rows] = before.delay_s[some], before.settled[some]
            self._sessions.last_s[rows] = before.last_s[some]

    def time_of(self, row: int, ts_s: float, arrival_s: float) -> float:
        """Time of what is no report of the session in this row: its clock is used, and not learnt from.

        row  -1 if the session is not in the table: `ts` is taken for right
        """
        if self._clock is Clock.ARRIVAL or ts_s == ABSENT_FLOAT:
            return arrival_s
        if self._clock is Clock.REPORT:
            return min(ts_s, arrival_s)
        self._grow()
        at_s = ts_s if row < 0 else ts_s + float(self._offset_s(np.array([row]))[0])
        return arrival_s if np.isnan(at_s) else min(at_s, arrival_s)

    def reset(self, row: Ints, ts_s: Floats, arrival_s: Floats) -> None:
        """Take these clocks for set back: a report continues its run, but its time is before the one before."""
        if self._clock is Clock.AUTO:
            self._grow()
            self.delay_s[row] = np.where(ts_s == ABSENT_FLOAT, np.nan, arrival_s - ts_s)
            self.settled[row] = True

    def copy(self, old: Ints, new: Ints) -> None:
        """The clock of a new run is that of the run before."""
        self._grow()
        self.delay_s[new], self.settled[new] = self.delay_s[old], self.settled[old]

    def shift(self, by_s: int) -> None:
        """Our clock was set by so many seconds; those of the clients were not, and their delay is no backlog."""
        self._grow()
        self.delay_s += by_s
        self.settled |= ~np.isnan(self.delay_s)

    def remove(self, rows: Ints) -> None:
        """Remove these runs."""
        self._grow()
        self.delay_s[rows], self.settled[rows] = np.nan, False

    def dump(self) -> dict[str, NDArray[Any]]:
        """The columns of all runs, in the order of SessionTable.occupied."""
        self._grow()
        return {name: getattr(self, name)[self._sessions.occupied] for name in _COLUMNS}

    def load(self, state: dict[str, NDArray[Any]], rows: Ints) -> None:
        """Restore a dump(); rows are those that SessionTable.load() returned."""
        self._grow()
        for name, column in state.items():
            getattr(self, name)[rows] = column

    def _on_our_clock(self, row: Ints, ts_s: Floats, arrival_s: Floats) -> Floats:
        self._grow()
        known, delay_s = self.delay_s[row], arrival_s - ts_s
        before = self._offset_s(row)
        least = np.fmin(known, delay_s)
        if not self.settled[row].all():
            advance_s = ts_s - (self._sessions.last_s[row] - before)
            self.settled[row] |= (advance_s >= JITTER_S) & (known - delay_s < advance_s / 2)
        self.delay_s[row] = least
        offset_s = self._offset_s(row)
        # The time between two reports is the difference of their ts, so the time of the last one moves along.
        self._sessions.last_s[row] += np.where(np.isnan(known), 0, offset_s - before)
        return np.minimum(ts_s + offset_s, arrival_s)

    def _offset_s(self, row: Ints) -> Floats:
        """(R,) what is added to ts: 0 while the delay may be that of a backlog."""
        delay_s = self.delay_s[row]
        late = ~self.settled[row] & (delay_s > 0) & (delay_s <= self._horizon_s)
        return np.where(late, 0.0, delay_s)

    def _grow(self) -> None:
        used, room = self._used, self._sessions.capacity
        if room > len(self.settled):
            for name in _COLUMNS:
                setattr(self, name, grow_columns(getattr(self, name), used, room))
        self._used = self._sessions.rows
        self.delay_s[used : self._used] = np.nan
