"""A Snapshot as Prometheus metric families: every metric that tells of users.

Names and labels are contracts with dashboards and rules; docs/metrics.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from qoemon import duration
from qoemon.core.histogram import Axis
from qoemon.core.scale import Counts, Floats
from qoemon.core.snapshot import ServiceSnapshot, Snapshot
from qoemon.core.tally import Event

_STALL_BUCKETS = (0, 1, 2, 3, 4, 5, 7, 10, 15)
_STALL_SECOND_BUCKETS = (0, 1, 2, 3, 5, 8, 10, 15, 20, 30, 45, 60)
_RESPONSE_BUCKETS = tuple(10.0 ** (decade + step) for decade in range(-2, 3) for step in (0, 0.3, 0.7))[:-1]

HISTOGRAMS = {
    "n": (
        "qoemon_stall_count",
        "Stalls per minute of media, one observation a judged session and rating interval.",
    ),
    "t": (
        "qoemon_stall_seconds",
        "Stall seconds per minute of media, one observation a judged session and interval.",
    ),
    "x": ("qoemon_response_seconds", "Response times, one observation a response."),
}
_BUCKETS = {"n": _STALL_BUCKETS, "t": _STALL_SECOND_BUCKETS, "x": _RESPONSE_BUCKETS}

EVENTS = {
    Event.REPORT: "Reports taken in.",
    Event.DUPLICATE: "Reports with a repeated or older seq, left out.",
    Event.LATE: "Reports too old for the base window by their ts; they move a baseline only.",
    Event.AHEAD: "Reports with a ts in the future, taken as now.",
    Event.RESET: "Reports with a cumulative counter that fell and was counted from zero.",
    Event.POOLED: "Reports of label sets beyond limits.groups, pooled in the group `other`.",
    Event.REFUSED: "Reports of new sessions beyond limits.sessions, left out.",
    Event.EXPIRED: "Sessions that fell silent for sessions.timeout.",
}


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Every family that a snapshot fills, complete with its samples."""
    yield from _qoe(snapshot)
    yield from _presence(snapshot)
    yield from _expected(snapshot)
    yield from _histograms(snapshot)
    for event, help_text in EVENTS.items():
        yield CounterMetricFamily(f"qoemon_{event}", help_text, value=snapshot.events.get(event, 0))
    yield GaugeMetricFamily("qoemon_sessions", "Sessions held in memory, silent ones too.", value=snapshot.sessions)
    groups = sum(len(service.tally.groups) for service in snapshot.services)
    yield GaugeMetricFamily("qoemon_groups", "Label sets known, over all services.", value=groups)
    yield GaugeMetricFamily(
        "qoemon_snapshot_timestamp_seconds", "The tick that these numbers are of.", value=snapshot.time_s
    )


def _family(snapshot: Snapshot, name: str, help_text: str, *more: str) -> GaugeMetricFamily:
    """A gauge by group, with further labels."""
    return GaugeMetricFamily(name, help_text, labels=("service", *snapshot.labels, *more))


def _qoe(snapshot: Snapshot) -> Iterator[Metric]:
    def make(name: str, help_text: str, *more: str) -> GaugeMetricFamily:
        return _family(snapshot, name, help_text, "window", *more)

    plain = {
        "mos": make("qoemon_mos", "Mean opinion score over all users, scale points."),
        "sos": make("qoemon_sos", "Standard deviation of opinion scores over all users, scale points."),
        "gob": make("qoemon_gob_ratio", "Share of users who would rate good or better."),
        "pow": make("qoemon_pow_ratio", "Share of users who would rate poor or worse."),
        "observations": make("qoemon_observations", "Conditions judged: sessions a rating interval, or responses."),
    }
    users = make("qoemon_window_users", "Distinct sessions behind the conditions judged.")
    by_column = {
        "ratings": make("qoemon_rating_ratio", "Share of users who would give this rating.", "rating"),
        "quantiles": make(
            "qoemon_rating_quantile", "Rating that this share of users stays at or below.", "quantile"
        ),
        "mos_bounds": make("qoemon_mos_bound", "Confidence interval of qoemon_mos.", "bound"),
        "gob_bounds": make("qoemon_gob_ratio_bound", "Confidence interval of qoemon_gob_ratio.", "bound"),
        "pow_bounds": make("qoemon_pow_ratio_bound", "Confidence interval of qoemon_pow_ratio.", "bound"),
        "band_gob": make("qoemon_gob_ratio_theta", "qoemon_gob_ratio, were theta another.", "theta"),
        "band_pow": make("qoemon_pow_ratio_theta", "qoemon_pow_ratio, were theta another.", "theta"),
    }
    # Of type summary: promtool knows the label `quantile` from nothing else.
    by_column["quantiles"].type = "summary"
    for service in snapshot.services:
        columns = _column_names(service, snapshot)
        for length_s, judged in service.distributions.items():
            window = duration.text(length_s)
            for group in np.flatnonzero(judged.observations > 0).tolist():
                labels = (service.service.name, *service.tally.groups[group], window)
                users.add_metric(labels, service.tally.users[length_s][group])
                for name, family in plain.items():
                    family.add_metric(labels, getattr(judged, name)[group])
                for name, family in by_column.items():
                    _add_row(family, labels, columns[name], getattr(judged, name)[group])
    yield from (*plain.values(), users, *by_column.values())


