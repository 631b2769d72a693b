"""The groups of a daemon, live in a terminal: what its snapshot says, worst first, on this machine or another.

It reads what anyone may read, `/api/v1/snapshot`, and has no part in the daemon. Whatever it shows may have come
from a client's topic, so all of it is text: nothing is markup, nothing is sent to the terminal as it came.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Literal

import aiohttp
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from yarl import URL

from qoemon import duration
from qoemon.app import cancelled_by_signals
from qoemon.table import Column, bar, fitted, lines, plain, sparkline, taken

URL_DEFAULT = "http://127.0.0.1:9877"

PATH = "/api/v1/snapshot"

SortBy = Literal["pow", "mos", "gob", "sessions", "name"]

POLL_S = 1.0

_ANSWER_S = 5.0

_MOST_BYTES = 64 * 2**20
"""A snapshot of thousands of groups has some; what goes on and on is none."""

_HISTORY = 60
"""So many ticks a sparkline goes back at most."""

_ALERTS = 3
"""Lines for alerts, where there are rows to show too."""

_TREND, _BAR_LEAST, _BAR_MOST = 8, 10, 18

_LEAST_TOP = 0.2
"""A sparkline reaches to this share of poor ratings at least: noise around 1 % shall look like nothing."""

_BADGES = {
    "good": Text("good", style="#0072b2"),
    "degraded": Text("DEGRADED", style="bold #e69f00"),
    "bad": Text("BAD", style="bold reverse #d55e00"),
}
"""Told apart as words; the colours are those that the colour-blind tell apart."""


class AnswerError(Exception):
    """The daemon gives no snapshot; says why."""


class QueryError(Exception):
    """What was asked for cannot be had; says what there is."""


_Share = Annotated[float, msgspec.Meta(ge=0, le=1.001)]
"""With some room for what rounding adds to a sum."""

_Time = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
"""Seconds since the epoch; beyond, no calendar has words for it."""


class _Window(msgspec.Struct):
    mos: float | None
    gob: _Share | None
    pow: _Share | None
    pow_bounds: tuple[_Share | None, _Share | None]
    ratings: dict[str, _Share | None]


class _Regime(msgspec.Struct):
    regime: str | None


class _Group(msgspec.Struct):
    labels: dict[str, str]
    active_sessions: int
    open_stalls: int
    windows: dict[str, _Window]
    regime: _Regime | None = None


class _Service(msgspec.Struct):
    service: str
    groups: list[_Group]


class _Alert(msgspec.Struct):
    alert: str
    service: str
    labels: dict[str, str]
    state: str
    reason: str
    since_s: _Time
    enter: float
    value: float | None


class _Snapshot(msgspec.Struct):
    time_s: _Time
    labels: list[str]
    services: list[_Service]
    alerts: list[_Alert]


@dataclass(frozen=True)
class Answer:
    """A snapshot as the daemon gave it. now_s is the time of the daemon's clock, which need not be ours."""

    snapshot: _Snapshot
    raw: dict[str, Any]
    now_s: float


@dataclass(frozen=True)
class Row:
    """A group to show; judged is None as long as there is nothing to judge in the window."""

    service: str
    group: _Group
    judged: _Window | None
    raw: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, ...]:
        """Service and label values: what names the group."""
        return (self.service, *self.group.labels.values())


@dataclass(frozen=True)
class Query:
    """Which groups to show, and how.

    window_s  None is the shortest that the snapshot has
    labels    values that a group may have, of each label that matters
    """

    window_s: float | None = None
    sort: SortBy = "pow"
    service: str | None = None
    labels: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def window(self, snapshot: _Snapshot) -> str:
        """Its name in the snapshot; "-" if there is none yet."""
        if self.window_s is not None:
            return duration.text(self.window_s)
        return min(_windows(snapshot), key=duration.seconds, default="-")

    def rows(self, answer: Answer) -> list[Row]:
        """The groups asked for, worst first."""
        window = self.window(answer.snapshot)
        rows = [
            Row(service.service, group, group.windows.get(window), raw_group)
            for service, raw in zip(answer.snapshot.services, answer.raw["services"], strict=True)
            for group, raw_group in zip(service.groups, raw["groups"], strict=True)
            if self._wants(service.service, group.labels)
        ]
        return sorted(rows, key=lambda row: (_RANKS[self.sort](row), row.key))

    def alerts(self, snapshot: _Snapshot) -> list[_Alert]:
        """Those of the groups asked for that fire or are about to; those that fire come first."""
        told = [
            alert
            for alert in snapshot.alerts
            if alert.state in {"firing", "pending"} and self._wants(alert.service, alert.labels)
        ]
        return sorted(told, key=lambda alert: (alert.state != "firing", alert.since_s))

    def mistakes(self, snapshot: _Snapshot) -> list[str]:
        """What was asked for that the snapshot does not have, in words."""
        services = [service.service for service in snapshot.services]
        asked = [("service", self.service, services)]
        asked += [("label", label, snapshot.labels) for label in self.labels]
        if self.window_s is not None and (windows := sorted(_windows(snapshot), key=duration.seconds)):
            asked.append(("window", self.window(snapshot), windows))
        return [
            f"there is no {kind} {plain(name)!r} in the snapshot; it has {', '.join(map(plain, there)) or 'none'}"
            for kind, name, there in asked
            if name is not None and name not in there
        ]

    def _wants(self, service: str, labels: Mapping[str, str]) -> bool:
        return self.service in {None, service} and all(
            labels.get(label) in values for label, values in self.labels.items()
        )


