"""A Snapshot as Prometheus metric families: ratings, conditions, sessions and reports.

Names and labels are contracts with dashboards and rules; docs/metrics.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from qoemon.common import duration
from qoemon.core.arrays import Counts, Flags
from qoemon.core.counting.counts import Event
from qoemon.core.counting.groups import Labels
from qoemon.core.counting.plausibility import Implausible
from qoemon.core.counting.quality import UNMEASURED, rates_quality
from qoemon.core.counting.starts import FAILURES, STARTUP_BINS, STARTUP_BOUNDS_S, STARTUP_MS
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.bins import Axis
from qoemon.core.qoe.mapping import Qos
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.outputs.metrics.feedback import feedback_families
from qoemon.outputs.metrics.text_format import PLAIN, Column, Family, LabelTexts, Rows, by_label

N = TypeVar("N", bound=np.generic)

_STALL_BUCKETS = (0, 1, 2, 3, 4, 5, 7, 10, 15)
_STALL_SECOND_BUCKETS = (0, 1, 2, 3, 5, 8, 10, 15, 20, 30, 45, 60)
_RESPONSE_BUCKETS = tuple(10.0 ** (decade + step) for decade in range(-2, 3) for step in (0, 0.3, 0.7))[:-1]

HISTOGRAMS = {
    "n": (
        "qoemon_stall_count",
        "Stalls per minute of play and stall time, one observation per session and rating interval.",
    ),
    "t": (
        "qoemon_stall_seconds",
        "Stall seconds per minute of media, one observation per session and rating interval.",
    ),
    "x": ("qoemon_response_seconds", "Response times, one observation per response."),
}
_BUCKETS = {"n": _STALL_BUCKETS, "t": _STALL_SECOND_BUCKETS, "x": _RESPONSE_BUCKETS}

EVENTS = {
    Event.REPORT: "Reports counted.",
    Event.DUPLICATE: "Repeated or older reports of a session, ignored.",
    Event.CONFLICT: "Reports of another player under the same session id, ignored.",
    Event.LATE: "Reports of a time before the base window, counted in the rating interval of their time.",
    Event.AHEAD: "Reports with a ts in the future, counted as of their arrival.",
    Event.UNDATED: "Reports without ts, counted as of their arrival.",
    Event.EMPTY: "Reports without any field that their service rates, such as misspelt ones.",
    Event.RESET: "Reports that begin a new run of their session, such as after a reload: counted from zero again.",
    Event.POOLED: "Reports of label sets beyond limits.groups, counted in the group `other`.",
    Event.REFUSED: "Reports of new sessions beyond limits.sessions, ignored.",
    Event.EXPIRED: "Sessions removed after sessions.timeout without a report.",
    Event.REPEATED_RECORD: "Records of players (CMCD) that were received before, ignored.",
    Event.LATE_RECORD: "Records of players (CMCD) that came later than collector.reorder allows, ignored.",
    Event.UNORDERED: "Records of players (CMCD) counted without waiting for those before them: too many waited.",
    Event.STATELESS: "Sessions of players (CMCD) that never tell their state: nothing can be rated.",
}


def qoe_families(snapshot: Snapshot, texts: LabelTexts | None = None) -> Iterator[Family | Metric]:
    """All families of a snapshot with their samples; Family for those with samples of every group.

    texts  cache of the groups' labels as text, None for none
    """
    rows = _all_rows(snapshot, texts or LabelTexts())
    yield from _qoe(snapshot, rows)
    yield from _presence(snapshot, rows)
    yield _expected(snapshot, rows)
    yield from _histograms(snapshot, rows)
    yield from _starts(snapshot, rows)
    yield from feedback_families(snapshot)
    yield CounterMetricFamily(
        "qoemon_cmcd_unknown_seconds",
        "Time in which players (CMCD) may have played, but their records are missing: not counted.",
        value=snapshot.events.get(Event.UNKNOWN_MS, 0) / 1000,
    )
    for event, help_text in EVENTS.items():
        yield CounterMetricFamily(f"qoemon_{event}", help_text, value=snapshot.events.get(event, 0))
    implausible = CounterMetricFamily(
        "qoemon_reports_implausible",
        "Reports that are impossible in part; that part is not counted.",
        labels=["reason"],
    )
    for reason in Implausible:
        implausible.add_metric([str(reason)], snapshot.events.get(Event(f"reports_implausible_{reason}"), 0))
    yield implausible
    yield GaugeMetricFamily("qoemon_sessions", "Sessions held in memory, active or not.", value=snapshot.sessions)
    groups = sum(int(np.count_nonzero(~service.counts.free)) for service in snapshot.services)
    yield GaugeMetricFamily("qoemon_groups", "Groups (label sets) held in memory, over all services.", value=groups)
    yield GaugeMetricFamily(
        "qoemon_snapshot_timestamp_seconds",
        "Time of the tick of these metrics, seconds since the epoch.",
        value=snapshot.time_s,
    )


def group_rows(service: str, groups: tuple[Labels, ...], names: tuple[str, ...], texts: LabelTexts) -> Rows:
    """The rows of a service's groups. names: of the group labels."""
    return texts.rows(("service", *names), [(service, *labels) for labels in groups])


