"""What a report is to its session: the next one of the present run, a repeated one, a new run, or another player's.

A run is one stretch of counting from zero by one player. A report with a newer `seq` whose counters did not fall
continues the run; nearly all do. Any other is one of:

- a repeated or older report of the run, such as one that is sent again after a reconnect: it adds nothing;
- a new run, such as after a reload of the page: its counters are no larger than the time since the session was last
  heard allows, and its `seq` begins from the beginning, or a second report continues it;
- another player under the same id, whose reports alternate with those of the run: it is left out.

A service whose clients send differences, response times or measures has no counters. There a repeated report is
known by its content or its `seq`, and a new run by a `seq` of 0 or 1 after a much larger one, or after the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Flags, Floats, Ints, grow_columns
from qoemon.core.counting.session_table import SessionTable
from qoemon.core.plan.plan import Counters, Service
from qoemon.core.qoe.mapping import Qos
from qoemon.core.wire.batch import Batch
from qoemon.core.wire.report import ABSENT_INT

NO_SEQ = -1
REORDERED = 64
"""A report overtaken by at most so many others of its session counts, if it has a `seq` and no counters."""
JITTER_MS = 1000
"""Differences in delivery time between two reports."""
FIRST_SEQ = (0, 1)
"""Numbers with which clients begin."""


class Kind(IntEnum):
    """What a report is to the present run of its session."""

    CONTINUES = 0
    REPEATED = 1
    NEW_RUN = 2
    CONFLICTS = 3


class Reports(NamedTuple):
    """One report of each of R distinct rows.

    position  (R,) index in the batch
    row       (R,)
    at_s      (R,) time on the daemon's clock, seconds since the epoch
    gap_ms    (R,) time since the run was last heard; -1 for its first report
    """

    position: Ints
    row: Ints
    at_s: Floats
    gap_ms: Ints

    def take(self, kept: Flags | Ints) -> Reports:
        """Some of the reports."""
        return Reports(self.position[kept], self.row[kept], self.at_s[kept], self.gap_ms[kept])


class Judged(NamedTuple):
    """The kind of each report and what it adds to its run.

    kind     (R,) Kind
    values   (3, R) counters as reported; those that are left out have not changed; empty if not cumulative
    added    (3, R) stalls, stall_ms and play_ms since the report before, or since the run began
    backward (R,) whether play_s fell while the run goes on, as a position does
    """

    kind: NDArray[np.int8]
    values: Ints
    added: Ints
    backward: Flags

    def take(self, kept: Flags) -> Judged:
        """Of some of the reports."""
        return Judged(self.kind[kept], self.values[:, kept], self.added[:, kept], self.backward[kept])


@dataclass(frozen=True)
class _Other:
    """The last report of a session that did not belong to its run."""

    values: tuple[int, ...]
    at_s: float

    def covers(self, values: tuple[int, ...]) -> bool:
        """Whether it had said all that before."""
        return all(new <= old for new, old in zip(values, self.values, strict=True))

    def continued_by(self, values: tuple[int, ...], at_s: float) -> bool:
        """Whether a report may be the next one of the same player."""
        more = [new - old for new, old in zip(values, self.values, strict=True)]
        passed_ms = (at_s - self.at_s) * 1000
        return (
            passed_ms >= JITTER_MS and min(more) >= 0 and max(more) > 0 and sum(more[1:]) <= passed_ms + JITTER_MS
        )


@dataclass(frozen=True)
class _Odd:
    """A report that is older by its seq, or whose counters fell or rose too fast.

    known, values  counters of the run before it, and in it
    seq            ABSENT_INT without one; newer: whether it is newer, or there is none
    heard_before   whether its content equals that of one of the last reports; heard_first: of one of the first
    ended          whether the run has ended
    """

    known: tuple[int, ...]
    values: tuple[int, ...]
    seq: int
    newer: bool
    heard_before: bool
    heard_first: bool
    ended: bool
    gap_ms: int
    at_s: float

    @property
    def more(self) -> list[int]:
        return [new - old for new, old in zip(self.values, self.known, strict=True)]

    @property
    def fell(self) -> bool:
        return min(self.more) < 0

    @property
    def rose(self) -> bool:
        return max(self.more) > 0

    @property
    def begins(self) -> bool:
        """Whether its seq is one with which a run begins; without one, a second report must show that it does."""
        return self.seq in FIRST_SEQ or (self.newer and self.seq != ABSENT_INT and not self.only_position_fell)

    @property
    def fits(self) -> bool:
        """Whether a run that begins after the last report may have counted so much."""
        return sum(self.values[1:]) <= self.gap_ms + JITTER_MS // 2

    @property
    def only_position_fell(self) -> bool:
        stalls, stall_ms, _ = self.more
        return stalls >= 0 and stall_ms >= 0 and self.known[1] > 0


def _kind_in_run(one: _Odd) -> Kind | None:
    """The kind of an odd report, if it follows from its run alone."""
    if one.gap_ms < 0:  # the first report of its run
        return Kind.CONTINUES
    if one.fell:
        if one.heard_before:
            return Kind.REPEATED
        # The first reports of two runs are often equal: then only a second report shows whether one has begun,
        # unless the run before has ended.
        known_to_begin = one.begins and (one.ended or not one.heard_first)
        return Kind.NEW_RUN if known_to_begin and one.fits else None
    if one.newer:
        return None
    if not one.rose:
        return Kind.REPEATED
    # Only its seq begins from the beginning.
    return Kind.CONTINUES if sum(one.more[1:]) <= one.gap_ms + JITTER_MS else None


class Runs:
    """What each run of a SessionTable last reported; columns with the same rows.

    seq       (rows,) the largest received, or NO_SEQ
    prints    (4, rows) uint32, digests of the last two reports and of the first two; 0 for none
    counters  (3, rows) stalls, stall_ms, play_ms as last reported; with no columns if not cumulative
    known     (rows,) whether a report has set them
    seen      (rows,) uint64, the `seq` received of the last 64 up to the largest, as bits; if not cumulative
    """

    def __init__(self, sessions: SessionTable, service: Service) -> None:
        self._sessions = sessions
        stalls = service.mapping.qos is Qos.STALLS
        self.cumulative = stalls and service.counters is Counters.CUMULATIVE
        self._used = 0
        self._others: dict[int, _Other] = {}
        self.seq = np.zeros(0, np.int64)
        self.prints = np.zeros((4, 0), np.uint32)
        if self.cumulative:
            self.counters, self.known = np.zeros((3, 0), np.int64), np.zeros(0, np.bool_)
        else:
            self.seen = np.zeros(0, np.uint64)

    @property
    def _columns(self) -> tuple[str, ...]:
        return ("seq", "prints", "counters", "known") if self.cumulative else ("seq", "prints", "seen")

    def judge(self, reports: Reports, batch: Batch, prints: NDArray[np.uint32], interval_ms: int) -> Judged:
        """Decide what one report of each of these rows is; record() follows for those that count.

        prints       (R,) digests of the reports
        interval_ms  a first report of a run older than that is its baseline only
        """
        self._grow()
        if self.cumulative:
            return self._judge_counters(reports, batch, prints, interval_ms)
        return self._judge_numbers(reports, batch, prints)

    def record(self, reports: Reports, batch: Batch, prints: NDArray[np.uint32], values: Ints) -> None:
        """Record what these reports say, each of which counts; values as in Judged."""
        row, seq = reports.row, batch.seq[reports.position]
        numbered = seq != ABSENT_INT
        if not self.cumulative:
            self._see(row[numbered], seq[numbered])
            self.seq[row] = np.maximum(self.seq[row], seq)
        else:
            self.seq[row] = seq if numbered.all() else np.where(numbered, seq, self.seq[row])
            self.counters[:, row] = values
            if not self.known[row].all():
                self.known[row] |= _any_counter(batch, reports.position)
        self.prints[1, row] = self.prints[0, row]
        self.prints[0, row] = prints
        young = np.flatnonzero(self.prints[3, row] == 0)
        if len(young):
            new = row[young]
            second = self.prints[2, new] != 0
            self.prints[np.where(second, 3, 2), new] = prints[young]

    def renew(self, old: Ints, new: Ints) -> None:
        """New runs begin; the run before may be heard again, as another player's."""
        self._grow()
        for before, row in zip(old.tolist(), new.tolist(), strict=True):
            self._others.pop(before, None)
            # Of a client that names its runs, the run before has a row of its own.
            if self.cumulative and isinstance(self._sessions.key(row), str):
                values = tuple(self.counters[:, before].tolist())
                self._others[row] = _Other(values, float(self._sessions.last_s[before]))
        if self.cumulative:
            self.known[new] = True  # of a new run it is known that it began from zero

    def remove(self, rows: Ints) -> None:
        """Remove these runs."""
        self._grow()
        for name in self._columns:
            getattr(self, name)[..., rows] = 0
        self.seq[rows] = NO_SEQ
        if self._others:
            for row in self._others.keys() & set(rows.tolist()):
                del self._others[row]

    def dump(self) -> dict[str, NDArray[Any]]:
        """The columns of all runs, in the order of SessionTable.occupied."""
        self._grow()
        rows = self._sessions.occupied
        index = np.searchsorted(rows, list(self._others))
        others = [(at, *other.values) for at, other in zip(index.tolist(), self._others.values(), strict=True)]
        return {
            **{name: getattr(self, name)[..., rows] for name in self._columns},
            "others": np.array(others, np.int64).reshape(len(others), 4),
            "others_at_s": np.array([other.at_s for other in self._others.values()], np.float64),
        }

    def load(self, state: dict[str, NDArray[Any]], rows: Ints) -> None:
        """Restore a dump(); rows are those that SessionTable.load() returned."""
        self._grow()
        for name in self._columns:
            if name in state:
                getattr(self, name)[..., rows] = state[name]
        if "others" in state:
            for (index, *values), at_s in zip(state["others"].tolist(), state["others_at_s"].tolist(), strict=True):
                self._others[int(rows[index])] = _Other(tuple(values), at_s)

    def shift(self, by_s: int) -> None:
        """Move all times by so many seconds."""
        self._others = {row: _Other(other.values, other.at_s + by_s) for row, other in self._others.items()}

    def _judge_counters(
        self, reports: Reports, batch: Batch, prints: NDArray[np.uint32], interval_ms: int
    ) -> Judged:
        row, position = reports.row, reports.position
        known, values, seq = self.counters[:, row], self._values(row, position, batch), batch.seq[position]
        added = values - known
        unknown = ~self.known[row]
        if unknown.any():
            # A run older than the interval has no baseline yet. Its age is the time that it stalled and played:
            # clients' clocks are unreliable, and paused time is not rated.
            added[:, unknown & (values[1] + values[2] > interval_ms)] = 0
        kind = np.zeros(len(row), np.int8)
        backward = np.zeros(len(row), np.bool_)
        newer = (seq == ABSENT_INT) | (seq > self.seq[row])
        fell = (added < 0).any(axis=0)
        odd = fell | ~newer
        if self._others:
            # Too much for the time that passed: it may be the other player's.
            rows_of_others = np.fromiter(self._others, np.int64, len(self._others))
            odd |= (added[1] + added[2] > reports.gap_ms + JITTER_MS) & np.isin(row, rows_of_others)
        for index in np.flatnonzero(odd).tolist():
            one = _Odd(
                known=tuple(known[:, index].tolist()),
                values=tuple(values[:, index].tolist()),
                seq=int(seq[index]),
                newer=bool(newer[index]),
                heard_before=bool((self.prints[:2, row[index]] == prints[index]).any()),
                heard_first=bool((self.prints[2:, row[index]] == prints[index]).any()),
                ended=bool(self._sessions.ended[row[index]]),
                gap_ms=int(reports.gap_ms[index]),
                at_s=float(reports.at_s[index]),
            )
            kind[index], backward[index] = self._judge_odd(int(row[index]), one)
            if kind[index] == Kind.NEW_RUN:
                added[:, index] = values[:, index]
        # A counter that fell says nothing about what happened since, except that play_s may be a position.
        if odd.any():
            np.maximum(added, 0, out=added)
            added[2, backward] = values[2, backward]
        return Judged(kind, values, added, backward)

    def _judge_odd(self, row: int, one: _Odd) -> tuple[Kind, bool]:
        """The kind of a report, and whether its play_s fell although the run continues."""
        kind = _kind_in_run(one)
        if kind is not None:
            return kind, False
        other = self._others.get(row)
        if other is not None and other.continued_by(one.values, one.at_s):
            self._others[row] = _Other(one.values, one.at_s)
            if self._sessions.last_s[row] > other.at_s:
                return Kind.CONFLICTS, False
            return (Kind.NEW_RUN, False) if one.fits else (Kind.CONTINUES, one.fell)
        if other is not None and other.covers(one.values):
            return Kind.REPEATED, False
        if one.newer and (not one.fell or one.seq != ABSENT_INT or one.rose):
            return Kind.CONTINUES, one.fell
        if one.fell:
            self._others[row] = _Other(one.values, one.at_s)
        return Kind.REPEATED, False

    def _judge_numbers(self, reports: Reports, batch: Batch, prints: NDArray[np.uint32]) -> Judged:
        row, position = reports.row, reports.position
        seq, newest = batch.seq[position], self.seq[row]
        counters = (batch.stalls, batch.stall_ms, batch.play_ms)
        added = np.maximum([column[position] for column in counters], 0)
        kind = np.zeros(len(row), np.int8)
        older = np.flatnonzero((seq != ABSENT_INT) & (seq <= newest))
        if len(older):
            behind = newest[older] - seq[older]
            within = behind < REORDERED
            bit = np.uint64(1) << np.where(within, behind, 0).astype(np.uint64)
            same = (self.prints[:, row[older]] == prints[older]).any(axis=0)
            seen = within & ((self.seen[row[older]] & bit) != 0)
            restarted = ~same & np.isin(seq[older], FIRST_SEQ) & (~within | self._sessions.ended[row[older]])
            old = same | seen | ~within
            kind[older] = np.where(restarted, Kind.NEW_RUN, np.where(old, Kind.REPEATED, Kind.CONTINUES))
        return Judged(kind, np.zeros((0, len(row)), np.int64), added, np.zeros(len(row), np.bool_))

    def _values(self, row: Ints, position: Ints, batch: Batch) -> Ints:
        """(3, R) counters as reported; those that are left out have not changed."""
        reported = np.array([column[position] for column in (batch.stalls, batch.stall_ms, batch.play_ms)])
        absent = reported == ABSENT_INT
        return np.where(absent, self.counters[:, row], reported) if absent.any() else reported

    def _see(self, row: Ints, seq: Ints) -> None:
        ahead = seq - self.seq[row]
        by = np.clip(ahead, 0, REORDERED).astype(np.uint64)
        # A shift by the whole width is not defined.
        moved = np.where(by >= REORDERED, 0, self.seen[row] << np.minimum(by, REORDERED - 1)).astype(np.uint64)
        behind = np.clip(-ahead, 0, REORDERED - 1).astype(np.uint64)
        self.seen[row] = moved | (np.uint64(1) << behind)

    def _grow(self) -> None:
        used, room = self._used, self._sessions.capacity
        if room > len(self.seq):
            for name in self._columns:
                setattr(self, name, grow_columns(getattr(self, name), used, room))
        self._used = self._sessions.rows
        self.seq[used : self._used] = NO_SEQ


def digests(batch: Batch) -> NDArray[np.uint32]:
    """(R,) digests of the reports' content: equal for a report that is sent again."""
    number = batch.seq.astype(np.uint64)
    for column in (batch.stalls, batch.stall_ms, batch.play_ms):
        number = number * _FACTOR + column.astype(np.uint64)
    number = number * _FACTOR + (batch.stalled + 2 * batch.end.astype(np.uint64))
    if len(batch.response_s):
        micros = np.rint(batch.response_s * 1e6).astype(np.uint64)
        np.add.at(number, batch.response_of, micros * _FACTOR)
    for measure in batch.measures.values():
        number = number * _FACTOR + measure.view(np.uint64)
    mixed: NDArray[np.uint32] = ((number * _FACTOR) >> np.uint64(32)).astype(np.uint32)
    return mixed | np.uint32(1)  # 0 is none


_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""An odd number near 2^64 divided by the golden ratio: products differ in their upper half."""


def _any_counter(batch: Batch, position: Ints) -> Flags:
    found: Flags = np.logical_or.reduce(
        [column[position] != ABSENT_INT for column in (batch.stalls, batch.stall_ms, batch.play_ms)]
    )
    return found
