"""The result of `qoemon replay` as text: groups over the whole period, the worst moments, the alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console

from qoemon.common.text import SHORT, printable
from qoemon.tools.report import advice, figure
from qoemon.tools.report.figure import fitted
from qoemon.tools.report.tables import at, share, span_text
from qoemon.tools.table import groups_table, legend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qoemon.tools.recordings.recording import Recording
    from qoemon.tools.report.period import Period, ServicePeriod
    from qoemon.tools.report.replay import Replayed

WORST_MOMENTS = 5
NAME_CELLS = 20
"""Width of a label value in the table: with four labels it fits most terminals."""

_WHOLE = "whole"


def print_summary(replayed: Replayed, recording: Recording) -> None:
    """Print what the ratings of a recording would have been, and which of its reports are doubtful."""
    out, period = Console(highlight=False, markup=False), replayed.period
    if period.intervals:
        _print_ratings(out, period)
    else:
        found = f"{recording.path}: found {recording.read:,} messages"
        out.print(f"{found}, but no rating interval closed: no ratings were estimated", soft_wrap=True)
    doubts = [one for one in advice.doubt_findings(replayed.feed_quality) if one.problem]
    if doubts:
        out.print("\nDoubtful reports:")
    for one in doubts:
        out.print(f"  {one.check}: {one.found}; {one.meaning}", soft_wrap=True)


def _print_ratings(out: Console, period: Period) -> None:
    title = f"Estimated ratings, {span_text(period)}"
    out.print(groups_table(_as_view(period), _WHOLE, title), markup=False)
    ratings = next(iter(period.services.values())).service.scale.ratings
    out.print(legend([str(rating) for rating in ratings.tolist()]))
    moments = sorted((moment for each in period.services.values() for moment in _moments(each)), reverse=True)
    if moments:
        out.print("\nWorst moments, by the lower confidence bound of the share of poor ratings:")
    for _, text in moments[:WORST_MOMENTS]:
        out.print(f"  {text}", soft_wrap=True)
    fired = len(period.alerts.fired) + period.alerts.left_out
    out.print(f"\nAlerts that would have fired: {fired:,}")


def _as_view(period: Period) -> dict[str, Any]:
    """The period as a snapshot for groups_table(), whose only window is the whole period."""
    return {
        "labels": list(period.plan.labels),
        "services": [
            {"service": each.service.name, "groups": list(_groups(each, period.plan.labels))}
            for each in period.services.values()
        ],
    }


def _groups(service: ServicePeriod, labels: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    ratings_of, totals = service.distribution(), service.totals
    if ratings_of is None or totals is None:
        return
    for group in service.worst_first():
        named = zip(
            labels, (fitted(printable(label, SHORT), NAME_CELLS) for label in service.groups[group]), strict=True
        )
        ratings = zip(service.service.scale.ratings.tolist(), ratings_of.ratings[group].tolist(), strict=True)
        yield {
            "labels": dict(named),
            "active_sessions": int(totals.most_active[group]),
            "open_stalls": int(totals.most_stalled[group]),
            "windows": {
                _WHOLE: {
                    "mos": float(ratings_of.mos[group]),
                    "gob": float(ratings_of.gob[group]),
                    "pow": float(ratings_of.pow[group]),
                    "ratings": {str(rating): value for rating, value in ratings},
                }
            },
        }


def _moments(service: ServicePeriod) -> Iterator[tuple[float, str]]:
    totals = service.totals
    if totals is None:
        return
    for group in service.worst_first():
        where = f"{service.service.name} {figure.name_of(service.groups[group])}"
        least, poor = float(totals.worst[group]), share(totals.worst_pow[group])
        users = f"{totals.worst_users[group]:,} users"
        when = at(totals.worst_at_s[group])
        yield least, f"{when} UTC  {where}: {poor} poor or worse (at least {share(least)}), {users}"
