"""Service level objectives on what users would say: how fast the error budget burns.

The objective is a share of ratings that are good or better, over 30 days; the rest is the error budget. Rules look
at how fast it burns in a long window, so that it matters, and in a short one, so that it still does (Google, The
Site Reliability Workbook, chapter 5). All shares are of sums of qoemon_expected_ratings_total: exact over groups,
time and daemons.

A counter of each group and rating over 30 days is more than Prometheus likes to read, so rates are recorded, and
longer windows sum what was recorded: sums of ratings, never means of shares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor, log

import numpy as np

from qoemon.common import duration
from qoemon.core.plan.plan import Plan, Service
from qoemon.tools.rules.rulefile import STEP_S, Alerting, Recording, RuleGroup, selector

OBJECTIVE = 0.9
"""The share of good ratings that is asked for where nothing else is said."""

PERIOD_S = 30 * 86400
"""The time for which an error budget is."""

CLEARLY = 0.8
"""The fastest burn that is asked about, as a share of the fastest that there can be."""

GOOD, ALL = "qoemon_expected_ratings_good", "qoemon_expected_ratings"

_HOUR_S = 3600
_WINDOWS_S = (300, 1800, _HOUR_S, 2 * _HOUR_S, 6 * _HOUR_S, 24 * _HOUR_S, 72 * _HOUR_S)


@dataclass(frozen=True)
class Burn:
    """Burning `factor` times as fast as the budget allows, in both windows."""

    factor: float
    long_s: int
    short_s: int
    severity: str


BURNS = (
    Burn(14.4, _HOUR_S, 300, "critical"),
    Burn(6, 6 * _HOUR_S, 1800, "critical"),
    Burn(3, 24 * _HOUR_S, 2 * _HOUR_S, "warning"),
    Burn(1, 72 * _HOUR_S, 6 * _HOUR_S, "warning"),
)
"""The workbook's table: 2, 5, 10 and 10 % of the budget are spent when they fire. Critical wakes someone."""


class ObjectiveError(ValueError):
    """An objective that a service can't meet or can't miss; says what it can reach."""


@dataclass(frozen=True)
class Slo:
    """The objective of one service: this share of its ratings is good or better."""

    service: Service
    objective: float

    def __post_init__(self) -> None:
        worst, best = self._reach
        if not worst < self.objective < best:
            raise ObjectiveError(
                f"service {self.service.name}: found the objective {self.objective:g}, expected a share of good "
                f"ratings above {worst:.4f} and below {best:.4f}, the worst and the best that "
                f"{self.service.mapping.name} comes to"
            )

    @cached_property
    def burns(self) -> tuple[Burn, ...]:
        """The table for this objective.

        With an objective of .9, a total outage burns the budget 10 times as fast as allowed: 14.4 times is never
        reached. Then the factors are pressed together, the fastest to what a total outage clearly passes, in a way
        that leaves 1 where it is.
        """
        fastest = CLEARLY * (1 - self._reach[0]) / self.budget
        press = min(1.0, max(log(fastest), 0) / log(BURNS[0].factor))
        return tuple(Burn(b.factor**press, b.long_s, b.short_s, b.severity) for b in BURNS)

    @property
    def worst(self) -> float:
        """The largest share of ratings that are not good, thousandths."""
        return floor(1000 * (1 - self._reach[0])) / 1000

    @property
    def budget(self) -> float:
        """The share of ratings that need not be good."""
        return 1 - self.objective

    def least(self, burn: Burn) -> float:
        """The share of good ratings below which the budget burns as fast; readable digits."""
        return round(1 - burn.factor * self.budget, 4)

    @cached_property
    def _reach(self) -> tuple[float, float]:
        """The worst and the best share of good ratings."""
        ends = self.service.kernel((), self.service.mapping.reach).judge(np.eye(2, dtype=np.int64))
        return float(ends.gob.min()), float(ends.gob.max())


