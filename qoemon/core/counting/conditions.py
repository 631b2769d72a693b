"""What turns the reports of a service into the histogram of its base window: one way for each kind of QoS."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from qoemon.core.arrays import Counts, Floats, Ints, SmallInts
from qoemon.core.counting.session_table import Admitted
from qoemon.core.wire.batch import Placed


class BaseWindow(NamedTuple):
    """A base window. G groups, M bins to judge in, B bins to read.

    levels  (G, M) the conditions in the service's rated_at bins
    qos     (G, B) the same in the service's bins
    users   (G,) how many sessions they are of
    rows, groups  the sessions that they are of, ascending, and where each was judged, every pair once
    """

    levels: Counts
    qos: Counts
    users: Ints
    rows: SmallInts
    groups: SmallInts


class Conditions(Protocol):
    """Columns beside a SessionTable, row for row. Time moves by enter()."""

    def apply(self, admitted: Admitted, placed: Placed) -> int:
        """Take in the reports of a batch; how many told a counter that fell."""

    def judge(self, at_s: float, groups: int) -> BaseWindow:
        """The rating interval that ends at at_s."""

    def open_stalls(self) -> tuple[Ints, Floats]:
        """Rows with an open stall, and since when, seconds since the epoch."""

    def enter(self, tick: int) -> None:
        """Begin a tick."""

    def shift(self, by_s: int, tick: int) -> None:
        """Move all times by whole rating intervals; tick is the present one, moved."""

    def remove(self, rows: Ints) -> None:
        """Forget these sessions."""

    def dump(self) -> dict[str, NDArray[Any]]:
        """All that is held, of the sessions in the order of SessionTable.there."""

    def load(self, state: dict[str, NDArray[Any]], rows: Ints) -> None:
        """Take over what dump() gave, for the rows that the session table gave out."""
