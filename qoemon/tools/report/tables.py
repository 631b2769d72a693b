"""Tables of the report: groups, alerts that fired, regimes and their changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from qoemon.common import duration
from qoemon.core.alerting.regime import Regime
from qoemon.core.arrays import Floats
from qoemon.tools.report.episodes import Fired
from qoemon.tools.report.period import Period, ServicePeriod

MOST_ROWS = 200

ALL = "(all)"
"""In place of the value of a label over which a rule sums."""

FACTORS = {
    "media_quality": "media quality",
    "stall_count": "stall count",
    "stall_time": "stall duration",
    "response_time": "response time",
}


@dataclass(frozen=True)
class Table:
    """Rows of text. words: columns of text, the others are numbers; left_out: number of rows omitted."""

    title: str
    about: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: frozenset[str] = frozenset()
    left_out: int = 0


def cut(
    title: str,
    about: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    words: Sequence[str],
    more: int = 0,
) -> Table:
    """A table of the first MOST_ROWS rows; more: rows that were omitted before."""
    left_out = max(len(rows) - MOST_ROWS, 0) + more
    return Table(title, about, tuple(columns), list(rows[:MOST_ROWS]), frozenset(words), left_out)


def at(time_s: float) -> str:
    """Date and time, UTC; "-" for NaN."""
    return "-" if math.isnan(time_s) else f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S}"


def lasted(length_s: float) -> str:
    """Text of a duration given in seconds."""
    return duration.text(round(length_s))


def share(value: float) -> str:
    """A share in percent; "-" for NaN."""
    return "-" if math.isnan(value) else f"{value:.1%}"


def bounded(value: float, bounds: Floats) -> str:
    """A share with its confidence interval, in percent."""
    return f"{share(value)} ({100 * bounds[0]:.1f} to {100 * bounds[1]:.1f})"


def group_table(service: ServicePeriod, labels: Sequence[str]) -> Table:
    """Groups over the whole period, those with most excess poor ratings first; the service has data."""
    distribution, totals = service.distribution(), service.totals
    assert distribution is not None  # noqa: S101
    assert totals is not None  # noqa: S101
    everything = max(float(totals.excess.sum()), 1e-9)
    rows = [
        (
            *service.groups[g],
            f"{distribution.observations[g]:,}",
            f"{distribution.mos[g]:.2f}",
            bounded(distribution.gob[g], distribution.gob_bounds[g]),
            bounded(distribution.pow[g], distribution.pow_bounds[g]),
            f"{totals.excess[g]:,.1f}",
            share(totals.excess[g] / everything),
            main_cause(service, g),
            f"{share(totals.worst_pow[g])} at {at(totals.worst_at_s[g])} ({totals.worst_users[g]:,} users)",
        )
        for g in service.worst_first()
    ]
    return cut(
        f"{service.service.name}: groups",
        "Whole period, groups with most excess poor ratings first: fixing those helps most users. Excess are the "
        "ratings poor or worse beyond those that users give under good conditions. The main cause is the factor "
        "that accounts for most of them, with its share. The worst interval is the one with the highest lower "
        "confidence bound of poor or worse.",
        (
            *labels,
            *("observations", "MOS", "good or better", "poor or worse", "excess", "of all", "main cause", "worst"),
        ),
        rows,
        (*labels, "main cause", "worst"),
    )


def main_cause(service: ServicePeriod, group: int) -> str:
    """The factor that accounts for most of the excess of a group, and its share; "-" if none does."""
    totals = service.totals
    if totals is None or not service.factors or totals.excess[group] <= 0:
        return "-"
    place = int(np.argmax(totals.poor_by[group]))
    return f"{FACTORS[service.factors[place]]}, {share(totals.poor_by[group, place] / totals.excess[group])}"


def fired_table(
    fired: Sequence[Fired], labels: Sequence[str], end_s: float, title: str, left_out: int = 0
) -> Table:
    """Alerts that fired, in the order of time; ALL for labels that a rule sums."""
    rows = [
        (
            one.rule,
            one.severity,
            one.service,
            *(dict(zip(one.names, one.group, strict=True)).get(label, ALL) for label in labels),
            at(one.from_s),
            "still firing" if one.to_s is None else at(one.to_s),
            lasted((end_s if one.to_s is None else one.to_s) - one.from_s),
            f"{one.worst:.3f}",
            f"{one.users:,}",
        )
        for one in sorted(fired, key=lambda one: one.from_s)
    ]
    about = (
        "As the daemon would have fired them. Worst is the worst value of the metric; users, those at that time."
    )
    columns = ("alert", "severity", "service", *labels, "from", "to", "lasted", "worst", "users")
    return cut(title, about, columns, rows, ("alert", "severity", "service", *labels, "from", "to"), left_out)


def regime_table(service: ServicePeriod, labels: Sequence[str], end_s: float) -> Table:
    """Time that each group spent in each regime."""
    spans = service.regimes.spans
    rows = []
    for group in service.worst_first():
        seconds = spans.seconds(service.groups[group], end_s)
        if seconds:
            rows.append((*service.groups[group], *(lasted(seconds[regime]) for regime in Regime)))
    columns = (*labels, *(regime.name.lower() for regime in Regime))
    about = "Time that each group spent in each regime, groups with most excess poor ratings first."
    return cut(f"{service.service.name}: regimes", about, columns, rows, labels, spans.left_out)


def change_table(service: ServicePeriod, labels: Sequence[str]) -> Table:
    """Established changes of PoW and entered regimes, with the reason."""
    words = {1: "worse", -1: "better", 0: "-"}
    rows = [
        (
            at(change.at_s),
            *change.group,
            words[change.direction],
            at(change.began_s),
            "-" if change.entered is None else change.entered.name.lower(),
            share(change.level),
            change.reason,
        )
        for change in service.regimes.changes
    ]
    about = (
        "When a change was established, when it began (estimated), and which regime was entered. Level is the "
        "tracked share of poor ratings. docs/regimes.md explains the reasons."
    )
    columns = ("established", *labels, "change", "began", "regime entered", "level", "reason")
    text_columns = ("established", *labels, "change", "began", "regime entered", "reason")
    return cut(f"{service.service.name}: changes", about, columns, rows, text_columns, service.regimes.left_out)


def span_text(period: Period) -> str:
    """Begin and end of a period, for captions."""
    return f"{at(float(period.begin_s or 0))} to {at(float(period.end_s))} UTC"
