"""Queries that several boards use.

Shares of users are never averaged over groups: they are weighted by observations, or computed from expected
ratings. Both give the value of one group with all these users.

Two daemons of a pair export the same figures, so numbers are taken once of all instances before they are summed.
Means weighted by observations need that not: they are those of all instances together.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from qoemon.common import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qoemon.core.plan.plan import Plan

MINUTES = "$__rate_interval"
"""Grafana's range for a rate: four scrapes, or four times the minimum interval of the query."""

RATINGS = "qoemon_expected_ratings_total"

SAID, EXPECTED = "qoemon_feedback_ratings_total", "qoemon_feedback_expected_ratings_total"
"""Ratings that users gave, and those expected in the same sessions."""


def once(series: str) -> str:
    """The series without the label `instance`: of two daemons of a pair, the one that has seen more."""
    return f"max without (instance) ({series})"


@dataclass(frozen=True)
class Queries:
    """PromQL about the groups that the variables select.

    plan        for labels, rating interval, windows and scales
    objectives  target share of good ratings, by service
    """

    plan: Plan
    objectives: Mapping[str, float]

    @cached_property
    def group(self) -> str:
        """The labels of a group, for `by`."""
        return ", ".join(("service", *self.plan.labels))

    @property
    def legend(self) -> str:
        """A group in a legend."""
        return " ".join(f"{{{{{label}}}}}" for label in ("service", *self.plan.labels))

    @property
    def base(self) -> str:
        """The base window, as in the label `window`."""
        return duration.text(self.plan.timing.interval_s)

    def of(self, metric: str, *more: str) -> str:
        """A metric of the selected groups; more: further matchers."""
        chosen = [f'{label}=~"${label}"' for label in ("service", *self.plan.labels)]
        return f"{metric}{{{','.join([*chosen, *more])}}}"

    def of_service(self, metric: str, *more: str) -> str:
        """A metric of whole services, of the selected ones; more: further matchers."""
        chosen = ",".join(('service=~"$service"', *more))
        return f"{metric}{{{chosen}}}"

    def rating_shares(self, metric: str, span: str) -> str:
        """The share of each rating in that time, of SAID or EXPECTED."""
        of_time = f"increase({self.of_service(metric)}[{span}])"
        every = f"on (service) group_left () sum by (service) ({of_time})"
        return f"sum by (service, rating) ({of_time}) / {every}"

    def model_state(self) -> str:
        """The state of each service's model: 0 too few ratings, 1 it holds, 2 it is off."""
        holds, off = (self.of_service("qoemon_model_state", f'state="{state}"') for state in ("holds", "off"))
        return f"max by (service) ({holds} or 2 * {off})"

    def windowed(self, metric: str, *more: str) -> str:
        """A metric of the selected groups in the selected windows."""
        return self.of(metric, 'window=~"$window"', *more)

    def total(self, metric: str, by: str) -> str:
        """The sum of a metric over the selected groups."""
        return f"sum by ({by}) ({once(self.of(metric))})"

    def increase(self, metric: str, span: str, by: str, *more: str) -> str:
        """The increase of a counter in that time, summed over the selected groups; more: further matchers."""
        return f"sum by ({by}) ({once(f'increase({self.of(metric, *more)}[{span}])')})"

    def weighted(self, metric: str, *more: str, split: str = "") -> str:
        """Mean over all observations of the selected groups, by service, window and the label `split`."""
        observations = self.windowed("qoemon_observations")
        by = "service, window"
        if not split:
            alike = f" ignoring ({_keys(more)})" if more else ""
            product = f"{self.windowed(metric, *more)} *{alike} {observations}"
            return f"sum by ({by}) ({product}) / sum by ({by}) ({observations})"
        product = f"{self.windowed(metric, *more)} * ignoring ({split}) group_left () {observations}"
        every = f"on ({by}) group_left () sum by ({by}) ({observations})"
        return f"sum by ({by}, {split}) ({product}) / {every}"

    def excess(self, by: str) -> str:
        """Poor ratings in the last rating interval that good conditions would have avoided: of all factors."""
        return f"sum by ({by}) ({once(self._poor_by_factor)})"

    def attribution(self) -> str:
        """The part of PoW that each factor accounts for, over the selected groups."""
        every = f"sum by (service) ({self._weight})"
        return f"sum by (service, factor) ({self._poor_by_factor}) / on (service) group_left () {every}"

    @property
    def _poor_by_factor(self) -> str:
        """The poor ratings of each group in the base window that each factor accounts for."""
        return f"{self.of('qoemon_pow_contribution')} * ignoring (factor, window) group_left () {self._weight}"

    @property
    def _weight(self) -> str:
        return self.of("qoemon_observations", f'window="{self.base}"')

    def ratings(self, by: str) -> str:
        """Ratings per second."""
        return f"sum by ({by}) ({once(f'rate({self.of(RATINGS)}[{MINUTES}])')})"

    def share(self, span: str, by: str = "service") -> str:
        """The share of good ratings in that time, exact over groups and time."""
        return f"({self.good(span, by)}) / {self.increase(RATINGS, span, by)}"

    def good(self, span: str, by: str) -> str:
        """The good ratings in that time, summed separately for services with different scales."""
        alike: defaultdict[str, list[str]] = defaultdict(list)
        for service in self.plan.services:
            good = [str(rating) for rating in service.scale.ratings if rating >= service.scale.good]
            alike["|".join(good)].append(service.name)
        sums = []
        for ratings, services in alike.items():
            of_scale = f'service=~"{"|".join(services)}"', f'rating=~"{ratings}"'
            sums.append(self.increase(RATINGS, span, by, *of_scale))
        return " or ".join(sums)

    def burn(self, span: str) -> str:
        """Burn rate of the error budget; at 1 the budget lasts exactly for its period."""
        return f"(1 - {self.share(span)}) / on (service) (1 - ({self.objective()}))"

    def objective(self) -> str:
        """The objective of each selected service, one series each."""
        each = (
            f'label_replace(vector({share!r}), "service", "{service}", "", "")'
            for service, share in self.objectives.items()
        )
        return f"({' or '.join(each)}) and on (service) {self.of(RATINGS)}"


def _keys(matchers: tuple[str, ...]) -> str:
    """The label names of matchers."""
    return ", ".join(matcher.partition("=")[0] for matcher in matchers)
