"""What is wrong with the feed itself: lost reports, repeated ones, clocks that lie, clients that report too seldom.

All of it is counted in columns beside a SessionTable, a row a session, so it takes no more memory than the daemon.
Unlike the daemon it keeps a session that has fallen silent for a while, since what it looks for is whether it comes
back. Half of a session's gaps decide whether it reports too seldom: two counters, not a list of gaps.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from qoemon.core.arrays import Flags, Floats, Ints
from qoemon.core.counting.session_table import NO_SEQ, SessionTable
from qoemon.core.plan.plan import Counters, Plan, Service, Timing
from qoemon.core.wire.batch import Batch
from qoemon.core.wire.codec import Decoded
from qoemon.core.wire.report import ABSENT_FLOAT, ABSENT_INT, Reject

REMEMBERED_TIMEOUTS = 12
"""Session timeouts for which a silent session is remembered: one that returns later is another."""

SKEW_UNIT_S, SKEW_STEP, SKEW_BINS = 0.01, 0.02, 1600
"""Clock skews are counted in bins 2 % wide, of 0.2 ms around 0, on either side."""


@dataclass(frozen=True)
class Feed:
    """What one service's clients sent.

    sessions     seen; refused: reports of sessions beyond the limit, which nothing else here knows of
    reports      taken in; repeated: those left out, with a seq that was no news
    lost         numbers missing between the seq of one report and the next of its session
    resets       reports with a counter lower than before, cumulative counters only
    without_seq  reports that carry none
    without_ts   likewise
    skew_median_s, skew_worst_s  ts against arrival, positive where a client's clock is ahead; NaN without ts
    judged       sessions with at least two reports; seldom: of them, those whose median gap is longer than the
                 rating interval (the lower median, where there are two)
    returned     sessions that were silent for longer than the session timeout, and came back
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
    judged: int
    seldom: int
    returned: int


class FeedQuality:
    """Looks at all that is decoded, batch by batch, in the order of arrival."""

    def __init__(self, plan: Plan) -> None:
        self._feeds = {s.name: _Clients(s, plan.timing, plan.limits.sessions) for s in plan.services}
        self.rejected: Counter[Reject] = Counter()
        self.sample: dict[Reject, str] = {}
        """For each reason, the first that was rejected."""

    def see(self, decoded: Decoded) -> None:
        """Take in what a batch of messages held."""
        self.rejected.update(decoded.rejected)
        for reason, sample in decoded.sample.items():
            self.sample.setdefault(reason, sample)
        batch = decoded.batch
        services = np.array([route.service for route in batch.routes])
        for name in np.unique(services).tolist():
            mine = np.flatnonzero((services == name)[batch.route])
            if len(mine):
                self._feeds[name].see(batch.take(mine))

    def feeds(self) -> tuple[Feed, ...]:
        """What has been found so far, by service."""
        return tuple(clients.told() for clients in self._feeds.values())


