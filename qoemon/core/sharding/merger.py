"""Sums of the counts of one service over all shards, and over time. No session is on two shards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from qoemon.core.arrays import (
    Arrays,
    Counts,
    Floats,
    Histogram,
    Ints,
    Sparse,
    grow_rows,
    named,
    part,
    to_dense,
    to_sparse,
)
from qoemon.core.counting.counts import BaseCounts, IntervalCounts, ServiceCounts
from qoemon.core.counting.groups import Groups, Labels
from qoemon.core.counting.window import Windows
from qoemon.core.plan.plan import Plan, Service
from qoemon.core.qoe.distribution import RatingKernel


class Merger:
    """Adds up the counts of shards, and keeps sums over rating intervals: windows and totals.

    The arrays of a single shard are passed on without a copy. With several shards, new groups are numbered in the
    order of their first reports, as in a single shard: so sums of floats are equal as well.

    kernel  of the service, for the expected ratings
    """

    def __init__(self, service: Service, plan: Plan, kernel: RatingKernel) -> None:
        self._service, self._kernel = service, kernel
        self._interval_s = plan.timing.interval_s
        longer_s = [length for length in plan.timing.windows_s if length != plan.timing.interval_s]
        self._windows = Windows(longer_s, len(service.rated_at))
        self.groups = Groups(len(plan.labels), plan.limits.groups)
        self._expected: Floats = np.zeros((0, len(service.scale.ratings)))
        self._marginals = tuple(np.zeros((0, len(axis.values)), np.int64) for axis in service.bins.axes)

    def number_groups(self, shards: Sequence[BaseCounts]) -> list[Ints]:
        """For each shard, the numbers (G,) of its groups; new groups are numbered."""
        if len(shards) > 1:
            new = [
                (since_s, labels)
                for counts in shards
                for since_s, labels in zip(counts.since_s.tolist(), counts.groups, strict=True)
                if labels not in self.groups
            ]
            for _, labels in sorted(new):
                self.groups.number(labels)
        return [self._numbers(counts.groups) for counts in shards]

    def close(self, end_s: int, parts: Sequence[tuple[Ints, IntervalCounts]]) -> None:
        """Add a closed rating interval, the newest so far.

        end_s  end of the interval, seconds since the epoch
        parts  for each shard, the numbers of its groups (G,), and its counts
        """
        numbers = [rows[: len(counts.users)] for rows, counts in parts]
        late_s = sorted({late for _, counts in parts for late in counts.late})
        for late in late_s:
            of_late = [
                (rows, counts.late[late])
                for rows, (_, counts) in zip(numbers, parts, strict=True)
                if late in counts.late
            ]
            self._add(late, of_late, late=True)
        self._add(end_s, list(zip(numbers, (counts for _, counts in parts), strict=True)), late=False)

    def merge(self, shards: Sequence[BaseCounts], numbers: Sequence[Ints], time_s: int) -> ServiceCounts:
        """The sum of all shards at the tick time_s, s since the epoch; numbers are those from number_groups()."""
        size = len(self.groups)
        closed_s = time_s // self._interval_s * self._interval_s
        self._grow(size)
        total = _Sum(numbers, size)

        def whole(of: Callable[[BaseCounts], Ints]) -> Ints:
            return total.of([of(counts) for counts in shards])

        base = total([counts.levels for counts in shards])
        return ServiceCounts(
            service=self._service.name,
            groups=self.groups.all,
            windows={self._interval_s: base, **self._with_provisional(shards, numbers, closed_s)},
            users={
                self._interval_s: whole(lambda counts: counts.users),
                **self._with_silent(shards, numbers, closed_s),
            },
            qos=total([counts.qos for counts in shards]),
            active_sessions=whole(lambda counts: counts.active_sessions),
            open_stalls=whole(lambda counts: counts.open_stalls),
            oldest_stall_s=total.greatest([counts.oldest_stall_s for counts in shards]),
            heard=whole(lambda counts: counts.heard),
            doubtful=total([counts.doubtful for counts in shards]),
            expected_ratings=self._expected,
            marginals=self._marginals,
        )

    def dump(self) -> Arrays:
        """Windows and totals, as arrays by name; without `groups`."""
        totals = {"expected": self._expected, **{str(axis): counts for axis, counts in enumerate(self._marginals)}}
        return named("windows/", self._windows.dump()) | named("totals/", totals)

    def load(self, state: Arrays, groups: tuple[Labels, ...]) -> None:
        """Restore a dump(), into a new Merger."""
        self.groups.load(groups)
        self._windows.load(part("windows/", state), len(groups))
        totals = part("totals/", state)
        self._expected = totals["expected"]
        self._marginals = tuple(totals[str(axis)] for axis in range(len(self._marginals)))

    def shift(self, by_s: int) -> None:
        """Move all times by whole rating intervals, in seconds, after a step of the clock."""
        self._windows.shift(by_s)

    def _with_silent(
        self, shards: Sequence[BaseCounts], numbers: Sequence[Ints], closed_s: int
    ) -> Mapping[int, Ints]:
        """The users of the longer windows, with those who have only provisional conditions there."""
        users = dict(self._windows.users)
        for rows, shard in zip(numbers, shards, strict=True):
            for (end_s, age), sessions in shard.provisional_users.items():
                for length, known in users.items():
                    if end_s > closed_s - length and age >= length // self._interval_s:
                        users[length] = known.copy()
                        np.add.at(users[length], rows, sessions)
        return users

    def _add(self, end_s: int, parts: Sequence[tuple[Ints, IntervalCounts]], *, late: bool) -> None:
        """Add the counts of an interval: the one that closes, or late ones of an earlier one."""
        numbers = [rows for rows, _ in parts]
        size = max((int(rows.max()) + 1 for rows in numbers if len(rows)), default=0)
        whole = _Sum(numbers, size)
        levels = whole([counts.levels for _, counts in parts])
        qos = whole([counts.qos for _, counts in parts])
        users = whole.of([counts.users for _, counts in parts])
        earlier_s = {earlier for _, counts in parts for earlier in counts.recounted}
        recounted = {
            earlier: whole.of([counts.recounted.get(earlier, np.zeros_like(counts.users)) for _, counts in parts])
            for earlier in sorted(earlier_s)
        }
        if late:
            self._windows.add_late(end_s, to_sparse(levels), users, recounted)
        else:
            self._windows.close(end_s, levels, users, recounted)
        self._grow(len(levels))
        # New arrays: snapshots still refer to the former ones.
        self._expected = self._expected + grow_rows(self._kernel.expected_ratings(levels), len(self._expected))
        fresh = self._service.bins.marginals(qos)
        self._marginals = tuple(
            old + grow_rows(new, len(old)) for old, new in zip(self._marginals, fresh, strict=True)
        )

    def _numbers(self, groups: Sequence[Labels]) -> Ints:
        return np.array([self.groups.number(labels)[0] for labels in groups], np.int64)

    def _with_provisional(
        self, shards: Sequence[BaseCounts], numbers: Sequence[Ints], closed_s: int
    ) -> Mapping[int, Counts]:
        """The counts of the longer windows, with the conditions that are not counted in them yet."""
        if not any(counts.provisional for counts in shards):
            return self._windows.counts
        windows = {length: counts.copy() for length, counts in self._windows.counts.items()}
        for rows, shard in zip(numbers, shards, strict=True):
            for end_s, histogram in shard.provisional.items():
                group, level = np.divmod(histogram.cells.astype(np.int64), histogram.shape[1])
                for length, counts in windows.items():
                    if end_s > closed_s - length:
                        np.add.at(counts, (rows[group], level), histogram.counts)
        return windows

    def _grow(self, groups: int) -> None:
        self._windows.grow(groups)
        self._expected = grow_rows(self._expected, groups)
        self._marginals = tuple(grow_rows(counts, groups) for counts in self._marginals)


class _Sum:
    """Adds up arrays by group.

    numbers  (G,) for each shard, the numbers of its groups in the sum
    size     number of groups in the sum
    """

    def __init__(self, numbers: Sequence[Ints], size: int) -> None:
        self._numbers, self._size = numbers, size
        self._single = len(numbers) == 1 and np.array_equal(numbers[0], np.arange(size))
        # Pooled groups share a number: addition by index would count only one of them.
        self._distinct = [len(np.unique(rows)) == len(rows) for rows in numbers]

    def __call__(self, histograms: Sequence[Histogram]) -> Counts:
        """(size, B) sum of histograms; the array itself if there is a single shard with the same groups."""
        if self._single:
            return to_dense(histograms[0])
        out = np.zeros((self._size, histograms[0].shape[1]), np.int64)
        for rows, distinct, histogram in zip(self._numbers, self._distinct, histograms, strict=True):
            if isinstance(histogram, Sparse):
                group, bins = np.divmod(histogram.cells.astype(np.int64), histogram.shape[1])
                np.add.at(out.reshape(-1), rows[group] * out.shape[1] + bins, histogram.counts)
            elif distinct:
                out[rows] += histogram
            else:
                np.add.at(out, rows, histogram)
        return out

    def of(self, columns: Sequence[Ints]) -> Ints:
        """(size,) sum of columns."""
        if self._single:
            return columns[0]
        out = np.zeros(self._size, np.int64)
        for rows, column in zip(self._numbers, columns, strict=True):
            np.add.at(out, rows, column)
        return out

    def greatest(self, columns: Sequence[Floats]) -> Floats:
        """(size,) maximum of columns and 0."""
        if self._single:
            return columns[0]
        out = np.zeros(self._size)
        for rows, column in zip(self._numbers, columns, strict=True):
            np.maximum.at(out, rows, column)
        return out
