"""Columns of the table of groups, and lines for alerts and doubtful reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from rich.text import Text

from qoemon.common import duration
from qoemon.common.text import SHORT, printable
from qoemon.outputs.doubtful import doubt
from qoemon.tools.table import bar
from qoemon.tools.top.layout import Column
from qoemon.tools.top.query import Row
from qoemon.tools.top.snapshot import Alert, Service

_BADGES = {
    "good": Text("good", style="#0072b2"),
    "degraded": Text("DEGRADED", style="bold #e69f00"),
    "bad": Text("BAD", style="bold reverse #d55e00"),
    "alert": Text("ALERT", style="bold reverse #d55e00"),
}
"""States as words, so that they differ without colour; the colours suit the colour-blind."""

_NO_DATA = "bold #d55e00"


def columns_of(rows: Sequence[Row], labels: Sequence[str]) -> list[Column]:
    """All columns but the trend and the rating bar, which take the remaining width."""

    def cells(value: Callable[[Row], str | Text]) -> list[Text]:
        values = (value(row) for row in rows)
        return [each if isinstance(each, Text) else Text(each) for each in values]

    def figures(name: Literal["mos", "gob", "pow"], form: str) -> list[Text]:
        return cells(lambda row: _figure(getattr(row.estimate, name, None), form))

    poor = [Text(f"{figure.plain} {_bounds(row)}") for figure, row in zip(figures("pow", ".1%"), rows, strict=True)]
    return [
        Column("service", cells(lambda row: printable(row.service, SHORT)), 5, 9),
        *(
            Column(
                printable(label, SHORT),
                [Text(printable(row.group.labels.get(label, ""), SHORT)) for row in rows],
                5,
                8,
            )
            for label in labels
        ),
        Column("sess", cells(lambda row: _count(row.group.active_sessions)), 5, 3, "right"),
        Column("stall", cells(lambda row: _count(row.group.open_stalls)), 5, 2, "right"),
        Column("MOS", figures("mos", ".2f"), 4, 5, "right"),
        Column("GoB", figures("gob", ".0%"), 4, 4, "right"),
        Column("PoW", poor, 12, 10, "right"),
        Column("state", cells(_badge), 8, 6),
    ]


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _count(number: int) -> str:
    return f"{number:,}" if number < 10_000 else f"{number / 1000:,.0f}k"


def _bounds(row: Row) -> str:
    """Confidence bounds of PoW in whole percent, such as "9-16"."""
    low, high = row.estimate.pow_bounds if row.estimate else (None, None)
    return f"{'' if low is None or high is None else f'{low * 100:.0f}-{high * 100:.0f}':<5}"


def _badge(row: Row) -> Text:
    state = row.group.state
    if state is None:
        return Text("-")
    words = Text(printable(state.words, SHORT), style=_NO_DATA if state.state == "no_data" else "")
    return _BADGES.get(state.state) or words


def rating_bar(row: Row, width: int) -> Text:
    """Bar of `width` cells for the shares of the ratings; empty without data."""
    return bar([share or 0.0 for share in row.estimate.ratings.values()], width) if row.estimate else Text("")


def alert_lines(alerts: Sequence[Alert], now_s: float, most: int | None) -> list[Text]:
    """A line for each of the first `most` alerts, and one that counts the others; None: all."""
    hidden = len(alerts) - len(alerts[:most])
    shown = [_alert_line(alert, now_s) for alert in alerts[:most]]
    return [*shown, Text(f"… and {hidden:,} more alert{'s' * (hidden > 1)}", style="dim")] if hidden else shown


def _alert_line(alert: Alert, now_s: float) -> Text:
    where = _name(alert.service, alert.labels)
    # The reason of an alert on the model says all that its value does.
    known = alert.value is not None and alert.metric != "model"
    figures = f", {alert.value:.3g} (fires at {alert.threshold:g})" if known else ""
    since = duration.text(max(0, round(now_s - alert.since_s)))
    name, reason = printable(alert.alert, SHORT), printable(alert.reason, SHORT).replace("_", " ")
    if alert.reason == "no_data" and alert.silent_since_s is not None:
        reason += time.strftime(" since %H:%M", time.localtime(alert.silent_since_s))
    text = f"{alert.state:<7} {name} {where}: {reason}{figures}"
    return Text(f"{text}, for {since}", style="bold #d55e00" if alert.state == "firing" else "#e69f00")


def feed_line(rows: Iterable[Row]) -> str:
    """The sentence about the group whose reports are the most doubtful; empty if all are trusted."""
    fed = ((row, row.group.feed) for row in rows)
    doubts = [(found, row) for row, feed in fed if feed and (found := doubt(feed.reports, feed.doubtful))]
    if not doubts:
        return ""
    worst, row = max(doubts, key=lambda each: each[0])
    others = len(doubts) - 1
    more = f" {others:,} more group{'s have' if others > 1 else ' has'} doubtful reports." if others else ""
    return f"{100 * worst.share:.0f} % of {_name(row.service, row.group.labels)}'s reports {worst.text}{more}"


def silence_lines(services: Sequence[Service]) -> list[str]:
    """A sentence about each service that sends no reports any more."""
    silent = ((each.service, each.state) for each in services if each.state and each.state.state == "no_data")
    return [
        f"{printable(service, SHORT)}: {printable(state.words, SHORT)}"
        for service, state in silent
        if state.since_s
    ]


def _name(service: str, labels: Mapping[str, str]) -> str:
    """The name of the group or sum; just the service if it has no labels."""
    return "/".join(printable(name, SHORT) for name in (service, *labels.values()))
