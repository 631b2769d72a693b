"""Label values as group numbers, bounded: beyond the limit new ones share one group that reads `other`."""

from __future__ import annotations

from collections.abc import Iterable

OTHER = "other"

Labels = tuple[str, ...]


class Groups:
    """SmallInts stay valid for the life of the process: counters must not change their meaning.

    labels  how many label names a group has
    limit   most groups, the one for all others not counted
    """

    def __init__(self, labels: int, limit: int) -> None:
        self._other: Labels = (OTHER,) * labels
        self._limit = limit
        self._numbers: dict[Labels, int] = {}
        self._only: frozenset[Labels] | None = None

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def all(self) -> tuple[Labels, ...]:
        """The label values of each group, in the order of the numbers."""
        return tuple(self._numbers)

    def number(self, labels: Labels) -> tuple[int, bool]:
        """The group of these values, and whether they were pooled into `other` for want of room."""
        pooled = self._only is not None and labels not in self._only
        known = self._numbers.get(labels)
        if known is not None:
            return known, pooled
        pooled = pooled or self.full
        name = self._other if pooled else labels
        return self._numbers.setdefault(name, len(self._numbers)), pooled

    @property
    def full(self) -> bool:
        """Whether the next new label set would be pooled."""
        return self.taken >= self._limit

    @property
    def taken(self) -> int:
        """How many there are, the one for all others not counted."""
        return len(self._numbers) - (self._other in self._numbers)

    def know_only(self, groups: Iterable[Labels]) -> None:
        """Pool every label set but these, as there is no room for it elsewhere; those with a number keep it."""
        self._only = frozenset(groups)

    def load(self, groups: tuple[Labels, ...]) -> None:
        """Take over what `all` gave."""
        self._numbers = {labels: number for number, labels in enumerate(groups)}