def wanted(filters: Sequence[str]) -> dict[str, frozenset[str]]:
    """Label values from texts such as "region=eu"; a label named twice may have either.

    raises  QueryError if a text is no filter
    """
    labels: dict[str, frozenset[str]] = {}
    for text in filters:
        label, equals, value = text.partition("=")
        if not (label and equals):
            raise QueryError(f"{text!r} is no filter; expected a label and its value, such as region=eu")
        labels[label] = labels.get(label, frozenset()) | {value}
    return labels


async def top(console: Console, url: str, query: Query, *, once: bool = False, as_json: bool = False) -> None:
    """Show the groups until a signal comes; once, or as_json, show them once and return.

    raises  QueryError if url is none, or if once or as_json asks for what is not there;
            AnswerError if once or as_json gets no snapshot
    """
    address = _address(url)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S)) as client:
        if once or as_json:
            try:
                answer = await _fetch(client, address)
            except AnswerError as error:
                where = f"no snapshot from {address.with_user(None)}"
                raise AnswerError(f"{where}: {error}; expected a running qoemon there") from None
            _show_once(console, address, query, answer, as_json=as_json)
            return
        with cancelled_by_signals():
            await _watch(console, client, address, query)


def _show_once(console: Console, address: URL, query: Query, answer: Answer, *, as_json: bool) -> None:
    mistakes = query.mistakes(answer.snapshot)
    if mistakes:
        raise QueryError("\n".join(mistakes))
    if as_json:
        # Every character beyond ASCII is escaped: safe on a terminal, too.
        console.file.write(json.dumps(_as_dict(query, answer), indent=2) + "\n")
        return
    state = _State(address, query)
    state.take(answer)
    console.print(state.screen(console.width, None), soft_wrap=True)


def _as_dict(query: Query, answer: Answer) -> dict[str, Any]:
    return {
        "time_s": answer.snapshot.time_s,
        "window": query.window(answer.snapshot),
        "groups": [{"service": row.service, **row.raw} for row in query.rows(answer)],
    }


async def _watch(console: Console, client: aiohttp.ClientSession, address: URL, query: Query) -> None:
    """Draw on a terminal each second, since the age of the data is news as well; elsewhere print what is new."""
    state = _State(address, query)
    if not console.is_terminal or console.is_dumb_terminal:
        while True:
            if await _polled(state, client, address):
                console.print(state.screen(console.width, None), soft_wrap=True)
            await asyncio.sleep(POLL_S)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            await _polled(state, client, address)
            live.update(state.screen(console.width, console.height), refresh=True)
            await asyncio.sleep(POLL_S)


async def _polled(state: _State, client: aiohttp.ClientSession, address: URL) -> bool:
    """Ask once; whether there is something new: another tick, or the beginning of trouble."""
    try:
        return state.take(await _fetch(client, address))
    except AnswerError as error:
        return state.miss(str(error))


def _address(url: str) -> URL:
    try:
        address = URL(url)
    except ValueError:
        address = URL()
    if address.scheme not in {"http", "https"} or not address.host:
        raise QueryError(f"{url!r} is no address of a daemon; expected one such as {URL_DEFAULT}")
    return address if address.path.endswith(PATH) else address / PATH.removeprefix("/")


