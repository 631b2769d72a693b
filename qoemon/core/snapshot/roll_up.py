"""Roll-ups: sums of a service's groups over some of their labels.

Counts are integers, so a roll-up is exactly what the groups together have, and its ratings and bounds are computed
from the sums as those of a group. What is summed are the sessions of each group: a session that moved is counted
once in each group that it was in during the window, as it is in the groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Counts, Flags, Floats, Ints
from qoemon.core.counting.counts import ServiceCounts
from qoemon.core.counting.groups import Groups, Labels
from qoemon.core.plan.roll_up import RollUpKey
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot

N = TypeVar("N", bound=np.generic)

LEFT_OUT = -1
"""In place of a group's number in the roll-up, if the roll-up does not have the group."""


@dataclass(frozen=True)
class Places:
    """Where the groups of a service are in a roll-up of R groups.

    groups  label values of the roll-up's groups, one tuple a group
    number  (G,) number of the roll-up's group in which each group is; LEFT_OUT if in none
    free    (R,) numbers that no group of the roll-up has
    """

    groups: tuple[Labels, ...]
    number: Ints
    free: Flags


class RollUpGroups:
    """Numbers the groups of one roll-up of one service. The number of a group never changes while it has sessions.

    labels  names of the group labels
    limit   maximum number of groups of the service; a roll-up has no more
    """

    def __init__(self, key: RollUpKey, labels: Sequence[str], limit: int) -> None:
        self._kept = tuple(labels.index(name) for name in key.by)
        self._where = {labels.index(name): frozenset(values) for name, values in key.where}
        self._groups = Groups(len(self._kept), limit + 1)
        self._newest: tuple[tuple[Labels, ...], Places] | None = None

    @property
    def all(self) -> tuple[Labels, ...]:
        """The label values of each group of the roll-up, in the order of their numbers."""
        return self._groups.all

    def places(self, groups: tuple[Labels, ...], free: Flags) -> Places:
        """Where these groups are in the roll-up; new groups of the roll-up are numbered.

        free  (G,) numbers that no group has
        """
        if self._newest is None or self._newest[0] != groups:
            unused = free.tolist()
            number = [
                LEFT_OUT if unused[at] or not self._has(labels) else self._groups.number(self._values(labels))[0]
                for at, labels in enumerate(groups)
            ]
            places = Places(self._groups.all, np.array(number, np.int64), self._groups.free)
            self._newest = groups, places
        return self._newest[1]

    def remove_without(self, groups: tuple[Labels, ...], free: Flags) -> Ints:
        """Remove the groups of the roll-up in which none of these groups is; returns their numbers."""
        left = set(self.places(groups, free).number.tolist())
        unused = self._groups.free.tolist()
        numbers = [at for at in range(len(self._groups)) if at not in left and not unused[at]]
        removed = np.array(numbers if self._groups.labelled else [], np.int64)
        self._groups.remove(removed)
        self._newest = None
        return removed

    def load(self, groups: tuple[Labels, ...]) -> None:
        """Restore groups from `all`."""
        self._groups.load(groups)

    def _has(self, labels: Labels) -> bool:
        return all(labels[place] in values for place, values in self._where.items())

    def _values(self, labels: Labels) -> Labels:
        return tuple(labels[place] for place in self._kept)


def roll_up(snapshot: Snapshot, key: RollUpKey, service: ServiceSnapshot) -> ServiceSnapshot:
    """The sums of a service of the snapshot; if the snapshot has them already, they are not computed again."""
    if key in snapshot.roll_ups and service.service.name in snapshot.roll_ups[key].services:
        return snapshot.roll_ups[key].services[service.service.name]
    counts = service.counts
    places = RollUpGroups(key, snapshot.labels, len(counts.groups)).places(counts.groups, counts.free)
    total = Sums(counts).of(places)
    return service.predictor.snapshot(total, service.where_first)


