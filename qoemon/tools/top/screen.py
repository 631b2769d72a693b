"""The screen of `qoemon top`: the results of the polls so far as lines of text."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.text import Text
from yarl import URL

from qoemon.common.text import printable
from qoemon.tools.table import sparkline
from qoemon.tools.top.columns import alert_lines, columns_of, feed_line, rating_bar, silence_lines
from qoemon.tools.top.layout import Column, fitted, lines, taken
from qoemon.tools.top.query import Query, Row
from qoemon.tools.top.snapshot import Answer

_HISTORY = 60
"""Maximum number of ticks of a sparkline."""

_ALERTS = 3
"""Maximum lines for alerts below the rows."""

_TREND, _BAR_LEAST, _BAR_MOST = 8, 10, 18

_LEAST_TOP = 0.2
"""Minimum top of the sparklines, a share of poor ratings: noise around 1 % should look flat."""


class Screen:
    """Results of the polls so far: newest answer, its age, trend of each group."""

    def __init__(self, address: URL, query: Query) -> None:
        self._shown = str(address.with_user(None))  # It may contain a password.
        self._query = query
        self._answer: Answer | None = None
        self._taken_s = self._failed_s = time.monotonic()
        self._failure = self._doubt = ""
        self._step_s = 20.0  # Length of a tick, until two have been received; twice the default.
        self._trends: dict[tuple[str, ...], deque[float | None]] = {}

    def take(self, answer: Answer) -> bool:
        """Take an answer; returns whether it is another tick, or the first one after a failure."""
        before = None if self._answer is None else self._answer.snapshot.time_s
        recovered, self._failure = bool(self._failure), ""
        if before == answer.snapshot.time_s:
            return recovered
        if before is not None and before < answer.snapshot.time_s:
            self._step_s = answer.snapshot.time_s - before
        self._answer, self._taken_s = answer, time.monotonic()
        rows = self._query.rows(answer)
        self._doubt = feed_line(rows)
        self._trends = {row.key: self._trend(row.key, row.estimate.pow if row.estimate else None) for row in rows}
        return True

    def fail(self, reason: str) -> bool:
        """Take a failed poll; returns whether it is the first one."""
        first = not self._failure
        if first:
            self._failed_s = time.monotonic()
        self._failure = reason
        return first

    def drawn(self, width: int, height: int | None) -> Group:
        """At most `height` lines of at most `width` cells; None: all lines."""
        head = [*self._head(), *self._notices()]
        body = [] if self._answer is None else self._body(self._answer, width, height and height - len(head))
        shown = [*head, *body][:height]
        for line in shown:
            line.truncate(width, overflow="ellipsis")
        return Group(*shown)

    def _trend(self, key: tuple[str, ...], poor: float | None) -> deque[float | None]:
        trend = self._trends.get(key, deque(maxlen=_HISTORY))
        trend.append(poor)
        return trend

    def _head(self) -> Iterator[Text]:
        if self._answer is None:
            yield Text(f"qoemon top  {self._shown}", style="bold")
            return
        snapshot = self._answer.snapshot
        at = time.strftime("%H:%M:%S", time.localtime(snapshot.time_s))
        yield Text(
            f"{at}  {self._age_s():.0f} s old  last {self._query.window(snapshot)}  by {self._query.sort}  "
            f"{self._shown}",
            style="bold",
        )

    def _age_s(self) -> float:
        """Age of the newest data: by the daemon's clock on arrival, by ours since then."""
        assert self._answer is not None, "only called with an answer"  # noqa: S101
        return max(0.0, self._answer.now_s - self._answer.snapshot.time_s) + time.monotonic() - self._taken_s

    def _notices(self) -> Iterator[Text]:
        if self._failure:
            failing_s = time.monotonic() - self._failed_s
            yield _notice(f"no answer for {failing_s:.0f} s: {self._failure}; retrying")
        if self._answer is None:
            return
        if self._failure:
            yield _notice("the data below are old")
        elif self._age_s() > 3 * self._step_s + 10:
            yield _notice("the daemon answers, but with old data: no recent tick; see its log and /healthz")
        if self._answer.pair:
            yield Text(f"pair: {self._answer.pair}")
        for problem in self._query.problems(self._answer.snapshot):
            yield _notice(problem)
        for silence in silence_lines(self._answer.snapshot.services):
            yield _notice(silence)
        if self._doubt:
            yield _notice(self._doubt)
        snapshot = self._answer.snapshot
        for sentences in (self._query.where_first(snapshot), self._query.models_off(snapshot)):
            for service, text in sentences.items():
                yield Text(printable(f"{service}: {text}"), style="bold")

    def _body(self, answer: Answer, width: int, height: int | None) -> list[Text]:
        rows = self._query.rows(answer)
        most = None if height is None else _ALERTS
        alerts = alert_lines(self._query.alerts(answer.snapshot), answer.now_s, most)
        shown = rows
        if height is not None and len(rows) + 1 + len(alerts) > height:
            shown = rows[: max(0, height - len(alerts) - 2)]
        table = lines(self._columns(shown, answer.snapshot.labels, width)) if rows else [Text("no groups to show")]
        hidden = len(rows) - len(shown)
        more = [Text(f"… and {hidden:,} more group{'s' * (hidden > 1)}", style="dim")] if hidden else []
        return [*table, *more, *alerts]

    def _columns(self, rows: Sequence[Row], labels: Sequence[str], width: int) -> list[Column]:
        scale = self._scale(rows)
        blank = [Text("")] * len(rows)
        trend = Column(f"▁0 █{scale:.0%}", blank, _TREND, 1)
        columns = fitted([*columns_of(rows, labels), trend], width)
        if trend in columns:
            room = width - taken(columns)
            ratings = Column("ratings", blank, min(room - 1, _BAR_MOST), 0)
            if room > _BAR_LEAST:
                columns.append(ratings)
                ratings.cells = [rating_bar(row, ratings.width) for row in rows]
            trend.width = min(trend.width + width - taken(columns), _HISTORY)
            trend.cells = [self._sparkline(row, trend.width, scale) for row in rows]
        return columns

    def _scale(self, rows: Sequence[Row]) -> float:
        """Top of the sparklines of all rows, rounded up to 10 %, so that it rarely changes."""
        highest = max((poor for row in rows for poor in self._trends[row.key] if poor is not None), default=0)
        return max(_LEAST_TOP, -(-highest * 10 // 1) / 10)

    def _sparkline(self, row: Row, width: int, scale: float) -> Text:
        return Text(sparkline(list(self._trends[row.key])[-width:], scale).rjust(width))


def _notice(text: str) -> Text:
    return Text(text, style="bold #d55e00")
