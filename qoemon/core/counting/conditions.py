"""The interface between reports and the base window of a service: one implementation per kind of QoS."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from qoemon.core.arrays import Arrays, Counts, Flags, Floats, Histogram, Ints, SmallInts
from qoemon.core.counting.late import LatePart
from qoemon.core.counting.runs import Reports
from qoemon.core.counting.tally import added
from qoemon.core.wire.batch import Batch


class Kept(NamedTuple):
    """The last conditions of runs that report seldom, (N,) each: shown until the next report, and not counted.

    owed  number of closed intervals, up to the present, for which the condition stands
    """

    row: Ints
    group: Ints
    level: Ints
    shown: Ints
    owed: Ints


NONE_KEPT = Kept(*(np.zeros(0, np.int64) for _ in range(5)))


class BaseWindow(NamedTuple):
    """The conditions of a rating interval. G groups, M bins that are rated, B bins that are shown.

    levels  (G, M) number of conditions in each of the service's rated_at bins
    qos     (G, B) the same conditions in the service's bins
    users   (G,) number of distinct sessions behind them
    squares  (G,) sum over these sessions of the square of their conditions
    rows, groups  rows of these sessions, ascending, and the group of each; every pair is unique
    numbers  conditions of each; None for one each
    kept    further conditions, of sessions that were not heard in the interval; not in the fields above
    quality  (G, COLUMNS) as in quality.py, with the conditions that are kept; without columns if it is not rated
    """

    levels: Histogram
    qos: Histogram
    users: Ints
    squares: Ints
    rows: SmallInts
    groups: SmallInts
    numbers: Ints | None = None
    kept: Kept = NONE_KEPT
    quality: Counts = np.zeros((0, 0), np.int64)

    def shown(self) -> BaseWindow:
        """With the conditions that are kept."""
        if not len(self.kept.group):
            return self
        group = self.kept.group
        sessions = np.bincount(group, minlength=len(self.users))
        levels, qos = added(self.levels, group, self.kept.level), added(self.qos, group, self.kept.shown)
        users, squares = self.users + sessions, self.squares + sessions
        return self._replace(levels=levels, qos=qos, users=users, squares=squares)


class Conditions(Protocol):
    """Columns parallel to a SessionTable, with the same rows. Time moves by enter().

    late_revision  grows whenever late() may yield something else, until the next rating interval closes
    """

    late_revision: int

    def apply(self, reports: Reports, batch: Batch, group: Ints, added: Ints, began: Flags) -> Flags:
        """Count one report of each of these rows; returns (R,) whether it is impossible in part.

        group  (R,) of each report
        added  (3, R) stalls, stall_ms and play_ms since the report before
        began  (R,) whether a run begins with the report
        """

    def measured(self, reports: Reports, batch: Batch) -> tuple[Ints, Ints]:
        """(R,) measurements that apply() counts, and (R,) milliseconds in those that are impossible."""

    def told_quality(self, reports: Reports, batch: Batch) -> Ints | None:
        """(R,) quality that these reports tell, as in quality.py; None if the service rates none."""

    def base_window(self, at_s: float, groups: int) -> BaseWindow:
        """The conditions of the rating interval that ends at at_s, seconds since the epoch."""

    def conditions_of(self, rows: Ints, at_s: float) -> Ints:
        """(N,) condition of each row in the rating interval that ends at at_s, as in FeedbackCounts."""

    def unsettled(self) -> Ints:
        """Rows for which settle() has something to do."""

    def late(self) -> LatePart:
        """What came late since settle() and will be rated."""

    def settle(self) -> None:
        """Rate what came late for closed intervals, before the next one closes."""

    def close(self, end_s: int, rows: SmallInts) -> None:
        """Record that these rows are counted in the interval that ends at end_s."""

    def open_stalls(self) -> tuple[Ints, Floats]:
        """Rows with an open stall, and since when it has been open, seconds since the epoch."""

    def end_stalls(self, rows: Ints) -> None:
        """Take these runs as not stalled any more: a new run of their session has begun."""

    def enter(self, tick: int) -> None:
        """Begin a tick."""

    def shift(self, by_s: int, tick: int) -> None:
        """Move all times by whole rating intervals, in seconds; tick is the current tick after that."""

    def remove(self, rows: Ints) -> None:
        """Forget these sessions."""

    def dump(self) -> Arrays:
        """The whole state, with the sessions in the order of SessionTable.occupied."""

    def load(self, state: Arrays, rows: Ints) -> None:
        """Restore a dump(); rows are those that SessionTable.load() returned."""
