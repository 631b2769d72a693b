"""Regimes and alerts as bars along the time, a row a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from qoemon.core.alerting.regime import Regime
from qoemon.core.alerting.rule import AlertState
from qoemon.tools.plotting import AMBER, GREY, ORANGE, SKY
from qoemon.tools.report.charts import DAY_S, time_axis
from qoemon.tools.report.episodes import Span
from qoemon.tools.report.figure import Chart, fitted, legend, name_of, place
from qoemon.tools.report.period import Period, ServicePeriod

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 20
NAME_CELLS = 34


class _Look(NamedTuple):
    name: str
    colour: str
    hatch: str


REGIME_LOOKS = {
    Regime.GOOD: _Look("good", SKY, ""),
    Regime.DEGRADED: _Look("degraded", AMBER, "////"),
    Regime.BAD: _Look("bad", ORANGE, "xxxx"),
}
ALERT_LOOKS = {
    AlertState.UNCERTAIN: _Look("past the threshold, not for sure", GREY, ""),
    AlertState.PENDING: _Look("pending", AMBER, "////"),
    AlertState.FIRING: _Look("firing", ORANGE, "xxxx"),
}


def regime_chart(service: ServicePeriod, period: Period) -> Chart | None:
    """The regimes of the groups that most is amiss in; None before any is known."""
    log, end_s = service.regimes, period.end_s
    keys = set(log.spans.keys())
    worst = [service.groups[group] for group in service.worst_first() if service.groups[group] in keys]
    rows = [(name_of(group, NAME_CELLS), log.spans.of(group, end_s)) for group in worst[:MOST_ROWS]]
    rows = [row for row in rows if row[1]]
    if not rows:
        return None
    return Chart(
        f"{service.service.name}-regimes",
        f"{service.service.name}: regimes",
        "When each group was served well, worse and badly; where there is no bar, too little was known. "
        f"{of_rows(len(rows), len(keys), 'groups')}",
        _height(len(rows)),
        lambda figure: _bars(figure, rows, REGIME_LOOKS, period),
    )


def alert_chart(period: Period) -> Chart | None:
    """The alerts that fired or nearly did, those that fired longest first; None if there was none."""
    spans, end_s = period.alerts.spans, period.end_s

    def weight(key: tuple[str, str, tuple[str, ...]]) -> tuple[int, ...]:
        seconds = spans.seconds(key, end_s)
        return tuple(-seconds[state] for state in (AlertState.FIRING, AlertState.PENDING, AlertState.UNCERTAIN))

    keys = sorted(spans.keys(), key=weight)[:MOST_ROWS]
    rows = [(_alert_name(*key), spans.of(key, end_s)) for key in keys]
    rows = [row for row in rows if row[1]]
    if not rows:
        return None
    return Chart(
        "alerts",
        "Alerts",
        "When each alert fired, was pending, or past its threshold but not for sure. "
        f"{of_rows(len(rows), len(spans.keys()), 'pairs of alert and group')}",
        _height(len(rows)),
        lambda figure: _bars(figure, rows, ALERT_LOOKS, period),
    )


def of_rows(shown: int, total: int, what: str) -> str:
    """What a chart with a row each leaves out, in words."""
    return "" if shown >= total else f"Shown are {shown} of {total:,} {what}, the worst."


def _alert_name(rule: str, service: str, group: tuple[str, ...]) -> str:
    return fitted(f"{rule}, {service} {name_of(group, NAME_CELLS)}", NAME_CELLS + 8)


def _height(rows: int) -> float:
    return 1.75 + 0.26 * rows


def _bars(
    figure: Figure,
    rows: Sequence[tuple[str, Sequence[Span]]],
    looks: dict[Regime, _Look] | dict[AlertState, _Look],
    period: Period,
) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415

    axes = figure.subplots()
    longest = max(len(name) for name, _ in rows)
    figure.subplots_adjust(**place(figure, legend=True, left=0.35 + 0.075 * longest))
    for place_, (_, spans) in enumerate(rows):
        for state, look in looks.items():
            bars = [(s.from_s / DAY_S, (s.to_s - s.from_s) / DAY_S) for s in spans if s.state == state]
            axes.broken_barh(bars, (place_ - 0.38, 0.76), facecolor=look.colour, hatch=look.hatch, linewidth=0)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_ylabel("group" if looks is REGIME_LOOKS else "alert, group")
    axes.grid(visible=False, axis="y")
    time_axis(axes, float(period.begin_s or 0), float(period.end_s))
    legend(
        figure,
        [Patch(facecolor=look.colour, hatch=look.hatch, linewidth=0) for look in looks.values()],
        [look.name for look in looks.values()],
    )
