"""Sums of the counts of one service over all shards, and over time. No session is on two shards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import (
    Arrays,
    Counts,
    Flags,
    Floats,
    Ints,
    grow_rows,
    named,
    part,
    to_sparse,
)
from qoemon.core.counting.closed_ratings import AddedRatings, ClosedRatings
from qoemon.core.counting.counts import DOUBTS, BaseCounts, Counted, IntervalCounts, ServiceCounts
from qoemon.core.counting.distances import ranges
from qoemon.core.counting.groups import Groups, Labels
from qoemon.core.counting.quality import no_quality
from qoemon.core.counting.starts import no_starts
from qoemon.core.counting.window import Windows
from qoemon.core.plan.plan import Plan, Service
from qoemon.core.qoe.distribution import RatingKernel
from qoemon.core.sharding.feedback_days import FeedbackDays
from qoemon.core.sharding.numbering import Numbering
from qoemon.core.sharding.sums import Sums, add_cells

N = TypeVar("N", bound=np.generic)


class Merger:
    """Adds up the counts of shards, and keeps sums over rating intervals: windows and totals.

    The arrays of a single shard are passed on without a copy. With several shards, new groups are numbered in the
    order of their first reports, as in a single shard: so sums of floats are equal as well.

    A group is new until its counters have been exported as 0 for a whole rating interval. Otherwise the first value
    that Prometheus sees would include the first ratings, and increase() would not count them.

    kernel  of the service, for the expected ratings
    """

    def __init__(self, service: Service, plan: Plan, kernel: RatingKernel) -> None:
        self._service, self._kernel = service, kernel
        self._interval_s = plan.timing.interval_s
        self._longest_s = max(plan.timing.windows_s)
        longer_s = [length for length in plan.timing.windows_s if length != plan.timing.interval_s]
        self._windows = Windows(longer_s, self._interval_s, len(service.rated_at))
        self._ranges = ranges(self._longest_s // self._interval_s)
        self._numbering = Numbering(len(plan.labels), plan.limits.groups)
        self._group_idle_s = plan.limits.group_idle_s
        self._active_s: Floats = np.zeros(0)
        """(G,) newest tick at which the group was active or in a window; NaN for free numbers and before a tick."""
        self._expected: Floats = np.zeros((0, len(service.scale.ratings)))
        self._marginals = tuple(np.zeros((0, len(axis.values)), np.int64) for axis in service.bins.axes)
        self._starts = no_starts(0)
        self.feedback = FeedbackDays(service, plan.feedback.scores)
        """What users said, of all groups together."""
        self._since_s: Floats = np.zeros(0)
        """(G,) for new groups, the first tick with them, inf before it and for free numbers; -inf for others."""

    @property
    def groups(self) -> Groups:
        """The groups of all shards."""
        return self._numbering.groups

    def remove_idle(self, shards: Sequence[BaseCounts], time_s: int) -> Ints:
        """Remove the groups that no shard has any more and that were silent for long; returns their numbers.

        A shard that has lost its state has no groups: its groups stay until they are silent for long, too.
        """
        idle = np.flatnonzero(time_s - self._active_s > self._group_idle_s)
        if not len(idle):
            return idle
        numbers = idle[~self._numbering.held(shards)[idle]]
        if len(numbers):
            self.groups.remove(numbers)
            # New arrays: snapshots still refer to the former ones.
            self._expected = _without(self._expected, numbers)
            self._marginals = tuple(_without(counts, numbers) for counts in self._marginals)
            self._starts = _without(self._starts, numbers)
        return numbers

    def number_groups(self, shards: Sequence[BaseCounts]) -> list[Ints]:
        """For each shard, the numbers (G,) of its groups; new groups are numbered."""
        return self._numbering.number(shards)

    def close(self, end_s: int, parts: Sequence[tuple[Ints, IntervalCounts]]) -> ClosedRatings:
        """Add a closed rating interval, the newest so far; returns what it adds.

        end_s  end of the interval, seconds since the epoch
        parts  for each shard, the numbers of its groups (G,), and its counts
        """
        numbers = [rows[: len(counts.users)] for rows, counts in parts]
        late_s, added = sorted({late for _, counts in parts for late in counts.late}), []
        for late in late_s:
            of_late = [
                (rows, counts.late[late])
                for rows, (_, counts) in zip(numbers, parts, strict=True)
                if late in counts.late
            ]
            added.append(self._add(late, of_late, late=True))
        own = list(zip(numbers, (counts for _, counts in parts), strict=True))
        added.append(self._add(end_s, own, late=False))
        self.feedback.add([counts.feedback for _, counts in parts])
        return ClosedRatings(self._service.name, self._service.scale, end_s, self.groups.all, tuple(added))

    def merge(self, shards: Sequence[BaseCounts], numbers: Sequence[Ints], time_s: int) -> ServiceCounts:
        """The sum of all shards at the tick time_s, s since the epoch; numbers are those from number_groups()."""
        size = len(self.groups)
        closed_s = time_s // self._interval_s * self._interval_s
        self._grow(size)
        new = self._observe_new(size, time_s)
        total = Sums(numbers, size)

        def whole(of: Callable[[BaseCounts], Ints]) -> Ints:
            return total.column([of(counts) for counts in shards])

        base = total.histogram([counts.levels for counts in shards])
        users = {
            self._interval_s: whole(lambda counts: counts.users),
            **self._with_silent(shards, numbers, closed_s),
        }
        active, heard = whole(lambda counts: counts.active_sessions), whole(lambda counts: counts.heard)
        self._observe_active((active > 0) | (heard > 0) | (users[self._longest_s] > 0), time_s)
        return ServiceCounts(
            service=self._service.name,
            groups=self.groups.all,
            windows={self._interval_s: base, **self._with_provisional(shards, numbers, closed_s)},
            users=users,
            squares={
                self._interval_s: whole(lambda counts: counts.squares).astype(np.float64),
                **self._with_provisional_squares(shards, numbers),
            },
            qos=total.histogram([counts.qos for counts in shards]),
            active_sessions=active,
            open_stalls=whole(lambda counts: counts.open_stalls),
            oldest_stall_s=total.greatest([counts.oldest_stall_s for counts in shards]),
            heard=heard,
            doubtful=total.few([counts.doubtful for counts in shards], len(DOUBTS)),
            quality=total.few([counts.quality for counts in shards], no_quality(self._service, 0).shape[1]),
            expected_ratings=self._expected,
            marginals=self._marginals,
            starts=self._starts,
            new=new,
            free=self.groups.free,
            feedback=self.feedback.totals,
        )

    def begin_exports(self) -> None:
        """Let the groups that are still new begin again: nothing was exported while the process was down."""
        self._since_s = np.where(self._since_s > -np.inf, np.inf, self._since_s)

    def dump(self) -> Arrays:
        """Windows and totals, as arrays by name; without `groups`."""
        totals = {"expected": self._expected, **{str(axis): counts for axis, counts in enumerate(self._marginals)}}
        totals["starts"] = self._starts
        windows = named("windows/", self._windows.dump())
        state = {"new_since_s": self._since_s, "active_s": self._active_s}
        feedback = named("feedback/", self.feedback.dump())
        return windows | named("totals/", totals) | feedback | state | {"pooled": self._numbering.dump()}

    def load(self, state: Arrays, groups: tuple[Labels, ...]) -> None:
        """Restore a dump(), into a new Merger."""
        self._numbering.load(groups, state.get("pooled"))
        self._windows.load(part("windows/", state), len(groups))
        totals = part("totals/", state)
        self._expected = totals["expected"]
        self._marginals = tuple(totals[str(axis)] for axis in range(len(self._marginals)))
        self._starts = totals.get("starts", no_starts(len(groups)))
        self.feedback.load(part("feedback/", state))
        # Earlier versions have exported all their groups.
        self._since_s = state.get("new_since_s", np.full(len(groups), -np.inf))
        self._active_s = state.get("active_s", np.zeros(0))

    def shift(self, by_s: int) -> None:
        """Move all times by whole rating intervals, in seconds, after a step of the clock."""
        self._windows.shift(by_s)
        self._since_s, self._active_s = self._since_s + by_s, self._active_s + by_s

    def _with_silent(
        self, shards: Sequence[BaseCounts], numbers: Sequence[Ints], closed_s: int
    ) -> Mapping[int, Ints]:
        """The users of the longer windows, with those who have only provisional conditions there."""
        silent: defaultdict[tuple[int, int], list[tuple[Ints, Ints]]] = defaultdict(list)
        for rows, shard in zip(numbers, shards, strict=True):
            for end_and_age, sessions in shard.provisional_users.items():
                silent[end_and_age].append((rows, sessions))
        users = dict(self._windows.users)
        for (end_s, age), parts in silent.items():
            of_rows, sessions = (np.concatenate(column) for column in zip(*parts, strict=True))
            for length, known in users.items():
                if end_s > closed_s - length and age >= length // self._interval_s:
                    users[length] = known.copy()
                    np.add.at(users[length], of_rows, sessions)
        return users

    def _with_provisional_squares(
        self, shards: Sequence[BaseCounts], numbers: Sequence[Ints]
    ) -> Mapping[int, Floats]:
        """The squares of the longer windows, with what conditions add that are not counted in them yet."""
        squares = dict(self._windows.squares)
        for rows, shard in zip(numbers, shards, strict=True):
            for length, more in shard.provisional_squares.items():
                if squares[length] is self._windows.squares[length]:
                    squares[length] = squares[length].copy()
                np.add.at(squares[length], rows, more)
        return squares

    def _add(self, end_s: int, parts: Sequence[tuple[Ints, IntervalCounts]], *, late: bool) -> AddedRatings:
        """Add the counts of an interval: the one that closes, or late ones of an earlier one."""
        numbers = [rows for rows, _ in parts]
        size = int(np.concatenate(numbers).max(initial=-1)) + 1
        whole = Sums(numbers, size)
        levels = whole.histogram([counts.levels for _, counts in parts])
        qos = whole.histogram([counts.qos for _, counts in parts])
        users = whole.column([counts.users for _, counts in parts])
        earlier_s = {earlier for _, counts in parts for earlier in counts.recounted}
        recounted = {earlier: _recounted(parts, earlier, size) for earlier in sorted(earlier_s)}
        squares = whole.column([counts.squares for _, counts in parts])
        pairs = whole.few([counts.pairs for _, counts in parts], self._ranges)
        counted = Counted(users, recounted, squares, pairs)
        if late:
            self._windows.add_late(end_s, to_sparse(levels), counted)
        else:
            self._windows.close(end_s, levels, counted)
        self._grow(len(levels))
        # New arrays: snapshots still refer to the former ones.
        sums = self._kernel.sums(levels)
        ratings = sums[:, : self._expected.shape[1]]
        self._expected = self._expected + grow_rows(ratings, len(self._expected))
        fresh = self._service.bins.marginals(qos)
        self._marginals = tuple(
            old + grow_rows(new, len(old)) for old, new in zip(self._marginals, fresh, strict=True)
        )
        starts = whole.few([counts.starts for _, counts in parts], self._starts.shape[1])
        self._starts = self._starts + grow_rows(starts, len(self._starts))
        return AddedRatings(end_s, sums, levels.sum(axis=1), *counted)

    def _observe_new(self, size: int, time_s: int) -> Flags:
        """(size,) which groups are new at this tick."""
        unseen = np.full(size - len(self._since_s), np.inf)
        since_s = np.minimum(np.append(self._since_s, unseen), time_s)
        # Not "<": ticks are published with a varying delay, and Prometheus has to see 0 for a whole interval.
        new = np.asarray(time_s <= since_s + self._interval_s)
        self._since_s = np.select([self.groups.free, new], [np.inf, since_s], -np.inf)
        return new

    def _observe_active(self, active: Flags, time_s: int) -> None:
        active_s = np.append(self._active_s, np.full(len(active) - len(self._active_s), np.nan))
        active_s = np.where(active | np.isnan(active_s), time_s, active_s)
        self._active_s = np.where(self.groups.free, np.nan, active_s)

    def _with_provisional(
        self, shards: Sequence[BaseCounts], numbers: Sequence[Ints], closed_s: int
    ) -> Mapping[int, Counts]:
        """The counts of the longer windows, with the conditions that are not counted in them yet."""
        if not any(counts.provisional for counts in shards):
            return self._windows.counts
        windows = {length: counts.copy() for length, counts in self._windows.counts.items()}
        for length, total in windows.items():
            add_cells(
                total,
                (
                    (rows, histogram)
                    for rows, shard in zip(numbers, shards, strict=True)
                    for end_s, histogram in shard.provisional.items()
                    if end_s > closed_s - length
                ),
            )
        return windows

    def _grow(self, groups: int) -> None:
        self._windows.grow(groups)
        self._expected = grow_rows(self._expected, groups)
        self._marginals = tuple(grow_rows(counts, groups) for counts in self._marginals)
        self._starts = grow_rows(self._starts, groups)


def _without(totals: NDArray[N], groups: Ints) -> NDArray[N]:
    """The array (G, ...) with 0 for these groups."""
    without = totals.copy()
    without[groups] = 0
    return without


def _recounted(parts: Sequence[tuple[Ints, IntervalCounts]], earlier_s: int, size: int) -> Ints:
    """(size,) sessions that an earlier interval counted so far, over the shards that have any."""
    some = [(rows, counts.recounted[earlier_s]) for rows, counts in parts if earlier_s in counts.recounted]
    numbers, columns = zip(*some, strict=True)
    return Sums(numbers, size).column(columns)
