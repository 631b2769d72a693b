"""Windows: rolling sums over closed rating intervals.

Counts are integers, so removing an interval is exact: an emptied window equals a new one bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qoemon.core.arrays import Arrays, Counts, Histogram, Ints, SmallInts, Sparse, grow_rows, sparse_sum, to_sparse


def histogram(group: Ints, bins: Ints, groups: int, size: int) -> Counts:
    """(groups, size) number of occurrences of each bin in each group, from (N,) groups and (N,) bins."""
    return np.bincount(group * size + bins, minlength=groups * size).reshape(groups, size)


def count(counts: Counts, group: SmallInts, bins: Ints) -> None:
    """Add the occurrences of (N,) bins in (N,) groups to counts (G, B), in place."""
    cells = np.multiply(group, counts.shape[1], dtype=np.int64) + bins
    np.add.at(counts.reshape(-1), cells, 1)


@dataclass
class _Interval:
    """A closed rating interval that is in at least one window."""

    levels: Sparse
    users: Ints


class Windows:
    """Histograms and distinct sessions of one service's windows, summed over closed rating intervals.

    Only the sums are dense; the intervals, to be subtracted later, are sparse and shared by all windows.

    lengths_s  lengths of the windows, multiples of the rating interval, in seconds
    bins       number of bins of a histogram
    """

    def __init__(self, lengths_s: Sequence[int], bins: int) -> None:
        self._bins = bins
        self._longest_s = max(lengths_s, default=0)
        self._intervals: dict[int, _Interval] = {}
        """By end, seconds since the epoch, ascending."""
        self._newest_s = 0
        self.counts: Mapping[int, Counts] = {length: np.zeros((0, bins), np.int64) for length in lengths_s}
        """(G, B) by length of the window. An array is replaced when it changes, and never changed in place."""
        self.users: Mapping[int, Ints] = {length: np.zeros(0, np.int64) for length in lengths_s}
        """(G,) distinct sessions, likewise."""

    def close(self, end_s: int, levels: Histogram, users: Ints, recounted: Mapping[int, Ints]) -> None:
        """Add the rating interval that ends at end_s, the newest so far, and drop those that are too old.

        levels, users, recounted  as in IntervalCounts; there may be more groups than in the last interval, or less
        """
        for earlier_s, sessions in recounted.items():
            if interval := self._intervals.get(earlier_s):
                interval.users = grow_rows(interval.users, len(sessions))
                interval.users[: len(sessions)] -= sessions
        self._intervals[end_s] = _Interval(to_sparse(levels), users.copy())
        # New arrays: snapshots still refer to the former ones.
        self.counts = {length: self._moved(counts, length, end_s, levels) for length, counts in self.counts.items()}
        self._newest_s = end_s
        for old_s in [old_s for old_s in self._intervals if old_s <= end_s - self._longest_s]:
            del self._intervals[old_s]
        self.users = {
            length: self._users(length, max(len(users), len(before))) for length, before in self.users.items()
        }

    def add_late(self, end_s: int, levels: Sparse, users: Ints, recounted: Mapping[int, Ints]) -> None:
        """Add to a rating interval that has closed; arguments as in close()."""
        for earlier_s, sessions in recounted.items():
            if interval := self._intervals.get(earlier_s):
                interval.users = grow_rows(interval.users, len(sessions))
                interval.users[: len(sessions)] -= sessions
        if end_s > self._newest_s - self._longest_s:
            known = self._intervals.get(end_s)
            if known is None:
                self._intervals[end_s] = _Interval(levels, users.copy())
                self._intervals = dict(sorted(self._intervals.items()))
            else:
                known.levels = _added(known.levels, levels)
                known.users = grow_rows(known.users, len(users)).copy()
                known.users[: len(users)] += users
        # New arrays: snapshots still refer to the former ones.
        self.counts = {
            length: _with(counts, levels) if end_s > self._newest_s - length else counts
            for length, counts in self.counts.items()
        }
        self.users = {
            length: self._users(length, max(len(users), len(self.users[length]))) for length in self.users
        }

    def grow(self, groups: int) -> None:
        """Extend the sums to at least so many groups."""
        if any(len(counts) < groups for counts in self.counts.values()):
            self.counts = {length: grow_rows(counts, groups) for length, counts in self.counts.items()}
            self.users = {length: grow_rows(users, groups) for length, users in self.users.items()}

    def shift(self, by_s: int) -> None:
        """Move all intervals by so many seconds, after a step of the clock."""
        self._newest_s += by_s
        self._intervals = {end_s + by_s: interval for end_s, interval in self._intervals.items()}

    def dump(self) -> Arrays:
        """The intervals, oldest first, as flat arrays."""
        intervals = list(self._intervals.values())
        groups = max((len(each.users) for each in intervals), default=0)
        users = [grow_rows(each.users, groups) for each in intervals]
        return {
            "end_s": np.array(list(self._intervals), np.int64),
            "sizes": np.array([len(each.levels.cells) for each in intervals], np.int64),
            "cells": np.concatenate([*(each.levels.cells for each in intervals), np.zeros(0, np.uint32)]),
            "counts": np.concatenate([*(each.levels.counts for each in intervals), np.zeros(0, np.uint32)]),
            "users": np.array(users, np.int64).reshape(len(users), groups),
        }

    def load(self, state: Arrays, groups: int) -> None:
        """Restore a dump(), into Windows without an interval; the sums are computed once."""
        splits = np.cumsum(state["sizes"])[:-1]
        parts = zip(np.split(state["cells"], splits), np.split(state["counts"], splits), strict=True)
        for end_s, users, (cells, counts) in zip(state["end_s"].tolist(), state["users"], parts, strict=False):
            levels = Sparse((groups, self._bins), cells, counts)
            self._intervals[end_s] = _Interval(levels, grow_rows(users.astype(np.int64), groups))
        self._newest_s = max(self._intervals, default=0)
        self.counts = {length: self._summed(length, groups) for length in self.counts}
        self.users = {length: self._users(length, groups) for length in self.users}

    def _moved(self, counts: Counts, length_s: int, end_s: int, levels: Histogram) -> Counts:
        """The sum of a window moved to end_s: with the newest interval, without those it no longer covers."""
        if isinstance(levels, Sparse):
            total = _with(counts, levels)
        else:  # Shards may have fewer groups than before: they free numbers, or have lost their state.
            total = grow_rows(counts, len(levels)) + grow_rows(levels, len(counts))
        for old_s, interval in self._intervals.items():
            if self._newest_s - length_s < old_s <= end_s - length_s:
                total.ravel()[interval.levels.cells] -= interval.levels.counts
        return total

    def _summed(self, length_s: int, groups: int) -> Counts:
        total = np.zeros((groups, self._bins), np.int64)
        for old_s, interval in self._intervals.items():
            if old_s > self._newest_s - length_s:
                total.ravel()[interval.levels.cells] += interval.levels.counts
        return total

    def _users(self, length_s: int, groups: int) -> Ints:
        total = np.zeros(groups, np.int64)
        for old_s, interval in self._intervals.items():
            if old_s > self._newest_s - length_s:
                total[: len(interval.users)] += interval.users
        return total


def _with(counts: Counts, levels: Sparse) -> Counts:
    """A copy of the counts with those of an interval."""
    total = grow_rows(counts, levels.shape[0]).copy()
    total.ravel()[levels.cells] += levels.counts
    return total


def _added(one: Sparse, other: Sparse) -> Sparse:
    """The sum of two sparse histograms."""
    shape = max(one.shape[0], other.shape[0]), one.shape[1]
    cells = np.concatenate([one.cells, other.cells], dtype=np.int64)
    return sparse_sum(shape, cells, np.concatenate([one.counts, other.counts], dtype=np.int64))
