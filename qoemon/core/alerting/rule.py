"""Whether to alarm, as a pure function of a rule, a reading and what was decided before; it always says why.

A rule enters at one threshold and leaves at another. In between, and whenever there is too little to tell, what was
decided before stays: silence neither alarms nor gives the all-clear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum


class What(StrEnum):
    """What a rule looks at."""

    MOS = "mos"
    GOB = "gob"
    POW = "pow"
    QUANTILE = "quantile"
    OPEN_STALLS = "open_stall_share"

    @property
    def high_is_bad(self) -> bool:
        """Whether a rule on it enters from below."""
        return self in {What.POW, What.OPEN_STALLS}


class State(IntEnum):
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
    what: What
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
class Reading:
    """What a rule sees of one group at a tick. surest is the end of the interval that is nearest to good.

    by_theta  the figure for each theta of the service's band
    """

    figure: float
    surest: float
    by_theta: tuple[float, ...]
    users: int


Figures = Mapping[str, int | float]
"""By name; a count stays one when it is stored, so that texts read the same after a restart."""


@dataclass(frozen=True)
class Seen:
    """The figures of a group at a time, seconds since the epoch."""

    time_s: float
    figures: Figures


@dataclass(frozen=True)
class Decision:
    """What was decided, why, and since when, seconds since the epoch.

    since_s  when this state began
    past_s   since when the figure has been past `enter` for sure; None if it is not
    seen     what was last seen of enough sessions, while it fires: all there is to tell once data ends
    """

    state: State
    reason: Reason
    since_s: float
    past_s: float | None = None
    seen: Seen | None = None

    def shifted(self, by_s: float) -> Decision:
        """The same, so many seconds later."""
        past_s = None if self.past_s is None else self.past_s + by_s
        seen = None if self.seen is None else replace(self.seen, time_s=self.seen.time_s + by_s)
        return replace(self, since_s=self.since_s + by_s, past_s=past_s, seen=seen)


QUIET = Decision(State.INACTIVE, Reason.NO_DATA, 0.0)
"""Before anything was seen."""


def decide(rule: Rule, before: Decision, reading: Reading | None, now_s: float) -> Decision:
    """The decision at now_s, given what is seen of the group; None where there is nothing to see."""
    if before.state is State.FIRING:
        return _stay_or_leave(rule, before, reading, now_s)
    doubt = _doubt(rule, reading)
    if doubt is None:
        past_s = now_s if before.past_s is None else before.past_s
        if now_s - past_s >= rule.for_s:
            return _moved(before, State.FIRING, Reason.PAST_THRESHOLD, now_s, past_s)
        return _moved(before, State.PENDING, Reason.NOT_LONG_ENOUGH, now_s, past_s)
    uncertain = doubt in {Reason.BOUND_NOT_PAST_THRESHOLD, Reason.THETAS_DISAGREE}
    return _moved(before, State.UNCERTAIN if uncertain else State.INACTIVE, doubt, now_s)


def forget(before: Decision, now_s: float) -> Decision:
    """The decision when the group is gone: nobody is left who could suffer."""
    return _moved(before, State.INACTIVE, Reason.GONE, now_s)


def _stay_or_leave(rule: Rule, before: Decision, reading: Reading | None, now_s: float) -> Decision:
    if reading is None:
        return _moved(before, State.FIRING, Reason.NO_DATA, now_s, before.past_s)
    if reading.users < rule.min_sessions:
        return _moved(before, State.FIRING, Reason.TOO_FEW_SESSIONS, now_s, before.past_s)
    if rule.past(reading.figure, rule.enter):
        return _moved(before, State.FIRING, Reason.PAST_THRESHOLD, now_s, before.past_s)
    # On the threshold to leave counts as left, as on the one to enter counts as entered.
    if rule.past(reading.figure, rule.leave) and reading.figure != rule.leave:
        return _moved(before, State.FIRING, Reason.NOT_YET_RECOVERED, now_s, before.past_s)
    return _moved(before, State.INACTIVE, Reason.RECOVERED, now_s)


def _doubt(rule: Rule, reading: Reading | None) -> Reason | None:
    """Why not to alarm on this reading; None if nothing speaks against it."""
    if reading is None:
        return Reason.NO_DATA
    if reading.users < rule.min_sessions:
        return Reason.TOO_FEW_SESSIONS
    if not rule.past(reading.figure, rule.enter):
        return Reason.NOT_PAST_THRESHOLD
    if rule.confident and not rule.past(reading.surest, rule.enter):
        return Reason.BOUND_NOT_PAST_THRESHOLD
    if rule.all_thetas and not all(rule.past(figure, rule.enter) for figure in reading.by_theta):
        return Reason.THETAS_DISAGREE
    return None


def _moved(before: Decision, state: State, reason: Reason, now_s: float, past_s: float | None = None) -> Decision:
    since_s = before.since_s if state is before.state and before is not QUIET else now_s
    return Decision(state, reason, since_s, past_s)
