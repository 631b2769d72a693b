"""Measures the quality of a feed: lost and repeated reports, wrong clocks, clients that report too seldom.

Of the records of players it counts those that lack a key; what else can be wrong with them the core counts.

Counters are columns beside a SessionTable, one row per session, so memory is bounded as in the daemon. Silent
sessions are kept longer than in the daemon, to detect those that return. Whether the median of a session's gaps is
too long follows from two counters, without a list of gaps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from qoemon.core.arrays import Flags, Floats, Ints
from qoemon.core.counting.counts import Event
from qoemon.core.counting.runs import NO_SEQ
from qoemon.core.counting.session_table import SessionTable
from qoemon.core.plan.plan import Counters, Plan, Service, Timing
from qoemon.core.wire.batch import Batch
from qoemon.core.wire.codec import Decoded
from qoemon.core.wire.player import PlayerBatch, PlayerState
from qoemon.core.wire.report import ABSENT_FLOAT, ABSENT_INT, Reject

REMEMBERED_TIMEOUTS = 12
"""A silent session is kept for this many session timeouts; if it returns later, it counts as a new one."""

SKEW_UNIT_S, SKEW_STEP, SKEW_BINS = 0.01, 0.02, 1600
"""Clock skews are counted in bins 2 % wide, 0.2 ms around 0, on either side."""


@dataclass(frozen=True)
class PlayerFeed:
    """Number of accepted records that the players of one service sent.

    without_state, without_sn, without_ts  records without these keys; those about a request have no state to tell
    """

    service: str
    records: int = 0
    without_state: int = 0
    without_sn: int = 0
    without_ts: int = 0

    def __add__(self, other: PlayerFeed) -> PlayerFeed:
        return PlayerFeed(
            self.service,
            self.records + other.records,
            self.without_state + other.without_state,
            self.without_sn + other.without_sn,
            self.without_ts + other.without_ts,
        )

    @classmethod
    def of(cls, service: str, batch: PlayerBatch, mine: Flags) -> PlayerFeed:
        """Those of some records of a batch: mine, (R,)."""
        untold = (batch.state == PlayerState.UNTOLD) & ~batch.of_request
        missing = (untold, batch.seq == ABSENT_INT, batch.ts_ms == ABSENT_INT)
        return cls(service, *(int(np.count_nonzero(which & mine)) for which in (mine, *missing)))


Value = TypeVar("Value", Ints, Floats)


@dataclass(frozen=True)
class Feed:
    """Quality of the reports that one service's clients sent.

    sessions     admitted; refused: reports of sessions beyond the limit, which no other field counts
    reports      accepted; repeated: those dropped, with a seq not above the previous one
    lost         numbers missing between the seq of a report and that of the session's next one
    resets       reports with a counter lower than before, cumulative counters only
    without_seq, without_ts  reports without these fields
    skew_median_s, skew_worst_s  ts minus arrival, positive if a client's clock is ahead; NaN without ts
    with_gaps    sessions with at least two reports; infrequent: those of them whose lower median gap is longer
                 than the rating interval
    returned     sessions that were silent for longer than the session timeout, then reported again
    """

    service: str
    sessions: int
    refused: int
    reports: int
    repeated: int
    lost: int
    resets: int
    without_seq: int
    without_ts: int
    skew_median_s: float
    skew_worst_s: float
    with_gaps: int
    infrequent: int
    returned: int


class FeedQuality:
    """Accumulates feed quality over decoded batches, in the order of arrival."""

    def __init__(self, plan: Plan) -> None:
        self._services = {s.name: _ServiceFeed(s, plan.timing, plan.limits.sessions) for s in plan.services}
        self.players = {s.name: PlayerFeed(s.name) for s in plan.services}
        """What players sent, by service."""
        self.rejected: Counter[Reject] = Counter()
        self.sample: dict[Reject, str] = {}
        """The first rejected payload of each reason."""
        self.events: Mapping[Event, int] = {}
        """What the core counted of all services up to the newest tick."""

    def observe(self, decoded: Decoded) -> None:
        """Account for a decoded batch of messages."""
        self.rejected.update(decoded.rejected)
        for reason, sample in decoded.sample.items():
            self.sample.setdefault(reason, sample)
        batch = decoded.batch
        services = np.array([route.service for route in batch.routes])
        for name in np.unique(services).tolist():
            mine = np.flatnonzero((services == name)[batch.route])
            if len(mine):
                self._services[name].add(batch.take(mine))
        self._observe_players(decoded.players)

    def feeds(self) -> tuple[Feed, ...]:
        """Feed quality so far, one Feed per service."""
        return tuple(service.feed() for service in self._services.values())

    @property
    def only_players(self) -> bool:
        """Whether there are records of players, and no other reports."""
        others = any(feed.reports or feed.repeated or feed.refused for feed in self.feeds())
        return not others and any(feed.records for feed in self.players.values())

    def _observe_players(self, batch: PlayerBatch) -> None:
        services = np.array([route.service for route in batch.routes])
        for name in np.unique(services).tolist():
            self.players[name] += PlayerFeed.of(name, batch, (services == name)[batch.route])


class _ServiceFeed:
    """Counters of the sessions of one service.

    seq       (rows,) the newest reported
    counters  (3, rows) the newest reported stalls, stall_ms, play_ms; ABSENT_INT before the first
    short, long  (rows,) gaps between reports, up to the rating interval and longer
    returned  (rows,) whether it reported again after a timeout
    """

    def __init__(self, service: Service, timing: Timing, limit: int) -> None:
        self._service, self._timing = service, timing
        self._table = SessionTable(limit)
        self._seq = np.zeros(0, np.int64)
        self._counters = np.zeros((3, 0), np.int64)
        self._short, self._long = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._returned = np.zeros(0, np.bool_)
        self._count: Counter[str] = Counter()
        self._skews = np.zeros(2 * SKEW_BINS + 1, np.int64)
        self._worst_s = 0.0

    def add(self, batch: Batch) -> None:
        """Account for reports of this service."""
        now_s = float(batch.arrival_s.max())
        self._expire(now_s)
        known = len(self._table)
        rows = self._table.find_or_create(batch.session)
        self._grow()
        row, position = self._admit(rows, batch.seq)
        arrival_s = batch.arrival_s[position]
        before_s, last = _previous(row, arrival_s, self._table.last_s)
        # A session without a group would not count as occupied.
        self._table.hear(row[last], arrival_s[last], batch.end[position[last]], np.zeros_like(row[last]))
        self._count["sessions"] += len(self._table) - known
        self._count["reports"] += len(position)
        self._count["repeated"] += int(np.count_nonzero(rows >= 0)) - len(position)
        self._count["refused"] += int(np.count_nonzero(rows < 0))
        self._measure_gaps(row, arrival_s - before_s)
        self._update_seq(row, batch.seq[position])
        if self._service.counters is Counters.CUMULATIVE:
            counters = (batch.stalls, batch.stall_ms, batch.play_ms)
            fell = [self._update_counter(i, row, column[position]) for i, column in enumerate(counters)]
            self._count["resets"] += int(np.count_nonzero(np.any(fell, axis=0))) if len(row) else 0
        self._compare_clocks(batch.ts_s[position], batch.arrival_s[position])

    def feed(self) -> Feed:
        """Feed quality so far."""
        with_gaps, infrequent, returned = self._gap_counts(self._table.occupied)
        count = self._count
        return Feed(
            service=self._service.name,
            sessions=count["sessions"],
            refused=count["refused"],
            reports=count["reports"],
            repeated=count["repeated"],
            lost=count["lost"],
            resets=count["resets"],
            without_seq=count["without_seq"],
            without_ts=count["without_ts"],
            skew_median_s=self._skew_median_s(),
            skew_worst_s=self._worst_s if self._skews.any() else np.nan,
            with_gaps=count["with_gaps"] + with_gaps,
            infrequent=count["infrequent"] + infrequent,
            returned=count["returned"] + returned,
        )

    def _admit(self, rows: Ints, seq: Ints) -> tuple[Ints, Ints]:
        """Rows and positions of the reports with a newer seq or none, sorted by row, then seq, then position."""
        order = np.lexsort((seq, rows))
        order = order[np.searchsorted(rows[order], 0) :]
        row, number = rows[order], seq[order]
        newest = self._seq[row]
        following = np.flatnonzero(row[1:] == row[:-1]) + 1
        newest[following] = np.maximum(newest[following], number[following - 1])
        fresh = (number == ABSENT_INT) | (number > newest)
        return row[fresh], order[fresh]

    def _measure_gaps(self, row: Ints, gap_s: Floats) -> None:
        has_previous = ~np.isnan(gap_s)
        row, gap_s = row[has_previous], gap_s[has_previous]
        longer = gap_s > self._timing.interval_s
        np.add.at(self._long, row[longer], 1)
        np.add.at(self._short, row[~longer], 1)
        self._returned[row[gap_s > self._timing.session_timeout_s]] = True

    def _update_seq(self, row: Ints, seq: Ints) -> None:
        present = seq != ABSENT_INT
        self._count["without_seq"] += int(np.count_nonzero(~present))
        row, seq = row[present], seq[present]
        before, last = _previous(row, seq, self._seq)
        missing = np.where(before == NO_SEQ, 0, seq - before - 1)
        # A seq may be as large as 2^63, and only a float holds the sum of such gaps.
        self._count["lost"] += int(np.maximum(missing, 0).sum(dtype=np.float64))
        self._seq[row[last]] = seq[last]

    def _update_counter(self, counter: int, row: Ints, reported: Ints) -> Flags:
        """Whether this counter decreased in each report, (R,); reports are sorted by row, then seq."""
        present = np.flatnonzero(reported != ABSENT_INT)
        fell = np.zeros(len(reported), np.bool_)
        before, last = _previous(row[present], reported[present], self._counters[counter])
        fell[present] = reported[present] < before
        self._counters[counter, row[present][last]] = reported[present][last]
        return fell

    def _compare_clocks(self, ts_s: Floats, arrival_s: Floats) -> None:
        present = ts_s != ABSENT_FLOAT
        self._count["without_ts"] += int(np.count_nonzero(~present))
        skew_s = ts_s[present] - arrival_s[present]
        if not len(skew_s):
            return
        bins = np.rint(np.arcsinh(skew_s / SKEW_UNIT_S) / SKEW_STEP)
        bins = np.clip(bins, -SKEW_BINS, SKEW_BINS).astype(np.int64) + SKEW_BINS
        self._skews += np.bincount(bins, minlength=len(self._skews))
        worst_s = float(skew_s[np.argmax(np.abs(skew_s))])
        if abs(worst_s) > abs(self._worst_s):
            self._worst_s = worst_s

    def _skew_median_s(self) -> float:
        """Centre of the bin that holds the lower median; NaN without ts."""
        upto = np.cumsum(self._skews)
        if upto[-1] == 0:
            return float("nan")
        place = int(np.searchsorted(upto, (upto[-1] + 1) // 2))
        return float(np.sinh((place - SKEW_BINS) * SKEW_STEP) * SKEW_UNIT_S)

    def _expire(self, now_s: float) -> None:
        """Remove sessions that have been silent for long; their counts are kept."""
        silent_s = REMEMBERED_TIMEOUTS * self._timing.session_timeout_s
        expired = self._table.expired(now_s, silent_s, silent_s)
        if not len(expired):
            return
        with_gaps, infrequent, returned = self._gap_counts(expired)
        self._count.update({"with_gaps": with_gaps, "infrequent": infrequent, "returned": returned})
        self._table.remove(expired)
        self._seq[expired], self._counters[:, expired] = NO_SEQ, ABSENT_INT
        self._short[expired], self._long[expired], self._returned[expired] = 0, 0, False

    def _gap_counts(self, rows: Ints) -> tuple[int, int, int]:
        """Number of these sessions with gaps, with a median gap that is too long, and that returned."""
        short, long = self._short[rows], self._long[rows]
        gaps = short + long
        infrequent = (gaps > 0) & (short <= (gaps - 1) // 2)
        return int(np.count_nonzero(gaps)), int(np.count_nonzero(infrequent)), int(self._returned[rows].sum())

    def _grow(self) -> None:
        more = self._table.capacity - len(self._seq)
        if more:
            self._seq = np.append(self._seq, np.full(more, NO_SEQ))
            self._counters = np.hstack([self._counters, np.full((3, more), ABSENT_INT)])
            self._short = np.append(self._short, np.zeros(more, np.int64))
            self._long = np.append(self._long, np.zeros(more, np.int64))
            self._returned = np.append(self._returned, np.zeros(more, np.bool_))


def _previous(row: Ints, reported: Value, known: Value) -> tuple[Value, Flags]:
    """The value that each row reported before, (R,), and whether a report is its row's last; sorted by row."""
    first = np.diff(row, prepend=-1) != 0
    last = np.append(first[1:], True)[: len(first)]
    before: Value = np.where(first, known[row], np.roll(reported, 1))
    return before, last