@dataclass(frozen=True)
class SloRules:
    """The rules of all objectives of a plan.

    objectives  by service; a service without one has its shares recorded all the same
    """

    plan: Plan
    objectives: Mapping[str, float]
    job: str

    @cached_property
    def slos(self) -> tuple[Slo, ...]:
        """The objectives; ObjectiveError if one makes no sense."""
        named = [service for service in self.plan.services if service.name in self.objectives]
        return tuple(Slo(service, self.objectives[service.name]) for service in named)

    @cached_property
    def base_s(self) -> int:
        """The shortest window, minutes: ratings come as rating intervals close, some of which it must contain."""
        return max(_WINDOWS_S[0], 60 * ceil(4 * self.plan.timing.interval_s / 60))

    def group(self) -> RuleGroup:
        """The rules as a group of the file."""
        recordings = [*self._rates(), *self._shares()]
        return RuleGroup("qoemon-slo", STEP_S, [*recordings, *self._alerts()])

    @property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """The labels by which ratings are summed, those of a group first."""
        return tuple(dict.fromkeys([("service", *self.plan.labels), ("service",)]))

    @property
    def windows_s(self) -> tuple[int, ...]:
        """The windows whose shares are recorded."""
        return (*dict.fromkeys(max(each, self.base_s) for each in _WINDOWS_S), PERIOD_S)

    @property
    def _tile_s(self) -> int:
        return max(_HOUR_S, self.base_s)

    def windows(self, burn: Burn) -> tuple[int, int]:
        """The long and the short window, no shorter than the shortest."""
        return max(burn.long_s, self.base_s), max(burn.short_s, self.base_s)

    def _rates(self) -> Iterator[Recording]:
        finest, *coarser = self.levels
        counter, by = "qoemon_expected_ratings_total", f"sum by ({', '.join(finest)})"
        per, base = _rate(self.base_s), f"[{duration.text(self.base_s)}]"
        yield Recording(_name(finest, ALL, per), f"{by} (rate({counter}{base}))", {})
        for service in self.plan.services:
            good = [str(r) for r in service.scale.ratings.tolist() if r >= service.scale.good]
            rated = selector(counter, {"service": service.name, "rating": good})
            # The label is there anyway; said once more, promtool sees that these are no duplicates.
            yield Recording(_name(finest, GOOD, per), f"{by} (rate({rated}{base}))", {"service": service.name})
        for level in coarser:
            for metric in (ALL, GOOD):
                summed = f"sum by ({', '.join(level)}) ({_name(finest, metric, per)})"
                yield Recording(_name(level, metric, per), summed, {})
        if self._tile_s != self.base_s:
            yield from self._tiles()

    def _tiles(self) -> Iterator[Recording]:
        for level in self.levels:
            for metric in (ALL, GOOD):
                mean = f"avg_over_time({_name(level, metric, _rate(self.base_s))}[{duration.text(self._tile_s)}])"
                yield Recording(_name(level, metric, _rate(self._tile_s)), mean, {})

    def _shares(self) -> Iterator[Recording]:
        for level in self.levels:
            for window_s in self.windows_s:
                good, every = (self._summed(level, metric, window_s) for metric in (GOOD, ALL))
                yield Recording(share(level, window_s), f"{good}\n/ ({every} > 0)\n", {})

    def _summed(self, level: Sequence[str], metric: str, window_s: int) -> str:
        """The ratings of a window, but for a factor."""
        if window_s == self.base_s:
            return _name(level, metric, _rate(self.base_s))
        if window_s < PERIOD_S:
            return f"sum_over_time({_name(level, metric, _rate(self.base_s))}[{duration.text(window_s)}])"
        # Tiles of the month that neither overlap nor leave gaps.
        tiles = f"[{duration.text(window_s)}:{duration.text(self._tile_s)}]"
        return f"sum_over_time({_name(level, metric, _rate(self._tile_s))}{tiles})"

    def _alerts(self) -> Iterator[Alerting]:
        for slo in self.slos:
            for burn in slo.burns:
                yield self._alert(slo, burn)

    def _alert(self, slo: Slo, burn: Burn) -> Alerting:
        of_service = {"service": slo.service.name}
        shares = [selector(share(("service",), window_s), of_service) for window_s in self.windows(burn)]
        expr = "\nand ".join(f"{share} < {slo.least(burn):g}" for share in shares) + "\n"
        told = {"summary": self.summary(slo, burn, "{{ $value | humanizePercentage }}")}
        told["description"] = self.description(burn)
        return Alerting(alert_name(burn), expr, 0, {"service": slo.service.name, "severity": burn.severity}, told)

    def summary(self, slo: Slo, burn: Burn, good: str) -> str:
        """What has happened, given the share of good ratings in words."""
        long_s, _ = self.windows(burn)
        return (
            f"{good} of the ratings of {slo.service.name} in the last {duration.text(long_s)} "
            f"are good or better; the objective is {100 * slo.objective:g}%"
        )

    def description(self, burn: Burn) -> str:
        """What it means, and what to do."""
        spent = duration.text(_HOUR_S * round(PERIOD_S / burn.factor / _HOUR_S))
        level = share(self.levels[0], self.windows(burn)[0])
        return f"As bad as this, the error budget of 30 days is spent in {spent}. Where: bottomk(5, {level})"


def alert_name(burn: Burn) -> str:
    """The name of the alert of a row of the table."""
    return f"QoemonSloBurn{duration.text(burn.long_s)}"


def share(level: Sequence[str], window_s: int) -> str:
    """The recorded share of good ratings."""
    return _name(level, GOOD, f"ratio_{_rate(window_s)}")


def _rate(window_s: int) -> str:
    return f"rate{duration.text(window_s)}"


def _name(level: Sequence[str], metric: str, operation: str) -> str:
    """By Prometheus's convention, level:metric:operation."""
    return f"{'_'.join(level)}:{metric}:{operation}"
