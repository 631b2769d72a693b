"""The interface between reports and the base window of a service: one implementation per kind of QoS."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from qoemon.core.arrays import Arrays, Counts, Floats, Ints, SmallInts
from qoemon.core.counting.session_table import Admitted
from qoemon.core.wire.batch import Placed


class BaseWindow(NamedTuple):
    """The conditions of a rating interval. G groups, M bins that are rated, B bins that are shown.

    levels  (G, M) number of conditions in each of the service's rated_at bins
    qos     (G, B) the same conditions in the service's bins
    users   (G,) number of distinct sessions behind them
    rows, groups  rows of these sessions, ascending, and the group of each; every pair is unique
    """

    levels: Counts
    qos: Counts
    users: Ints
    rows: SmallInts
    groups: SmallInts


class Conditions(Protocol):
    """Columns parallel to a SessionTable, with the same rows. Time moves by enter()."""

    def apply(self, admitted: Admitted, placed: Placed) -> int:
        """Count the reports of a batch; returns the number of reports with a counter reset."""

    def base_window(self, at_s: float, groups: int) -> BaseWindow:
        """The conditions of the rating interval that ends at at_s, seconds since the epoch."""

    def open_stalls(self) -> tuple[Ints, Floats]:
        """Rows with an open stall, and since when it has been open, seconds since the epoch."""

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
