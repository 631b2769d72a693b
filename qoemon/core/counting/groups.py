"""Numbers of groups, by label values; beyond the limit, new label values share one group, `other`.

Counters are kept by number, so the number of a group never changes. A group that is removed leaves a free number,
which the next new group gets; until then its counters are zero, and nothing is exported of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import numpy as np

from qoemon.core.arrays import Flags, Floats, Ints

OTHER = "other"
NO_VALUE = "\0"
"""In place of each label value of a number that is free; values of labels have no control characters."""

Labels = tuple[str, ...]


class Groups:
    """The groups of one service.

    labels  number of label names
    limit   maximum number of groups, without `other`
    """

    def __init__(self, labels: int, limit: int) -> None:
        self.other: Labels = (OTHER,) * labels
        self._none: Labels = (NO_VALUE,) * labels
        self._limit = limit
        self._numbers: dict[Labels, int] = {}
        self._labels: list[Labels] = []
        self._since_s: list[float] = []
        self._free: list[int] = []
        """A heap: with several shards, groups get the numbers that they have in a single shard."""
        self._only: frozenset[Labels] | None = None

    def __len__(self) -> int:
        """Number of numbers in use or free."""
        return len(self._labels)

    def __contains__(self, labels: Labels) -> bool:
        return labels in self._numbers

    @property
    def all(self) -> tuple[Labels, ...]:
        """The label values of each group, in the order of the numbers; NO_VALUE for free ones."""
        return tuple(self._labels)

    @property
    def labelled(self) -> bool:
        """Whether there are labels: without any there is one group, which is never removed."""
        return bool(self._none)

    @property
    def since_s(self) -> Floats:
        """(G,) arrival of each group's first report, seconds since the epoch; 0 if it is not known."""
        return np.array(self._since_s)

    @property
    def free(self) -> Flags:
        """(G,) which numbers are free."""
        free = np.zeros(len(self._labels), np.bool_)
        free[self._free] = True
        return free

    def number(self, labels: Labels, arrival_s: float = 0.0) -> tuple[int, bool]:
        """The group number of these values, and whether they are pooled into `other`.

        arrival_s  of the report, seconds since the epoch
        """
        pooled = self._only is not None and labels not in self._only
        known = self._numbers.get(labels)
        if known is not None:
            return known, pooled
        pooled = pooled or self.full
        name = self.other if pooled else labels
        number = self._numbers.get(name)
        return self._add(name, arrival_s) if number is None else number, pooled

    def pool(self) -> int:
        """The number of `other`."""
        number = self._numbers.get(self.other)
        return self._add(self.other, 0.0) if number is None else number

    def remove(self, numbers: Ints) -> None:
        """Free the numbers of these groups."""
        for number in numbers.tolist():
            del self._numbers[self._labels[number]]
            self._labels[number] = self._none
            heapq.heappush(self._free, number)

    def is_free(self, labels: Labels) -> bool:
        """Whether an entry of `all` is that of a free number."""
        return self.labelled and labels == self._none

    def extend(self, size: int) -> None:
        """Add free numbers, up to so many numbers."""
        for number in range(len(self._labels), size):
            self._labels.append(self._none)
            self._since_s.append(0.0)
            heapq.heappush(self._free, number)

    @property
    def full(self) -> bool:
        """Whether the next new label set would be pooled."""
        return self.taken >= self._limit

    @property
    def taken(self) -> int:
        """Number of groups, without `other`."""
        return len(self._numbers) - (self.other in self._numbers)

    def freeze(self, groups: Iterable[Labels] | None) -> None:
        """Pool all other label values from now on, as the other shards do; None to pool none.

        Existing groups keep their numbers.
        """
        self._only = None if groups is None else frozenset(groups)

    @property
    def only(self) -> tuple[Labels, ...] | None:
        """The label values that are not pooled after freeze(), sorted; None if there was none."""
        return None if self._only is None else tuple(sorted(self._only))

    def load(self, groups: tuple[Labels, ...], since_s: Floats | None = None) -> None:
        """Restore groups from `all`, and their since_s; None if that is not known."""
        self._labels = list(groups)
        self._numbers = dict(zip(groups, range(len(groups)), strict=True))
        self._free = []
        if self.labelled and self._numbers.pop(self._none, None) is not None:
            self._free = [number for number, labels in enumerate(groups) if labels == self._none]
        self._since_s = [0.0] * len(groups) if since_s is None else since_s.tolist()

    def _add(self, name: Labels, arrival_s: float) -> int:
        """Give a new group the lowest free number, or the next one."""
        if self._free:
            number = heapq.heappop(self._free)
            self._labels[number], self._since_s[number] = name, arrival_s
        else:
            number = len(self._labels)
            self._labels.append(name)
            self._since_s.append(arrival_s)
        self._numbers[name] = number
        return number