def of_groups(rows: Rows, values: NDArray[N], free: Flags) -> tuple[Rows, NDArray[N]]:
    """Rows and values (G, ...) without those of free numbers."""
    if not free.any():
        return rows, values
    used = np.flatnonzero(~free)
    return rows.take(used), values[used]


def _all_rows(snapshot: Snapshot, texts: LabelTexts) -> dict[str, Rows]:
    """The rows of all groups, by service."""
    by_service = ((service.service.name, service.counts.groups) for service in snapshot.services)
    return {name: group_rows(name, groups, snapshot.labels, texts) for name, groups in by_service}


def _gauge(snapshot: Snapshot, name: str, help_text: str, *more: str) -> Family:
    """A gauge with the labels of a group and more."""
    return Family(name, help_text, "gauge", ("service", *snapshot.labels, *more))


def _qoe(snapshot: Snapshot, rows: dict[str, Rows]) -> Iterator[Family]:
    def make(name: str, help_text: str, *more: str) -> Family:
        return _gauge(snapshot, name, help_text, "window", *more)

    plain = {
        "mos": make("qoemon_mos", "Mean opinion score over all users, scale points."),
        "sos": make("qoemon_sos", "Standard deviation of opinion scores over all users, scale points."),
        "gob": make("qoemon_gob_ratio", "Share of users who would rate good or better."),
        "pow": make("qoemon_pow_ratio", "Share of users who would rate poor or worse."),
        "observations": make(
            "qoemon_observations", "Rated conditions: one per session and rating interval, or per response."
        ),
    }
    users = make("qoemon_window_users", "Distinct sessions with a rated condition.")
    by_column = {
        "ratings": make("qoemon_rating_ratio", "Share of users who would give this rating.", "rating"),
        "quantiles": _quantiles(snapshot),
        "mos_bounds": make("qoemon_mos_bound", "Confidence interval of qoemon_mos.", "bound"),
        "gob_bounds": make("qoemon_gob_ratio_bound", "Confidence interval of qoemon_gob_ratio.", "bound"),
        "pow_bounds": make("qoemon_pow_ratio_bound", "Confidence interval of qoemon_pow_ratio.", "bound"),
        "band_gob": make("qoemon_gob_ratio_theta", "qoemon_gob_ratio at another theta.", "theta"),
        "band_pow": make("qoemon_pow_ratio_theta", "qoemon_pow_ratio at another theta.", "theta"),
    }
    for service in snapshot.services:
        columns = dict.fromkeys(plain, PLAIN) | columns_of(service.service, snapshot.quantiles)
        for length_s, distribution in service.distributions.items():
            rated, window = np.flatnonzero(distribution.observations > 0), duration.text(length_s)
            rated_rows = rows[service.service.name].take(rated)
            users.add(rated_rows, service.counts.users[length_s][rated], window=window)
            for name, family in (plain | by_column).items():
                family.add(rated_rows, getattr(distribution, name)[rated], columns[name], window=window)
    yield from (*plain.values(), users, *by_column.values())


def _quantiles(snapshot: Snapshot) -> Family:
    # A summary, since promtool accepts the label `quantile` of no other type.
    labels = ("service", *snapshot.labels, "window", "quantile")
    help_text = (
        "Quantile of the opinions, which are the ratings before rounding: this share of users is at or below it."
    )
    return Family("qoemon_opinion_quantile", help_text, "summary", labels)


def columns_of(service: Service, quantiles: tuple[float, ...]) -> dict[str, tuple[Column, ...]]:
    """The label of each column, for the attributes of a Distribution with several columns."""
    thetas = by_label("theta", (f"{theta:g}" for theta in service.theta_band))
    ends = by_label("bound", ("lower", "upper"))
    return {
        "ratings": by_label("rating", service.scale.ratings.tolist()),
        "quantiles": by_label("quantile", (f"{q:g}" for q in quantiles)),
        "mos_bounds": ends,
        "gob_bounds": ends,
        "pow_bounds": ends,
        "band_gob": thetas,
        "band_pow": thetas,
    }