async def _fetch(client: aiohttp.ClientSession, address: URL) -> Answer:
    """The newest snapshot; AnswerError if there is none."""
    try:
        async with client.get(address) as answer:
            body = await _body(answer)
            if answer.status != 200:
                raise AnswerError(f"status {answer.status}, {plain(body.decode(errors='replace').strip())}")
            date = answer.headers.get("Date", "")
    except aiohttp.ClientConnectorError as error:
        raise AnswerError(_words(error.os_error)) from None
    except TimeoutError:
        raise AnswerError(f"nothing came within {_ANSWER_S:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise AnswerError(plain(str(error)) or type(error).__name__) from None
    return _decoded(body, date)


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise AnswerError(f"it answers more than {_MOST_BYTES:,} bytes, which is no snapshot")
    return bytes(body)


def _decoded(body: bytes, date: str) -> Answer:
    try:
        raw = msgspec.json.decode(body)
        snapshot = msgspec.convert(raw, _Snapshot)
        for window in _windows(snapshot):
            duration.seconds(window)
    except (msgspec.DecodeError, ValueError) as error:
        raise AnswerError(f"what it answers is no snapshot of qoemon: {plain(str(error))}") from None
    return Answer(snapshot, raw, _clock(date))


def _clock(date: str) -> float:
    """The time of whom we asked, seconds since the epoch: the age of data is not a matter of our own clock."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return time.time()


def _words(error: OSError) -> str:
    """Why there is no connection; asyncio hides the words of the system behind the address."""
    number = error.errno or 0
    # Failures to look a name up have negative numbers, and words of their own.
    return (os.strerror(number) if number > 0 else error.strerror or str(error)).lower()


class _State:
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

    def screen(self, width: int, height: int | None) -> Group:
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
        for mistake in self._query.mistakes(self._answer.snapshot):
            yield _notice(mistake)

    def _body(self, answer: Answer, width: int, height: int | None) -> list[Text]:
        rows = self._query.rows(answer)
        most = None if height is None else _ALERTS
        alerts = _alert_lines(self._query.alerts(answer.snapshot), answer.now_s, most)
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
        columns = fitted([*_columns(rows, labels), trend], width)
        if trend in columns:
            room = width - taken(columns)
            ratings = Column("ratings", blank, min(room - 1, _BAR_MOST), 0)
            if room > _BAR_LEAST:
                columns.append(ratings)
                ratings.cells = [_bar(row, ratings.width) for row in rows]
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


def _columns(rows: Sequence[Row], labels: Sequence[str]) -> list[Column]:
    """All but the trend and the bar, which take what room is left."""

    def told(value: Callable[[Row], str | Text]) -> list[Text]:
        cells = (value(row) for row in rows)
        return [cell if isinstance(cell, Text) else Text(cell) for cell in cells]

    def judged(name: Literal["mos", "gob", "pow"], form: str) -> list[Text]:
        return told(lambda row: _figure(getattr(row.judged, name, None), form))

    poor = [Text(f"{figure.plain} {_bounds(row)}") for figure, row in zip(judged("pow", ".1%"), rows, strict=True)]
    return [
        Column("service", told(lambda row: plain(row.service)), 5, 9),
        *(
            Column(plain(label), [Text(plain(row.group.labels.get(label, ""))) for row in rows], 5, 8)
            for label in labels
        ),
        Column("sess", told(lambda row: _count(row.group.active_sessions)), 5, 3, "right"),
        Column("stall", told(lambda row: _count(row.group.open_stalls)), 5, 2, "right"),
        Column("MOS", judged("mos", ".2f"), 4, 5, "right"),
        Column("GoB", judged("gob", ".0%"), 4, 4, "right"),
        Column("PoW", poor, 12, 10, "right"),
        Column("regime", told(_badge), 8, 6),
    ]


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _count(number: int) -> str:
    return f"{number:,}" if number < 10_000 else f"{number / 1000:,.0f}k"


def _bounds(row: Row) -> str:
    """Of PoW, in whole percent: "9-16"."""
    low, high = row.judged.pow_bounds if row.judged else (None, None)
    return f"{'' if low is None or high is None else f'{low * 100:.0f}-{high * 100:.0f}':<5}"


def _badge(row: Row) -> Text:
    word = (row.group.regime and row.group.regime.regime) or "-"
    return _BADGES.get(word) or Text(plain(word))


def _bar(row: Row, width: int) -> Text:
    return bar([share or 0.0 for share in row.judged.ratings.values()], width) if row.judged else Text("")


def _alert_lines(alerts: Sequence[_Alert], now_s: float, most: int | None) -> list[Text]:
    hidden = len(alerts) - len(alerts[:most])
    told = [_alert_line(alert, now_s) for alert in alerts[:most]]
    return [*told, Text(f"… and {hidden:,} more alert{'s' * (hidden > 1)}", style="dim")] if hidden else told


def _alert_line(alert: _Alert, now_s: float) -> Text:
    where = "/".join([plain(alert.service), *map(plain, alert.labels.values())])
    figures = "" if alert.value is None else f", {alert.value:.3g} (enters at {alert.enter:g})"
    since = duration.text(max(0, round(now_s - alert.since_s)))
    text = f"{alert.state:<7} {plain(alert.alert)} {where}: {plain(alert.reason).replace('_', ' ')}{figures}"
    return Text(f"{text}, for {since}", style="bold #d55e00" if alert.state == "firing" else "#e69f00")


def _windows(snapshot: _Snapshot) -> set[str]:
    return {window for service in snapshot.services for group in service.groups for window in group.windows}


def _descending(value: float | None) -> float:
    """The greatest first; those without a figure last."""
    return float("inf") if value is None else -value


def _ascending(value: float | None) -> float:
    return float("inf") if value is None else value


_RANKS: dict[SortBy, Callable[[Row], float]] = {
    "pow": lambda row: _descending(row.judged.pow if row.judged else None),
    "mos": lambda row: _ascending(row.judged.mos if row.judged else None),
    "gob": lambda row: _ascending(row.judged.gob if row.judged else None),
    "sessions": lambda row: -row.group.active_sessions,
    "name": lambda _: 0.0,
}
"""Worst first, or most first; equals come by name."""
