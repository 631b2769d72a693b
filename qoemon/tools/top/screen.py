"""What is known after the polls so far, as lines of a terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.text import Text
from yarl import URL

from qoemon.tools.table import sparkline
from qoemon.tools.top.columns import alert_lines, columns_of, rating_bar
from qoemon.tools.top.layout import Column, fitted, lines, taken
from qoemon.tools.top.query import Query, Row
from qoemon.tools.top.snapshot import Answer

_HISTORY = 60
"""So many ticks a sparkline goes back at most."""

_ALERTS = 3
"""Lines for alerts, where there are rows to show too."""

_TREND, _BAR_LEAST, _BAR_MOST = 8, 10, 18

_LEAST_TOP = 0.2
"""A sparkline reaches to this share of poor ratings at least: noise around 1 % shall look like nothing."""


class Screen:
    """What is known after the polls so far: the newest answer, its age, the past of each group."""

    def __init__(self, address: URL, query: Query) -> None:
        self._shown = str(address.with_user(None))  # A password in it is nobody's business.
        self._query = query
        self._answer: Answer | None = None
        self._took_s = self._missing_s = time.monotonic()
        self._trouble = ""
        self._step_s = 20.0  # Of a tick, until two have been seen; twice the default.
        self._trends: dict[tuple[str, ...], deque[float | None]] = {}

    def take(self, answer: Answer) -> bool:
        """An answer came; whether it is another tick, or the end of trouble."""
        before = None if self._answer is None else self._answer.snapshot.time_s
        again, self._trouble = bool(self._trouble), ""
        if before == answer.snapshot.time_s:
            return again
        if before is not None and before < answer.snapshot.time_s:
            self._step_s = answer.snapshot.time_s - before
        self._answer, self._took_s = answer, time.monotonic()
        self._trends = {
            row.key: self._trend(row.key, row.judged.pow if row.judged else None)
            for row in self._query.rows(answer)
        }
        return True

    def miss(self, why: str) -> bool:
        """No answer came; whether that is new."""
        fresh = not self._trouble
        if fresh:
            self._missing_s = time.monotonic()
        self._trouble = why
        return fresh

    def drawn(self, width: int, height: int | None) -> Group:
        """Lines of at most so many cells, and at most so many of them; None is as many as it takes."""
        head = [*self._head(), *self._notices()]
        body = [] if self._answer is None else self._body(self._answer, width, height and height - len(head))
        told = [*head, *body][:height]
        for line in told:
            line.truncate(width, overflow="ellipsis")
        return Group(*told)

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
        """Of the newest data, by the daemon's clock when they came and by ours since."""
        assert self._answer is not None, "asked for where there are data"  # noqa: S101
        return max(0.0, self._answer.now_s - self._answer.snapshot.time_s) + time.monotonic() - self._took_s

    def _notices(self) -> Iterator[Text]:
        if self._trouble:
            gone_s = time.monotonic() - self._missing_s
            yield _notice(f"no answer for {gone_s:.0f} s: {self._trouble}; retrying")
        if self._answer is None:
            return
        if self._trouble:
            yield _notice("what stands below is old")
        elif self._age_s() > 3 * self._step_s + 10:
            yield _notice("it answers, but with old data: no tick has come for long; see its log and /healthz")
        for mistake in self._query.problems(self._answer.snapshot):
            yield _notice(mistake)

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
        """Where the sparklines end, the same for all rows; whole tens of percent, so that it rests."""
        highest = max((poor for row in rows for poor in self._trends[row.key] if poor is not None), default=0)
        return max(_LEAST_TOP, -(-highest * 10 // 1) / 10)

    def _sparkline(self, row: Row, width: int, scale: float) -> Text:
        return Text(sparkline(list(self._trends[row.key])[-width:], scale).rjust(width))


def _notice(text: str) -> Text:
    return Text(text, style="bold #d55e00")