def _presence(snapshot: Snapshot, rows: dict[str, Rows]) -> Iterator[Family]:
    active = _gauge(
        snapshot, "qoemon_active_sessions", "Sessions with a report in the base window or an open stall."
    )
    stalls = _gauge(snapshot, "qoemon_open_stalls", "Sessions that are stalled now.")
    oldest = _gauge(snapshot, "qoemon_open_stall_oldest_seconds", "Age of the oldest open stall.")
    contribution = _gauge(
        snapshot,
        "qoemon_pow_contribution",
        "Part of PoW that this factor accounts for, base window. The parts add up to PoW minus the PoW of the best "
        "condition.",
        "factor",
    )
    quality = _gauge(
        snapshot,
        "qoemon_media_quality_mos",
        "Mean MOS of what was shown, without stalls, base window, of services that rate quality and stalls.",
    )
    unmeasured = _gauge(
        snapshot,
        "qoemon_sessions_without_measures",
        "Sessions in the base window that are not rated, as they never reported the measures of quality.",
    )
    for service in snapshot.services:
        tally, all_rows = service.counts, rows[service.service.name]
        visible = np.flatnonzero(service.visible)
        visible_rows = all_rows.take(visible)
        active.add(visible_rows, tally.active_sessions[visible])
        stalls.add(visible_rows, tally.open_stalls[visible])
        oldest.add(visible_rows, tally.oldest_stall_s[visible])
        rated = np.flatnonzero(service.visible & tally.qos.any(axis=1))
        factors = by_label("factor", service.factors)
        contribution.add(all_rows.take(rated), service.contributions[rated], factors)
        if rates_quality(service.service):
            quality.add(all_rows.take(rated), service.quality_mos[rated])
            unmeasured.add(visible_rows, tally.quality[visible, UNMEASURED])
    yield from (active, stalls, oldest, contribution, quality, unmeasured)


def _expected(snapshot: Snapshot, rows: dict[str, Rows]) -> Family:
    family = Family(
        "qoemon_expected_ratings",
        "Expected number of users who gave this rating, over all closed rating intervals. Sums over groups, shards "
        "and time are exact.",
        "counter",
        ("service", *snapshot.labels, "rating"),
    )
    for service in snapshot.services:
        ratings = by_label("rating", service.service.scale.ratings.tolist())
        counts = service.counts
        family.add(*of_groups(rows[service.service.name], counts.exported_ratings, counts.free), ratings)
    return family


def _histograms(snapshot: Snapshot, rows: dict[str, Rows]) -> Iterator[Family]:
    names = ("service", *snapshot.labels)
    by_axis = {axis: Family(*named, "histogram", names) for axis, named in HISTOGRAMS.items()}
    for service in snapshot.services:
        for axis, counts in zip(service.service.bins.axes, service.counts.exported_marginals, strict=True):
            of_axis = of_groups(rows[service.service.name], counts, service.counts.free)
            _add_histogram(by_axis[axis.name], axis, *of_axis)
    yield from by_axis.values()


def _starts(snapshot: Snapshot, rows: dict[str, Rows]) -> Iterator[Family]:
    """Startup times and failed starts of the services that rate stalls: those of players."""
    names = ("service", *snapshot.labels)
    startups = Family(
        "qoemon_startup_seconds",
        "Time from the start of a viewing to the first picture, of players (CMCD), one observation per viewing.",
        "histogram",
        names,
    )
    failures = Family(
        "qoemon_start_failures",
        "Viewings of players (CMCD) that tried to play and ended without a picture.",
        "counter",
        names,
    )
    ends = [*(f"{bound:.9g}" for bound in STARTUP_BOUNDS_S), "+Inf"]
    columns = (*(Column("_bucket", (("le", end),)) for end in ends), Column("_count"), Column("_sum"))
    for service in snapshot.services if snapshot.players else ():
        if service.service.mapping.qos is not Qos.STALLS:
            continue
        counts = service.counts
        of_service, starts = of_groups(rows[service.service.name], counts.exported_starts, counts.free)
        cumulative = starts[:, :STARTUP_BINS].cumsum(axis=1)
        sums = starts[:, STARTUP_MS] / 1000
        startups.add(of_service, np.column_stack([cumulative, cumulative[:, -1], sums]), columns)
        failures.add(of_service, starts[:, FAILURES])
    yield from (startups, failures)


def _add_histogram(family: Family, axis: Axis, rows: Rows, counts: Counts) -> None:
    bounds = _BUCKETS[axis.name]
    # A bucket's bound is the end of a bin, up to rounding.
    bins = np.searchsorted(axis.upper, np.array(bounds) * (1 - 1e-9)) + 1
    cumulative = counts.cumsum(axis=1)
    # Row by row: a matrix product may round equal rows differently, and a decreasing sum looks like a restart.
    sums = (counts * axis.values).sum(axis=1)
    ends = [*(f"{bound:.9g}" for bound in bounds), "+Inf"]
    buckets = tuple(Column("_bucket", (("le", end),)) for end in ends)
    at_bounds = cumulative[:, [*(bins - 1), -1]]
    # Counts stay far below 2**53, so floats hold them exactly.
    values = np.column_stack([at_bounds, cumulative[:, -1], sums])
    family.add(rows, values, (*buckets, Column("_count"), Column("_sum")))
