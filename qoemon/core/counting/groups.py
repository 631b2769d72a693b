"""Numbers of groups, by label values; beyond the limit, new label values share one group, `other`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from qoemon.core.arrays import Floats

OTHER = "other"

Labels = tuple[str, ...]


class Groups:
    """The groups of one service. Numbers never change while the process runs, as counters are kept by number.

    labels  number of label names
    limit   maximum number of groups, without `other`
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
        """(G,) arrival of each group's first report, seconds since the epoch; 0 if before a restart."""
        return np.array(self._since_s)

    def number(self, labels: Labels, arrival_s: float = 0.0) -> tuple[int, bool]:
        """The group number of these values, and whether they are pooled into `other`.

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
        """Number of groups, without `other`."""
        return len(self._numbers) - (self._other in self._numbers)

    def freeze(self, groups: Iterable[Labels]) -> None:
        """Pool all other label values from now on, as the other shards do; existing groups keep their numbers."""
        self._only = frozenset(groups)

    def load(self, groups: tuple[Labels, ...]) -> None:
        """Restore groups from `all`."""
        self._numbers = {labels: number for number, labels in enumerate(groups)}
        self._since_s = [0.0] * len(groups)
