"""Compares the same recording under two configurations: estimates, alerts and regimes that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from qoemon.core.alerting.regime import Regime
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.distribution import Distribution
from qoemon.tools.plotting import BLUE, ORANGE
from qoemon.tools.report.episodes import Fired
from qoemon.tools.report.figure import INK, Chart, legend, margins, name_of
from qoemon.tools.report.period import Period, ServicePeriod
from qoemon.tools.report.tables import Table, at, cut, lasted, share
from qoemon.tools.report.timelines import omitted_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 20

Names = tuple[str, str]
"""Names of the two configurations."""


class _Pair(NamedTuple):
    """A group with data under both: its labels, its index in each."""

    group: tuple[str, ...]
    one: int
    other: int


def tables(one: Period, other: Period, names: Names) -> list[Table]:
    """Tables of all differences."""
    return [
        _models_table(one, other, names),
        *(_estimates_table(*both, one, names) for both in _shared_services(one, other)),
        *_alert_tables(one, other, names),
        *(_regime_table(*both, one, other, names) for both in _shared_services(one, other)),
    ]


def charts(one: Period, other: Period, names: Names) -> list[Chart]:
    """For each service with data under both, a chart of the PoW of each group."""
    return [
        Chart(
            f"{mine.service.name}-compared",
            f"{mine.service.name}: poor or worse under both configurations",
            "Share of users who would rate poor or worse over the whole period, by group and configuration. "
            f"{omitted_text(min(len(pairs), MOST_ROWS), len(pairs), 'groups')}",
            1.85 + 0.28 * min(len(pairs), MOST_ROWS),
            lambda figure, mine=mine, theirs=theirs, pairs=pairs: _dumbbells(  # type: ignore[misc]
                figure, mine, theirs, pairs[:MOST_ROWS], names
            ),
        )
        for mine, theirs in _shared_services(one, other)
        if (pairs := _shared_groups(mine, theirs))
    ]


def _shared_services(one: Period, other: Period) -> Iterator[tuple[ServicePeriod, ServicePeriod]]:
    for name, mine in one.services.items():
        theirs = other.services.get(name)
        if theirs is not None and _shared_groups(mine, theirs):
            yield mine, theirs


def _shared_groups(mine: ServicePeriod, theirs: ServicePeriod) -> list[_Pair]:
    """Groups with data under both, the worst of the first configuration first."""
    others = {theirs.groups[number]: number for number in theirs.worst_first()}
    ours = [(mine.groups[number], number) for number in mine.worst_first()]
    return [_Pair(group, number, others[group]) for group, number in ours if group in others]


def _models_table(one: Period, other: Period, names: Names) -> Table:
    models = [{name: model_text(each.service) for name, each in period.services.items()} for period in (one, other)]
    services = dict.fromkeys([*models[0], *models[1]])
    rows = [(name, *(each.get(name, "not configured") for each in models)) for name in services]
    rows.append(("labels", *(", ".join(period.plan.labels) for period in (one, other))))
    about = "Model of each service. Groups are compared if their labels have the same values."
    return Table("Two configurations", about, ("service", *names), rows, frozenset({"service", *names}))


def model_text(service: Service) -> str:
    """Mapping with its constants, rating model and theta of a service."""
    constants = ", ".join(f"{name} {value:g}" for name, value in service.mapping.parameters.items())
    mapping = f"{service.mapping.name} ({constants})" if constants else service.mapping.name
    return f"{mapping}, {service.model} ratings, theta {service.theta:g}"


def _estimates_table(mine: ServicePeriod, theirs: ServicePeriod, one: Period, names: Names) -> Table:
    left, right = _distributions(mine, theirs)
    rows = [
        (
            *group,
            *(f"{left.mos[a]:.2f}", f"{right.mos[b]:.2f}", f"{right.mos[b] - left.mos[a]:+.2f}"),
            *(share(left.gob[a]), share(right.gob[b]), f"{100 * (right.gob[b] - left.gob[a]):+.1f}"),
            *(share(left.pow[a]), share(right.pow[b]), f"{100 * (right.pow[b] - left.pow[a]):+.1f}"),
        )
        for group, a, b in _shared_groups(mine, theirs)
    ]
    labels = one.plan.labels
    about = f"Left {names[0]}, right {names[1]}, and the difference; shares in percent, differences in points."
    columns = (
        *labels,
        *(f"{what}{side}" for what in ("MOS", "good", "poor") for side in (" left", " right", " diff.")),
    )
    return cut(f"{mine.service.name}: both configurations", about, columns, rows, labels)


def _distributions(mine: ServicePeriod, theirs: ServicePeriod) -> tuple[Distribution, Distribution]:
    one, other = mine.distribution(), theirs.distribution()
    assert one is not None, "_shared_services() yields services with data under both"  # noqa: S101
    assert other is not None, "_shared_services() yields services with data under both"  # noqa: S101
    return one, other


def _alert_tables(one: Period, other: Period, names: Names) -> Iterator[Table]:
    """Alerts that fired under one configuration, but not at the same time under the other."""
    for mine, theirs, here, there in ((one, other, names[0], names[1]), (other, one, names[1], names[0])):
        unmatched = _unmatched(mine, theirs)
        rows = [
            (
                fired.rule,
                fired.service,
                name_of(fired.group, 80),
                at(fired.from_s),
                lasted((mine.end_s if fired.to_s is None else fired.to_s) - fired.from_s),
                f"{fired.worst:.3f}",
            )
            for fired in unmatched
        ]
        columns = ("alert", "service", "group", "from", "lasted", "worst")
        about = f"{len(unmatched)} of the {len(mine.alerts.fired)} alerts under {here} are missing under {there}."
        words = ("alert", "service", "group", "from")
        yield cut(f"Alerts only under {here}", about, columns, rows, words, mine.alerts.left_out)


def _unmatched(mine: Period, theirs: Period) -> list[Fired]:
    others: dict[tuple[str, str, tuple[str, ...]], list[Fired]] = {}
    for fired in theirs.alerts.fired:
        others.setdefault((fired.rule, fired.service, fired.group), []).append(fired)
    return [
        fired
        for fired in mine.alerts.fired
        if not any(_overlap(fired, each) for each in others.get((fired.rule, fired.service, fired.group), ()))
    ]


def _overlap(one: Fired, other: Fired) -> bool:
    return (other.to_s is None or one.from_s <= other.to_s) and (one.to_s is None or other.from_s <= one.to_s)


def _regime_table(mine: ServicePeriod, theirs: ServicePeriod, one: Period, other: Period, names: Names) -> Table:
    """Groups that spent different times in the regimes."""
    rows = []
    for group, _, _ in _shared_groups(mine, theirs):
        left = mine.regimes.spans.seconds(group, one.end_s)
        right = theirs.regimes.spans.seconds(group, other.end_s)
        if left != right:
            rows.append((*group, *_times(left), *_times(right)))
    labels = one.plan.labels
    about = f"Time that each group spent in each regime, if it differs: left {names[0]}, right {names[1]}."
    columns = (*labels, *(f"{regime.name.lower()} {side}" for side in ("left", "right") for regime in Regime))
    return cut(f"{mine.service.name}: regimes that differ", about, columns, rows, labels)


def _times(seconds: Mapping[int, int]) -> tuple[str, ...]:
    return tuple(lasted(seconds.get(regime, 0)) for regime in Regime)


def _dumbbells(
    figure: Figure, mine: ServicePeriod, theirs: ServicePeriod, pairs: Sequence[_Pair], names: Names
) -> None:
    one, other = _distributions(mine, theirs)
    axes = figure.subplots()
    rows = [name_of(pair.group, 26) for pair in pairs]
    figure.subplots_adjust(**margins(figure, legend=True, left=0.35 + 0.083 * max(map(len, rows))))
    left = [100 * one.pow[pair.one] for pair in pairs]
    right = [100 * other.pow[pair.other] for pair in pairs]
    positions = range(len(rows))
    axes.hlines(positions, left, right, color=INK, alpha=0.4, linewidth=1.5)
    first = axes.scatter(left, positions, s=70, color=BLUE, marker="o", zorder=3)
    second = axes.scatter(right, positions, s=26, color=ORANGE, marker="D", zorder=3)
    axes.set_yticks(positions, rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.08 * max(*left, *right, 1))
    axes.set_xlabel("users who would rate poor or worse (%)")
    axes.set_ylabel("group")
    legend(figure, [first, second], [name_of([name], 26) for name in names])
