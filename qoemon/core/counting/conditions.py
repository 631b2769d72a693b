"""From the reports of a service to the histogram of its base window: one implementation for each kind of QoS."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from qoemon.core.arrays import Arrays, Counts, Floats, Ints, SmallInts
from qoemon.core.counting.session_table import Admitted
from qoemon.core.wire.batch import Placed


class BaseWindow(NamedTuple):
    """A base window. G groups, M bins to rate in, B bins to read.

    levels  (G, M) the conditions in the service's rated_at bins
    qos     (G, B) the same in the service's bins
    users   (G,) how many sessions they are of
    rows, groups  the sessions that they are of, ascending, and the group of each, every pair once
    """

    levels: Counts
    qos: Counts
    users: Ints
    rows: SmallInts
    groups: SmallInts


class Conditions(Protocol):
    """Columns beside a SessionTable, row for row. Time moves by enter()."""

    def apply(self, admitted: Admitted, placed: Placed) -> int:
        """Count the reports of a batch; returns how many reported a counter that fell."""

    def base_window(self, at_s: float, groups: int) -> BaseWindow:
        """The rating interval that ends at at_s."""

    def open_stalls(self) -> tuple[Ints, Floats]:
        """Rows with an open stall, and since when, seconds since the epoch."""

    def enter(self, tick: int) -> None:
        """Begin a tick."""

    def shift(self, by_s: int, tick: int) -> None:
        """Move all times by whole rating intervals; tick is the present one, moved."""

    def remove(self, rows: Ints) -> None:
        """Forget these sessions."""

    def dump(self) -> Arrays:
        """All that is held, of the sessions in the order of SessionTable.occupied."""

    def load(self, state: Arrays, rows: Ints) -> None:
        """Restore what dump() gave, for the rows that the session table gave out."""
