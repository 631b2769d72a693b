"""Records of players in the order in which they were sent.

Players send each record in a request of its own, over several connections: records overtake each other, are sent
again when an answer is lost, and after an outage come all at once in any order. A record that follows the one
before it (`sn` is the next number) is a word at once. Any other, also the first one of a second viewing, is held
until those before it have arrived, at most for reorder_s; then it is a word all the same.

Also held is a record that enters state `r` while it is the newest: if the next one leaves `r` within
shortest_stall_s, there was no stall.

When records become words depends on the session's own records, their arrivals and the ticks, and on nothing else:
not on how messages are cut into batches, and not on other sessions, unless MOST_HELD is reached.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Flags, Floats, Ints
from qoemon.core.counting.columns import Columns
from qoemon.core.counting.counts import Event
from qoemon.core.counting.rounds import rounds
from qoemon.core.plan.plan import Players
from qoemon.core.wire.player import PlayerBatch, PlayerState
from qoemon.core.wire.report import ABSENT_INT, Route

HELD_OF_SESSION = 64
"""Records of one session that wait for others; beyond that, the first of them waits no longer."""
MOST_HELD = 100_000
"""The same for all sessions together; beyond that, those that have waited longest wait no longer. So a flood of
records that wait takes nothing from other sessions, unless so many come within reorder_s."""
LARGEST = 2**53
"""Larger numbers and times are taken for absent: players count in floats."""
REMEMBERED = 64
"""Numbers up to the newest one of which it is remembered whether they were received."""


class Words(NamedTuple):
    """W records in the order in which they take effect, as columns.

    row      (W,) row of the session
    gap      (W,) whether records before it are missing
    new_run  (W,) whether it begins a new run
    others   (W,) as in PlayerBatch; route as objects
    """

    row: Ints
    ts_ms: Ints
    state: NDArray[np.int8]
    rate: Floats
    startup_ms: Ints
    heartbeat: Flags
    hidden: Flags
    arrival_s: Floats
    gap: Flags
    new_run: Flags
    route: Sequence[Route]


class Held(NamedTuple):
    """A record that waits; sorted by ts and seq. due_s: when it waits no longer, seconds since the epoch."""

    ts_ms: int
    seq: int
    due_s: float
    arrival_s: float
    state: int
    rate: float
    startup_ms: int
    heartbeat: bool
    hidden: bool
    route: Route


class _Released(NamedTuple):
    """A held record that becomes a word. position: of the record that releases it, in its batch."""

    position: int
    row: int
    record: Held
    gap: bool
    new_run: bool


_NEW = {"seq": ABSENT_INT, "ts_ms": ABSENT_INT, "msd_ms": ABSENT_INT}
_TYPES: dict[str, type[np.generic]] = {
    "seq": np.int64,
    "ts_ms": np.int64,
    "state": np.int8,
    "seen": np.uint64,
    "waits": np.bool_,
    "second": np.int64,
    "in_second": np.int32,
    "msd_ms": np.int64,
}


class PlayerOrder(Columns):
    """Columns of a table of sessions, and the records that wait.

    seq, ts_ms  (rows,) of the newest word; ABSENT_INT before the first, or if it has none
    state       (rows,) int8, the newest state that the player told in this run
    seen        (rows,) uint64, the numbers received of the last REMEMBERED up to the newest, as bits
    waits       (rows,) whether something of the session waits
    msd_ms      (rows,) startup time in a record about a request, for the next word; ABSENT_INT without
    second, in_second  (rows,) the newest second with a record, since the epoch, and the number of records in it
    """

    TYPES, NEW = _TYPES, _NEW

    def __init__(self, players: Players) -> None:
        super().__init__()
        self._reorder_s, self._most = players.reorder_s, players.records_per_s
        self._shortest_ms = players.shortest_stall_s * 1000
        # The rows that have waited longest come first. A dict finds its first key slowly where others were removed.
        self._held: OrderedDict[int, list[Held]] = OrderedDict()
        self._requests: dict[int, list[int]] = {}
        """Numbers of records about requests (`rr`) that came before others: these are not missing."""
        self._size = 0
        """Number of records held."""

    seq: Ints
    ts_ms: Ints
    state: NDArray[np.int8]
    seen: NDArray[np.uint64]
    waits: Flags
    second: Ints
    in_second: NDArray[np.int32]
    msd_ms: Ints

    def arrange(self, rows: Ints, players: PlayerBatch, events: Counter[Event]) -> tuple[Words, Ints]:
        """The words that these records release, and the positions of records that are too many in a second.

        rows  (R,) row of each record; -1 for those to leave out
        """
        seq = np.where((players.seq < 0) | (players.seq > LARGEST), ABSENT_INT, players.seq)
        no_ts = (players.ts_ms < 0) | (players.ts_ms > LARGEST)
        # A record without a time is as old as its arrival.
        ts_ms = np.where(no_ts, np.rint(players.arrival_s * 1000).astype(np.int64), players.ts_ms)
        at_once: list[Ints] = []
        startups: list[Ints] = []
        released: list[_Released] = []
        too_many: list[Ints] = []
        for every in rounds(rows):
            over = self._too_many(rows[every], players.arrival_s[every])
            if over.any():
                too_many.append(every[over])
                if over.all():  # A round for each record of a flood.
                    continue
            position = every[~over] if over.any() else every
            plain, startup_ms = self._follow(rows[position], position, seq, ts_ms, players)
            told = plain & ~players.of_request[position]
            at_once.append(position[told])
            startups.append(startup_ms[told])
            for each in position[~plain].tolist():
                record = self._record(each, int(seq[each]), int(ts_ms[each]), players)
                released += self._take(each, int(rows[each]), record, bool(players.of_request[each]), events)
        # After the batch: another session's word must not come before that session's own earlier words.
        released += self._relieve(len(rows), events)
        none: Ints = np.zeros(0, np.int64)
        now = np.concatenate([*at_once, none])
        words = _words_at_once(now, rows, ts_ms, players)
        words = words._replace(startup_ms=np.concatenate([*startups, none]))
        if released:
            words = _merged(now, words, released)
        elif len(at_once) > 1:
            words = _taken(words, np.argsort(now, kind="stable"))
        return words, np.concatenate([*too_many, none])

    def due(self, at_s: float) -> Words:
        """The words of the records that have waited until at_s, seconds since the epoch."""
        released: list[_Released] = []
        for row in sorted(self._held, key=lambda row: self._held[row][0][:4]):
            released += self._force(0, row, at_s)
        return _words_of(released)

    def release_all(self, rows: Ints) -> Words:
        """The words of all records of these rows that still wait."""
        released: list[_Released] = []
        for row in rows[self.waits[rows]].tolist():
            released += self._force(0, row, np.inf)
        return _words_of(released)

    def remove(self, rows: Ints) -> None:
        """Remove these sessions, of which nothing is held any more."""
        for row in rows[self.waits[rows]].tolist():
            self._requests.pop(row, None)
        self.clear(rows)

    def dump(self, rows: Ints) -> tuple[dict[str, NDArray[Any]], list[Route]]:
        """The columns of these rows and what is held, by the index of its row; and the routes of what is held."""
        index = {row: number for number, row in enumerate(rows.tolist())}
        held = [(index[row], *record) for row, records in self._held.items() for record in records]
        requests = [(index[row], seq) for row, numbers in self._requests.items() for seq in numbers]
        fields = {
            name: np.array([each[1 + place] for each in held], dtype)
            for place, (name, dtype) in enumerate(_HELD_TYPES.items())
        }
        return {
            **self.dump_columns(rows),
            "held_row": np.array([each[0] for each in held], np.int64),
            **{f"held_{name}": column for name, column in fields.items()},
            "requests": np.array(requests, np.int64).reshape(len(requests), 2),
        }, [each[-1] for each in held]

    def load(self, state: dict[str, NDArray[Any]], rows: Ints, routes: Sequence[Route]) -> None:
        """Restore a dump(), into an empty table.

        rows    (S,) row of each session of the dump; -1 for those to leave out
        routes  of what is held
        """
        kept = rows >= 0
        self.load_columns({name: state[name][kept] for name in _TYPES}, rows[kept])
        columns = [state[f"held_{name}"].tolist() for name in _HELD_TYPES]
        for row, route, *fields in zip(rows[state["held_row"]].tolist(), routes, *columns, strict=True):
            if row >= 0:
                self._held.setdefault(row, []).append(Held._make([*fields, route]))
                self._size += 1
        for index, seq in state["requests"].tolist():
            if rows[index] >= 0:
                self._requests.setdefault(int(rows[index]), []).append(seq)

    def shift(self, by_s: int) -> None:
        """Move all times of the daemon's clock by so many seconds."""
        self.second += by_s
        for row, records in self._held.items():
            self._held[row] = [
                each._replace(due_s=each.due_s + by_s, arrival_s=each.arrival_s + by_s) for each in records
            ]

    def _too_many(self, row: Ints, arrival_s: Floats) -> Flags:
        """(R,) whether these records are beyond the limit of their second."""
        second = np.floor(arrival_s).astype(np.int64)
        number = np.where(self.second[row] == second, self.in_second[row] + 1, 1)
        over: Flags = number > self._most
        self.second[row], self.in_second[row] = second, np.minimum(number, self._most)
        return over

    def _follow(
        self, row: Ints, position: Ints, all_seq: Ints, all_ts_ms: Ints, players: PlayerBatch
    ) -> tuple[Flags, Ints]:
        """(R,) which of these records are words at once, and their startup times."""
        seq, ts_ms, of_request = all_seq[position], all_ts_ms[position], players.of_request[position]
        state, last, last_ms = players.state[position], self.seq[row], self.ts_ms[row]
        begins = (seq == 0) & ~of_request & (ts_ms > last_ms)
        follows = (last >= 0) & (seq == last + 1) & (of_request | (ts_ms >= last_ms))
        enters = (state == PlayerState.REBUFFERING) & (self.state[row] != PlayerState.REBUFFERING) & ~of_request
        # A second run waits: records of the first may be on their way.
        plain = ((begins & (last < 0)) | follows) & ~self.waits[row] & ~enters
        startup_ms = self._startup_ms(row, plain, of_request, players.startup_ms[position])
        mine = row if plain.all() else row[plain]
        if len(mine) < len(row):
            seq, ts_ms, of_request, state = seq[plain], ts_ms[plain], of_request[plain], state[plain]
            begins, last_ms = begins[plain], last_ms[plain]
        self.seq[mine] = seq
        self.ts_ms[mine] = np.where(of_request, last_ms, ts_ms)
        self.seen[mine] = np.where(begins, 0, self.seen[mine] << np.uint64(1)).astype(np.uint64) | np.uint64(1)
        kept = of_request | ((state == PlayerState.UNTOLD) & ~begins)
        self.state[mine] = np.where(kept, self.state[mine], state)
        return plain, startup_ms

    def _startup_ms(self, row: Ints, plain: Flags, of_request: Flags, startup_ms: Ints) -> Ints:
        """(R,) startup times of these records, or else of the records about requests before them."""
        mine = np.where(startup_ms >= 0, startup_ms, self.msd_ms[row])
        if (mine >= 0).any():
            self.msd_ms[row[plain]] = np.where(of_request, mine, ABSENT_INT)[plain]
        return mine

    def _record(self, position: int, seq: int, ts_ms: int, players: PlayerBatch) -> Held:
        arrival_s = float(players.arrival_s[position])
        return Held(
            ts_ms=ts_ms,
            seq=seq,
            due_s=arrival_s + self._reorder_s,
            arrival_s=arrival_s,
            state=int(players.state[position]),
            rate=float(players.rate[position]),
            startup_ms=int(players.startup_ms[position]),
            heartbeat=bool(players.heartbeat[position]),
            hidden=bool(players.hidden[position]),
            route=players.routes[int(players.route[position])],
        )

    def _take(
        self, position: int, row: int, record: Held, of_request: bool, events: Counter[Event]
    ) -> list[_Released]:
        """What a record that is not a word at once releases."""
        released = self._force(position, row, record.arrival_s)
        if of_request:
            if record.startup_ms >= 0:
                self.msd_ms[row] = record.startup_ms
            self._note_request(row, record.seq)
        else:
            event = self._old(row, record)
            if event is not None:
                events[event] += 1
                return released
            insort(self._held.setdefault(row, []), record)
            self._size += 1
            self.waits[row] = True
        released += self._ready(position, row)
        if len(self._held.get(row, ())) > HELD_OF_SESSION:
            events[Event.UNORDERED] += 1
            released += self._pop(position, row)
            released += self._ready(position, row)
        return released

    def _relieve(self, position: int, events: Counter[Event]) -> list[_Released]:
        """Release those that have waited longest, until at most MOST_HELD records wait."""
        released: list[_Released] = []
        while self._size > MOST_HELD:
            row = next(iter(self._held))
            events[Event.UNORDERED] += 1
            released += self._pop(position, row)
            released += self._ready(position, row)
        return released

    def _note_request(self, row: int, seq: int) -> None:
        """A record about a request fills a gap of numbers, and says nothing else: its ts is another one's."""
        last = int(self.seq[row])
        # A number that waits is another run's: the request's run has begun without its first word.
        if seq == ABSENT_INT or seq <= last or any(each.seq == seq for each in self._held.get(row, ())):
            return
        numbers = self._requests.setdefault(row, [])
        if seq not in numbers:
            insort(numbers, seq)
        del numbers[:-HELD_OF_SESSION]
        self.waits[row] = True

    def _old(self, row: int, record: Held) -> Event | None:
        """Whether a record is a repetition, or too late: older than the newest word."""
        for other in self._held.get(row, ()):
            if other[:2] == record[:2] and other[4:8] == record[4:8]:
                return Event.REPEATED_RECORD
        last, last_ms = int(self.seq[row]), int(self.ts_ms[row])
        if record.seq == ABSENT_INT or last < 0:
            if record.ts_ms == last_ms and record.state == self.state[row]:
                return Event.REPEATED_RECORD
            return Event.LATE_RECORD if record.ts_ms < last_ms else None
        if record.seq > last or record.ts_ms > last_ms:
            return None
        behind = last - record.seq
        seen = behind < REMEMBERED and bool(int(self.seen[row]) >> behind & 1)
        return Event.REPEATED_RECORD if seen else Event.LATE_RECORD

    def _force(self, position: int, row: int, at_s: float) -> list[_Released]:
        """Release the records that are due at at_s, with those sorted before them and those that follow."""
        held = self._held.get(row)
        if held is None:
            return []
        due = next((number for number in range(len(held), 0, -1) if held[number - 1].due_s <= at_s), 0)
        if not due:
            return []
        released: list[_Released] = []
        for _ in range(due):
            released += self._pop(position, row)
        return released + self._ready(position, row)

    def _ready(self, position: int, row: int) -> list[_Released]:
        """Release records from the front as long as each follows the one before it."""
        released: list[_Released] = []
        while held := self._held.get(row):
            first = held[0]
            if not self._is_next(row, first) or (
                self._enters(row, first) and (len(held) == 1 or not self._comes_after(row, first.seq, held[1]))
            ):
                break
            released += self._pop(position, row)
        self._forget_requests(row)
        return released

    def _is_next(self, row: int, record: Held) -> bool:
        last, last_ms = int(self.seq[row]), int(self.ts_ms[row])
        if record.seq == 0:
            return last < 0 and record.ts_ms > last_ms
        return last >= 0 and self._comes_after(row, last, record)

    def _comes_after(self, row: int, seq: int, record: Held) -> bool:
        """Whether nothing is missing between a number and a record."""
        return record.seq > seq and not self._missing(row, seq, record.seq)

    def _missing(self, row: int, seq: int, following: int) -> bool:
        numbers = self._requests.get(row, ())
        between = bisect_left(numbers, following) - bisect_left(numbers, seq + 1)
        return following - seq - 1 > between

    def _enters(self, row: int, record: Held) -> bool:
        return record.state == PlayerState.REBUFFERING and self.state[row] != PlayerState.REBUFFERING

    def _pop(self, position: int, row: int) -> list[_Released]:
        """Release the first record; it is a word unless it is older than the newest one, or no stall."""
        held = self._held[row]
        record = held.pop(0)
        self._size -= 1
        if not held:
            del self._held[row]
        last, last_ms, numbered = int(self.seq[row]), int(self.ts_ms[row]), record.seq != ABSENT_INT
        if numbered and 0 <= record.seq <= last and record.ts_ms <= last_ms:
            return []
        new_run = numbered and 0 <= record.seq <= last
        gap = numbered and not new_run and last >= 0 and self._missing(row, last, record.seq)
        enters = self._enters(row, record)
        if numbered:
            ahead = record.seq - last
            known = 0 if new_run or last < 0 or ahead >= REMEMBERED else int(self.seen[row]) << ahead
            self.seen[row] = np.uint64((known | 1) & (2**64 - 1))
            self.seq[row] = record.seq
        self.ts_ms[row] = record.ts_ms
        if enters and not new_run and held and self._too_short(record, held[0]):
            return []
        if new_run or record.state != PlayerState.UNTOLD:
            self.state[row] = record.state
        self.waits[row] = row in self._held or row in self._requests
        if record.startup_ms < 0 <= self.msd_ms[row]:
            record = record._replace(startup_ms=int(self.msd_ms[row]))
        self.msd_ms[row] = ABSENT_INT
        return [_Released(position, row, record, gap, new_run)]

    def _too_short(self, stall: Held, following: Held) -> bool:
        """Whether a stall is none, because the next record ends it at once."""
        ends = following.state not in {PlayerState.UNTOLD, PlayerState.REBUFFERING}
        return ends and following.ts_ms - stall.ts_ms < self._shortest_ms

    def _forget_requests(self, row: int) -> None:
        numbers = self._requests.get(row)
        if numbers is not None:
            last = int(self.seq[row])
            while numbers and numbers[0] <= last:
                del numbers[0]
            if numbers and last >= 0 and numbers[0] == last + 1:
                self.seq[row] = numbers.pop(0)
                self._forget_requests(row)
                return
            if not numbers:
                del self._requests[row]
        self.waits[row] = row in self._held or row in self._requests


