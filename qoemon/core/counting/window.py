"""Windows: rolling sums over closed rating intervals.

Counts are integers, so removing an interval is exact: an emptied window equals a new one bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qoemon.core.arrays import (
    Arrays,
    Counts,
    Floats,
    Histogram,
    Ints,
    SmallInts,
    Sparse,
    grow_rows,
    sparse_sum,
    to_sparse,
)
from qoemon.core.counting.counts import Counted
from qoemon.core.counting.distances import pairs_each, range_of


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
    squares: Floats
    """(G,) what it adds to the squares of a window that ends now: its own, and twice its pairs with newer ones."""


class Windows:
    """Histograms and distinct sessions of one service's windows, summed over closed rating intervals.

    Only the sums are dense; the intervals, to be subtracted later, are sparse and shared by all windows.

    lengths_s   lengths of the windows, multiples of the rating interval, in seconds
    interval_s  length of the rating interval
    bins        number of bins of a histogram
    """

    def __init__(self, lengths_s: Sequence[int], interval_s: int, bins: int) -> None:
        self._interval_s, self._bins = interval_s, bins
        self._longest_s = max(lengths_s, default=0)
        self._intervals: dict[int, _Interval] = {}
        """By end, seconds since the epoch, ascending."""
        self._newest_s = 0
        self.counts: Mapping[int, Counts] = {length: np.zeros((0, bins), np.int64) for length in lengths_s}
        """(G, B) by length of the window. An array is replaced when it changes, and never changed in place."""
        self.users: Mapping[int, Ints] = {length: np.zeros(0, np.int64) for length in lengths_s}
        """(G,) distinct sessions, likewise."""
        self.squares: Mapping[int, Floats] = {length: np.zeros(0) for length in lengths_s}
        """(G,) sum over sessions of the square of their conditions, likewise."""

    def close(self, end_s: int, levels: Histogram, counted: Counted) -> None:
        """Add the rating interval that ends at end_s, the newest so far, and drop those that are too old.

        levels   as in IntervalCounts; there may be more groups than in the last interval, or less
        counted  of the same groups; what was counted so far by the end of its interval, s since the epoch
        """
        users = counted.users
        self._move(end_s, counted)
        self._intervals[end_s] = _Interval(to_sparse(levels), users.copy(), counted.squares.astype(np.float64))
        # New arrays: snapshots still refer to the former ones.
        self.counts = {length: self._moved(counts, length, end_s, levels) for length, counts in self.counts.items()}
        self._newest_s = end_s
        for old_s in [old_s for old_s in self._intervals if old_s <= end_s - self._longest_s]:
            del self._intervals[old_s]
        self._sum_sessions(len(users))

    def add_late(self, end_s: int, levels: Sparse, counted: Counted) -> None:
        """Add to a rating interval that has closed; arguments as in close()."""
        users = counted.users
        self._move(end_s, counted)
        if end_s > self._newest_s - self._longest_s:
            known = self._intervals.get(end_s)
            if known is None:
                self._intervals[end_s] = _Interval(levels, users.copy(), counted.squares.astype(np.float64))
                self._intervals = dict(sorted(self._intervals.items()))
            else:
                known.levels = _added(known.levels, levels)
                known.users = grow_rows(known.users, len(users)).copy()
                known.users[: len(users)] += users
                known.squares = grow_rows(known.squares, len(users)).copy()
                known.squares[: len(users)] += counted.squares
        # New arrays: snapshots still refer to the former ones.
        self.counts = {
            length: _with(counts, levels) if end_s > self._newest_s - length else counts
            for length, counts in self.counts.items()
        }
        self._sum_sessions(len(users))

    def grow(self, groups: int) -> None:
        """Extend the sums to at least so many groups."""
        if any(len(counts) < groups for counts in self.counts.values()):
            self.counts = {length: grow_rows(counts, groups) for length, counts in self.counts.items()}
            self.users = {length: grow_rows(users, groups) for length, users in self.users.items()}
            self.squares = {length: grow_rows(squares, groups) for length, squares in self.squares.items()}

    def shift(self, by_s: int) -> None:
        """Move all intervals by so many seconds, after a step of the clock."""
        self._newest_s += by_s
        self._intervals = {end_s + by_s: interval for end_s, interval in self._intervals.items()}

    def dump(self) -> Arrays:
        """The intervals, oldest first, as flat arrays."""
        intervals = list(self._intervals.values())
        groups = max((len(each.users) for each in intervals), default=0)
        users = [grow_rows(each.users, groups) for each in intervals]
        squares = [grow_rows(each.squares, groups) for each in intervals]
        return {
            "end_s": np.array(list(self._intervals), np.int64),
            "sizes": np.array([len(each.levels.cells) for each in intervals], np.int64),
            "cells": np.concatenate([*(each.levels.cells for each in intervals), np.zeros(0, np.uint32)]),
            "counts": np.concatenate([*(each.levels.counts for each in intervals), np.zeros(0, np.uint32)]),
            "users": np.array(users, np.int64).reshape(len(users), groups),
            "squares": np.array(squares, np.float64).reshape(len(squares), groups),
        }

    def load(self, state: Arrays, groups: int) -> None:
        """Restore a dump(), into Windows without an interval; the sums are computed once."""
        splits = np.cumsum(state["sizes"])[:-1]
        parts = zip(np.split(state["cells"], splits), np.split(state["counts"], splits), strict=True)
        # Earlier versions have not kept the squares: until their intervals are over, bounds count sessions.
        squares = state.get("squares", np.zeros(state["users"].shape))
        by_interval = zip(state["end_s"].tolist(), state["users"], squares, parts, strict=False)
        for end_s, users, square, (cells, counts) in by_interval:
            levels = Sparse((groups, self._bins), cells, counts)
            of_users = grow_rows(users.astype(np.int64), groups)
            self._intervals[end_s] = _Interval(levels, of_users, grow_rows(square.copy(), groups))
        self._newest_s = max(self._intervals, default=0)
        self.counts = {length: self._summed(length, groups) for length in self.counts}
        self._sum_sessions(groups)

    def _move(self, end_s: int, counted: Counted) -> None:
        """Take sessions from the intervals that counted them so far, and give those intervals their pairs."""
        for earlier_s, sessions in counted.recounted.items():
            if interval := self._intervals.get(earlier_s):
                interval.users = grow_rows(interval.users, len(sessions))
                interval.users[: len(sessions)] -= sessions
        each = 2 * pairs_each(counted.pairs)
        used = np.flatnonzero(each.any(axis=0)).tolist()
        for earlier_s, interval in self._intervals.items() if used else ():
            at = range_of((end_s - earlier_s) // self._interval_s) if earlier_s < end_s else None
            if at in used:
                interval.squares = grow_rows(interval.squares, len(each))
                interval.squares[: len(each)] += each[:, at]

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

    def _sum_sessions(self, groups: int) -> None:
        """Sum the users and the squares of all windows, of at least so many groups."""
        users, squares = {}, {}
        for length, before in self.users.items():
            size = max(groups, len(before))
            users[length], squares[length] = np.zeros(size, np.int64), np.zeros(size)
            for old_s, interval in self._intervals.items():
                if old_s > self._newest_s - length:
                    users[length][: len(interval.users)] += interval.users
                    squares[length][: len(interval.squares)] += interval.squares
        self.users, self.squares = users, squares


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