class _Clients:
    """The clients of one service.

    seq       (rows,) the newest told
    counters  (3, rows) the newest told of stalls, stall_ms, play_ms; ABSENT_INT before the first
    short, long  (rows,) gaps between reports, up to the rating interval and longer
    returned  (rows,) whether it came back after a timeout
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

    def see(self, batch: Batch) -> None:
        """Take in reports, all of this service."""
        now_s = float(batch.arrival_s.max())
        self._forget(now_s)
        known = len(self._table)
        admitted = self._table.admit(batch.session, batch.seq, batch.arrival_s, batch.end)
        self._grow()
        # A session without a group would not count as one that is there.
        self._table.assign_group(admitted, np.zeros(len(batch), np.int64))
        row, position, first = admitted.row, admitted.position, admitted.first
        self._count["sessions"] += len(self._table) - known
        self._count["reports"] += len(position)
        self._count["repeated"] += admitted.duplicates
        self._count["refused"] += admitted.refused
        self._measure_gaps(row, batch.arrival_s[position] - admitted.before_s)
        self._follow_seq(row, batch.seq[position])
        if self._service.counters is Counters.CUMULATIVE:
            counters = (batch.stalls, batch.stall_ms, batch.play_ms)
            fell = [self._follow(i, row, column[position]) for i, column in enumerate(counters)]
            self._count["resets"] += int(np.count_nonzero(np.any(fell, axis=0))) if len(first) else 0
        self._compare_clocks(batch.ts_s[position], batch.arrival_s[position])

    def told(self) -> Feed:
        """What has been found so far."""
        judged, seldom, returned = self._settled(self._table.occupied)
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
            judged=count["judged"] + judged,
            seldom=count["seldom"] + seldom,
            returned=count["returned"] + returned,
        )

    def _measure_gaps(self, row: Ints, gap_s: Floats) -> None:
        heard = ~np.isnan(gap_s)
        row, gap_s = row[heard], gap_s[heard]
        longer = gap_s > self._timing.interval_s
        np.add.at(self._long, row[longer], 1)
        np.add.at(self._short, row[~longer], 1)
        self._returned[row[gap_s > self._timing.session_timeout_s]] = True

    def _follow_seq(self, row: Ints, seq: Ints) -> None:
        there = seq != ABSENT_INT
        self._count["without_seq"] += int(np.count_nonzero(~there))
        row, seq = row[there], seq[there]
        before, last = _before(row, seq, self._seq)
        missing = np.where(before == NO_SEQ, 0, seq - before - 1)
        # Numbers may be anything up to 2^63: those are no counters, and a float holds their sum.
        self._count["lost"] += int(np.maximum(missing, 0).sum(dtype=np.float64))
        self._seq[row[last]] = seq[last]

    def _follow(self, counter: int, row: Ints, told: Ints) -> Flags:
        """(R,) whether this counter fell; sorted by row, then seq."""
        there = np.flatnonzero(told != ABSENT_INT)
        fell = np.zeros(len(told), np.bool_)
        before, last = _before(row[there], told[there], self._counters[counter])
        fell[there] = told[there] < before
        self._counters[counter, row[there][last]] = told[there][last]
        return fell

    def _compare_clocks(self, ts_s: Floats, arrival_s: Floats) -> None:
        there = ts_s != ABSENT_FLOAT
        self._count["without_ts"] += int(np.count_nonzero(~there))
        skew_s = ts_s[there] - arrival_s[there]
        if not len(skew_s):
            return
        bins = np.rint(np.arcsinh(skew_s / SKEW_UNIT_S) / SKEW_STEP)
        bins = np.clip(bins, -SKEW_BINS, SKEW_BINS).astype(np.int64) + SKEW_BINS
        self._skews += np.bincount(bins, minlength=len(self._skews))
        worst_s = float(skew_s[np.argmax(np.abs(skew_s))])
        if abs(worst_s) > abs(self._worst_s):
            self._worst_s = worst_s

    def _skew_median_s(self) -> float:
        """The middle of the bin that holds the lower median."""
        upto = np.cumsum(self._skews)
        if upto[-1] == 0:
            return float("nan")
        place = int(np.searchsorted(upto, (upto[-1] + 1) // 2))
        return float(np.sinh((place - SKEW_BINS) * SKEW_STEP) * SKEW_UNIT_S)

    def _forget(self, now_s: float) -> None:
        """Let the sessions go that have been silent for long; what was found of them stays counted."""
        silent_s = REMEMBERED_TIMEOUTS * self._timing.session_timeout_s
        over = self._table.expired(now_s, silent_s, silent_s)
        if not len(over):
            return
        judged, seldom, returned = self._settled(over)
        self._count.update({"judged": judged, "seldom": seldom, "returned": returned})
        self._table.remove(over)
        self._seq[over], self._counters[:, over] = NO_SEQ, ABSENT_INT
        self._short[over], self._long[over], self._returned[over] = 0, 0, False

    def _settled(self, rows: Ints) -> tuple[int, int, int]:
        """Of these sessions, how many had gaps, how many report too seldom, how many came back."""
        short, long = self._short[rows], self._long[rows]
        gaps = short + long
        seldom = (gaps > 0) & (short <= (gaps - 1) // 2)
        return int(np.count_nonzero(gaps)), int(np.count_nonzero(seldom)), int(self._returned[rows].sum())

    def _grow(self) -> None:
        more = self._table.capacity - len(self._seq)
        if more:
            self._seq = np.append(self._seq, np.full(more, NO_SEQ))
            self._counters = np.hstack([self._counters, np.full((3, more), ABSENT_INT)])
            self._short = np.append(self._short, np.zeros(more, np.int64))
            self._long = np.append(self._long, np.zeros(more, np.int64))
            self._returned = np.append(self._returned, np.zeros(more, np.bool_))


def _before(row: Ints, told: Ints, known: Ints) -> tuple[Ints, Flags]:
    """(R,) what each row told before each of these, and which are its last; sorted by row."""
    first = np.diff(row, prepend=-1) != 0
    last = np.append(first[1:], True)[: len(first)]
    return np.where(first, known[row], np.roll(told, 1)), last
