"""Builds the snapshot of a tick: predicts ratings from counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from qoemon.core.arrays import Counts, Flags, Ints
from qoemon.core.counting.closed_ratings import ClosedRatings
from qoemon.core.counting.counts import Event, ServiceCounts
from qoemon.core.counting.feedback_counts import DAY_S
from qoemon.core.counting.groups import Labels
from qoemon.core.feedback.check import CheckRules
from qoemon.core.feedback.conditions import GivenAnswers
from qoemon.core.feedback.day import DaySums
from qoemon.core.plan.plan import Plan
from qoemon.core.plan.roll_up import RollUpKey
from qoemon.core.qoe.distribution import Distribution, RatingKernel
from qoemon.core.snapshot.feedback import FeedbackReader
from qoemon.core.snapshot.predictor import Predictor
from qoemon.core.snapshot.roll_up import Places, RollUpGroups, Sums
from qoemon.core.snapshot.snapshot import RollUp, ServiceSnapshot, Snapshot

RollUpNames = Mapping[str, Mapping[str, tuple[Labels, ...]]]
"""The label values of a roll-up's groups in the order of their numbers, by name of the roll-up and by service."""


class SnapshotBuilder:
    """Computes a Snapshot from counts.

    The longer windows change only when a rating interval closes: until then their distributions are reused.

    in_rules  the roll-ups that alert rules use, each with the names of the services
    """

    def __init__(self, plan: Plan, in_rules: Mapping[RollUpKey, frozenset[str]] | None = None) -> None:
        self._plan, self._in_rules = plan, in_rules or {}
        self._predictors = {service.name: Predictor(service, plan) for service in plan.services}
        checks = CheckRules(tolerance=plan.feedback.tolerance)
        self._readers = {
            service.name: FeedbackReader(service, plan.feedback.scores, checks, plan.confidence)
            for service in plan.services
        }
        # Ratings that clients kept are of the time at which they were given, if it is within the longest window.
        self._late_s = max(plan.timing.windows_s) + plan.timing.interval_s
        self._cache: dict[tuple[str, int], tuple[Counts, Ints, Distribution]] = {}
        everywhere = dict.fromkeys(map(RollUpKey, plan.roll_ups), frozenset(self._predictors))
        self._roll_ups = {
            key: {
                name: _RollUp(RollUpGroups(key, plan.labels, plan.limits.groups), self._predictors[name])
                for name in self._predictors
                if name in everywhere.get(key, frozenset()) | self._in_rules.get(key, frozenset())
            }
            for key in dict.fromkeys((*everywhere, *self._in_rules))
        }

    @property
    def kernels(self) -> Mapping[str, RatingKernel]:
        """The kernel of each service."""
        return {name: predictor.kernel for name, predictor in self._predictors.items()}

    def snapshot(
        self,
        counts: Sequence[ServiceCounts],
        *,
        time_s: int,
        events: Mapping[Event, int],
        sessions: int,
        catching_up: bool = False,
        closed: Sequence[ClosedRatings] = (),
        feedback: Mapping[str, Mapping[int, DaySums]] | None = None,
        answers: Mapping[str, GivenAnswers] | None = None,
    ) -> Snapshot:
        """The snapshot of tick time_s.

        counts    in the order of the plan's services
        feedback  by service and day
        answers   by service
        """
        said, today, open_day = feedback or {}, time_s // DAY_S, (time_s - self._late_s) // DAY_S
        services = {each.service: self._service(each) for each in counts}
        return Snapshot(
            time_s=time_s,
            labels=self._plan.labels,
            quantiles=self._plan.quantiles,
            services=tuple(services.values()),
            events=dict(events),
            sessions=sessions,
            catching_up=catching_up,
            roll_ups=self._rolled_up(services),
            confidence=self._plan.confidence,
            closed=tuple(closed),
            players=bool(self._plan.paths),
            feedback={
                name: reader.read(said.get(name, {}), today, open_day) for name, reader in self._readers.items()
            },
            answers=answers or {},
        )

    def remove_groups(
        self, service: str, groups: tuple[Labels, ...], free: Flags
    ) -> Iterator[tuple[RollUpKey, Ints]]:
        """Remove the groups of roll-ups that have none of these groups of the service; yields their numbers.

        free  (G,) numbers that no group has any more
        """
        for key, by_service in self._roll_ups.items():
            if service in by_service:
                removed = by_service[service].groups.remove_without(groups, free)
                if len(removed):
                    yield key, removed

    def dump(self) -> RollUpNames:
        """The groups of the plan's roll-ups, whose regimes are kept by their numbers."""
        return {
            key.name: {name: each.groups.all for name, each in self._roll_ups[key].items()}
            for key in map(RollUpKey, self._plan.roll_ups)
        }

    def load(self, groups: RollUpNames, services: Sequence[str]) -> None:
        """Restore a dump(), for these services."""
        for key in map(RollUpKey, self._plan.roll_ups):
            for name, each in groups.get(key.name, {}).items():
                if name in services:
                    self._roll_ups[key][name].groups.load(tuple(map(tuple, each)))

    def _service(self, counts: ServiceCounts) -> ServiceSnapshot:
        predictor = self._predictors[counts.service]
        distributions = {length: self._distribution(counts, length) for length in counts.windows}
        where_first = predictor.where_first(counts, distributions[self._plan.timing.interval_s])
        return predictor.snapshot(counts, where_first, distributions)

    def _distribution(self, counts: ServiceCounts, length: int) -> Distribution:
        window, users = counts.windows[length], counts.users[length]
        known = self._cache.get((counts.service, length))
        if known is None or known[0] is not window or known[1] is not users:
            distribution = self._predictors[counts.service].distribution(counts, length)
            known = self._cache[counts.service, length] = window, users, distribution
        return known[2]

    def _rolled_up(self, services: Mapping[str, ServiceSnapshot]) -> dict[RollUpKey, RollUp]:
        sums = {name: Sums(service.counts) for name, service in services.items()}
        return {
            key: RollUp(
                {name: each.snapshot(services[name], sums[name]) for name, each in by_service.items()},
                self._in_rules.get(key, frozenset()),
            )
            for key, by_service in self._roll_ups.items()
        }


class _RollUp:
    """One roll-up of one service, from tick to tick; sums of windows that have not changed are reused."""

    def __init__(self, groups: RollUpGroups, predictor: Predictor) -> None:
        self.groups, self._predictor = groups, predictor
        self._of: tuple[Places, Mapping[int, Counts], Mapping[int, Ints], ServiceSnapshot] | None = None
        """The newest snapshot, and what it was made from."""

    def snapshot(self, service: ServiceSnapshot, sums: Sums) -> ServiceSnapshot:
        """The sums of this snapshot of the service."""
        counts = service.counts
        places = self.groups.places(counts.groups, counts.free)
        same = self._unchanged(places, counts)
        before = self._of[3] if self._of else None
        total = sums.of(places, {length: before.counts.windows[length] for length in same} if before else {})
        distributions = {length: before.distributions[length] for length in same} if before else {}
        snapshot = self._predictor.snapshot(total, service.where_first, distributions)
        self._of = places, counts.windows, counts.users, snapshot
        return snapshot

    def _unchanged(self, places: Places, counts: ServiceCounts) -> list[int]:
        """The windows whose counts are those of the newest snapshot."""
        if self._of is None or self._of[0] is not places:
            return []
        _, windows, users, _ = self._of
        return [
            length
            for length in counts.windows
            if windows[length] is counts.windows[length] and users[length] is counts.users[length]
        ]
