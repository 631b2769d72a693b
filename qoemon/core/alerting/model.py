"""What a rule on the model of a service reads: whether users rate as predicted.

The check of the model takes a day as one witness, so an alert begins and ends when a day has closed. Answers that
come later still correct it. So that this never lets an alert flap, one that has ended does not begin again on the
same day.
"""

from __future__ import annotations

from qoemon.core.alerting.decision import AlertState, Decision, Reason, Sample
from qoemon.core.counting.feedback_counts import DAY_S
from qoemon.core.feedback.check import ModelState, Way
from qoemon.core.snapshot.feedback import Feedback

CAUSES = {
    Way.LOWER: Reason.RATED_LOWER,
    Way.HIGHER: Reason.RATED_HIGHER,
    Way.WIDER: Reason.RATED_WIDER,
    Way.NARROWER: Reason.RATED_NARROWER,
}
"""Reasons of an alert that fires."""

_QUIET = {ModelState.HOLDS: Reason.AS_PREDICTED, ModelState.TOO_FEW: Reason.TOO_FEW_RATINGS}


def model_sample(feedback: Feedback, before: Decision, now_s: int) -> Sample:
    """What the rule reads at now_s, seconds since the epoch.

    Its users are those who rated: since the model is off, or lately.

    before  the decision at the last tick
    """
    check = feedback.check
    value = float(check.state is ModelState.OFF)
    ended_today = before.state is AlertState.INACTIVE and before.since_s // DAY_S == now_s // DAY_S
    return Sample(
        value=value,
        confident_value=value,
        by_theta=(),
        users=feedback.ratings if feedback.deviation is None else feedback.deviation.ratings,
        obstacle=Reason.ENDED_TODAY if value and ended_today else None,
        cause=None if check.way is None else CAUSES[check.way],
        why_not=_QUIET.get(check.state),
    )
