"""What players say, in a line each, and what it comes to: the rules written a second time, slow and plain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from hypothesis import strategies as st

from qoemon.core.plan.plan import Plan, Players, Service
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.wire.player import PlayerBatch, PlayerGather, PlayerRecord, PlayerState
from qoemon.core.wire.report import ABSENT_INT, Route
from tests.support.core import T0, VIDEO, plan

STATES = dict(zip("dspkrawefq", list(PlayerState)[1:], strict=True)) | {"": PlayerState.UNTOLD}


@dataclass(frozen=True)
class Word:
    """One record. Times in ms since T0: ts_ms on the player's clock, at_ms of its arrival."""

    ts_ms: int
    sta: str = ""
    sn: int | None = None
    at_ms: int | None = None
    session: str = "s"
    e: str = "ps"
    pr: float = 1.0
    msd: int | None = None
    bg: bool = False

    @property
    def arrival_s(self) -> float:
        return T0 + (self.ts_ms if self.at_ms is None else self.at_ms) / 1000


def of_player(*services: Service, players: Players | None = None, **limits: int) -> Plan:
    """A plan with a collector's path."""
    paths = (TopicTemplate("/cmcd/v1/{service}/{region}"),)
    return replace(plan(*(services or (VIDEO,)), **limits), paths=paths, players=players or Players())


def columns(words: Iterable[Word], service: str = "video", group: str = "eu") -> PlayerBatch:
    """The records as the codec hands them on."""
    gather = PlayerGather()
    for word in words:
        record = PlayerRecord(
            session=word.session,
            seq=ABSENT_INT if word.sn is None else word.sn,
            ts_ms=T0 * 1000 + word.ts_ms,
            state=STATES[word.sta],
            rate=word.pr,
            startup_ms=ABSENT_INT if word.msd is None else word.msd,
            heartbeat=word.e == "t",
            of_request=word.e == "rr",
            hidden=word.bg,
        )
        gather.add([record], Route(service, (group,)), word.arrival_s)
    return gather.batch()


def numbered(*words: Word, first: int = 0) -> list[Word]:
    """The words with the numbers that a player gives them."""
    return [replace(word, sn=number) for number, word in enumerate(words, first)]


def truth(
    words: Sequence[Word], heartbeat_ms: int = 30_000, timeout_ms: int = 300_000
) -> list[tuple[int, int, int]]:
    """Stalls, stall ms and play ms of each run of a session whose records arrive in time, by the rules."""
    words = sorted({(word.sn, word.ts_ms, word.e): word for word in words}.values(), key=lambda w: (w.ts_ms, w.sn))
    runs: list[list[Word]] = []
    for word in words:
        if not runs or word.sn <= runs[-1][-1].sn:
            runs.append([])
        runs[-1].append(word)
    learnt, counted = 0, []
    for run in runs:
        stalls = stall_ms = play_ms = 0
        ready, state, rate, over, beat_ms = False, "", 1.0, False, None
        before, lost = None, False
        for word in run:
            if word.e == "rr":
                lost |= before is not None and word.sn > before.sn + 1
                before = replace(before, sn=word.sn) if before else None
                continue
            if over and word.sta in set("pkdsr"):
                counted.append((stalls, stall_ms, play_ms))
                stalls = stall_ms = play_ms = 0
                ready, state, over, beat_ms, before = False, "", False, None, replace(word)
            if word.e == "t":
                if beat_ms is not None and word.ts_ms - beat_ms >= 1000:
                    learnt = min(learnt or 10**9, word.ts_ms - beat_ms)
                beat_ms = word.ts_ms
            if before is not None:
                usual, passed = learnt or heartbeat_ms, min(word.ts_ms - before.ts_ms, timeout_ms)
                lost |= word.sn > before.sn + 1
                if state == "p" and (not lost or passed <= 1.5 * usual):
                    play_ms += round(min(passed, 2 * usual) * rate)
                elif state == "r" and ready:
                    stall_ms += passed
            told = state if not word.sta or over else word.sta
            stalls += told == "r" and state != "r" and ready
            ready = (ready or told == "p") and told not in set("ksdefq")
            over, state, rate, before, lost = told in set("efq"), told, word.pr, word, False
        counted.append((stalls, stall_ms, play_ms))
    return counted


@st.composite
def stories(draw: st.DrawFn, session: str = "s", reorder_ms: int = 1990, most: int = 14) -> list[Word]:
    """The records of a player, some lost, late by less than reorder_ms or sent twice, in the order of arrival."""
    ts_ms, sn, words = draw(st.integers(0, 20_000)), 0, []
    ambiguous = None
    """The number after the last one of the run before: nobody can tell of which run it is."""
    for _ in range(draw(st.integers(1, most))):
        if draw(st.integers(0, 9)) == 0 and words:
            sn, ambiguous = 0, words[-1].sn + 1
        e = draw(st.sampled_from(["ps", "ps", "ps", "t", "t", "rr"]))
        word = Word(
            ts_ms,
            draw(st.sampled_from("dsppppkkrrrrawefq") if e == "ps" else st.sampled_from(["", "p", "r"])),
            sn,
            ts_ms + draw(st.integers(0, reorder_ms)),
            session,
            e,
            draw(st.sampled_from([1.0, 1.0, 1.5, 2.0])),
            draw(st.sampled_from([None, None, 90, 1200])),
        )
        if draw(st.integers(0, 7)) and sn != ambiguous:
            words.append(word)
        if draw(st.integers(0, 7)) == 0 and words and words[-1] is word:
            words.append(replace(word, at_ms=word.at_ms + draw(st.integers(0, 8000))))
        sn += 1
        ts_ms += draw(st.sampled_from([150, 400, 2000, 5000, 10_000, 10_000, 25_000, 70_000]))
    return sorted(words, key=lambda each: each.at_ms)


def in_ticks(words: Iterable[Word], tick_s: int = 10) -> Iterator[tuple[int, list[Word]]]:
    """The words of each tick, by its number."""
    for tick, some in groupby(words, lambda word: int(word.arrival_s // tick_s)):
        yield tick, list(some)
