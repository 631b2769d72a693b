"""Charts of regimes and alerts over time, one row of bars per group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from qoemon.core.alerting.decision import AlertState
from qoemon.core.alerting.regime import Regime
from qoemon.tools.plotting import AMBER, GREY, ORANGE, SKY
from qoemon.tools.report.charts import DAY_S, time_axis
from qoemon.tools.report.episodes import Span
from qoemon.tools.report.figure import Chart, fitted, legend, margins, name_of
from qoemon.tools.report.period import Period, ServicePeriod

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 20
NAME_CELLS = 24


class _Style(NamedTuple):
    name: str
    colour: str
    hatch: str


REGIME_STYLES = {
    Regime.GOOD: _Style("good", SKY, ""),
    Regime.DEGRADED: _Style("degraded", AMBER, "////"),
    Regime.BAD: _Style("bad", ORANGE, "xxxx"),
}
ALERT_STYLES = {
    AlertState.UNCERTAIN: _Style("uncertain", GREY, ""),
    AlertState.PENDING: _Style("pending", AMBER, "////"),
    AlertState.FIRING: _Style("firing", ORANGE, "xxxx"),
}


def regime_chart(service: ServicePeriod, period: Period) -> Chart | None:
    """Regimes of the groups with most excess poor ratings; None if no regime is known."""
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
        "Regime of each group over time; no bar where it is unknown. "
        f"{omitted_text(len(rows), len(keys), 'groups')}",
        _height(len(rows)),
        lambda figure: _bars(figure, rows, REGIME_STYLES, period),
    )


def alert_chart(period: Period) -> Chart | None:
    """Alerts that fired, were pending or uncertain, those that fired longest first; None without any."""
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
        "When each alert fired, was pending, or uncertain: past its threshold within the confidence interval. "
        f"{omitted_text(len(rows), len(spans.keys()), 'pairs of alert and group')}",
        _height(len(rows)),
        lambda figure: _bars(figure, rows, ALERT_STYLES, period),
    )


def omitted_text(shown: int, total: int, what: str) -> str:
    """Sentence on the rows that a chart omits; empty if it shows all."""
    return "" if shown >= total else f"The worst {shown} of {total:,} {what}."


def _alert_name(rule: str, service: str, group: tuple[str, ...]) -> str:
    return fitted(f"{rule}, {service} {name_of(group, NAME_CELLS)}", NAME_CELLS + 8)


def _height(rows: int) -> float:
    return 1.85 + 0.28 * rows


def _bars(
    figure: Figure,
    rows: Sequence[tuple[str, Sequence[Span]]],
    styles: dict[Regime, _Style] | dict[AlertState, _Style],
    period: Period,
) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415

    axes = figure.subplots()
    longest = max(len(name) for name, _ in rows)
    figure.subplots_adjust(**margins(figure, legend=True, left=0.35 + 0.083 * longest))
    for row, (_, spans) in enumerate(rows):
        for state, style in styles.items():
            bars = [(s.from_s / DAY_S, (s.to_s - s.from_s) / DAY_S) for s in spans if s.state == state]
            axes.broken_barh(bars, (row - 0.38, 0.76), facecolor=style.colour, hatch=style.hatch, linewidth=0)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_ylabel("group" if styles is REGIME_STYLES else "alert, group")
    axes.grid(visible=False, axis="y")
    time_axis(axes, float(period.begin_s or 0), float(period.end_s))
    legend(
        figure,
        [Patch(facecolor=style.colour, hatch=style.hatch, linewidth=0) for style in styles.values()],
        [style.name for style in styles.values()],
    )
