"""Feed quality equals a count by hand, report by report."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from qoemon.core.counting.counts import Event
from qoemon.core.wire.codec import Codec
from qoemon.core.wire.message import Kind
from qoemon.core.wire.report import Reject
from qoemon.tools.report.advice import REJECTS, findings
from qoemon.tools.report.feed_quality import Feed, FeedQuality, PlayerFeed
from tests.support.core import DELTAS, T0, VIDEO, WEB, plan
from tests.support.players import of_player

INTERVAL_S, TIMEOUT_S = 60, 300


class Message(NamedTuple):
    topic: str
    payload: bytes
    arrival_s: float
    kind: Kind = Kind.MQTT


def message(at_s: float, *, service: str = "video", **report: Any) -> Message:
    return Message(f"qoe/v1/{service}/eu", msgspec.json.encode({"session": "s", **report}), T0 + at_s)


def examined(messages: list[Message], *, at_once: int = 7, services: tuple[Any, ...] = (VIDEO, WEB)) -> FeedQuality:
    tested = plan(*services)
    quality, codec = FeedQuality(tested), Codec(tested)
    for start in range(0, len(messages), at_once):
        quality.observe(codec.decode(messages[start : start + at_once]))
    return quality


def feed(messages: list[Message], **options: Any) -> Feed:
    return examined(messages, **options).feeds()[0]


def faulty(seed: int) -> list[Message]:
    """Thirty clients, each with faults of its own, over some twenty minutes."""
    rng = np.random.default_rng(seed)
    messages = []
    for number in range(30):
        at_s, seq, counters = float(rng.uniform(0, 60)), 0, [0, 0.0, 0.0]
        every_s, numbered, skew_s = rng.choice([5, 20, 59, 61, 90]), rng.random() < 0.8, float(rng.normal(0, 20))
        for _ in range(rng.integers(1, 25)):
            at_s += float(every_s * rng.uniform(0.9, 1.1)) + (400 if rng.random() < 0.03 else 0)
            seq += 1 if rng.random() < 0.9 else int(rng.integers(2, 6))
            if rng.random() < 0.05:
                counters = [0, 0.0, 0.0]
            counters = [counters[0] + int(rng.integers(0, 3)), counters[1] + 1.5, counters[2] + float(every_s)]
            report = {"session": f"s{number}", "stall_count": counters[0], "play_s": counters[2]}
            if rng.random() < 0.8:
                report["stall_s"] = counters[1]
            else:
                del report["stall_count"]
            if numbered:
                report["seq"] = seq
            if rng.random() < 0.7:
                report["ts"] = T0 + at_s + skew_s
            again = 2 if numbered and rng.random() < 0.1 else 1
            messages += [message(at_s, **report)] * again
    return sorted(messages, key=lambda each: each.arrival_s)


def by_hand(messages: list[Message]) -> dict[str, float]:
    """One report after the other."""
    last: dict[str, dict[str, float]] = {}
    gaps: defaultdict[str, list[float]] = defaultdict(list)
    found: defaultdict[str, float] = defaultdict(float)
    skews = []
    for each in messages:
        report = msgspec.json.decode(each.payload)
        before = last.setdefault(report["session"], {})
        if "seq" in report:
            if "seq" in before and report["seq"] <= before["seq"]:
                found["repeated"] += 1
                continue
            found["lost"] += report["seq"] - before["seq"] - 1 if "seq" in before else 0
        else:
            found["without_seq"] += 1
        found["reports"] += 1
        found["resets"] += any(report[key] < before[key] for key in KEYS if key in report and key in before)
        if "at" in before:
            gaps[report["session"]].append(each.arrival_s - before["at"])
        if "ts" in report:
            skews.append(report["ts"] - each.arrival_s)
        else:
            found["without_ts"] += 1
        before |= report | {"at": each.arrival_s}
    found["sessions"], found["with_gaps"] = len(last), len(gaps)
    found["infrequent"] = sum(statistics.median_low(each) > INTERVAL_S for each in gaps.values())
    found["returned"] = sum(max(each) > TIMEOUT_S for each in gaps.values())
    found["skew_median_s"], found["skew_worst_s"] = statistics.median_low(skews), max(skews, key=abs)
    return found


KEYS = ("stall_count", "stall_s", "play_s")


@pytest.mark.parametrize("at_once", [1, 7, 10_000])
@pytest.mark.parametrize("seed", range(4))
def test_feed_quality_equals_a_count_by_hand(seed, at_once):
    messages = faulty(seed)
    found, truth = feed(messages, at_once=at_once), by_hand(messages)
    assert min(truth[name] for name in ("lost", "repeated", "resets", "without_seq", "infrequent", "returned")) > 0
    for name in ("sessions", "reports", "repeated", "lost", "resets", "without_seq", "without_ts", "with_gaps"):
        assert getattr(found, name) == truth[name], name
    assert (found.infrequent, found.returned) == (truth["infrequent"], truth["returned"])
    assert found.skew_median_s == pytest.approx(truth["skew_median_s"], rel=0.02, abs=2e-4)
    assert found.skew_worst_s == pytest.approx(truth["skew_worst_s"])


def test_a_sound_feed_has_nothing_to_find():
    sound = [message(5 * i, seq=i, ts=T0 + 5 * i, stall_count=0, stall_s=0, play_s=5 * i) for i in range(100)]
    found = feed(sound)
    assert (found.sessions, found.reports, found.with_gaps) == (1, 100, 1)
    quiet = ("lost", "repeated", "resets", "without_seq", "without_ts", "infrequent", "returned", "refused")
    assert not any(getattr(found, name) for name in quiet)
    assert found.skew_median_s == found.skew_worst_s == 0


def test_without_ts_there_is_no_skew():
    found = feed([message(1, play_s=1)])
    assert math.isnan(found.skew_median_s)
    assert math.isnan(found.skew_worst_s)


def test_differences_have_no_resets():
    falling = [message(i, seq=i, play_s=10 - i) for i in range(5)]
    assert feed(falling).resets == 4
    assert feed(falling, services=(DELTAS,)).resets == 0


def test_services_are_counted_separately():
    quality = examined([message(i, seq=2 * i, service=name) for i in range(9) for name in ("video", "web", "web")])
    assert [(each.service, each.lost, each.repeated) for each in quality.feeds()] == [
        ("video", 8, 0),
        ("web", 8, 9),
    ]


def test_rejects_are_counted_by_reason_and_the_first_is_kept():
    bad = [
        Message("qoe/v1/video/eu", b"no", T0),
        Message("qoe/v1/video/eu", b"nope", T0),
        Message("x/y", b"{}", T0),
    ]
    quality = examined(bad)
    assert quality.rejected == {Reject.UNPARSEABLE: 2, Reject.UNKNOWN_SERVICE: 1}
    assert "b'no'" in quality.sample[Reject.UNPARSEABLE]


def test_a_session_that_was_long_gone_counts_as_another_and_its_row_is_clean():
    tested = [message(0, seq=9, play_s=9), message(10, seq=10, play_s=19), message(90_000, seq=1, play_s=1)]
    found = feed(tested, at_once=1)
    assert (found.sessions, found.lost, found.repeated, found.resets, found.returned) == (2, 0, 0, 0, 0)
    assert (found.with_gaps, found.infrequent) == (1, 0)


def test_memory_is_bounded_by_the_limit_of_sessions():
    tested = plan(sessions=3)
    quality, codec = FeedQuality(tested), Codec(tested)
    quality.observe(codec.decode([message(i, session=f"s{i}", seq=1) for i in range(10)]))
    found = quality.feeds()[0]
    assert (found.sessions, found.reports, found.refused) == (3, 3, 7)


def test_numbers_as_large_as_the_wire_allows_do_not_overflow():
    found = feed([message(0, seq=0), message(1, seq=2**63 - 1, ts=1e300), message(2, seq=2**63 - 1)])
    assert found.lost == pytest.approx(2**63, rel=1e-9)
    assert found.repeated == 1


def test_records_of_players_are_counted_by_service_with_what_they_lack():
    tested = of_player()
    quality, codec = FeedQuality(tested), Codec(tested)
    for body in (
        b'e=ps,sid="a",sn=0,sta=s,ts=1000\ne=t,sid="a",sn=1,ts=2000',
        b'e=rr,sid="a",sn=2,ts=1500\ne=ps,sid="b",sta=p\ne=ps,sid="b",sn=3,sta=p,ts=5000,v=9\n(',
    ):
        quality.observe(codec.decode([Message("/cmcd/v1/video/eu", body, T0, Kind.CMCD)]))
    assert quality.players["video"] == PlayerFeed("video", records=4, without_state=1, without_sn=1, without_ts=1)
    assert quality.rejected == {Reject.VERSION: 1, Reject.UNPARSEABLE: 1}
    quality.events = {Event.STATELESS: 1, Event.LATE_RECORD: 2, Event.UNKNOWN_MS: 5400}
    found = {(one.service, one.check): (one.found, one.problem) for one in findings(quality, tested.timing)}
    assert ("video", "sessions, reports") not in found
    assert found["video", "records of players"] == ("4 records", False)
    assert found["video", "records without sta"] == ("1 of 4 (25.0%)", False)
    assert found["video", "records without sn"] == ("1 of 4 (25.0%)", True)
    assert found["all", "sessions without state"] == ("1", True)
    assert found["all", "late records"] == ("2", True)
    assert found["all", "records not in order"] == ("none", False)
    assert found["all", "unknown seconds"] == ("5 s", True)


def test_a_service_without_reports_is_a_problem_unless_the_recording_has_records_of_players_only():
    tested = of_player(VIDEO, WEB)
    quality, codec = FeedQuality(tested), Codec(tested)

    def problems() -> set[str]:
        return {one.service for one in findings(quality, tested.timing) if one.problem}

    assert problems() == {"video", "web"}
    record = b'e=ps,sid="a",sn=0,sta=p,ts=1000'
    quality.observe(codec.decode([Message("/cmcd/v1/video/eu", record, T0, Kind.CMCD)]))
    assert problems() == set()
    report = b'{"session": "b", "seq": 1, "ts": 1, "play_s": 1}'
    quality.observe(codec.decode([Message("/cmcd/v1/video/eu", report, T0, Kind.HTTP)]))
    assert "web" in problems()


def test_every_reason_of_a_rejection_has_advice():
    assert REJECTS.keys() == set(Reject)
