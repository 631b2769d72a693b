"""Label values as group numbers, bounded: beyond the limit new ones share one group that reads `other`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from qoemon.core.arrays import Floats

OTHER = "other"

Labels = tuple[str, ...]


class Groups:
    """Numbers stay valid for the life of the process: counters must not change their meaning.

    labels  how many label names a group has
    limit   most groups, the one for all others not counted
    """

    def __init__(self, labels: int, limit: int) -> None:
        self._other: Labels = (OTHER,) * labels
        self._limit = limit
        self._numbers: dict[Labels, int] = {}
        self._since_s: list[float] = []
        self._only: frozenset[Labels] | None = None

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, labels: Labels) -> bool:
        return labels in self._numbers

    @property
    def all(self) -> tuple[Labels, ...]:
        """The label values of each group, in the order of the numbers."""
        return tuple(self._numbers)

    @property
    def since_s(self) -> Floats:
        """(G,) when each group's first report arrived, seconds since the epoch; 0 if that was before a restart."""
        return np.array(self._since_s)

    def number(self, labels: Labels, arrival_s: float = 0.0) -> tuple[int, bool]:
        """The group of these values, and whether they were pooled into `other` for want of room.

        arrival_s  of the report, seconds since the epoch
        """
        pooled = self._only is not None and labels not in self._only
        known = self._numbers.get(labels)
        if known is not None:
            return known, pooled
        pooled = pooled or self.full
        name = self._other if pooled else labels
        number = self._numbers.setdefault(name, len(self._numbers))
        if number == len(self._since_s):
            self._since_s.append(arrival_s)
        return number, pooled

    @property
    def full(self) -> bool:
        """Whether the next new label set would be pooled."""
        return self.taken >= self._limit

    @property
    def taken(self) -> int:
        """How many there are, the one for all others not counted."""
        return len(self._numbers) - (self._other in self._numbers)

    def freeze(self, groups: Iterable[Labels]) -> None:
        """Pool every label set but these from now on, as other shards do; those that have a number keep it."""
        self._only = frozenset(groups)

    def load(self, groups: tuple[Labels, ...]) -> None:
        """Restore what `all` gave."""
        self._numbers = {labels: number for number, labels in enumerate(groups)}
        self._since_s = [0.0] * len(groups)
