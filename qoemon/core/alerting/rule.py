"""A rule: which metric of which groups, over which window, fires an alert at which threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from qoemon.core.plan.roll_up import RollUpKey


class AlertMetric(StrEnum):
    """The metric that a rule evaluates."""

    MOS = "mos"
    GOB = "gob"
    POW = "pow"
    QUANTILE = "opinion_quantile"
    OPEN_STALLS = "open_stall_share"
    ABSENT = "absent"
    """time without any report, seconds"""
    DROP = "drop"
    """share by which there are fewer active sessions than usual at this time"""
    MODEL = "model"
    """whether ratings of users deviate from the predictions of the service: 1 if they do, else 0"""

    @property
    def high_is_bad(self) -> bool:
        """Whether high values are bad: a rule then fires at or above its threshold."""
        return self not in {AlertMetric.MOS, AlertMetric.GOB, AlertMetric.QUANTILE}

    @property
    def of_presence(self) -> bool:
        """Whether it is about sessions that are missing, and not about ratings: it has no window."""
        return self in {AlertMetric.ABSENT, AlertMetric.DROP}

    @property
    def of_window(self) -> bool:
        """Whether it is about the ratings of a window."""
        return self in {AlertMetric.MOS, AlertMetric.GOB, AlertMetric.POW, AlertMetric.QUANTILE}

    @property
    def of_conditions(self) -> bool:
        """Whether it is about what users experience now: not about missing sessions, nor about the model."""
        return not self.of_presence and self is not AlertMetric.MODEL


@dataclass(frozen=True)
class Rule:
    """One rule of the configuration.

    metric       value to evaluate
    groups       accepted values by label; labels without an entry may have any value
    by           labels of the sums that the rule evaluates, in the order of the plan's labels: `groups` selects the
                 groups first. (): the whole service. None: every group by itself. Only None and () for of_presence;
                 () for MODEL
    quantile     which quantile, for AlertMetric.QUANTILE
    window_s     window in seconds; OPEN_STALLS, ABSENT, DROP and MODEL have none, they are current values
    threshold, recovery thresholds to fire and to clear; recovery is the better of the two
    for_s        how long the value must be past `threshold`, seconds
    confident    fires only if the bound is past `threshold` too
    all_thetas   fires only if the values for all thetas of the band are past `threshold` too
    """

    name: str
    service: str
    metric: AlertMetric
    window_s: int
    threshold: float
    recovery: float
    groups: Mapping[str, Sequence[str]]
    quantile: float | None = None
    for_s: float = 0
    min_sessions: int = 0
    confident: bool = True
    all_thetas: bool = False
    severity: str = "warning"
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    by: tuple[str, ...] | None = None

    @property
    def roll_up(self) -> RollUpKey | None:
        """The roll-up that it evaluates; None if it evaluates single groups, missing sessions or the model."""
        if self.by is None or not self.metric.of_conditions:
            return None
        summed = ((label, tuple(values)) for label, values in self.groups.items() if label not in self.by)
        return RollUpKey(self.by, tuple(sorted(summed)))

    @property
    def bounded(self) -> bool:
        """Whether a bound must be past `threshold` too: not every metric has one."""
        return self.confident and self.metric in {AlertMetric.MOS, AlertMetric.GOB, AlertMetric.POW}

    @property
    def whole(self) -> bool:
        """Whether it is about missing sessions of the service as a whole."""
        return self.by == () and self.metric.of_presence

    @property
    def certain_at(self) -> float:
        """What the confident value must be past. A fall is certain if its part beyond the usual variation is."""
        return 0.0 if self.metric is AlertMetric.DROP else self.threshold

    def past(self, value: float, threshold: float) -> bool:
        """Whether a value is at the threshold, or on its bad side."""
        return value >= threshold if self.metric.high_is_bad else value <= threshold
