"""What users said as Prometheus metric families, beside what was predicted for the same sessions."""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from qoemon.core.counting.feedback_counts import DAY_S, REASONS
from qoemon.core.feedback.check import ModelState
from qoemon.core.feedback.figures import LEAST_RATINGS, Estimate
from qoemon.core.snapshot.feedback import PERIOD_DAYS
from qoemon.core.snapshot.snapshot import Snapshot

CLASS_NAMES = ("lowest", "low", "high", "highest")
"""Of the classes of prediction: below 2.5, 3.5, 4.5, and above, on a scale of 1 to 5."""


def feedback_families(snapshot: Snapshot) -> Iterator[Metric]:
    """The families of all services, over all groups."""
    yield from _counters(snapshot)
    yield from _figures(snapshot)
    yield from _model(snapshot)


def _counters(snapshot: Snapshot) -> Iterator[Metric]:
    """What users said, beside what was expected. Sums over services, daemons and time are exact."""
    ratings = _counter(
        "qoemon_feedback_ratings",
        "Sessions with this rating; the last one of a session counts.",
        "rating",
    )
    expected = _counter(
        "qoemon_feedback_expected_ratings",
        "Expected number of users who would give this rating, in the sessions of qoemon_feedback_ratings_total.",
        "rating",
    )
    thumbs = _counter("qoemon_feedback_thumbs", "Sessions whose user gave a thumb up or down.", "thumb")
    expected_thumbs = _counter(
        "qoemon_feedback_expected_thumbs",
        "Expected number of thumbs, in the same sessions: up for a rating that is good or better.",
        "thumb",
    )
    asked = _counter("qoemon_feedback_asked_sessions", "Sessions whose user was asked for a rating, or gave one.")
    unmatched = _counter(
        "qoemon_feedback_unmatched",
        "Opinions that are not counted, as no prediction belongs to them or they are not on the scale.",
        "reason",
    )
    for service in snapshot.services:
        name, totals = service.service.name, service.counts.feedback
        for place, rating in enumerate(service.service.scale.ratings.tolist()):
            ratings.add_metric((name, str(rating)), int(totals.ratings[place]))
            expected.add_metric((name, str(rating)), float(totals.expected[place]))
        for place, thumb in enumerate(("up", "down")):
            thumbs.add_metric((name, thumb), int(totals.thumbs[place]))
            expected_thumbs.add_metric((name, thumb), float(totals.expected_thumbs[place]))
        asked.add_metric((name,), totals.asked)
        for place, reason in enumerate(REASONS):
            unmatched.add_metric((name, str(reason)), int(totals.unmatched[place]))
    yield from (ratings, expected, thumbs, expected_thumbs, asked, unmatched)


def _figures(snapshot: Snapshot) -> Iterator[Metric]:
    """How far predictions are off, among those who answered lately."""
    bias = _Estimates(
        "qoemon_feedback_bias",
        f"How much higher users rate than predicted, mean over the days of the last {PERIOD_DAYS}, scale points.",
    )
    by_class = _Estimates(
        "qoemon_feedback_class_bias",
        "qoemon_feedback_bias of the sessions with a prediction below 2.5 (lowest), 3.5 (low), 4.5 (high), and "
        "above (highest), on a scale of 1 to 5.",
        "class",
    )
    spread = _Estimates(
        "qoemon_feedback_spread_ratio",
        f"Variance of ratings around the prediction over the predicted one, {PERIOD_DAYS} days: above 1, theta is "
        "too small.",
    )
    response = _gauge(
        "qoemon_feedback_response_ratio",
        f"Share of those asked who rated or gave a thumb, {PERIOD_DAYS} days, by class of prediction.",
        "class",
    )
    worth = _gauge(
        "qoemon_feedback_score_worth",
        "By which factor more ratings would make the bias as certain as this score does; 1: the score is worth "
        "nothing.",
        "score",
    )
    for service, feedback in snapshot.feedback.items():
        bias.add(feedback.bias, service)
        spread.add(feedback.spread, service)
        for place, name in enumerate(CLASS_NAMES):
            by_class.add(Estimate(*(each[place] for each in feedback.bias_by_class)), service, name)
            _add(response, float(feedback.response[place]), service, name)
        scored = feedback.scored
        for place, score in enumerate(feedback.total.scores):
            if scored.ratings[place] >= LEAST_RATINGS:
                _add(worth, float(scored.worth_of[place]), service, score)
    yield from (*bias.all, *by_class.all, *spread.all, response, worth)


def _model(snapshot: Snapshot) -> Iterator[Metric]:
    """Whether the model of each service holds, and while it does not, since when and by how much."""
    state = _gauge(
        "qoemon_model_state",
        "1 for the state of the model, else 0: too_few ratings to tell, it holds, or it is off.",
        "state",
    )
    since = _gauge(
        "qoemon_model_off_since_timestamp_seconds",
        "While the model is off: begin of the day (UTC) on which users began to rate lower, higher, wider or "
        "narrower than predicted.",
        "way",
    )
    bias = _Estimates("qoemon_model_off_bias", "While the model is off: qoemon_feedback_bias since then.")
    spread = _gauge(
        "qoemon_model_off_spread_ratio", "While the model is off: qoemon_feedback_spread_ratio since then."
    )
    ratings = _gauge("qoemon_model_off_ratings", "While the model is off: number of ratings since then.")
    days = _gauge("qoemon_model_off_days", "While the model is off: number of days with ratings since then.")
    for service, feedback in snapshot.feedback.items():
        check, off = feedback.check, feedback.deviation
        for each in ModelState:
            _add(state, float(check.state is each), service, str(each))
        if off is None or check.since is None:
            continue
        _add(since, float(check.since * DAY_S), service, str(check.way))
        bias.add(off.bias, service)
        _add(spread, float(off.spread.value), service)
        _add(ratings, float(off.ratings), service)
        _add(days, float(off.days), service)
    yield from (state, since, *bias.all, spread, ratings, days)


class _Estimates:
    """A family of figures, and one of the ends of their confidence intervals. more: further labels."""

    def __init__(self, name: str, help_text: str, *more: str) -> None:
        self._value = _gauge(name, help_text, *more)
        self._bound = _gauge(f"{name}_bound", f"Confidence interval of {name}, over days.", *more, "bound")
        self.all = (self._value, self._bound)

    def add(self, estimate: Estimate, *labels: str) -> None:
        _add(self._value, float(estimate.value), *labels)
        _add(self._bound, float(estimate.lower), *labels, "lower")
        _add(self._bound, float(estimate.upper), *labels, "upper")


def _add(family: GaugeMetricFamily, value: float, *labels: str) -> None:
    """Add a sample, unless the value is unknown."""
    if not math.isnan(value):
        family.add_metric(labels, value)


def _gauge(name: str, help_text: str, *more: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, labels=("service", *more))


def _counter(name: str, help_text: str, *more: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, help_text, labels=("service", *more))
