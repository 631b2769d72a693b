"""The same recording under two configurations: where they agree, and where they would have said something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from qoemon.core.alerting.regime import Regime
from qoemon.core.plan.plan import Service
from qoemon.tools.plotting import BLUE, ORANGE
from qoemon.tools.report.episodes import Fired
from qoemon.tools.report.figure import INK, Chart, legend, name_of, place
from qoemon.tools.report.period import Period, ServicePeriod
from qoemon.tools.report.tables import Table, at, cut, lasted, share
from qoemon.tools.report.timelines import of_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 20

Names = tuple[str, str]
"""What the two configurations are called."""


class _Pair(NamedTuple):
    """A group that both judged: its labels, its place in each."""

    group: tuple[str, ...]
    one: int
    other: int


def tables(one: Period, other: Period, names: Names) -> list[Table]:
    """Everything that differs, and how much."""
    return [
        _judging(one, other, names),
        *(_figures(*both, one, names) for both in _both(one, other)),
        *_alerts(one, other, names),
        *(_regimes(*both, one, other, names) for both in _both(one, other)),
    ]


def charts(one: Period, other: Period, names: Names) -> list[Chart]:
    """For each service that both judged, each group's shares under either."""
    return [
        Chart(
            f"{mine.service.name}-compared",
            f"{mine.service.name}: poor or worse under both configurations",
            "Share of users who would rate poor or worse over the whole period, under either, by group. "
            f"{of_rows(min(len(pairs), MOST_ROWS), len(pairs), 'groups')}",
            1.75 + 0.26 * min(len(pairs), MOST_ROWS),
            lambda figure, mine=mine, theirs=theirs, pairs=pairs: _dumbbells(  # type: ignore[misc]
                figure, mine, theirs, pairs[:MOST_ROWS], names
            ),
        )
        for mine, theirs in _both(one, other)
        if (pairs := _pairs(mine, theirs))
    ]


def _both(one: Period, other: Period) -> Iterator[tuple[ServicePeriod, ServicePeriod]]:
    for name, mine in one.services.items():
        theirs = other.services.get(name)
        if theirs is not None and _pairs(mine, theirs):
            yield mine, theirs


def _pairs(mine: ServicePeriod, theirs: ServicePeriod) -> list[_Pair]:
    """Groups that both judged, the worst of the first configuration first."""
    judged = {theirs.groups[number]: number for number in theirs.worst_first()}
    ours = [(mine.groups[number], number) for number in mine.worst_first()]
    return [_Pair(group, number, judged[group]) for group, number in ours if group in judged]


def _judging(one: Period, other: Period, names: Names) -> Table:
    judged = [{name: described(each.service) for name, each in period.services.items()} for period in (one, other)]
    services = dict.fromkeys([*judged[0], *judged[1]])
    rows = [(name, *(each.get(name, "is not judged") for each in judged)) for name in services]
    rows.append(("labels", *(", ".join(period.plan.labels) for period in (one, other))))
    about = "How each configuration judges. Groups are compared where their labels have the same values."
    return Table("Two configurations", about, ("service", *names), rows, frozenset({"service", *names}))


def described(service: Service) -> str:
    """How it is judged, in words."""
    constants = ", ".join(f"{name} {value:g}" for name, value in service.mapping.parameters.items())
    judged = f"{service.mapping.name} ({constants})" if constants else service.mapping.name
    return f"{judged}, {service.model} ratings, theta {service.theta:g}"


def _figures(mine: ServicePeriod, theirs: ServicePeriod, one: Period, names: Names) -> Table:
    told, other = mine.judged(), theirs.judged()
    assert told is not None, "both have judged somebody"  # noqa: S101
    assert other is not None, "both have judged somebody"  # noqa: S101
    rows = [
        (
            *group,
            *_compared(f"{told.mos[a]:.2f}", f"{other.mos[b]:.2f}", f"{other.mos[b] - told.mos[a]:+.2f}"),
            *_compared(share(told.gob[a]), share(other.gob[b]), f"{100 * (other.gob[b] - told.gob[a]):+.1f}"),
            *_compared(share(told.pow[a]), share(other.pow[b]), f"{100 * (other.pow[b] - told.pow[a]):+.1f}"),
        )
        for group, a, b in _pairs(mine, theirs)
    ]
    labels = one.plan.labels
    about = (
        f"Left {names[0]}, right {names[1]}, then the difference; shares in percent, their differences in points."
    )
    columns = (
        *labels,
        *(f"{what}{side}" for what in ("MOS", "good", "poor") for side in (" left", " right", " diff.")),
    )
    return cut(f"{mine.service.name}: both configurations", about, columns, rows, labels)


