"""What players did, from the states that they tell: stalls, stall time, play time and starts of each run.

    p        playing: media time passes at the playback rate
    r        a stall if the player has been ready, else it waits for the start or after a seek
    k s d    seeking, starting, preloading: not ready before the next p
    a w      paused, waiting: nothing passes; the player stays as ready as it is
    e f q    the run ends

A state lasts from its word to the next one. Between two words p lasts for two heartbeats at most, and not at all
where records are missing and the time is longer than one and a half heartbeats: that time is counted as unknown.
r lasts until a word ends it. No state lasts for longer than a session may be silent: a longer time is made up.

A player that has ended and plays again, or stalls, seeks or starts, begins a new run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Flags, Floats, Ints
from qoemon.core.counting.columns import Columns
from qoemon.core.counting.counts import Event
from qoemon.core.counting.plausibility import SPEED
from qoemon.core.counting.player_order import LARGEST, Words
from qoemon.core.counting.rounds import rounds
from qoemon.core.plan.plan import Players
from qoemon.core.wire.player import PlayerState
from qoemon.core.wire.report import ABSENT_INT, Route

SHORTEST_HEARTBEAT_MS = 1000
HEARTBEATS = 2
"""A player plays for so many heartbeats without a word."""
GAP_HEARTBEATS = 1.5
"""Longer times in which records are missing are unknown."""
SHORTEST_STARTUP_MS = 100
"""Smaller `msd` are those of players that measure something else."""
STATELESS_RECORDS, STATELESS_MS = 3, 10_000
"""A player that has told no state in so many records and in that time never does: the first record of most players
has none."""


def _table(*states: PlayerState) -> Flags:
    """Whether a state is one of these, by its number."""
    table = np.zeros(len(PlayerState), np.bool_)
    table[list(states)] = True
    return table


_OVER = _table(PlayerState.ENDED, PlayerState.FAILED, PlayerState.QUIT)
_UNREADY = _OVER | _table(PlayerState.PRELOADING, PlayerState.STARTING, PlayerState.SEEKING)
_AGAIN = _table(
    PlayerState.PRELOADING,
    PlayerState.STARTING,
    PlayerState.PLAYING,
    PlayerState.SEEKING,
    PlayerState.REBUFFERING,
)
"""States in which a player that has ended begins a new run."""
_TRIES = _table(PlayerState.STARTING, PlayerState.REBUFFERING)
_WATCHED = _table(PlayerState.PLAYING, PlayerState.REBUFFERING, PlayerState.WAITING)


class Told(NamedTuple):
    """Words that have a report, with the counters of their runs after them; (W,) each, in order.

    word     index of the word
    run      number of the run, from 1; number: of the report in its run, from 0
    counted  (3, W) stalls, stall_ms and play_ms since the run began; added: since the report before
    """

    word: Ints
    run: Ints
    number: Ints
    counted: Ints
    added: Ints
    stalled: Flags
    end: Flags


class Start(NamedTuple):
    """A run that has begun to play, or never will.

    startup_ms  from the start to the first picture; None if it failed
    ts_ms       on the player's clock; arrival_s: seconds since the epoch
    """

    row: int
    run: int
    route: Route
    ts_ms: int
    arrival_s: float
    startup_ms: int | None


_TYPES: dict[str, type[np.generic]] = {
    "state": np.int8,
    "ready": np.bool_,
    "ts_ms": np.int64,
    "run": np.int32,
    "number": np.int32,
    "stalls": np.int32,
    "stall_ms": np.int64,
    "play_ms": np.int64,
    "rate": np.float32,
    "heartbeat_ms": np.int32,
    "beat_ms": np.int64,
    "start_ms": np.int64,
    "msd_ms": np.int64,
    "tried": np.bool_,
    "played": np.bool_,
    "started": np.bool_,
    "failed": np.bool_,
    "first_ms": np.int64,
    "words": np.int8,
    "told": np.bool_,
    "mute": np.bool_,
}
_NEW_RUN = {
    "state": PlayerState.UNTOLD,
    "ready": False,
    "ts_ms": ABSENT_INT,
    "number": 0,
    "stalls": 0,
    "stall_ms": 0,
    "play_ms": 0,
    "rate": 1,
    "beat_ms": ABSENT_INT,
    "start_ms": ABSENT_INT,
    "msd_ms": ABSENT_INT,
    "tried": False,
    "played": False,
    "started": False,
    "failed": False,
}
_NEW = {**_NEW_RUN, "run": 1, "heartbeat_ms": 0, "first_ms": ABSENT_INT, "words": 0, "told": False, "mute": False}


class PlayerStates(Columns):
    """Columns of a table of sessions, (rows,) each.

    timeout_s     a session that is silent for so long is over

    state, ready  PlayerState, and whether `r` is a stall: the player has played since it started or sought
    ts_ms         of the newest word, on the player's clock; ABSENT_INT before the first of the run
    run, number   number of the run, from 1, and of reports in it
    stalls, stall_ms, play_ms  since the run began
    rate          of playback, from the newest word on
    heartbeat_ms  least time between two heartbeats of a run, at least 1 s; 0 before it is known
    beat_ms       ts of the newest heartbeat of the run
    start_ms, msd_ms  ts of the start, and the startup time that the player told; ABSENT_INT without
    tried, played     whether the run has tried to play, and has played
    started, failed   whether its startup time, or that it failed, is counted or never will be
    first_ms, words   ts of the first word of the session, and number of its words, up to STATELESS_RECORDS
    told, mute        whether the player has ever told a state, and whether it is counted as one that never does
    """

    state: NDArray[np.int8]
    ready: Flags
    ts_ms: Ints
    run: NDArray[np.int32]
    number: NDArray[np.int32]
    stalls: NDArray[np.int32]
    stall_ms: Ints
    play_ms: Ints
    rate: NDArray[np.float32]
    heartbeat_ms: NDArray[np.int32]
    beat_ms: Ints
    start_ms: Ints
    msd_ms: Ints
    tried: Flags
    played: Flags
    started: Flags
    failed: Flags
    first_ms: Ints
    words: NDArray[np.int8]
    told: Flags
    mute: Flags

    TYPES, NEW = _TYPES, _NEW

    def __init__(self, players: Players, timeout_s: float) -> None:
        super().__init__()
        self._usual_ms, self._hidden_count = round(players.heartbeat_s * 1000), players.hidden
        self._longest_ms = round(timeout_s * 1000)

    def renew(self, rows: Ints) -> None:
        """Begin counting from zero: nobody knows the run any more. The player goes on where it is."""
        self.run[rows] += 1
        for name in ("number", "stalls", "stall_ms", "play_ms"):
            getattr(self, name)[rows] = 0
        self.ts_ms[rows] = self.beat_ms[rows] = ABSENT_INT

    def given_up(self, rows: Ints) -> Ints:
        """Those of these rows whose run tried to play and never did."""
        return rows[self.tried[rows] & ~self.played[rows] & ~self.failed[rows]]

    def apply(self, words: Words, events: Counter[Event]) -> tuple[Told, list[Start], Ints]:
        """Apply words; returns what is to be reported, starts, and the rows of players that never tell a state."""
        parts: list[Told] = []
        starts: list[tuple[int, Start]] = []
        mute: list[Ints] = []
        for index in rounds(words.row):
            some = _Some(words, index)
            parts.append(self._apply(some, starts, events))
            mute.append(self._note_mute(some, events))
            self._note_startups(some, starts)
        starts.sort(key=lambda each: each[0])  # stable: a failed run before the one that follows
        return _in_order(parts), [start for _, start in starts], np.concatenate([*mute, np.zeros(0, np.int64)])

    def _apply(self, some: _Some, starts: list[tuple[int, Start]], events: Counter[Event]) -> Told:
        """Apply at most one word of each row."""
        row, told = some.row, some.state
        over = _OVER[self.state[row]]
        begins = some.new_run | (over & _AGAIN[told])
        if begins.any():
            self._begin_runs(some, np.flatnonzero(begins), starts)
        silent = over & ~begins
        before, was_ready = self.state[row], self.ready[row]
        state = np.where((told == PlayerState.UNTOLD) | silent, before, told)
        if not self._hidden_count:
            some.unwatched |= some.hidden & _WATCHED[state]
            state = np.where(some.unwatched, np.int8(PlayerState.PAUSED), state)
        counters = self._passed(some, before, was_ready, events)
        counters[0] = (state == PlayerState.REBUFFERING) & (before != PlayerState.REBUFFERING) & was_ready
        ready = ((state == PlayerState.PLAYING) | was_ready) & ~_UNREADY[state]
        self.state[row], self.ready[row], self.ts_ms[row] = state, ready, some.ts_ms
        self.rate[row] = some.rate
        self.stalls[row] += counters[0].astype(np.int32)
        self.stall_ms[row] += counters[1]
        self.play_ms[row] += counters[2]
        self._note_progress(some, state, before)
        number = self.number[row].astype(np.int64)
        self.number[row] += 1
        self._note_failures(some, state, starts)
        out = Told(
            word=some.index,
            run=self.run[row].astype(np.int64),
            number=number,
            counted=np.array([self.stalls[row], self.stall_ms[row], self.play_ms[row]], np.int64),
            added=counters,
            stalled=(state == PlayerState.REBUFFERING) & ready,
            end=_OVER[state],
        )
        return out if not silent.any() else _some_told(out, np.flatnonzero(~silent))

    def _begin_runs(self, some: _Some, which: Ints, starts: list[tuple[int, Start]]) -> None:
        row = some.row[which]
        starts += self._failed_starts(some, which[np.isin(row, self.given_up(row))])
        for name, value in _NEW_RUN.items():
            getattr(self, name)[row] = value
        self.run[row] += 1

    def _passed(self, some: _Some, before: NDArray[np.int8], ready: Flags, events: Counter[Event]) -> Ints:
        """(3, R) 0, and the stall_ms and play_ms since the word before."""
        row = some.row
        last_ms, beat_ms = self.ts_ms[row], self.beat_ms[row]
        passed_ms = np.where(last_ms == ABSENT_INT, 0, np.clip(some.ts_ms - last_ms, 0, self._longest_ms))
        self._learn(some, beat_ms)
        heartbeat_ms = self.heartbeat_ms[row]
        heartbeat_ms = np.where(heartbeat_ms == 0, self._usual_ms, heartbeat_ms)
        plays = before == PlayerState.PLAYING
        unknown = plays & some.gap & (passed_ms > GAP_HEARTBEATS * heartbeat_ms)
        if unknown.any():
            events[Event.UNKNOWN_MS] += int(passed_ms[unknown].sum())
        played_ms = np.rint(np.minimum(passed_ms, HEARTBEATS * heartbeat_ms) * self.rate[row]).astype(np.int64)
        counters: Ints = np.zeros((3, len(row)), np.int64)
        counters[1] = np.where((before == PlayerState.REBUFFERING) & ready, passed_ms, 0)
        counters[2] = np.where(plays & ~unknown, played_ms, 0)
        return counters

    def _learn(self, some: _Some, beat_ms: Ints) -> None:
        """Learn the time between heartbeats."""
        beats = np.flatnonzero(some.heartbeat)
        if not len(beats):
            return
        row, ts_ms = some.row[beats], some.ts_ms[beats]
        between_ms = np.clip(np.where(beat_ms[beats] == ABSENT_INT, 0, ts_ms - beat_ms[beats]), 0, 2**31 - 1)
        known_ms = self.heartbeat_ms[row]
        shorter = (between_ms >= SHORTEST_HEARTBEAT_MS) & ((known_ms == 0) | (between_ms < known_ms))
        self.heartbeat_ms[row] = np.where(shorter, between_ms, known_ms)
        self.beat_ms[row] = ts_ms

    def _note_progress(self, some: _Some, state: NDArray[np.int8], before: NDArray[np.int8]) -> None:
        """Note how far these runs are on their way from the start to the first picture."""
        row = some.row
        young = ~self.played[row] & ~some.unwatched
        if not young.any():
            return
        self.tried[row] |= young & _TRIES[state]
        begins = young & (state == PlayerState.STARTING) & (self.start_ms[row] == ABSENT_INT)
        # A pause before the first picture is the viewer's time, not the player's.
        paused = young & (state == PlayerState.PAUSED)
        start_ms = np.where(begins, some.ts_ms, self.start_ms[row])
        self.start_ms[row] = np.where(paused, ABSENT_INT, start_ms)

    def _note_startups(self, some: _Some, starts: list[tuple[int, Start]]) -> None:
        """Count startup times, once a run."""
        row = some.row
        told_ms = np.where(some.startup_ms >= 0, np.minimum(some.startup_ms, LARGEST), self.msd_ms[row])
        self.msd_ms[row] = told_ms
        first = (self.state[row] == PlayerState.PLAYING) & ~self.played[row]
        # What is played unseen has started all the same, when nobody knows.
        first_unseen = some.unwatched & (some.state == PlayerState.PLAYING) & ~self.played[row]
        start_ms = self.start_ms[row]
        by_start = start_ms != ABSENT_INT
        # The first picture may have been shown in a gap.
        lost = some.gap & ~self.played[row] & by_start
        self.started[row] |= first_unseen | lost
        self.played[row] |= first | first_unseen
        waits = ~self.started[row]
        measured = waits & by_start & first
        reported = waits & ~by_start & (told_ms > SHORTEST_STARTUP_MS) & (self.played[row] | self.mute[row])
        found = measured | reported
        self.started[row] |= found
        for index in np.flatnonzero(found).tolist():
            startup_ms = some.ts_ms[index] - start_ms[index] if measured[index] else told_ms[index]
            starts.append((int(some.index[index]), some.start(index, int(self.run[row[index]]), int(startup_ms))))

    def _note_failures(self, some: _Some, state: NDArray[np.int8], starts: list[tuple[int, Start]]) -> None:
        ended = np.flatnonzero(_OVER[state])
        if not len(ended):
            return
        row = some.row[ended]
        failed = np.isin(row, self.given_up(row)) & (state[ended] != PlayerState.ENDED)
        starts += self._failed_starts(some, ended[failed])
        self.failed[row] = True

    def _failed_starts(self, some: _Some, which: Ints) -> list[tuple[int, Start]]:
        """The starts of these runs, which failed, each with the index of the word that ends it."""
        runs = self.run[some.row[which]].tolist()
        found = zip(which.tolist(), runs, strict=True)
        return [(int(some.index[index]), some.start(index, run, None)) for index, run in found]

    def _note_mute(self, some: _Some, events: Counter[Event]) -> Ints:
        """Count players that never tell a state, once each; returns their rows."""
        row = some.row
        self.told[row] |= some.state != PlayerState.UNTOLD
        fresh = self.words[row] < STATELESS_RECORDS
        if fresh.any():
            self.words[row] += fresh
            new = self.first_ms[row] == ABSENT_INT
            self.first_ms[row] = np.where(new, some.ts_ms, self.first_ms[row])
        silent = ~self.told[row]
        if not silent.any():
            return row[silent]
        long = (self.words[row] >= STATELESS_RECORDS) & (some.ts_ms - self.first_ms[row] >= STATELESS_MS)
        found = row[silent & long & ~self.mute[row]]
        self.mute[found] = True
        events[Event.STATELESS] += len(found)
        return found


class _Some:
    """Words of distinct rows.

    index      (R,) among all words
    unwatched  (R,) whether their player is hidden and does not count
    """

    def __init__(self, words: Words, index: Ints) -> None:
        self.index, self._route = index, words.route
        self.row: Ints = words.row[index]
        self.ts_ms: Ints = words.ts_ms[index]
        self.state: NDArray[np.int8] = words.state[index]
        self.startup_ms: Ints = words.startup_ms[index]
        self.heartbeat: Flags = words.heartbeat[index]
        self.hidden: Flags = words.hidden[index]
        self.arrival_s: Floats = words.arrival_s[index]
        self.gap: Flags = words.gap[index]
        self.new_run: Flags = words.new_run[index]
        rate = words.rate[index]
        self.rate: Floats = np.where(rate >= 0, np.minimum(rate, SPEED), 1)
        self.unwatched: Flags = np.zeros(len(index), np.bool_)

    def start(self, index: int, run: int, startup_ms: int | None) -> Start:
        """The start of the run of a word."""
        route = self._route[int(self.index[index])]
        ts_ms, arrival_s = int(self.ts_ms[index]), float(self.arrival_s[index])
        return Start(int(self.row[index]), run, route, ts_ms, arrival_s, startup_ms)


def _some_told(told: Told, index: Ints) -> Told:
    return Told._make(column[..., index] for column in told)


def _in_order(parts: Sequence[Told]) -> Told:
    """The parts together, in the order of their words."""
    if not parts:
        none: Ints = np.zeros(0, np.int64)
        counters: Ints = np.zeros((3, 0), np.int64)
        flags: Flags = np.zeros(0, np.bool_)
        return Told(none, none, none, counters, counters, flags, flags)
    whole = Told._make(_joined(parts)) if len(parts) > 1 else parts[0]
    return _some_told(whole, np.argsort(whole.word, kind="stable"))


def _joined(parts: Sequence[Told]) -> Iterator[Any]:
    return (np.concatenate(column, axis=-1) for column in zip(*parts, strict=True))
