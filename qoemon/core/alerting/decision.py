"""The decision on an alert: a pure function of a rule, a sample and the decision before, with its reason.

An alert fires at one threshold and clears at another. Between the two, and whenever data is missing or too few, a
firing alert keeps firing and another does not start: missing data neither fires nor clears an alert. The same holds
while the feed cannot be trusted. A firing alert ends when data are back and show that the group has recovered, or
when its group is removed because it was silent for long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

from qoemon.core.alerting.rule import Rule


class AlertState(IntEnum):
    """State of an alert; the numbers are the values of qoemon_alert_state."""

    INACTIVE = 0
    UNCERTAIN = 1
    """The value is past the threshold, but its bound or another theta is not; or the feed cannot be trusted."""
    PENDING = 2
    """Value, bound and thetas are past the threshold, but not for long enough yet."""
    FIRING = 3


class Reason(StrEnum):
    """Why an alert is in its state."""

    NO_DATA = "no_data"
    TOO_FEW_SESSIONS = "too_few_sessions"
    NOT_PAST_THRESHOLD = "not_past_threshold"
    BOUND_NOT_PAST_THRESHOLD = "bound_not_past_threshold"
    THETAS_DISAGREE = "thetas_disagree"
    FEED = "feed"
    """most reports of the group are impossible, or of several players under one session id"""
    CATCHING_UP = "catching_up"
    """a backlog without timestamps has arrived: what happened earlier would count as present"""
    NOT_LONG_ENOUGH = "not_long_enough"
    PAST_THRESHOLD = "past_threshold"
    NOT_YET_RECOVERED = "not_yet_recovered"
    RECOVERED = "recovered"
    NOT_CONNECTED = "not_connected"
    """the daemon is not connected to its broker: no reports can arrive"""
    STARTING = "starting"
    """the daemon has just started, is connected again, or continues the alert of another: sessions or windows are
    not complete yet"""
    GONE = "gone"
    """the group is no longer visible, and the alert did not fire"""
    IDLE = "idle"
    """the alert fired, and its group was removed after limits.group_idle without reports"""
    RATED_LOWER = "rated_lower"
    """users rate lower than predicted"""
    RATED_HIGHER = "rated_higher"
    """users rate higher than predicted"""
    RATED_WIDER = "rated_wider"
    """users disagree more than predicted"""
    RATED_NARROWER = "rated_narrower"
    """users disagree less than predicted"""
    AS_PREDICTED = "as_predicted"
    """users rate as predicted, within the tolerance"""
    TOO_FEW_RATINGS = "too_few_ratings"
    """too few days with enough ratings, or none lately"""
    ENDED_TODAY = "ended_today"
    """ratings deviate from the predictions, but the alert ended today: it begins again on another day (UTC)"""


@dataclass(frozen=True)
class Sample:
    """What a rule evaluates of one group at a tick.

    value            the metric
    confident_value  the end of its confidence interval that is nearest to good, for all looks of the rule together
                     if the rule uses it (false_alarms.py)
    by_theta         the metric for each theta of the service's band
    users            distinct sessions behind it
    obstacle         why the value cannot be trusted now, whatever it is
    cause            the reason of an alert that fires because of this value, if it is known better
    why_not          the reason of an alert that does not fire because of this value, if it is known better
    """

    value: float
    confident_value: float
    by_theta: tuple[float, ...]
    users: int
    obstacle: Reason | None = None
    cause: Reason | None = None
    why_not: Reason | None = None


Figures = Mapping[str, int | float]
"""By name; a count stays an integer when it is stored, so that texts are the same after a restart."""


@dataclass(frozen=True)
class TimedFigures:
    """The figures of a group at a time, seconds since the epoch."""

    time_s: int
    figures: Figures


@dataclass(frozen=True)
class Decision:
    """The state of an alert, and its reason. Times in seconds since the epoch.

    since_s         when this state began
    breach_since_s  since when value, bound and thetas have been past `threshold`; None if they are not
    last_figures    while it fires, the last figures from enough sessions: for texts once data ends
    adopted_s       while it fires, since when it has been decided here, if another daemon began it
    """

    state: AlertState
    reason: Reason
    since_s: int
    breach_since_s: int | None = None
    last_figures: TimedFigures | None = None
    adopted_s: int | None = None

    def shifted(self, by_s: int) -> Decision:
        """The decision with all times moved by so many seconds."""
        breach_since_s = None if self.breach_since_s is None else self.breach_since_s + by_s
        adopted_s = None if self.adopted_s is None else self.adopted_s + by_s
        last = self.last_figures and replace(self.last_figures, time_s=self.last_figures.time_s + by_s)
        since_s = self.since_s + by_s
        return Decision(self.state, self.reason, since_s, breach_since_s, last, adopted_s)


UNCERTAIN = {
    Reason.FEED,
    Reason.CATCHING_UP,
    Reason.BOUND_NOT_PAST_THRESHOLD,
    Reason.THETAS_DISAGREE,
    Reason.NOT_CONNECTED,
    Reason.STARTING,
}
"""Reasons of the state UNCERTAIN."""

QUIET = Decision(AlertState.INACTIVE, Reason.NO_DATA, 0)
"""The decision before the first sample."""


def decide(
    rule: Rule, before: Decision, sample: Sample | None, now_s: int, missing: Reason = Reason.NO_DATA
) -> Decision:
    """The decision at now_s, seconds since the epoch, given the sample of the group; None if it has no data.

    missing  why there is no sample
    """
    if sample is None:
        return _without_sample(before, missing, now_s)
    if before.state is AlertState.FIRING:
        return _keep_or_clear(rule, before, sample, now_s)
    obstacle = _obstacle(rule, sample)
    if obstacle is None:
        breach_since_s = now_s if before.breach_since_s is None else before.breach_since_s
        if now_s - breach_since_s >= rule.for_s:
            return _next(before, AlertState.FIRING, sample.cause or Reason.PAST_THRESHOLD, now_s, breach_since_s)
        return _next(before, AlertState.PENDING, Reason.NOT_LONG_ENOUGH, now_s, breach_since_s)
    return _next(before, AlertState.UNCERTAIN if obstacle in UNCERTAIN else AlertState.INACTIVE, obstacle, now_s)


def forget(before: Decision, now_s: int) -> Decision:
    """The decision on a group that is no longer visible, or if its alert fires, that has been removed."""
    reason = Reason.IDLE if before.state is AlertState.FIRING else Reason.GONE
    return _next(before, AlertState.INACTIVE, reason, now_s)


def _without_sample(before: Decision, missing: Reason, now_s: int) -> Decision:
    if before.state is AlertState.FIRING:
        return _next(before, AlertState.FIRING, missing, now_s, before.breach_since_s)
    return _next(before, AlertState.UNCERTAIN if missing in UNCERTAIN else AlertState.INACTIVE, missing, now_s)


def _keep_or_clear(rule: Rule, before: Decision, sample: Sample, now_s: int) -> Decision:
    if sample.users < rule.min_sessions:
        return _next(before, AlertState.FIRING, Reason.TOO_FEW_SESSIONS, now_s, before.breach_since_s)
    if sample.obstacle is not None:
        return _next(before, AlertState.FIRING, sample.obstacle, now_s, before.breach_since_s)
    if rule.past(sample.value, rule.threshold):
        reason = sample.cause or Reason.PAST_THRESHOLD
        return _next(before, AlertState.FIRING, reason, now_s, before.breach_since_s)
    # A value equal to `recovery` clears, as one equal to `threshold` fires.
    if rule.past(sample.value, rule.recovery) and sample.value != rule.recovery:
        return _next(before, AlertState.FIRING, Reason.NOT_YET_RECOVERED, now_s, before.breach_since_s)
    if before.adopted_s is not None and rule.metric.of_window and now_s - before.adopted_s < rule.window_s:
        # The window may have begun with this daemon: what the other one has seen in it may be missing.
        return _next(before, AlertState.FIRING, Reason.STARTING, now_s, before.breach_since_s)
    return _next(before, AlertState.INACTIVE, sample.why_not or Reason.RECOVERED, now_s)


def _obstacle(rule: Rule, sample: Sample) -> Reason | None:
    """Why this sample does not fire the alert; None if it does."""
    if sample.users < rule.min_sessions:
        return Reason.TOO_FEW_SESSIONS
    return sample.obstacle or _short_of_threshold(rule, sample)


def _short_of_threshold(rule: Rule, sample: Sample) -> Reason | None:
    """Why the figures do not fire the alert; None if they do."""
    if not rule.past(sample.value, rule.threshold):
        return sample.why_not or Reason.NOT_PAST_THRESHOLD
    if rule.confident and not rule.past(sample.confident_value, rule.certain_at):
        return Reason.BOUND_NOT_PAST_THRESHOLD
    if rule.all_thetas and not all(rule.past(value, rule.threshold) for value in sample.by_theta):
        return Reason.THETAS_DISAGREE
    return None


def _next(
    before: Decision, state: AlertState, reason: Reason, now_s: int, breach_since_s: int | None = None
) -> Decision:
    since_s = before.since_s if state is before.state and before is not QUIET else now_s
    adopted_s = before.adopted_s if state is AlertState.FIRING else None
    return Decision(state, reason, since_s, breach_since_s, adopted_s=adopted_s)
