"""Adds up the tallies of one service over all shards that hold some of its sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from qoemon.core.arrays import Counts, Floats, Ints, grow_rows
from qoemon.core.counting.counts import ServiceCounts
from qoemon.core.counting.groups import Groups


class Merger:
    """Sessions must be whole on one shard; then the sum is what one Monitor of all sessions would have counted.

    Where no shard has changed a window, the merged one is the same array as before: Judge says again what it said.

    groups  those that have numbers in the merged tally; it takes in new ones. What it pools is added up as `other`
    """

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self._windows: dict[int, tuple[list[Counts], Counts]] = {}
        self._counted: dict[str, np.ndarray] = {}

    def merge(self, tallies: Sequence[ServiceCounts]) -> ServiceCounts:
        """The whole, with at least one group for each that any of them has."""
        total = _Total([self._places(tally) for tally in tallies], len(self.groups))

        def whole(of: Callable[[ServiceCounts], Counts]) -> Counts:
            return total([of(tally) for tally in tallies])

        return ServiceCounts(
            service=tallies[0].service,
            groups=self.groups.all,
            windows={length: self._window(tallies, length, total) for length in tallies[0].windows},
            users={length: whole(lambda t, length=length: t.users[length]) for length in tallies[0].users},  # type: ignore[misc]
            qos=whole(lambda t: t.qos),
            active_sessions=whole(lambda t: t.active_sessions),
            open_stalls=whole(lambda t: t.open_stalls),
            oldest_stall_s=total.most([tally.oldest_stall_s for tally in tallies]),
            expected_ratings=self._not_less("expected", total([tally.expected_ratings for tally in tallies])),
            marginals=tuple(
                self._not_less(f"axis {number}", total(list(axis)))
                for number, axis in enumerate(zip(*(t.marginals for t in tallies), strict=True))
            ),
        )

    def _places(self, tally: ServiceCounts) -> Ints:
        """(G,) where each of its groups is in the whole."""
        return np.array([self.groups.number(labels)[0] for labels in tally.groups], np.int64)

    def _not_less(self, name: str, counted: np.ndarray) -> np.ndarray:
        """The same, but where it was more before: that stands until it is reached again.

        A counter that falls looks like a restart to Prometheus, if only by a last digit, as sums of other parts
        may. And a shard that has just come back has still to be told again what it had not acknowledged.
        """
        before = self._counted.get(name)
        if before is not None:
            counted = np.maximum(counted, grow_rows(before, len(counted)))
        self._counted[name] = counted
        return counted

    def _window(self, tallies: Sequence[ServiceCounts], length: int, total: _Total) -> Counts:
        parts = [tally.windows[length] for tally in tallies]
        before, merged = self._windows.get(length, ((), None))
        same = len(before) == len(parts) and all(one is other for one, other in zip(before, parts, strict=True))
        if merged is None or not same or len(merged) != total.size:
            merged = total(parts)
            self._windows[length] = parts, merged
        return merged


class _Total:
    """Adds up columns by group: places (G,) of each shard's groups, size of the whole."""

    def __init__(self, places: Sequence[Ints], size: int) -> None:
        self.size, self._places = size, places
        # Pooled groups share a place, for which adding by index would count only the last.
        self._apart = [len(np.unique(place)) == len(place) for place in places]

    def __call__(self, columns: Sequence[Counts | Floats]) -> np.ndarray:
        out = np.zeros((self.size, *columns[0].shape[1:]), columns[0].dtype)
        for place, apart, column in zip(self._places, self._apart, columns, strict=True):
            if apart:
                out[place] += column
            else:
                np.add.at(out, place, column)
        return out

    def most(self, columns: Sequence[Floats]) -> Floats:
        """(G,) the greatest, 0 if none is greater."""
        out = np.zeros(self.size)
        for place, column in zip(self._places, columns, strict=True):
            np.maximum.at(out, place, column)
        return out
