"""Sessions of players that tell their states: records in, ordinary cumulative reports of their services out.

    record ─▶ in order (player_order) ─▶ word ─▶ counters (player_states) ─▶ report ─▶ ServiceMonitor

Each word becomes one report with the counters of its run, which its service counts like those of any other client.
The `run` of the report is a number: a second viewing under the same session id is a run of its own. A run of which
the service knows nothing any more, such as after a long silence, is counted from zero under the next number.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Arrays, Flags, Floats, Ints, grow_columns, named, part, room_for
from qoemon.core.counting.counts import Event
from qoemon.core.counting.player_order import PlayerOrder, Words
from qoemon.core.counting.player_states import PlayerStates, Start, Told
from qoemon.core.counting.session_table import Key
from qoemon.core.plan.plan import Counters, Plan
from qoemon.core.wire.batch import Batch, joined
from qoemon.core.wire.player import PlayerBatch
from qoemon.core.wire.report import ABSENT_FLOAT, ABSENT_INT, Route

NO_ROWS: Ints = np.zeros(0, np.int64)
NO_TIMES: Floats = np.zeros(0)
NO_COUNTERS: Ints = np.zeros((3, 0), np.int64)
NO_FLAGS: Flags = np.zeros(0, np.bool_)
_FEW_RUNS = tuple(str(number) for number in range(16))


@dataclass
class Heard:
    """What records have come to.

    reports   of the services that the records belong to
    startups  of the service that rates startup times
    starts    runs that have begun to play, or failed: route, key of the run, startup time in ms; None if it failed
    too_many  (N,) positions of the records that were rejected as too many
    mute      routes and sessions of players that were found to tell no state
    """

    reports: Batch
    startups: Batch
    starts: Sequence[tuple[Route, Key, int | None]] = ()
    too_many: Ints = field(default_factory=lambda: NO_ROWS)
    mute: Sequence[tuple[Route, str]] = ()
    events: Counter[Event] = field(default_factory=Counter)


class PlayerSessions:
    """The players of all services of a shard, up to limits.sessions.

    knows  whether a service, by its index in the plan, has a run with this key
    """

    def __init__(self, plan: Plan, knows: Callable[[int, Key], bool]) -> None:
        self._plan, self._players, self._knows = plan, plan.players, knows
        self._number = {service.name: number for number, service in enumerate(plan.services)}
        self._deltas = np.array([service.counters is Counters.DELTA for service in plan.services], np.bool_)
        self._measures = sorted({name for service in plan.services for name in service.mapping.measures})
        self._limit = plan.limits.sessions
        self._row_of: list[dict[str, int]] = [{} for _ in plan.services]
        self._sessions: list[str] = []
        self._routes: list[Route | None] = []
        """Of the newest record of each row; None for free ones."""
        self._free: list[int] = []
        self._service = np.zeros(0, np.int16)
        self._arrival_s = np.zeros(0)
        """(rows,) newest arrival of a record, seconds since the epoch; inf for free rows."""
        self._order = PlayerOrder(self._players)
        self._states = PlayerStates(self._players, plan.timing.session_timeout_s)

    def __len__(self) -> int:
        return len(self._sessions) - len(self._free)

    def apply(self, players: PlayerBatch) -> Heard:
        """Take records, in the order of their arrival."""
        events: Counter[Event] = Counter()
        rows = self._rows(players)
        known = rows >= 0
        events[Event.REFUSED] += int(np.count_nonzero(~known))
        words, too_many = self._order.arrange(rows, players, events)
        # Later records of a session replace earlier ones.
        self._arrival_s[rows[known]] = players.arrival_s[known]
        for row, route in zip(rows.tolist(), players.route.tolist(), strict=True):
            if row >= 0:
                self._routes[row] = players.routes[route]
        heard = self._heard(words, events)
        heard.too_many = too_many
        return heard

    def release(self, at_s: int) -> Heard:
        """Take the records that have waited until the tick at at_s, then remove sessions that have timed out."""
        events: Counter[Event] = Counter()
        heard = self._heard(self._order.due(at_s), events)
        quiet = np.flatnonzero(self._arrival_s[: len(self._sessions)] <= at_s - self._plan.timing.session_timeout_s)
        if not len(quiet):
            return heard
        if (words := self._order.release_all(quiet)).route:
            more = self._heard(words, events)
            heard = Heard(
                _both(heard.reports, more.reports),
                _both(heard.startups, more.startups),
                [*heard.starts, *more.starts],
                mute=[*heard.mute, *more.mute],
                events=events,
            )
        self._give_up(quiet, at_s, heard)
        self._remove(quiet)
        return heard

    def dump(self) -> Arrays:
        """The whole state, as arrays by name."""
        rows = self._occupied
        held, held_routes = self._order.dump(rows)
        routes = list(dict.fromkeys([*(self._route(row) for row in rows.tolist()), *held_routes]))
        number = {route: index for index, route in enumerate(routes)}
        ids = [self._sessions[row].encode() for row in rows.tolist()]
        meta = {"services": list(self._number), "routes": [[route.service, *route.labels] for route in routes]}
        return {
            "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
            "id": np.frombuffer(b"".join(ids), np.uint8),
            "id_length": np.array([len(text) for text in ids], np.int64),
            "service": self._service[rows],
            "arrival_s": self._arrival_s[rows],
            "route": np.array([number[self._route(row)] for row in rows.tolist()], np.int64),
            "held_route": np.array([number[route] for route in held_routes], np.int64),
            **named("order/", held),
            **named("states/", self._states.dump_columns(rows)),
        }

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore a dump(), into an empty table; players of services that are gone are left out."""
        meta = json.loads(state["meta"].tobytes())
        routes = [Route(service, tuple(labels)) for service, *labels in meta["routes"]]
        service_of = [self._number.get(name, -1) for name in meta["services"]]
        ends = np.cumsum(state["id_length"]).tolist()
        text = state["id"].tobytes()
        rows = np.full(len(ends), -1)
        used = len(self._sessions)
        columns = zip(ends, state["id_length"].tolist(), state["service"].tolist(), strict=True)
        for index, (end, length, service) in enumerate(columns):
            if service_of[service] >= 0:
                rows[index] = self._add(service_of[service], text[end - length : end].decode())
        self._grow(used)
        kept = np.flatnonzero(rows >= 0)
        self._arrival_s[rows[kept]] = state["arrival_s"][kept]
        for index in kept.tolist():
            self._service[rows[index]] = service_of[int(state["service"][index])]
            self._routes[int(rows[index])] = routes[int(state["route"][index])]
        held_routes = [routes[number] for number in state["held_route"].tolist()]
        self._order.load(part("order/", state), rows, held_routes)
        states = {name: column[kept] for name, column in part("states/", state).items()}
        self._states.load_columns(states, rows[kept])

    def shift(self, by_s: int) -> None:
        """Move all times of the daemon's clock by so many seconds."""
        self._arrival_s += by_s
        self._order.shift(by_s)

    @property
    def _occupied(self) -> Ints:
        return np.array([row for row, route in enumerate(self._routes) if route is not None], np.int64)

    def _route(self, row: int) -> Route:
        route = self._routes[row]
        assert route is not None  # noqa: S101 - for the type checker: the row is in use
        return route

    def _rows(self, players: PlayerBatch) -> Ints:
        """(R,) rows of the sessions of these records; -1 where the table is full."""
        used = len(self._sessions)
        number = [self._number[route.service] for route in players.routes]
        tables = [self._row_of[each] for each in number]
        found = [
            tables[route].get(session, -1)
            for route, session in zip(players.route.tolist(), players.session, strict=True)
        ]
        rows = np.array(found, np.int64)
        new = np.flatnonzero(rows < 0)
        for position in new.tolist():
            service, session = number[int(players.route[position])], players.session[position]
            known = self._row_of[service].get(session)  # added for an earlier record of the same batch
            rows[position] = self._add(service, session) if known is None else known
        self._grow(used)
        for position in new[rows[new] >= 0].tolist():
            row, service, run = int(rows[position]), number[int(players.route[position])], 1
            while self._knows(service, (players.session[position], _run(run))):  # of before its player timed out
                run += 1
            self._service[row], self._states.run[row] = service, run
        return rows

    def _add(self, service: int, session: str) -> int:
        """The row of a new session; -1 beyond the limit."""
        if len(self) >= self._limit:
            return -1
        if self._free:
            row = self._free.pop()
            self._sessions[row] = session
        else:
            row = len(self._sessions)
            self._sessions.append(session)
            self._routes.append(None)
        self._row_of[service][session] = row
        return row

    def _grow(self, used: int) -> None:
        """Extend the columns to all rows; rows from `used` on are new."""
        size = len(self._sessions)
        if size > len(self._arrival_s):
            room = room_for(size, self._limit)
            self._service = grow_columns(self._service, used, room)
            self._arrival_s = grow_columns(self._arrival_s, used, room)
            self._order.grow(used, room)
            self._states.grow(used, room)
        self._clear(slice(used, size))

    def _clear(self, rows: Ints | slice) -> None:
        self._arrival_s[rows] = np.inf
        self._order.clear(rows)
        self._states.clear(rows)

    def _remove(self, rows: Ints) -> None:
        self._order.remove(rows)
        self._clear(rows)
        for row in rows.tolist():
            del self._row_of[int(self._service[row])][self._sessions[row]]
            self._sessions[row], self._routes[row] = "", None
        self._free.extend(rows.tolist())

    def _heard(self, words: Words, events: Counter[Event]) -> Heard:
        self._renew_forgotten(words.row)
        told, starts, mute = self._states.apply(words, events)
        return Heard(
            reports=self._reports(words, told),
            startups=self._startups(starts),
            starts=[(start.route, self._key(start), start.startup_ms) for start in starts if self._believed(start)],
            mute=[(self._route(row), self._sessions[row]) for row in mute.tolist()],
            events=events,
        )

    def _renew_forgotten(self, rows: Ints) -> None:
        """Count runs from zero whose service does not know them any more."""
        reported = rows[self._states.number[rows] > 0]
        runs, services = self._states.run[reported].tolist(), self._service[reported].tolist()
        forgotten = {
            row
            for row, run, service in zip(reported.tolist(), runs, services, strict=True)
            if not self._knows(service, (self._sessions[row], _run(run)))
        }
        if forgotten:
            self._states.renew(np.array(sorted(forgotten), np.int64))

    def _reports(self, words: Words, told: Told) -> Batch:
        """The reports of words."""
        row = words.row[told.word]
        counters = told.counted
        if self._deltas.any():
            counters = np.where(self._deltas[self._service[row]], told.added, counters)
        return self._batch(
            [self._sessions[each] for each in row.tolist()],
            [_run(run) for run in told.run.tolist()],
            [words.route[word] for word in told.word.tolist()],
            seq=told.number,
            arrival_s=words.arrival_s[told.word],
            ts_s=words.ts_ms[told.word] / 1000,
            counters=counters,
            stalled=told.stalled,
            end=told.end,
        )

    def _startups(self, starts: Iterable[Start]) -> Batch:
        """The reports of startup times; a start that failed is rated as the longest time that a service accepts."""
        service, worst_s = self._players.startup_service, self._plan.timing.session_timeout_s
        rated = [
            (start, worst_s if start.startup_ms is None else start.startup_ms / 1000)
            for start in starts
            if service is not None
            and self._believed(start)
            and (start.startup_ms is not None or self._players.failed_worst)
        ]
        if service is None:
            return self._batch([], [], [])
        size = len(rated)
        return self._batch(
            [self._sessions[start.row] for start, _ in rated],
            [_run(start.run) for start, _ in rated],
            [Route(service, start.route.labels) for start, _ in rated],
            seq=np.full(size, ABSENT_INT),
            arrival_s=np.array([start.arrival_s for start, _ in rated]),
            ts_s=np.array([start.ts_ms / 1000 for start, _ in rated]),
            counters=np.full((3, size), ABSENT_INT),
            stalled=np.zeros(size, np.bool_),
            end=np.ones(size, np.bool_),
            response_s=np.array([seconds for _, seconds in rated]),
        )

    def _key(self, start: Start) -> Key:
        return self._sessions[start.row], _run(start.run)

    def _believed(self, start: Start) -> bool:
        """Whether a startup time is possible: a session that is silent for longer than the timeout is over."""
        return start.startup_ms is None or start.startup_ms <= self._plan.timing.session_timeout_s * 1000

    def _give_up(self, quiet: Ints, at_s: int, heard: Heard) -> None:
        """Add the starts that failed in silence."""
        rows = self._states.given_up(quiet)
        if not len(rows):
            return
        starts = [
            Start(row, int(self._states.run[row]), self._route(row), at_s * 1000, float(at_s), None)
            for row in rows.tolist()
        ]
        starts.sort(key=lambda start: (start.route, self._sessions[start.row]))
        heard.starts = [*heard.starts, *((start.route, self._key(start), None) for start in starts)]
        heard.startups = _both(heard.startups, self._startups(starts))

    def _batch(
        self,
        session: Sequence[str],
        run: Sequence[str],
        route: Sequence[Route],
        *,
        seq: Ints = NO_ROWS,
        arrival_s: Floats = NO_TIMES,
        ts_s: Floats = NO_TIMES,
        counters: Ints = NO_COUNTERS,
        stalled: Flags = NO_FLAGS,
        end: Flags = NO_FLAGS,
        response_s: Floats | None = None,
    ) -> Batch:
        numbers: dict[Route, int] = {}
        size = len(session)
        return Batch(
            route=np.array([numbers.setdefault(each, len(numbers)) for each in route], np.int64),
            routes=tuple(numbers),
            session=session,
            seq=seq,
            arrival_s=arrival_s,
            ts_s=ts_s,
            stalls=counters[0],
            stall_ms=counters[1],
            play_ms=counters[2],
            stalled=stalled,
            end=end,
            response_s=np.zeros(0) if response_s is None else response_s,
            response_of=NO_ROWS if response_s is None else np.arange(size),
            measures={name: np.full(size, ABSENT_FLOAT) for name in self._measures},
            run=run,
        )


def _run(number: int) -> str:
    return _FEW_RUNS[number] if number < len(_FEW_RUNS) else str(number)


def _both(one: Batch, other: Batch) -> Batch:
    """The reports of both, in order."""
    if not len(other):
        return one
    if not len(one):
        return other
    routes = tuple(dict.fromkeys([*one.routes, *other.routes]))
    index = {route: number for number, route in enumerate(routes)}
    parts = [
        replace(each, routes=routes, route=np.array([index[route] for route in each.routes])[each.route])
        for each in (one, other)
    ]
    return joined(parts, routes)
