"""What each run of a session was counted with: the answer to "what did you make of this viewer?".

A monitor has a log only if somebody wants the records, such as `qoemon replay --sessions`. The log is a few columns
parallel to the SessionTable; a record is handed on when its run leaves the table, so memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from qoemon.core.arrays import Flags, Floats, Ints, grow_columns
from qoemon.core.counting.groups import Labels
from qoemon.core.counting.quality import UNKNOWN, mos_of
from qoemon.core.counting.session_table import Key, SessionTable
from qoemon.core.plan.plan import Service
from qoemon.core.wire.report import ABSENT_INT


class SessionRecord(NamedTuple):
    """One run of a session. Times in seconds since the epoch, on the daemon's clock.

    labels        values of the group in which it was counted, in the order of the plan
    run           the `run` that its client reports, else a number from 1
    stalls, stall_ms, play_ms  what was counted; 0 if its service does not rate stalls
    startup_ms    time from the start to the first picture, of players; None if it is not known, or it never played
    measurements  number of response times, or reports with measures, that were counted
    ended         whether its client reported the end, and nothing after it
    duplicates    reports that were repeated or older, and added nothing
    implausible_ms  what was reported beyond what is possible, and not counted
    quality_mos   mean MOS of what was shown, by media time; None if its service rates no quality, or it told none
    """

    service: str
    labels: Labels
    session: str
    run: str
    first_heard_s: float
    last_heard_s: float
    stalls: int
    stall_ms: int
    play_ms: int
    startup_ms: int | None
    measurements: int
    ended: bool
    duplicates: int
    implausible_ms: int
    quality_mos: float | None = None


OnSession = Callable[[SessionRecord], object]
"""Called with the record of each run that is over."""

_COLUMNS = ("number", "heard_s", "sums", "startup_ms", "ended")
_STALLS, _STALL_MS, _PLAY_MS, _MEASUREMENTS, _DUPLICATES, _IMPLAUSIBLE_MS, _KNOWN_MS, _QUALITY = range(8)


class SessionLog:
    """Columns parallel to a SessionTable. They are not part of its state: a log begins when it is created.

    number      (rows,) int32, which run of its session this is, from 1; 0 if that is not known yet
    heard_s     (rows,) seconds from the first report to the last one; NaN before the first
    sums        (8, rows) what was counted, as in SessionRecord; media time of known quality, and that times quality
    startup_ms  (rows,) startup time; ABSENT_INT if it is not known
    ended       (rows,) whether the last report was marked as the end
    """

    def __init__(self, service: Service, sessions: SessionTable, limit: int, on_session: OnSession) -> None:
        self._service, self._sessions, self._on_session = service.name, sessions, on_session
        self._scale = service.scale
        self._limit = limit
        self._numbers: dict[str, int] = {}
        """Of sessions that have left the table, at most `limit`, the number of their last run."""
        self._used = 0
        self.number = np.zeros(0, np.int32)
        self.heard_s = np.zeros(0)
        self.sums = np.zeros((8, 0), np.int64)
        self.startup_ms = np.zeros(0, np.int64)
        self.ended = np.zeros(0, np.bool_)

    def hear(self, row: Ints, at_s: Floats, end: Flags) -> None:
        """Record that a report of each of these distinct rows counts; SessionTable.hear() follows."""
        self._grow()
        first = np.isnan(self.heard_s[row])
        for one in row[self.number[row] == 0].tolist():
            key = self._sessions.key(one)
            self.number[one] = 1 + (self._numbers.pop(key, 0) if isinstance(key, str) else 0)
        # The table moves the time of the last report when it learns more about a client's clock; the time between
        # reports stays.
        last_s = self._sessions.last_s[row]
        self.heard_s[row] = np.where(first, 0, self.heard_s[row] + np.maximum(at_s - last_s, 0))
        self.ended[row] = end

    def add_stalls(self, row: Ints, reported: Ints, counted: Ints) -> None:
        """Add (3, R) stalls, stall_ms and play_ms, as reported and as counted, of these distinct rows."""
        self._grow()
        self.sums[_STALLS : _PLAY_MS + 1, row] += counted
        self.sums[_IMPLAUSIBLE_MS, row] += (reported - counted)[1:].sum(axis=0)

    def add_measurements(self, row: Ints, counted: Ints, implausible_ms: Ints) -> None:
        """Add (R,) measurements that count, and the time in those that do not, of these distinct rows."""
        self._grow()
        self.sums[_MEASUREMENTS, row] += counted
        self.sums[_IMPLAUSIBLE_MS, row] += implausible_ms

    def add_quality(self, row: Ints, play_ms: Ints, quality: Ints) -> None:
        """Add (R,) media time and its quality, as in quality.py, of these distinct rows."""
        self._grow()
        known_ms = np.where(quality == UNKNOWN, 0, play_ms)
        self.sums[_KNOWN_MS, row] += known_ms
        self.sums[_QUALITY, row] += known_ms * quality

    def start(self, key: Key, startup_ms: int) -> None:
        """Record the startup time of a run."""
        self._grow()
        row = self._sessions.find(key)
        if row >= 0:
            self.startup_ms[row] = startup_ms

    def add_duplicates(self, row: Ints) -> None:
        """Count a report of each of these distinct rows that adds nothing."""
        self._grow()
        self.sums[_DUPLICATES, row] += 1

    def end(self, row: Ints) -> None:
        """Record that the end of these runs was reported, by a report that counts nothing else."""
        self._grow()
        self.ended[row] = True

    def renew(self, old: Ints, new: Ints) -> None:
        """New runs begin, of sessions whose former ones are in the rows `old`."""
        self._grow()
        self.number[new] = self.number[old] + 1

    def hand_on_all(self, groups: Sequence[Labels]) -> None:
        """Hand on all records, in the order of the first reports."""
        self._grow()
        rows = self._sessions.occupied
        first_s = self._sessions.last_s[rows] - self.heard_s[rows]
        self.hand_on(rows[np.argsort(first_s, kind="stable")], groups)

    def hand_on(self, rows: Ints, groups: Sequence[Labels]) -> None:
        """Hand on the records of these rows, whose runs are over; the rows are then empty."""
        self._grow()
        for row in rows.tolist():
            if not np.isnan(self.heard_s[row]):
                self._on_session(self._record(row, groups))
                self._remember(row)
            self.number[row], self.heard_s[row], self.sums[:, row] = 0, np.nan, 0
            self.startup_ms[row], self.ended[row] = ABSENT_INT, False

    def _record(self, row: int, groups: Sequence[Labels]) -> SessionRecord:
        sessions, sums = self._sessions, self.sums[:, row].tolist()
        key, last_s = sessions.key(row), float(sessions.last_s[row])
        startup_ms = int(self.startup_ms[row])
        session, run = (key, str(self.number[row])) if isinstance(key, str) else key
        return SessionRecord(
            service=self._service,
            labels=groups[int(sessions.group[row])],
            session=session,
            run=run,
            first_heard_s=last_s - float(self.heard_s[row]),
            last_heard_s=last_s,
            stalls=sums[_STALLS],
            stall_ms=sums[_STALL_MS],
            play_ms=sums[_PLAY_MS],
            startup_ms=None if startup_ms == ABSENT_INT else startup_ms,
            measurements=sums[_MEASUREMENTS],
            ended=bool(self.ended[row]),
            duplicates=sums[_DUPLICATES],
            implausible_ms=sums[_IMPLAUSIBLE_MS],
            quality_mos=self._quality_mos(row),
        )

    def _quality_mos(self, row: int) -> float | None:
        known_ms = int(self.sums[_KNOWN_MS, row])
        mean = self.sums[_QUALITY, row : row + 1] / max(known_ms, 1)
        return float(mos_of(mean, self._scale.low, self._scale.high)[0]) if known_ms else None

    def _remember(self, row: int) -> None:
        """Remember the number of a run: if its session is heard again later, the next number follows."""
        key = self._sessions.key(row)
        if not isinstance(key, str):
            return
        self._numbers[key] = max(self._numbers.pop(key, 0), int(self.number[row]))
        if len(self._numbers) > self._limit:
            del self._numbers[next(iter(self._numbers))]

    def _grow(self) -> None:
        if self._sessions.capacity > len(self.number):
            for name in _COLUMNS:
                setattr(self, name, grow_columns(getattr(self, name), self._used, self._sessions.capacity))
        used, self._used = self._used, self._sessions.rows
        self.heard_s[used : self._used] = np.nan
        self.startup_ms[used : self._used] = ABSENT_INT
