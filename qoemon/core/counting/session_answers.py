"""Joins what users say with the conditions of their sessions.

What is said during a tick is joined when the tick ends, so that the result does not depend on how reports are cut
into batches. The prediction is the condition of the session over the rating interval that ends then. Of a session
that has ended, or has been silent for half an interval, the condition is kept before its slices are cleared: while
it is in the table as a column, and after that in PastSessions.

A session has one answer: the last rating, the last thumb, the last of each score. Its condition is that of the
rating, or else of the thumb: a score or `asked` that follows does not move it. It is counted as soon as it is
known; if a newer one comes, the former one is taken back. Sessions that are over without an answer are counted as
well. A report that is delivered again changes nothing: its `seq`, or else its `ts`, is not newer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from qoemon.core.arrays import Arrays, Floats, Ints, grow_columns, named, part
from qoemon.core.counting.feedback_counts import (
    CONDITION,
    DAY,
    DAY_S,
    NO_CONDITION,
    NO_SCORE,
    REASONS,
    SCORE_PARTS,
    SCORES,
    FeedbackCounts,
    Unmatched,
    no_feedback,
    summed,
)
from qoemon.core.counting.past_sessions import PastSessions
from qoemon.core.counting.report_times import ReportTimes
from qoemon.core.counting.session_table import SessionTable
from qoemon.core.feedback.conditions import NO_RATING
from qoemon.core.plan.plan import Feedback, Timing
from qoemon.core.qoe.scale import Scale
from qoemon.core.wire.batch import Batch
from qoemon.core.wire.opinion import LARGEST_SCORE
from qoemon.core.wire.report import ABSENT_FLOAT, ABSENT_INT

CONDITIONS = 2**31
"""More than any condition: a day and a condition are combined in one number, as there may be many of them."""
_COLUMNS = ("kept_s", "condition")

ConditionsOf = Callable[[Ints, float], Ints]
"""(N,) condition of each row in the rating interval that ends at a time; NO_CONDITION without one."""


class _Said(NamedTuple):
    """What the user of a session has said so far, and the newest report of it.

    about  arrival and `ts` of the report whose time the answer is about: the newest one with a rating; without any,
           the newest one with a thumb; without any, the newest one
    """

    arrival_s: float
    ts_s: float
    seq: int
    run: str | None
    rating: int
    thumb: int
    asked: bool
    scores: tuple[int, ...]
    about: tuple[float, float]

    def follows(self, before: _Said) -> bool:
        """Whether it is newer than what was said before."""
        if None not in {self.run, before.run} and self.run != before.run:
            return True
        later = ABSENT_FLOAT not in {self.ts_s, before.ts_s} and self.ts_s > before.ts_s
        if ABSENT_INT not in {self.seq, before.seq}:
            return self.seq > before.seq or (later and self.seq != before.seq)
        return later if ABSENT_FLOAT not in {self.ts_s, before.ts_s} else True

    def after(self, before: _Said | None) -> _Said:
        """Both together: of each, the newer one that there is."""
        if before is None:
            return self
        new, old = (self, before) if self.follows(before) else (before, self)
        return new._replace(
            rating=old.rating if new.rating == NO_RATING else new.rating,
            thumb=new.thumb or old.thumb,
            asked=new.asked or old.asked,
            scores=tuple(was if now == NO_SCORE else now for now, was in zip(new.scores, old.scores, strict=True)),
            about=old.about if old._weight > new._weight else new.about,
        )

    @property
    def _weight(self) -> int:
        """2 with a rating, 1 with a thumb only, 0 without both."""
        return 2 if self.rating != NO_RATING else abs(self.thumb)


class _Counted(NamedTuple):
    """What a session has been counted with: its answer, as in FeedbackCounts."""

    said: _Said
    answer: tuple[int, ...]


class SessionAnswers:
    """Columns parallel to a SessionTable, and the answers of the sessions that have any.

    kept_s     (rows,) time of the last report when the condition was kept; NaN if it was not
    condition  (rows,) int32, what was kept, as in FeedbackCounts; NO_CONDITION if there was none
    """

    def __init__(
        self, sessions: SessionTable, times: ReportTimes, scale: Scale, timing: Timing, feedback: Feedback
    ) -> None:
        self._sessions, self._times, self._scale, self._feedback = sessions, times, scale, feedback
        self._silent_s = timing.interval_s / 2
        self._horizon_s = max(timing.windows_s)
        self._used = 0
        self.kept_s = np.zeros(0)
        self.condition = np.zeros(0, np.int32)
        self._past = PastSessions(feedback.within_s)
        self._heard: dict[str, _Said] = {}
        """What was said in the current tick, by session."""
        self._counted: dict[str, _Counted] = {}
        self._answers: list[tuple[int, ...]] = []
        self._counts: list[int] = []
        """Answers that are not handed on yet, and the number of each."""
        self._silent: list[Ints] = []
        """Likewise, of sessions that are over and whose users have said nothing: day * CONDITIONS + condition."""
        self._unmatched: Counter[Unmatched] = Counter()

    def hear(self, batch: Batch, arrival_s: Floats) -> None:
        """Take what is said in a batch; join() counts it."""
        opinions = batch.opinions
        if opinions is None:
            return
        columns = (
            arrival_s[opinions.of],
            batch.ts_s[opinions.of],
            batch.seq[opinions.of],
            opinions.rating,
            opinions.thumb,
            opinions.asked,
            np.array([*opinions.scores.values()]).reshape(len(opinions.scores), len(opinions)).T,
        )
        for at, arrival, ts_s, seq, rating, thumb, asked, scores in zip(
            opinions.of.tolist(), *(column.tolist() for column in columns), strict=True
        ):
            session = batch.session[at]
            run = None if batch.run is None else batch.run[at]
            values = self._rating(rating), thumb, asked, tuple(map(_score, scores))
            said = _Said(arrival, ts_s, seq, run, *values, about=(arrival, ts_s))
            counted = self._counted.get(session)
            before = self._heard.get(session) or (counted and counted.said)
            after = said.after(before)
            if after == before:
                continue
            self._heard[session] = after
            outside = rating != ABSENT_FLOAT and said.rating == NO_RATING
            outside |= any(score != ABSENT_FLOAT and _score(score) == NO_SCORE for score in scores)
            if outside:
                self._unmatched[Unmatched.OUT_OF_SCALE] += 1

    def join(self, at_s: float, conditions_of: ConditionsOf) -> None:
        """End a tick, before anything is cleared: keep conditions, and count what was said with them."""
        self._grow()
        self._keep(at_s, conditions_of)
        if not self._heard:
            return
        sessions = [session for session, said in self._heard.items() if _says_something(said)]
        rows = np.array([self._row(session, self._heard[session].run) for session in sessions], np.int64)
        last_s, condition = self._conditions(sessions, rows, at_s, conditions_of)
        for session, row, heard_s, of_session in zip(
            sessions, rows.tolist(), last_s.tolist(), condition.tolist(), strict=True
        ):
            self._count(session, self._heard[session], row, heard_s, of_session)
        self._heard = {}

    def remove(self, rows: Ints, at_s: float) -> None:
        """Remember the conditions of runs that are over, and count those whose users have said nothing."""
        self._grow()
        known = rows[(self.kept_s[rows] == self._sessions.last_s[rows]) & (self.condition[rows] != NO_CONDITION)]
        keys = map(self._sessions.key, known.tolist())
        names = [key if isinstance(key, str) else key[0] for key in keys]
        last_s, condition = self._sessions.last_s[known], self.condition[known].astype(np.int64)
        silent = np.ones(len(names), np.bool_)
        if self._counted:
            silent = np.array([name not in self._counted for name in names], np.bool_)
        day = (last_s // DAY_S).astype(np.int64)
        self._silent.append(day[silent] * CONDITIONS + condition[silent])
        recent = np.flatnonzero(last_s + self._feedback.within_s > at_s)
        self._past.add([names[at] for at in recent.tolist()], last_s[recent], condition[recent])
        self.kept_s[rows], self.condition[rows] = np.nan, NO_CONDITION

    def drain(self, at_s: float) -> FeedbackCounts:
        """What was counted since the last call, when a rating interval closes."""
        self._past.forget(at_s)
        self._forget_answers()
        cells, numbers = np.unique(self._all_silent(), return_counts=True)
        if not self._answers and not self._unmatched and not len(cells):
            return no_feedback()
        size = SCORES + len(self._feedback.scores)
        silent = np.tile(np.array([self._nothing_said(0, 0)], np.int64), (len(cells), 1))
        silent[:, DAY], silent[:, CONDITION] = np.divmod(cells, CONDITIONS)
        answers = np.array(self._answers, np.int64).reshape(len(self._answers), size)
        unmatched = np.array([self._unmatched[reason] for reason in REASONS], np.int64)
        counts = np.array(self._counts, np.int64)
        self._answers, self._counts, self._silent, self._unmatched = [], [], [], Counter()
        return summed(
            np.concatenate([silent, answers]),
            np.concatenate([numbers, counts]),
            self._feedback.scores,
            unmatched,
        )

    def shift(self, by_s: int) -> None:
        """Move all times by so many seconds; answers that have been counted keep their days."""
        self.kept_s = self.kept_s + by_s
        self._past.shift(by_s)

    def dump(self) -> Arrays:
        """The whole state, as arrays by name; rows in the order of SessionTable.occupied."""
        self._grow()
        rows = self._sessions.occupied
        rest = {
            "scores": self._feedback.scores,
            "heard": self._heard,
            "counted": self._counted,
            "answers": self._answers,
            "counts": self._counts,
            "unmatched": self._unmatched,
        }
        return {
            **{name: getattr(self, name)[rows] for name in _COLUMNS},
            **named("past/", self._past.dump()),
            "silent": self._all_silent(),
            "answers": np.frombuffer(msgspec.msgpack.encode(rest), np.uint8),
        }

    def load(self, state: Arrays, rows: Ints) -> None:
        """Restore a dump(); rows are those that SessionTable.load() returned. Earlier versions have none."""
        self._grow()
        if not state:
            return
        for name in _COLUMNS:
            getattr(self, name)[rows] = state[name]
        self._past.load(part("past/", state))
        self._silent = [state["silent"]]
        rest = msgspec.msgpack.decode(state["answers"].tobytes(), type=_Rest)
        if rest.scores != self._feedback.scores:
            rest = _with_scores(rest, self._feedback.scores)
        self._heard, self._counted = rest.heard, rest.counted
        self._answers, self._counts, self._unmatched = rest.answers, rest.counts, Counter(rest.unmatched)

    def _keep(self, at_s: float, conditions_of: ConditionsOf) -> None:
        """Keep the conditions of runs that have ended, or have been silent for half a rating interval."""
        over = [
            rows.start
            + np.flatnonzero(self._sessions.ended[rows] | (self._sessions.last_s[rows] <= at_s - self._silent_s))
            for rows in self._sessions.parts
        ]
        some: Ints = np.concatenate([*over, np.zeros(0, np.int64)])
        # Few rows are left: all others cost no more than what is above.
        last_s = self._sessions.last_s[some]
        some = some[(self.kept_s[some] != last_s) & ~np.isnan(last_s)]
        # All at once: to find the measurements of one session costs as much as to find those of all.
        if len(some):
            self.condition[some] = conditions_of(some, at_s)
            self.kept_s[some] = self._sessions.last_s[some]

    def _conditions(
        self, sessions: Sequence[str], rows: Ints, at_s: float, conditions_of: ConditionsOf
    ) -> tuple[Floats, Ints]:
        """(N,) when each session was last heard, NaN if it is not known, and (N,) its condition."""
        last_s, condition = self._past.find(sessions)
        there = np.flatnonzero(rows >= 0)
        mine = rows[there]
        last_s[there] = self._sessions.last_s[mine]
        kept = self.kept_s[mine] == last_s[there]
        condition[there[kept]] = self.condition[mine[kept]]
        condition[there[~kept]] = conditions_of(mine[~kept], at_s)
        return last_s, condition

    def _count(self, session: str, said: _Said, row: int, heard_s: float, condition: int) -> None:
        before = self._counted.get(session)
        # What follows a rating adds to the answer, whose time and condition stay.
        follows = before is not None and before.said.about == said.about
        said_s = self._time_of(row, *((said.arrival_s, said.ts_s) if follows else said.about))
        day = int(said_s // DAY_S)
        if before is not None and follows:
            day, condition = before.answer[DAY], before.answer[CONDITION]
        reason = None
        if np.isnan(heard_s):
            reason = Unmatched.NO_SESSION
        elif said_s - heard_s > self._feedback.within_s:
            reason = Unmatched.TOO_LATE
        elif condition == NO_CONDITION:
            reason = Unmatched.NO_CONDITION
        if reason is not None:
            self._unmatched[reason] += 1
            return
        if before is not None:
            self._add(before.answer, -1)
        elif row < 0:  # It was counted as over, and its user had said nothing.
            self._add(self._nothing_said(heard_s, condition), -1)
        answer = (day, condition, int(said.asked), said.rating, said.thumb, *said.scores)
        self._add(answer, 1)
        self._counted[session] = _Counted(said, answer)

    def _all_silent(self) -> Ints:
        return np.concatenate([*self._silent, np.zeros(0, np.int64)])

    def _add(self, answer: tuple[int, ...], number: int) -> None:
        self._answers.append(answer)
        self._counts.append(number)

    def _nothing_said(self, heard_s: float, condition: int) -> tuple[int, ...]:
        return (int(heard_s // DAY_S), condition, 0, NO_RATING, 0, *[NO_SCORE] * len(self._feedback.scores))

    def _time_of(self, row: int, arrival_s: float, ts_s: float) -> float:
        """When it was said, on the daemon's clock; that of its session is not changed.

        A time that is longer ago than the longest window is not believed: its day would be one that is over.
        """
        at_s = self._times.time_of(row, ts_s, arrival_s)
        return at_s if arrival_s - self._horizon_s <= at_s <= arrival_s else arrival_s

    def _rating(self, given: float) -> int:
        """The rating on the scale that is nearest to a number; NO_RATING if the number is not on the scale."""
        scale = self._scale
        return int(given + 0.5) if scale.low <= given <= scale.high else NO_RATING

    def _row(self, session: str, run: str | None) -> int:
        """The row of a session's run, or of its newest run; -1 if it is not in the table."""
        row = -1 if run is None else self._sessions.find((session, run))
        return self._sessions.newest(session) if row < 0 else row

    def _forget_answers(self) -> None:
        """Forget the answers of sessions that may not be rated any more."""
        gone = [session for session in self._counted if self._sessions.newest(session) < 0]
        if gone:
            last_s, _ = self._past.find(gone)
            for at in np.flatnonzero(np.isnan(last_s)).tolist():
                del self._counted[gone[at]]

    def _grow(self) -> None:
        used, room = self._used, self._sessions.capacity
        if room > len(self.kept_s):
            for name in _COLUMNS:
                setattr(self, name, grow_columns(getattr(self, name), used, room))
        self._used = self._sessions.rows
        self.kept_s[used : self._used], self.condition[used : self._used] = np.nan, NO_CONDITION


