"""Hostile and broken players take nothing from honest ones, and get no more than any player could claim."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

import pytest

from qoemon.core.counting.counts import Event
from qoemon.core.counting.session_log import SessionRecord
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from tests.support.captures import Posted, capture
from tests.support.core import T0
from tests.support.players import of_player

HONEST = ("hlsjs-stall1", "dashjs-stall1", "shakadebug-stall1", "hlsjs-netloss", "hlsjs-batchrr", "dashjs-scrub")
SECONDS, RECORDS = 40, 400
LARGEST = 10**15 - 1
"""The largest integer of RFC 8941."""
NOW_MS, Y2100_MS = T0 * 1000, 4_102_444_800_000


def record(
    sid: str, sn: int | None = None, ts: int | None = None, sta: str = "p", e: str = "ps", more: str = ""
) -> str:
    """A record as players write it. more: further members."""
    told = {"e": e, "sid": f'"{sid}"', "sn": sn, "sta": sta, "ts": ts, "v": 2}
    return ",".join(
        [*(f"{key}={value}" for key, value in told.items() if value is not None), *filter(None, [more])]
    )


def anything(s: int, j: int) -> str:
    """One session from many connections."""
    draw = random.Random(s * RECORDS + j)
    ts = draw.choice([0, NOW_MS, Y2100_MS, draw.randrange(LARGEST), LARGEST])
    return record("one", draw.randrange(LARGEST), ts, draw.choice("dspkrawefq"), draw.choice(["ps", "t", "rr"]))


def flapping(s: int, j: int) -> str:
    return record(f"flap-{j // 20}", s * 20 + j % 20, NOW_MS + 1000 * s + j % 20, "pr"[j % 2])


def back_and_forth(s: int, j: int) -> str:
    """1970 and 33658."""
    sn = s * 20 + j % 20
    return record(f"time-{j // 20}", sn, [1, LARGEST][j % 2], "p" if sn < 4 else "r")


def jumping(s: int, j: int) -> str:
    return record(f"jump-{j // 20}", (s * 20 + j % 20) * 2**39, NOW_MS + 1000 * s + j % 20, "pr"[j % 2])


def gaps_of_ages(s: int, j: int) -> str:
    return record(f"gap-{j // 20}", 2 * (s * 20 + j % 20), (s * 20 + j % 20) * 10**12)


def restarting(s: int, j: int) -> str:
    return record(f"run-{j // 20}", 0, NOW_MS + 1000 * s + j % 20, "r")


def waiting(s: int, j: int) -> str:
    """Each record of a session of its own waits for those before it."""
    return record(f"wait-{s}-{j}", 5, NOW_MS + 1000 * s)


def of_requests(s: int, j: int) -> str:
    sn, e = 2 * (s * 20 + j % 20), "rr" if s or j % 20 else "ps"
    return record(f"request-{j // 20}", sn, NOW_MS, e=e, more=f"msd={LARGEST}")


def fast(s: int, j: int) -> str:
    rate = ["pr=1000000000", "pr=-1", "pr=999999999999.999", "pr=0.0"][j % 4]
    sn, ts = s * 10 + j % 10, NOW_MS + 1000 * s + 100 * (j % 10)
    return record(f"fast-{j // 10}", sn, ts, more=f"{rate},msd={LARGEST}")


def unreadable(s: int, j: int) -> str:
    sids = ["\U0001f600" * 64, "\U0001f600" * 16, "a\x00b", "a\tb", "\x7f", "é", 'a\\"b', "\u2028", "a" * 9000]
    return record(sids[j % len(sids)], j)


ATTACKS = (
    anything,
    flapping,
    back_and_forth,
    jumping,
    gaps_of_ages,
    restarting,
    waiting,
    of_requests,
    fast,
    unreadable,
)


def honest() -> Iterator[Posted]:
    for number, name in enumerate(HONEST):
        found = capture(name)
        for body in found.posted:
            at_s = T0 + number / 10 + body.arrival_s - found.posted[0].arrival_s
            yield replace(body, arrival_s=at_s, topic=f"/cmcd/v1/video/{name}")


def attack(of: Callable[[int, int], str]) -> Iterator[Posted]:
    """Bodies that come alternately from two groups."""
    for s in range(SECONDS):
        for part in range(8):
            lines = [of(s, j) for j in range(part, RECORDS, 8)]
            yield Posted("\n".join(lines).encode(), T0 + s + part / 8, f"/cmcd/v1/video/evil-{part % 2}")


class Outcome(NamedTuple):
    """What came of it. Records of honest sessions and of others; figures of each honest group at each tick."""

    pipeline: ShardPipeline
    good: list[SessionRecord]
    bad: list[SessionRecord]
    figures: list[dict[str, tuple[object, ...]]]


def counted(posted: Iterable[Posted]) -> Outcome:
    records: list[SessionRecord] = []
    pipeline = ShardPipeline(of_player(), on_session=records.append)
    figures = []
    for tick in chain(
        pipeline.run(sorted(posted, key=lambda each: each.arrival_s)), pipeline.until(T0 + SECONDS + 1500)
    ):
        counts = tick.services[0]
        columns = zip(counts.groups, counts.levels, counts.users, counts.open_stalls, strict=True)
        figures.append(
            {labels[0]: (levels.tolist(), *rest) for labels, levels, *rest in columns if labels[0] in HONEST}
        )
    pipeline.hand_on_sessions()
    good = sorted((each for each in records if each.labels[0] in HONEST), key=lambda each: (each.session, each.run))
    return Outcome(pipeline, good, [each for each in records if each.labels[0] not in HONEST], figures)


@pytest.mark.parametrize("of", ATTACKS, ids=lambda of: of.__name__)
def test_figures_of_honest_players_are_those_without_the_attack(of, monkeypatch):
    monkeypatch.setattr("qoemon.core.counting.player_order.MOST_HELD", 1000)
    alone, attacked = counted(honest()), counted([*honest(), *attack(of)])
    assert len(alone.good) == len(HONEST)
    assert any(users for tick in alone.figures for _, users, _ in tick.values())
    assert attacked.good == alone.good
    assert attacked.figures == alone.figures
    for each in attacked.bad:
        assert 0 <= each.stall_ms + each.play_ms <= 2 * 1000 * SECONDS + 60_000
    assert attacked.pipeline.events[Event.UNKNOWN_MS] <= SECONDS * RECORDS * 300_000
