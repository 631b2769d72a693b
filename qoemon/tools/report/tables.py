"""What is told in rows: groups, alerts that fired, regimes and their changes."""

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

FACTORS = {"stall_count": "number of stalls", "stall_time": "time stalled", "response_time": "response time"}


@dataclass(frozen=True)
class Table:
    """Rows of text. words: which columns are words and not figures; left_out: rows that there was no room for."""

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
    """A table of the first MOST_ROWS rows; more: how many were left out before."""
    left_out = max(len(rows) - MOST_ROWS, 0) + more
    return Table(title, about, tuple(columns), list(rows[:MOST_ROWS]), frozenset(words), left_out)


def at(time_s: float) -> str:
    """A time as people read it, UTC."""
    return "-" if math.isnan(time_s) else f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S}"


def lasted(length_s: float) -> str:
    """A duration, seconds."""
    return duration.text(round(length_s))


def share(value: float) -> str:
    """A share, in percent."""
    return "-" if math.isnan(value) else f"{value:.1%}"


def bounded(value: float, bounds: Floats) -> str:
    """A share with its bounds."""
    return f"{share(value)} ({100 * bounds[0]:.1f} to {100 * bounds[1]:.1f})"


def group_table(service: ServicePeriod, labels: Sequence[str]) -> Table:
    """Groups over the whole period, those with most needless poor ratings first."""
    told, totals = service.judged(), service.totals
    assert told is not None, "asked only for services in which somebody was judged"  # noqa: S101
    assert totals is not None, "somebody was judged"  # noqa: S101
    everything = max(float(totals.excess.sum()), 1e-9)
    rows = [
        (
            *service.groups[g],
            f"{told.observations[g]:,}",
            f"{told.mos[g]:.2f}",
            bounded(told.gob[g], told.gob_bounds[g]),
            bounded(told.pow[g], told.pow_bounds[g]),
            f"{totals.excess[g]:,.1f}",
            share(totals.excess[g] / everything),
            _due_to(service, g),
            f"{share(totals.worst_pow[g])} at {at(totals.worst_at_s[g])} ({totals.worst_users[g]:,} users)",
        )
        for g in service.worst_first()
    ]
    return cut(
        f"{service.service.name}: groups",
        "The whole period, groups with most needless poor ratings first: mending those helps most users. Needless "
        "are the ratings poor or worse beyond those that users give when nothing goes wrong. The worst interval is "
        "the one whose share of poor ratings was highest for sure (by its lower bound).",
        (*labels, "judged", "MOS", "good or better", "poor or worse", "needless", "of all", "mostly by", "worst"),
        rows,
        (*labels, "mostly by", "worst"),
    )


def _due_to(service: ServicePeriod, group: int) -> str:
    """The factor that accounts for most poor ratings."""
    totals = service.totals
    single = [i for i, name in enumerate(service.factors) if name in FACTORS]
    if totals is None or not single or not totals.poor_by[group, single].any():
        return "-"
    place = single[int(np.argmax(totals.poor_by[group, single]))]
    return FACTORS[service.factors[place]]


def fired_table(
    fired: Sequence[Fired], labels: Sequence[str], end_s: float, title: str, left_out: int = 0
) -> Table:
    """Alerts that fired, in the order of time."""
    rows = [
        (
            one.rule,
            one.severity,
            one.service,
            *one.group,
            at(one.from_s),
            "still at the end" if one.to_s is None else at(one.to_s),
            lasted((end_s if one.to_s is None else one.to_s) - one.from_s),
            f"{one.worst:.3f}",
            f"{one.users:,}",
        )
        for one in sorted(fired, key=lambda one: one.from_s)
    ]
    about = "As the daemon would have fired them. Worst is the figure that the rule looks at; users, how many then."
    columns = ("alert", "severity", "service", *labels, "from", "to", "lasted", "worst", "users")
    return cut(title, about, columns, rows, ("alert", "severity", "service", *labels, "from", "to"), left_out)


def regime_table(service: ServicePeriod, labels: Sequence[str], end_s: float) -> Table:
    """How long each group was in each regime."""
    spans = service.regimes.spans
    rows = []
    for group in service.worst_first():
        seconds = spans.seconds(service.groups[group], end_s)
        if seconds:
            rows.append((*service.groups[group], *(lasted(seconds[regime]) for regime in Regime)))
    columns = (*labels, *(regime.name.lower() for regime in Regime))
    about = "How long each group was in each regime, groups with most needless poor ratings first."
    return cut(f"{service.service.name}: regimes", about, columns, rows, labels, spans.left_out)


def turn_table(service: ServicePeriod, labels: Sequence[str]) -> Table:
    """Changes that were established and regimes that were entered, with the reason."""
    words = {1: "worse", -1: "better", 0: "-"}
    rows = [
        (
            at(turn.at_s),
            *turn.group,
            words[turn.direction],
            at(turn.began_s),
            "-" if turn.entered is None else turn.entered.name.lower(),
            share(turn.level),
            turn.reason,
        )
        for turn in service.regimes.turns
    ]
    about = (
        "When a change was established, when it had begun (estimated), and which regime was entered. Level is the "
        "tracked share of poor ratings. The reasons are explained in docs/regimes.md."
    )
    columns = ("established", *labels, "change", "began", "regime entered", "level", "reason")
    words_of = ("established", *labels, "change", "began", "regime entered", "reason")
    return cut(f"{service.service.name}: changes", about, columns, rows, words_of, service.regimes.left_out)


def span_text(period: Period) -> str:
    """From when to when, for captions."""
    return f"{at(float(period.begin_s or 0))} to {at(float(period.end_s))} UTC"