class _Rest(msgspec.Struct):
    """What of the state is not columns."""

    scores: tuple[str, ...]
    heard: dict[str, _Said]
    counted: dict[str, _Counted]
    answers: list[tuple[int, ...]]
    counts: list[int]
    unmatched: dict[Unmatched, int]


def _with_scores(rest: _Rest, scores: tuple[str, ...]) -> _Rest:
    """The state with these scores: those that are new have no values."""

    def of(values: tuple[int, ...]) -> tuple[int, ...]:
        known = dict(zip(rest.scores, values, strict=True))
        return tuple(known.get(name, NO_SCORE) for name in scores)

    def said(one: _Said) -> _Said:
        return one._replace(scores=of(one.scores))

    def answer(one: tuple[int, ...]) -> tuple[int, ...]:
        return (*one[:SCORES], *of(one[SCORES:]))

    return _Rest(
        scores=scores,
        heard={session: said(one) for session, one in rest.heard.items()},
        counted={session: _Counted(said(one.said), answer(one.answer)) for session, one in rest.counted.items()},
        answers=list(map(answer, rest.answers)),
        counts=rest.counts,
        unmatched=rest.unmatched,
    )


def _score(given: float) -> int:
    return round(given * SCORE_PARTS) if abs(given) <= LARGEST_SCORE and given != ABSENT_FLOAT else NO_SCORE


def _says_something(said: _Said) -> bool:
    known = (said.rating != NO_RATING, said.thumb, said.asked, any(score != NO_SCORE for score in said.scores))
    return any(known)