_HELD_TYPES: dict[str, type[np.generic]] = {
    "ts_ms": np.int64,
    "seq": np.int64,
    "due_s": np.float64,
    "arrival_s": np.float64,
    "state": np.int8,
    "rate": np.float64,
    "startup_ms": np.int64,
    "heartbeat": np.bool_,
    "hidden": np.bool_,
}


def _words_at_once(now: Ints, rows: Ints, ts_ms: Ints, players: PlayerBatch) -> Words:
    """The words of records that need not wait, none of which begins a second run. now: their positions."""
    return Words(
        row=rows[now],
        ts_ms=ts_ms[now],
        state=players.state[now],
        rate=players.rate[now],
        startup_ms=players.startup_ms[now],
        heartbeat=players.heartbeat[now],
        hidden=players.hidden[now],
        arrival_s=players.arrival_s[now],
        gap=np.zeros(len(now), np.bool_),
        new_run=np.zeros(len(now), np.bool_),
        route=[players.routes[number] for number in players.route[now].tolist()],
    )


def _words_of(released: Sequence[_Released]) -> Words:
    columns = {
        name: np.array([getattr(each.record, name) for each in released], dtype)
        for name, dtype in _HELD_TYPES.items()
        if name not in {"seq", "due_s"}
    }
    return Words(
        row=np.array([each.row for each in released], np.int64),
        gap=np.array([each.gap for each in released], np.bool_),
        new_run=np.array([each.new_run for each in released], np.bool_),
        route=[each.record.route for each in released],
        **columns,
    )


def _merged(now: Ints, words: Words, released: Sequence[_Released]) -> Words:
    """The words of both, in the order of the records that released them."""
    more = _words_of(released)
    pairs: Iterable[Any] = zip(words[:-1], more[:-1], strict=True)
    columns = [np.concatenate(pair) for pair in pairs]
    positions = np.concatenate([now, [each.position for each in released]])
    return _taken(Words._make([*columns, [*words.route, *more.route]]), np.argsort(positions, kind="stable"))


def _taken(words: Words, order: Ints) -> Words:
    columns = [column[order] for column in words[:-1]]
    return Words._make([*columns, [words.route[index] for index in order.tolist()]])
