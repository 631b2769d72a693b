"""What users said as Prometheus metric families, beside what was predicted for the same sessions."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric

from qoemon.core.counting.feedback_counts import REASONS
from qoemon.core.snapshot.snapshot import Snapshot


def feedback_families(snapshot: Snapshot) -> Iterator[Metric]:
    """The families of all services, over all groups. Sums over services, daemons and time are exact."""
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


def _counter(name: str, help_text: str, *more: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, help_text, labels=("service", *more))