class Sums:
    """Sums the counts of a service, for one roll-up or several.

    Histograms have millions of cells, nearly all 0: those that are not are found once for all roll-ups.
    """

    def __init__(self, counts: ServiceCounts) -> None:
        self._counts = counts
        self._cells: dict[int, _Cells] = {}
        """By id of the histogram, which the counts hold."""

    def of(self, places: Places, windows: Mapping[int, Counts] | None = None) -> ServiceCounts:
        """The counts of a roll-up. windows: sums that are known already, by the window's length in seconds."""
        counts, rows = self._counts, _Rows(places)
        known = windows or {}
        return ServiceCounts(
            service=counts.service,
            groups=places.groups,
            windows={
                length: known[length] if length in known else self._histogram(each, places)
                for length, each in counts.windows.items()
            },
            users={length: rows.sum(users) for length, users in counts.users.items()},
            squares={length: rows.sum(squares) for length, squares in counts.squares.items()},
            qos=self._histogram(counts.qos, places),
            active_sessions=rows.sum(counts.active_sessions),
            open_stalls=rows.sum(counts.open_stalls),
            oldest_stall_s=rows.greatest(counts.oldest_stall_s),
            heard=rows.sum(counts.heard),
            doubtful=rows.sum(counts.doubtful),
            quality=rows.sum(counts.quality),
            # As exported: the sum over the groups' counters gives the same.
            expected_ratings=rows.sum(counts.exported_ratings),
            marginals=tuple(rows.sum(each) for each in counts.exported_marginals),
            starts=rows.sum(counts.exported_starts),
            feedback=counts.feedback,
            new=np.zeros(len(places.groups), np.bool_),
            free=places.free,
        )

    def _histogram(self, histogram: Counts, places: Places) -> Counts:
        """(R, B) sums of a histogram (G, B)."""
        cells = self._cells.get(id(histogram))
        if cells is None:
            cells = self._cells[id(histogram)] = _Cells.of(histogram)
        number = places.number[cells.group]
        size, bins = len(places.groups), histogram.shape[1]
        into, values = number * bins + cells.bin, cells.number
        if LEFT_OUT in places.number:
            inside = number != LEFT_OUT
            into, values = into[inside], values[inside]
        # Floats hold these counts exactly: they stay far below 2**53.
        total = np.bincount(into, weights=values, minlength=size * bins)
        return np.rint(total).astype(np.int64).reshape(size, bins)


class _Cells(NamedTuple):
    """The cells of a histogram that are not 0: (N,) group, bin and number of conditions of each."""

    group: Ints
    bin: Ints
    number: Counts

    @classmethod
    def of(cls, histogram: Counts) -> _Cells:
        flat = histogram.ravel()
        cells = np.flatnonzero(flat)
        group, bins = np.divmod(cells, histogram.shape[1])
        return cls(group, bins, flat[cells])


class _Rows:
    """Sums columns (G, ...) of a service's groups into (R, ...) of a roll-up."""

    def __init__(self, places: Places) -> None:
        inside = np.flatnonzero(places.number != LEFT_OUT)
        order = np.argsort(places.number[inside], kind="stable")
        self._size, self._rows = len(places.groups), inside[order]
        self._filled, self._begins = np.unique(places.number[self._rows], return_index=True)

    def sum(self, column: NDArray[N]) -> NDArray[N]:
        """(R, ...) sum of a column."""
        return self._reduced(column, np.add.reduceat)

    def greatest(self, column: Floats) -> Floats:
        """(R,) maximum of a column, and 0."""
        return self._reduced(column, np.maximum.reduceat)

    def _reduced(self, column: NDArray[N], reduce: Callable[..., NDArray[N]]) -> NDArray[N]:
        out = np.zeros((self._size, *column.shape[1:]), column.dtype)
        if len(self._rows):
            out[self._filled] = reduce(column[self._rows], self._begins, axis=0)
        return out
