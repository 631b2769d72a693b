"""Whether to alarm, as a pure function of a rule, a reading and what was decided before; it always says why.

A rule enters at one threshold and leaves at another. In between, and whenever there is too little to tell, what was
decided before stays: silence neither alarms nor gives the all-clear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum


class AlertMetric(StrEnum):
    """What a rule looks at."""

    MOS = "mos"
    GOB = "gob"
    POW = "pow"
    QUANTILE = "quantile"
    OPEN_STALLS = "open_stall_share"

    @property
    def high_is_bad(self) -> bool:
        """Whether a rule on it enters from below."""
        return self in {AlertMetric.POW, AlertMetric.OPEN_STALLS}


class AlertState(IntEnum):
    """Where an alert is; the numbers are those of qoemon_alert_state."""

    INACTIVE = 0
    UNCERTAIN = 1
    """The figure is past the threshold, but not for sure."""
    PENDING = 2
    """Past the threshold for sure, but not yet for long enough."""
    FIRING = 3


class Reason(StrEnum):
    """Why an alert is in its state."""

    NO_DATA = "no_data"
    TOO_FEW_SESSIONS = "too_few_sessions"
    NOT_PAST_THRESHOLD = "not_past_threshold"
    BOUND_NOT_PAST_THRESHOLD = "bound_not_past_threshold"
    THETAS_DISAGREE = "thetas_disagree"
    NOT_LONG_ENOUGH = "not_long_enough"
    PAST_THRESHOLD = "past_threshold"
    NOT_YET_RECOVERED = "not_yet_recovered"
    RECOVERED = "recovered"
    GONE = "gone"


@dataclass(frozen=True)
class Rule:
    """One rule of the configuration.

    groups       label values that a group must have; a label that is not named may have any
    quantile     which one, for What.QUANTILE
    window_s     which window; What.OPEN_STALLS is of the moment and has none
    enter, leave thresholds; leave is the better of the two
    for_s        how long the figure must be past `enter`
    confident    fires only if the bound is past `enter` too
    all_thetas   fires only if every theta of the band agrees
    """

    name: str
    service: str
    what: AlertMetric
    window_s: int
    enter: float
    leave: float
    groups: Mapping[str, Sequence[str]]
    quantile: float | None = None
    for_s: float = 0
    min_sessions: int = 0
    confident: bool = True
    all_thetas: bool = False
    severity: str = "warning"
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None

    def past(self, figure: float, threshold: float) -> bool:
        """Whether a figure is on the bad side of a threshold, or on it."""
        return figure >= threshold if self.what.high_is_bad else figure <= threshold


@dataclass(frozen=True)
class Sample:
    """What a rule sees of one group at a tick. surest is the end of the interval that is nearest to good.

    by_theta  the figure for each theta of the service's band
    """

    figure: float
    confident_value: float
    by_theta: tuple[float, ...]
    users: int


Figures = Mapping[str, int | float]
"""By name; a count stays one when it is stored, so that texts read the same after a restart."""


@dataclass(frozen=True)
class Seen:
    """The figures of a group at a time, seconds since the epoch."""

    time_s: int
    figures: Figures


@dataclass(frozen=True)
class Decision:
    """What was decided, why, and since when, seconds since the epoch.

    since_s  when this state began
    past_s   since when the figure has been past `enter` for sure; None if it is not
    seen     what was last seen of enough sessions, while it fires: all there is to tell once data ends
    """

    state: AlertState
    reason: Reason
    since_s: int
    breach_since_s: int | None = None
    seen: Seen | None = None

    def shifted(self, by_s: int) -> Decision:
        """The same, so many seconds later."""
        breach_since_s = None if self.breach_since_s is None else self.breach_since_s + by_s
        seen = None if self.seen is None else replace(self.seen, time_s=self.seen.time_s + by_s)
        return replace(self, since_s=self.since_s + by_s, breach_since_s=breach_since_s, seen=seen)


QUIET = Decision(AlertState.INACTIVE, Reason.NO_DATA, 0)
"""Before anything was seen."""


def decide(rule: Rule, before: Decision, reading: Sample | None, now_s: int) -> Decision:
    """The decision at now_s, given what is seen of the group; None where there is nothing to see."""
    if before.state is AlertState.FIRING:
        return _stay_or_leave(rule, before, reading, now_s)
    doubt = _doubt(rule, reading)
    if doubt is None:
        breach_since_s = now_s if before.breach_since_s is None else before.breach_since_s
        if now_s - breach_since_s >= rule.for_s:
            return _moved(before, AlertState.FIRING, Reason.PAST_THRESHOLD, now_s, breach_since_s)
        return _moved(before, AlertState.PENDING, Reason.NOT_LONG_ENOUGH, now_s, breach_since_s)
    uncertain = doubt in {Reason.BOUND_NOT_PAST_THRESHOLD, Reason.THETAS_DISAGREE}
    return _moved(before, AlertState.UNCERTAIN if uncertain else AlertState.INACTIVE, doubt, now_s)


def forget(before: Decision, now_s: int) -> Decision:
    """The decision when the group is gone: nobody is left who could suffer."""
    return _moved(before, AlertState.INACTIVE, Reason.GONE, now_s)


def _stay_or_leave(rule: Rule, before: Decision, reading: Sample | None, now_s: int) -> Decision:
    if reading is None:
        return _moved(before, AlertState.FIRING, Reason.NO_DATA, now_s, before.breach_since_s)
    if reading.users < rule.min_sessions:
        return _moved(before, AlertState.FIRING, Reason.TOO_FEW_SESSIONS, now_s, before.breach_since_s)
    if rule.past(reading.figure, rule.enter):
        return _moved(before, AlertState.FIRING, Reason.PAST_THRESHOLD, now_s, before.breach_since_s)
    # On the threshold to leave counts as left, as on the one to enter counts as entered.
    if rule.past(reading.figure, rule.leave) and reading.figure != rule.leave:
        return _moved(before, AlertState.FIRING, Reason.NOT_YET_RECOVERED, now_s, before.breach_since_s)
    return _moved(before, AlertState.INACTIVE, Reason.RECOVERED, now_s)


def _doubt(rule: Rule, reading: Sample | None) -> Reason | None:
    """Why not to alarm on this reading; None if nothing speaks against it."""
    if reading is None:
        return Reason.NO_DATA
    if reading.users < rule.min_sessions:
        return Reason.TOO_FEW_SESSIONS
    if not rule.past(reading.figure, rule.enter):
        return Reason.NOT_PAST_THRESHOLD
    if rule.confident and not rule.past(reading.confident_value, rule.enter):
        return Reason.BOUND_NOT_PAST_THRESHOLD
    if rule.all_thetas and not all(rule.past(figure, rule.enter) for figure in reading.by_theta):
        return Reason.THETAS_DISAGREE
    return None


def _moved(
    before: Decision, state: AlertState, reason: Reason, now_s: int, breach_since_s: int | None = None
) -> Decision:
    since_s = before.since_s if state is before.state and before is not QUIET else now_s
    return Decision(state, reason, since_s, breach_since_s)
