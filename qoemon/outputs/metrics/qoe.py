"""A Snapshot as Prometheus metric families: every metric that tells of users.

Names and labels are contracts with dashboards and rules; docs/metrics.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from qoemon.common import duration
from qoemon.core.arrays import Counts
from qoemon.core.counting.counts import Event
from qoemon.core.counting.groups import Labels
from qoemon.core.qoe.bins import Axis
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot
from qoemon.outputs.metrics.text_format import PLAIN, Column, Family, LabelTexts, Rows, by_label

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


def qoe_families(snapshot: Snapshot, texts: LabelTexts | None = None) -> Iterator[Family | Metric]:
    """Every family that a snapshot fills, complete with its samples; Family where each group has some.

    texts  what the labels of groups read as, if that is remembered
    """
    rows = _all_rows(snapshot, texts or LabelTexts())
    yield from _qoe(snapshot, rows)
    yield from _presence(snapshot, rows)
    yield _expected(snapshot, rows)
    yield from _histograms(snapshot, rows)
    for event, help_text in EVENTS.items():
        yield CounterMetricFamily(f"qoemon_{event}", help_text, value=snapshot.events.get(event, 0))
    yield GaugeMetricFamily("qoemon_sessions", "Sessions held in memory, silent ones too.", value=snapshot.sessions)
    groups = sum(len(service.tally.groups) for service in snapshot.services)
    yield GaugeMetricFamily("qoemon_groups", "Label sets known, over all services.", value=groups)
    yield GaugeMetricFamily(
        "qoemon_snapshot_timestamp_seconds", "The tick that these numbers are of.", value=snapshot.time_s
    )


def group_rows(service: str, groups: tuple[Labels, ...], names: tuple[str, ...], texts: LabelTexts) -> Rows:
    """The rows of a service's groups; names of the group labels."""
    return texts.rows(("service", *names), [(service, *labels) for labels in groups])


def _all_rows(snapshot: Snapshot, texts: LabelTexts) -> dict[str, Rows]:
    """The rows of all groups, by service."""
    told = ((service.service.name, service.tally.groups) for service in snapshot.services)
    return {name: group_rows(name, groups, snapshot.labels, texts) for name, groups in told}


def _gauge(snapshot: Snapshot, name: str, help_text: str, *more: str) -> Family:
    """A gauge by group, with further labels."""
    return Family(name, help_text, "gauge", ("service", *snapshot.labels, *more))


def _qoe(snapshot: Snapshot, rows: dict[str, Rows]) -> Iterator[Family]:
    def make(name: str, help_text: str, *more: str) -> Family:
        return _gauge(snapshot, name, help_text, "window", *more)

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
        "quantiles": _quantiles(snapshot),
        "mos_bounds": make("qoemon_mos_bound", "Confidence interval of qoemon_mos.", "bound"),
        "gob_bounds": make("qoemon_gob_ratio_bound", "Confidence interval of qoemon_gob_ratio.", "bound"),
        "pow_bounds": make("qoemon_pow_ratio_bound", "Confidence interval of qoemon_pow_ratio.", "bound"),
        "band_gob": make("qoemon_gob_ratio_theta", "qoemon_gob_ratio, were theta another.", "theta"),
        "band_pow": make("qoemon_pow_ratio_theta", "qoemon_pow_ratio, were theta another.", "theta"),
    }
    for service in snapshot.services:
        columns = dict.fromkeys(plain, PLAIN) | _columns(service, snapshot)
        for length_s, judged in service.distributions.items():
            chosen, window = np.flatnonzero(judged.observations > 0), duration.text(length_s)
            there = rows[service.service.name].take(chosen)
            users.add(there, service.tally.users[length_s][chosen], window=window)
            for name, family in (plain | by_column).items():
                family.add(there, getattr(judged, name)[chosen], columns[name], window=window)
    yield from (*plain.values(), users, *by_column.values())