def _column_names(service: ServiceSnapshot, snapshot: Snapshot) -> dict[str, list[str]]:
    """What the columns of a distribution are called in the label that tells them apart."""
    thetas = [f"{theta:g}" for theta in service.service.theta_band]
    ends = ["lower", "upper"]
    return {
        "ratings": [str(rating) for rating in service.service.scale.ratings],
        "quantiles": [f"{q:g}" for q in snapshot.quantiles],
        "mos_bounds": ends,
        "gob_bounds": ends,
        "pow_bounds": ends,
        "band_gob": thetas,
        "band_pow": thetas,
    }


def _add_row(family: GaugeMetricFamily, labels: tuple[str, ...], names: Sequence[str], values: Floats) -> None:
    for name, value in zip(names, values.tolist(), strict=True):
        family.add_metric((*labels, name), value)


def _presence(snapshot: Snapshot) -> Iterator[Metric]:
    active = _family(snapshot, "qoemon_active_sessions", "Sessions heard in the base window, or stalling.")
    stalls = _family(snapshot, "qoemon_open_stalls", "Sessions in a stall right now.")
    oldest = _family(
        snapshot, "qoemon_open_stall_oldest_seconds", "How long the longest of the open stalls has run."
    )
    contribution = _family(
        snapshot, "qoemon_pow_contribution", "How much lower PoW would be without this, base window.", "factor"
    )
    for service in snapshot.services:
        tally = service.tally
        for group in np.flatnonzero(service.shown).tolist():
            labels = (service.service.name, *tally.groups[group])
            active.add_metric(labels, tally.active_sessions[group])
            stalls.add_metric(labels, tally.open_stalls[group])
            oldest.add_metric(labels, tally.oldest_stall_s[group])
            if tally.qos[group].any():
                _add_row(contribution, labels, service.factors, service.contributions[group])
    yield from (active, stalls, oldest, contribution)


def _expected(snapshot: Snapshot) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "qoemon_expected_ratings",
        "Users expected to have given this rating, over all closed rating intervals. Sums over groups, shards and "
        "time are exact.",
        labels=("service", *snapshot.labels, "rating"),
    )
    for service in snapshot.services:
        ratings = service.service.scale.ratings.tolist()
        for labels, row in zip(service.tally.groups, service.tally.expected_ratings.tolist(), strict=True):
            for rating, value in zip(ratings, row, strict=True):
                family.add_metric((service.service.name, *labels, str(rating)), value)
    yield family


def _histograms(snapshot: Snapshot) -> Iterator[Metric]:
    names = ("service", *snapshot.labels)
    made = {axis: HistogramMetricFamily(*told, labels=names) for axis, told in HISTOGRAMS.items()}
    for service in snapshot.services:
        for axis, counts in zip(service.service.bins.axes, service.tally.marginals, strict=True):
            _add_histogram(made[axis.name], service, axis, counts)
    yield from made.values()


def _add_histogram(family: HistogramMetricFamily, service: ServiceSnapshot, axis: Axis, counts: Counts) -> None:
    bounds = _BUCKETS[axis.name]
    # A bucket's bound is the end of a bin, but for rounding.
    bins = np.searchsorted(axis.upper, np.array(bounds) * (1 - 1e-9)) + 1
    cumulative = counts.cumsum(axis=1)
    # Row by row: a matrix product may round equal rows differently, and a sum that shrinks looks like a restart.
    sums = (counts * axis.values).sum(axis=1)
    for labels, row, total in zip(service.tally.groups, cumulative, sums.tolist(), strict=True):
        buckets = [(f"{bound:.9g}", int(n)) for bound, n in zip(bounds, row[bins - 1], strict=True)]
        family.add_metric((service.service.name, *labels), [*buckets, ("+Inf", int(row[-1]))], sum_value=total)
