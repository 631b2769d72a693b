"""Numbers of the groups of one service over all shards, each of which has its own numbers.

A thousand shards have a million groups together. So the numbers of a shard are kept as long as its groups are the
same ones, which they are at most ticks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Flags, Ints
from qoemon.core.counting.counts import BaseCounts
from qoemon.core.counting.groups import Groups, Labels


class _Shard(NamedTuple):
    """The groups of a shard at the newest tick.

    groups   label values, NO_VALUE for free numbers
    numbers  (G,) their numbers over all shards
    held     the numbers among these that are not those of free ones
    pooled   those of the groups that are pooled into `other`
    """

    groups: tuple[Labels, ...]
    numbers: Ints
    held: Ints
    pooled: frozenset[Labels]

    def has(self, groups: tuple[Labels, ...]) -> bool:
        """Whether these are its groups."""
        return self.groups is groups or self.groups == groups


class Numbering:
    """Gives the groups of shards their numbers in the sum over all shards; arguments as of Groups.

    With several shards, new groups are numbered in the order of their first reports, as in a single shard.
    """

    def __init__(self, labels: int, limit: int) -> None:
        self.groups = Groups(labels, limit)
        self._shards: list[_Shard] = []
        self._pooled: set[Labels] = set()
        """Groups of shards that are pooled, until no shard has them: their users cannot move to another number."""

    def number(self, shards: Sequence[BaseCounts]) -> list[Ints]:
        """For each shard, the numbers (G,) of its groups; new groups are numbered."""
        changed = self._changed(shards)
        if self._pooled:
            self._pooled = self._still_pooled(shards, changed)
        if len(shards) > 1:
            new = {
                (since_s, labels)
                for at in changed
                for since_s, labels in zip(shards[at].since_s.tolist(), shards[at].groups, strict=True)
                if labels not in self.groups and not self.groups.is_free(labels)
            }
            for _, labels in sorted(new):
                self._number(labels)
        del self._shards[len(shards) :]
        for at in changed:
            self._shards[at : at + 1] = [self._numbered(shards[at].groups)]
        return [shard.numbers for shard in self._shards]

    def held(self, shards: Sequence[BaseCounts]) -> Flags:
        """(G,) which groups a shard has."""
        changed = self._changed(shards)
        held = np.zeros(len(self.groups), np.bool_)
        unchanged = set(range(len(shards))).difference(changed)
        for at in unchanged:
            held[self._shards[at].held] = True
        for at in changed:
            for labels in shards[at].groups:
                if labels in self._pooled:
                    held[self.groups.pool()] = True
                elif labels in self.groups:
                    held[self.groups.number(labels)[0]] = True
        return held

    def dump(self) -> NDArray[Any]:
        """The groups that are pooled; Groups.all has the others."""
        return np.frombuffer(json.dumps(sorted(self._pooled)).encode(), np.uint8)

    def load(self, groups: tuple[Labels, ...], pooled: NDArray[Any] | None) -> None:
        """Restore Groups.all, and a dump(); earlier versions have none."""
        self.groups.load(groups)
        if pooled is not None:
            self._pooled = {tuple(labels) for labels in json.loads(pooled.tobytes())}

    def _changed(self, shards: Sequence[BaseCounts]) -> list[int]:
        """Ascending positions of the shards whose groups are other ones than at the tick before."""
        known = self._shards
        return [at for at, counts in enumerate(shards) if at >= len(known) or not known[at].has(counts.groups)]

    def _still_pooled(self, shards: Sequence[BaseCounts], changed: Sequence[int]) -> set[Labels]:
        """Those of the pooled groups that a shard has."""
        of_others = set(range(len(shards))).difference(changed)
        still: set[Labels] = set()
        return still.union(
            *(self._shards[at].pooled for at in of_others),
            *(self._pooled.intersection(shards[at].groups) for at in changed),
        )

    def _numbered(self, groups: tuple[Labels, ...]) -> _Shard:
        numbers = np.array([self._number(labels, at) for at, labels in enumerate(groups)], np.int64)
        free = np.array([self.groups.is_free(labels) for labels in groups], np.bool_)
        held = numbers[~free] if free.any() else numbers
        return _Shard(groups, numbers, held, frozenset(self._pooled.intersection(groups)))

    def _number(self, labels: Labels, free: int = 0) -> int:
        """The number of a group of a shard; free: which one to take for a free number, if there is such a one."""
        if labels not in self.groups and self.groups.is_free(labels):
            # Its counts are zero: any number does. In a single shard the same numbers are free.
            self.groups.extend(1)
            return min(free, len(self.groups) - 1)
        if labels in self._pooled:
            return self.groups.pool()
        number, pooled = self.groups.number(labels)
        if pooled:
            self._pooled.add(labels)
        return number
