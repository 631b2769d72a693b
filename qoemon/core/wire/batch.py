"""Batches of reports as columns: after decoding, no code iterates over reports."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from typing import Any

import msgspec
import numpy as np

from qoemon.core.arrays import Flags, Floats, Ints
from qoemon.core.wire.opinion import Opinion, Opinions, joined_opinions, opinions_of
from qoemon.core.wire.report import ABSENT_FLOAT, ABSENT_INT, Report, Route

MAX_COUNT = 10**9
MAX_SECONDS = MAX_MEASURE = 1e9
"""Larger numbers are rejected as implausible (30 years of stalling); sums of milliseconds cannot overflow."""


LATEST_S = 1e11
"""The year 5138: a later `ts` is no time in seconds, but in milliseconds, with differences a thousand times as
long. It counts as missing."""


@dataclass(frozen=True)
class Batch:
    """R reports as columns, in order of arrival.

    routes       the distinct routes in this batch
    route        (R,) index into routes
    session      R session ids
    seq          (R,) ABSENT_INT if missing
    arrival_s, ts_s  (R,) seconds since the epoch; ts_s is ABSENT_FLOAT if missing
    stalls, stall_ms, play_ms  (R,) counters; ABSENT_INT if missing
    stalled, end (R,) flags
    run          R runs of the sessions as text, None where the client does not report it; None if none does
    opinions     what users say about their sessions; None if no report has it
    response_s   (E,) seconds, all response times of the batch
    response_of  (E,) index of the report of each, ascending
    measures     (R,) each: measures by name, ABSENT_FLOAT if missing
    """

    routes: tuple[Route, ...]
    route: Ints
    session: Sequence[str]
    seq: Ints
    arrival_s: Floats
    ts_s: Floats
    stalls: Ints
    stall_ms: Ints
    play_ms: Ints
    stalled: Flags
    end: Flags
    response_s: Floats
    response_of: Ints
    measures: Mapping[str, Floats]
    run: Sequence[str | None] | None = None
    opinions: Opinions | None = None

    def __len__(self) -> int:
        return len(self.session)

    def take(self, kept: Ints) -> Batch:
        """The reports at these positions, ascending, with their response times."""
        if len(kept) == len(self):
            return self
        renumbered = np.full(len(self), -1)
        renumbered[kept] = np.arange(len(kept))
        response_of = renumbered[self.response_of] if len(self.response_of) else self.response_of
        return Batch(
            routes=self.routes,
            session=[self.session[i] for i in kept.tolist()],
            response_s=self.response_s[response_of >= 0],
            response_of=response_of[response_of >= 0],
            measures={name: column[kept] for name, column in self.measures.items()},
            run=None if self.run is None else [self.run[i] for i in kept.tolist()],
            opinions=None if self.opinions is None else self.opinions.take(renumbered),
            **{name: getattr(self, name)[kept] for name in _BY_REPORT},
        )


_BY_REPORT = ("route", "seq", "arrival_s", "ts_s", "stalls", "stall_ms", "play_ms", "stalled", "end")


def batch_of(
    reports: Sequence[Report],
    route: Sequence[int] | Ints,
    arrival_s: Sequence[float] | Floats,
    routes: Sequence[Route],
    measures: Sequence[str] = (),
    opinions: Sequence[tuple[int, Opinion]] = (),
    scores: Sequence[str] = (),
) -> tuple[Batch, Ints]:
    """The columns of all reports whose fields are in range, and the positions of the other reports.

    route, arrival_s  for each report, index into routes and seconds since the epoch
    measures          names of the measures that any service uses
    opinions          those that reports have, each with the position of its report, ascending
    scores            names of the scores that are taken
    """
    stall_s = floats([r.stall_s for r in reports])
    play_s = floats([r.play_s for r in reports])
    response_s, response_of = _responses([r.response_s for r in reports])
    everything = Batch(
        routes=tuple(routes),
        route=np.asarray(route, np.int64),
        session=[r.session for r in reports],
        seq=ints([r.seq for r in reports]),
        arrival_s=np.asarray(arrival_s, np.float64),
        ts_s=_times(floats([r.ts for r in reports])),
        stalls=ints([r.stall_count for r in reports]),
        stall_ms=_milliseconds(stall_s),
        play_ms=_milliseconds(play_s),
        stalled=flags([r.stalled for r in reports]),
        end=flags([r.end for r in reports]),
        response_s=response_s,
        response_of=response_of,
        measures={name: _measure(reports, name) for name in measures},
        run=_runs(reports),
        opinions=opinions_of(opinions, scores),
    )
    good = _in_range(everything, stall_s, play_s)
    return everything.take(np.flatnonzero(good)), np.flatnonzero(~good)


def _times(ts_s: Floats) -> Floats:
    return np.where((ts_s > LATEST_S) & np.isfinite(ts_s), ABSENT_FLOAT, ts_s)


def fault(report: Report) -> str:
    """The first field of a report that is out of range, and the rule; empty if all are in range."""
    limits = {"seq": 2**63 - 1, "ts": np.finfo(np.float64).max, "stall_count": MAX_COUNT}
    limits |= {"stall_s": MAX_SECONDS, "play_s": MAX_SECONDS}
    for name, most in limits.items():
        value = getattr(report, name)
        if value not in {ABSENT_INT, ABSENT_FLOAT} and not 0 <= value <= most:
            return f"{name} is {_short(value)}, expected {_RULES.get(name, f'0 to {most:,.0f}')}"
    if report.stall_count > 0 and report.stall_s <= 0 and not report.stalled:
        return f"stall_count is {report.stall_count} without stall_s, expected the stalling time, or stalled: true"
    times = report.response_s if isinstance(report.response_s, list) else [report.response_s]
    for value in times:
        if value != ABSENT_FLOAT and not 0 <= value <= MAX_SECONDS:
            return f"response_s is {_short(value)}, expected 0 to {MAX_SECONDS:,.0f}"
    for name, value in (report.measures or {}).items():
        if not abs(value) <= MAX_MEASURE:
            return f"measures.{name} is {_short(value)}, expected at most {MAX_MEASURE:,.0f} in size"
    return ""


def _short(value: float) -> str:
    """The number, without the digits of one that is far too large."""
    text = str(value)
    return text if len(text) <= MAX_DIGITS else f"{text[:MAX_DIGITS]}..."


MAX_DIGITS = 24
_RULES = {"seq": "0 or more, in 64 bits", "ts": "seconds since the epoch, 0 or more"}


def joined(parts: Sequence[Batch], routes: Sequence[Route]) -> Batch:
    """The batches concatenated in order; their route numbers are indexes into `routes`."""
    if len(parts) == 1:
        return replace(parts[0], routes=tuple(routes))
    offsets = [*accumulate(map(len, parts), initial=0)]
    return Batch(
        routes=tuple(routes),
        session=list(chain.from_iterable(part.session for part in parts)),
        response_s=np.concatenate([part.response_s for part in parts]),
        response_of=np.concatenate(
            [offset + part.response_of for offset, part in zip(offsets, parts, strict=False)]
        ),
        measures={name: np.concatenate([part.measures[name] for part in parts]) for name in parts[0].measures},
        run=_joined_runs(parts),
        opinions=joined_opinions([*zip(offsets, (part.opinions for part in parts), strict=False)]),
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _BY_REPORT},
    )


def _responses(given: Sequence[float | list[float]]) -> tuple[Floats, Ints]:
    """All response times (E,), and the index of the report of each (E,)."""
    if given.count(ABSENT_FLOAT) == len(given):
        return np.zeros(0), np.zeros(0, np.int64)
    lists = [[] if each == ABSENT_FLOAT else each if isinstance(each, list) else [each] for each in given]
    of = np.repeat(np.arange(len(lists)), [len(times) for times in lists])
    return floats(list(chain.from_iterable(lists))), of


def _runs(reports: Sequence[Report]) -> list[str | None] | None:
    """The runs as text; None if no report has one."""
    runs = [r.run for r in reports]
    if runs.count(msgspec.UNSET) == len(runs):
        return None
    return [None if run is msgspec.UNSET else str(run) for run in runs]


def _joined_runs(parts: Sequence[Batch]) -> list[str | None] | None:
    if all(part.run is None for part in parts):
        return None
    return list(chain.from_iterable([None] * len(part) if part.run is None else part.run for part in parts))


def _measure(reports: Sequence[Report], name: str) -> Floats:
    return floats([r.measures.get(name, ABSENT_FLOAT) if r.measures else ABSENT_FLOAT for r in reports])


def _in_range(batch: Batch, stall_s: Floats, play_s: Floats) -> Flags:
    good = (
        _between(batch.seq, ABSENT_INT, 2**63 - 1)
        & _between(batch.ts_s, ABSENT_FLOAT, np.finfo(np.float64).max)
        & _between(batch.stalls, ABSENT_INT, MAX_COUNT)
        & _between(stall_s, ABSENT_FLOAT, MAX_SECONDS)
        & _between(play_s, ABSENT_FLOAT, MAX_SECONDS)
        & ~((batch.stalls > 0) & (stall_s <= 0) & ~batch.stalled)  # a stall that has ended has a duration
    )
    bad_response = ~((batch.response_s >= 0) & (batch.response_s <= MAX_SECONDS))
    good[batch.response_of[bad_response]] = False
    for column in batch.measures.values():
        good &= np.abs(column) <= MAX_MEASURE
    return good


def _between(column: Any, absent: float, most: float) -> Flags:
    result: Flags = (column == absent) | ((column >= 0) & (column <= most))
    return result


# struct converts a list in one pass; numpy first determines the type of its elements.


def floats(values: Sequence[float]) -> Floats:
    """The numbers as an array."""
    return np.frombuffer(struct.pack(f"{len(values)}d", *values))


def flags(values: Sequence[bool]) -> Flags:
    """The flags as an array."""
    return np.frombuffer(struct.pack(f"{len(values)}?", *values), np.bool_)


def ints(values: Sequence[int]) -> Ints:
    """The numbers as an array; those beyond 64 bits become -1, which is out of range in every column."""
    try:
        return np.frombuffer(struct.pack(f"{len(values)}q", *values), np.int64)
    except struct.error:  # JSON integers are unbounded
        return np.array([v if abs(v) < 2**63 or v == ABSENT_INT else -1 for v in values], dtype=np.int64)


def _milliseconds(seconds: Floats) -> Ints:
    """Whole milliseconds, whose differences and sums are exact."""
    known = (seconds >= 0) & (seconds <= MAX_SECONDS)
    return np.where(known, np.rint(np.where(known, seconds, 0) * 1000).astype(np.int64), ABSENT_INT)