def _quantiles(snapshot: Snapshot) -> Family:
    # Of type summary: promtool knows the label `quantile` from nothing else.
    labels = ("service", *snapshot.labels, "window", "quantile")
    help_text = "Rating that this share of users stays at or below."
    return Family("qoemon_rating_quantile", help_text, "summary", labels)


def _columns(service: ServiceSnapshot, snapshot: Snapshot) -> dict[str, tuple[Column, ...]]:
    """What the columns of a distribution are called in the label that tells them apart."""
    thetas = by_label("theta", (f"{theta:g}" for theta in service.service.theta_band))
    ends = by_label("bound", ("lower", "upper"))
    return {
        "ratings": by_label("rating", service.service.scale.ratings.tolist()),
        "quantiles": by_label("quantile", (f"{q:g}" for q in snapshot.quantiles)),
        "mos_bounds": ends,
        "gob_bounds": ends,
        "pow_bounds": ends,
        "band_gob": thetas,
        "band_pow": thetas,
    }


def _presence(snapshot: Snapshot, rows: dict[str, Rows]) -> Iterator[Family]:
    active = _gauge(snapshot, "qoemon_active_sessions", "Sessions heard in the base window, or stalling.")
    stalls = _gauge(snapshot, "qoemon_open_stalls", "Sessions in a stall right now.")
    oldest = _gauge(
        snapshot, "qoemon_open_stall_oldest_seconds", "How long the longest of the open stalls has run."
    )
    contribution = _gauge(
        snapshot, "qoemon_pow_contribution", "How much lower PoW would be without this, base window.", "factor"
    )
    for service in snapshot.services:
        tally, mine = service.tally, rows[service.service.name]
        shown = np.flatnonzero(service.visible)
        there = mine.take(shown)
        active.add(there, tally.active_sessions[shown])
        stalls.add(there, tally.open_stalls[shown])
        oldest.add(there, tally.oldest_stall_s[shown])
        judged = np.flatnonzero(service.visible & tally.qos.any(axis=1))
        factors = by_label("factor", service.factors)
        contribution.add(mine.take(judged), service.contributions[judged], factors)
    yield from (active, stalls, oldest, contribution)


def _expected(snapshot: Snapshot, rows: dict[str, Rows]) -> Family:
    family = Family(
        "qoemon_expected_ratings",
        "Users expected to have given this rating, over all closed rating intervals. Sums over groups, shards and "
        "time are exact.",
        "counter",
        ("service", *snapshot.labels, "rating"),
    )
    for service in snapshot.services:
        ratings = by_label("rating", service.service.scale.ratings.tolist())
        family.add(rows[service.service.name], service.tally.expected_ratings, ratings)
    return family


def _histograms(snapshot: Snapshot, rows: dict[str, Rows]) -> Iterator[Family]:
    names = ("service", *snapshot.labels)
    made = {axis: Family(*told, "histogram", names) for axis, told in HISTOGRAMS.items()}
    for service in snapshot.services:
        for axis, counts in zip(service.service.bins.axes, service.tally.marginals, strict=True):
            _add_histogram(made[axis.name], rows[service.service.name], axis, counts)
    yield from made.values()


def _add_histogram(family: Family, rows: Rows, axis: Axis, counts: Counts) -> None:
    bounds = _BUCKETS[axis.name]
    # A bucket's bound is the end of a bin, but for rounding.
    bins = np.searchsorted(axis.upper, np.array(bounds) * (1 - 1e-9)) + 1
    cumulative = counts.cumsum(axis=1)
    # Row by row: a matrix product may round equal rows differently, and a sum that shrinks looks like a restart.
    sums = (counts * axis.values).sum(axis=1)
    ends = [*(f"{bound:.9g}" for bound in bounds), "+Inf"]
    buckets = tuple(Column("_bucket", (("le", end),)) for end in ends)
    upto = cumulative[:, [*(bins - 1), -1]]
    # Counts stay far below 2**53: as floats they are the same numbers.
    values = np.column_stack([upto, cumulative[:, -1], sums])
    family.add(rows, values, (*buckets, Column("_count"), Column("_sum")))