def _compared(left: str, right: str, difference: str) -> tuple[str, str, str]:
    return left, right, difference


def _alerts(one: Period, other: Period, names: Names) -> Iterator[Table]:
    """Alerts that fired under one and not, at the same time, under the other."""
    for mine, theirs, here, there in ((one, other, names[0], names[1]), (other, one, names[1], names[0])):
        alone = _without_twin(mine, theirs)
        rows = [
            (
                fired.rule,
                fired.service,
                name_of(fired.group, 80),
                at(fired.from_s),
                lasted((mine.end_s if fired.to_s is None else fired.to_s) - fired.from_s),
                f"{fired.worst:.3f}",
            )
            for fired in alone
        ]
        columns = ("alert", "service", "group", "from", "lasted", "worst")
        about = (
            f"{len(alone)} of the {len(mine.alerts.fired)} alerts under {here} have no counterpart under {there}."
        )
        words = ("alert", "service", "group", "from")
        yield cut(f"Alerts only under {here}", about, columns, rows, words, mine.alerts.left_out)


def _without_twin(mine: Period, theirs: Period) -> list[Fired]:
    twins: dict[tuple[str, str, tuple[str, ...]], list[Fired]] = {}
    for fired in theirs.alerts.fired:
        twins.setdefault((fired.rule, fired.service, fired.group), []).append(fired)
    return [
        fired
        for fired in mine.alerts.fired
        if not any(_overlap(fired, twin) for twin in twins.get((fired.rule, fired.service, fired.group), ()))
    ]


def _overlap(one: Fired, other: Fired) -> bool:
    return (other.to_s is None or one.from_s <= other.to_s) and (one.to_s is None or other.from_s <= one.to_s)


def _regimes(mine: ServicePeriod, theirs: ServicePeriod, one: Period, other: Period, names: Names) -> Table:
    """Groups that were not in the same regimes for as long."""
    rows = []
    for group, _, _ in _pairs(mine, theirs):
        left = mine.regimes.spans.seconds(group, one.end_s)
        right = theirs.regimes.spans.seconds(group, other.end_s)
        if left != right:
            rows.append((*group, *_times(left), *_times(right)))
    labels = one.plan.labels
    about = f"How long each group was in each regime, where that differs: left {names[0]}, right {names[1]}."
    columns = (*labels, *(f"{regime.name.lower()} {side}" for side in ("left", "right") for regime in Regime))
    return cut(f"{mine.service.name}: regimes that differ", about, columns, rows, labels)


def _times(seconds: Mapping[int, int]) -> tuple[str, ...]:
    return tuple(lasted(seconds.get(regime, 0)) for regime in Regime)


def _dumbbells(
    figure: Figure, mine: ServicePeriod, theirs: ServicePeriod, pairs: Sequence[_Pair], names: Names
) -> None:
    told, other = mine.judged(), theirs.judged()
    assert told is not None, "both have judged somebody"  # noqa: S101
    assert other is not None, "both have judged somebody"  # noqa: S101
    axes = figure.subplots()
    rows = [name_of(pair.group, 34) for pair in pairs]
    figure.subplots_adjust(**place(figure, legend=True, left=0.35 + 0.075 * max(map(len, rows))))
    left = [100 * told.pow[pair.one] for pair in pairs]
    right = [100 * other.pow[pair.other] for pair in pairs]
    at_ = range(len(rows))
    axes.hlines(at_, left, right, color=INK, alpha=0.4, linewidth=1.5)
    first = axes.scatter(left, at_, s=70, color=BLUE, marker="o", zorder=3)
    second = axes.scatter(right, at_, s=26, color=ORANGE, marker="D", zorder=3)
    axes.set_yticks(at_, rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.08 * max(*left, *right, 1))
    axes.set_xlabel("users who would rate poor or worse (%)")
    axes.set_ylabel("group")
    legend(figure, [first, second], [name_of([name], 36) for name in names])
