"""The summary at the top of the report: how bad it was, where to look first, which alerts fired, what to doubt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qoemon.core.counting.counts import Event
from qoemon.tools.report import advice
from qoemon.tools.report.episodes import Fired
from qoemon.tools.report.figure import name_of
from qoemon.tools.report.page import Section, Tile
from qoemon.tools.report.period import Period, ServicePeriod
from qoemon.tools.report.replay import Replayed
from qoemon.tools.report.tables import at, bounded, lasted, main_cause, share


def headline(replayed: Replayed) -> Section:
    """The first section of the report."""
    period = replayed.period
    fired = len(period.alerts.fired) + period.alerts.left_out
    tiles = [tile for each in period.services.values() for tile in _tiles(each)]
    notes = [note for each in period.services.values() for note in _service_notes(each)]
    return Section(
        "Summary",
        notes=[*notes, _alert_note(period), *_doubt_notes(replayed)],
        tiles=[*tiles, Tile(f"{fired:,}", "alert fired" if fired == 1 else "alerts fired")],
    )


def _tiles(service: ServicePeriod) -> Iterator[Tile]:
    together = service.overall_distribution()
    if together is not None:
        interval = bounded(together.pow[0], together.pow_bounds[0]).partition(" ")[2]
        yield Tile(share(together.pow[0]), f"{service.service.name}: would rate poor or worse {interval}")


def _service_notes(service: ServicePeriod) -> Iterator[str]:
    """How many ratings are poor beyond those under good conditions, and where most of them are."""
    together, totals = service.overall_distribution(), service.totals
    if together is None or totals is None:
        return
    name, excess = service.service.name, float(totals.excess.sum())
    ratings = f"{together.observations[0]:,} ratings of {name}"
    if excess < 1:
        yield f"None of the {ratings} is poor or worse beyond those that users give under good conditions."
        return
    yield f"About {excess:,.0f} of {ratings} are poor or worse beyond those that users give under good conditions."
    first = service.worst_first()[0]
    cause = main_cause(service, first)
    worst = f"{share(totals.worst_pow[first])} of {totals.worst_users[first]:,} users"
    yield (
        f"Look first at {name} {name_of(service.groups[first])}: {share(totals.excess[first] / excess)} of these "
        f"ratings are from there{'' if cause == '-' else f', mainly due to {cause}'}; its worst rating interval "
        f"ended at {at(totals.worst_at_s[first])} UTC with {worst} poor or worse."
    )


def _alert_note(period: Period) -> str:
    fired = period.alerts.fired
    if not fired:
        return "No alert of the configuration would have fired."
    longest = max(fired, key=lambda one: _length_s(one, period))
    until = "the end" if longest.to_s is None else f"{at(longest.to_s)} UTC"
    return (
        f"The alert that fired for longest is {longest.rule} of {longest.service} {name_of(longest.group)}: from "
        f"{at(longest.from_s)} to {until}, {lasted(_length_s(longest, period))}."
    )


def _length_s(fired: Fired, period: Period) -> float:
    return (period.end_s if fired.to_s is None else fired.to_s) - fired.from_s


def _doubt_notes(replayed: Replayed) -> Sequence[str]:
    doubts = [one for one in advice.doubt_findings(replayed.feed_quality) if one.problem]
    stateless = replayed.feed_quality.events.get(Event.STATELESS, 0)
    return [
        *(f"Doubtful reports, {one.check}: {one.found}; {one.meaning}." for one in doubts),
        *([f"{stateless:,} sessions are not rated, as their players never tell their state."] if stateless else []),
    ]
