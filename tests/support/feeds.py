"""Feeds as the field has them: recordings of what clients did, and what really happened.

Each case is replayed by `qoemon replay`, and its figures are compared with the truth, which is computed from the
story and not from the code. `python -m tests.support.feeds` prints the table.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qoemon.tools.recordings.recording import Header, Recorded, Writer
from tests.support.oracle import Mixture, video_mos, web_mos

T0 = 1_700_000_040
"""Seconds since the epoch, where a rating interval begins."""
THETA, THETA_WEB = 0.3, 0.25

Message = tuple[float, str, dict[str, Any] | bytes]
"""Arrival in seconds after T0, service, and a report or a whole payload."""


def poor(*stories: tuple[float, float]) -> float:
    """PoW over as many users as stories: of each, stalls and stall seconds per minute of media."""
    return Mixture([(video_mos(*story), 1) for story in stories], THETA).pow


def poor_web(*times_s: float) -> float:
    """PoW over responses."""
    return Mixture([(web_mos(time_s), 1) for time_s in times_s], THETA_WEB).pow


GOOD = (0.0, 0.0)
HALF = (6.0, 60.0)
"""Three stalls a minute, half of the time stalled: per minute of media twice as much."""


@dataclass(frozen=True)
class Check:
    """One figure of a case: what was measured, what is true, and how far apart the two may be."""

    name: str
    measured: float
    truth: float
    within: float = 0.02

    @property
    def holds(self) -> bool:
        """Whether the figure is the truth."""
        return abs(self.measured - self.truth) <= self.within


@dataclass(frozen=True)
class Replayed:
    """What `qoemon replay --json` printed: a document for each rating interval, by its end in seconds after T0."""

    documents: dict[int, dict[str, Any]]

    @property
    def last(self) -> dict[str, Any]:
        """The newest document."""
        return self.documents[max(self.documents)]

    def pow(self, at_s: int, window: str = "1m", service: str = "video") -> float:
        """PoW of the only group."""
        return float(self._group(at_s, service)["windows"][window]["pow"])

    def total(self, service: str = "video") -> float:
        """PoW of all ratings so far."""
        ratings = self._group(max(self.documents), service)["expected_ratings"]
        return (ratings["1"] + ratings["2"]) / sum(ratings.values())

    def event(self, name: str) -> int:
        """How often something happened."""
        return int(self.last["events"][name])

    def alerts(self) -> set[tuple[str, str]]:
        """State and reason of all alerts that ever were."""
        return {(alert["state"], alert["reason"]) for each in self.documents.values() for alert in each["alerts"]}

    def _group(self, at_s: int, service: str) -> dict[str, Any]:
        for each in self.documents[at_s]["services"]:
            if each["service"] == service:
                group: dict[str, Any] = each["groups"][0]
                return group
        raise KeyError(service)


@dataclass(frozen=True)
class Case:
    """A feed, and what is right.

    before  the figure of an early version, as text
    until_s  end of the recording, seconds after T0
    """

    number: str
    feed: str
    before: str
    messages: Sequence[Message]
    until_s: int
    check: Callable[[Replayed], Iterator[Check]]
    settings: dict[str, Any] = field(default_factory=dict)

    def replay(self, directory: Path) -> Replayed:
        """What the command says about the recording."""
        path, config = directory / "feed.jsonl.gz", directory / "qoemon.yaml"
        config.write_text(json.dumps(self.settings))
        with Writer(path, Header(started_s=float(T0))) as writer:
            ordered = sorted(self.messages, key=lambda message: message[0])
            writer.write(
                Recorded(f"qoe/v1/{service}/eu/a", _payload(report), T0 + at_s) for at_s, service, report in ordered
            )
            writer.silence(T0 + self.until_s)
        command = [sys.executable, "-m", "qoemon", "replay", str(path), "--json", "-c", str(config)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        documents = [json.loads(line) for line in run.stdout.splitlines()]
        return Replayed({document["time_s"] - T0: document for document in documents})


def _payload(report: dict[str, Any] | bytes) -> bytes:
    return report if isinstance(report, bytes) else json.dumps(report).encode()


def viewer(
    name: str, begins_s: float, ends_s: float, every_s: float, *, stalls: bool = False, seq: bool = True
) -> Iterator[Message]:
    """The reports of a viewer without a stall, or one who stalls half of the time."""
    number, at_s = 0, begins_s
    while at_s <= ends_s:
        watched_s = at_s - begins_s
        report = {"session": name, "stall_count": 0, "stall_s": 0.0, "play_s": round(watched_s, 3)}
        if stalls:
            half_s = round(watched_s / 2, 3)
            report |= {"stall_count": int(watched_s / 20), "stall_s": half_s, "play_s": half_s}
            if not report["stall_count"]:
                report |= {"stall_s": 0.0}
        if seq:
            report["seq"] = number
        yield at_s, "video", report
        number, at_s = number + 1, at_s + every_s


def audience(good_every_s: float, bad_every_s: float, until_s: float) -> list[Message]:
    """A hundred viewers without a stall and a hundred who stall half of the time, from different times on."""
    rng, messages = random.Random(1), list[Message]()
    for number in range(100):
        messages += viewer(f"good-{number}", rng.uniform(-good_every_s, 0), until_s, good_every_s)
        messages += viewer(f"bad-{number}", rng.uniform(-bad_every_s, 0), until_s, bad_every_s, stalls=True)
    return messages


PAUSES_S = (60, 90, 120, 240)
LONG_S = 3600


def _weights(replayed: Replayed) -> Iterator[Check]:
    truth = poor(GOOD, HALF)
    yield Check("base window", replayed.pow(LONG_S - 60), truth)
    yield Check("5 minutes", replayed.pow(LONG_S - 60, "5m"), truth)
    yield Check("totals", replayed.total(), truth)


def _position(replayed: Replayed) -> Iterator[Check]:
    yield Check("base window", replayed.pow(60), poor((60, 180)))
    yield Check("reports told of", replayed.event("reports_implausible_position"), 1, 0)


def _asleep(replayed: Replayed) -> Iterator[Check]:
    """Of 28,800 s at most the second that passed, and the slack."""
    yield Check("base window", replayed.pow(120), poor((60 / 50, 5 * 60 / 50)), 0.05)
    yield Check("reports told of", replayed.event("reports_implausible_too_fast"), 1, 0)


def _milliseconds(replayed: Replayed) -> Iterator[Check]:
    reports, doubtful = replayed.event("reports"), replayed.event("reports_implausible_milliseconds")
    yield Check("share of reports told of", doubtful / reports, 1, 0.1)
    yield Check("alerts that fire", len(replayed.alerts() & {("firing", "past_threshold")}), 0, 0)
    yield Check("alerts uncertain, reason feed", len(replayed.alerts() & {("uncertain", "feed")}), 1, 0)


def _responses_in_milliseconds(replayed: Replayed) -> Iterator[Check]:
    yield Check("reports told of", replayed.event("reports_implausible_response"), 120, 0)


def _never_taken_back(replayed: Replayed) -> Iterator[Check]:
    yield Check("base window", replayed.pow(240), poor(GOOD))
    yield Check("reports told of", replayed.event("reports_implausible_stalled"), 29, 0)


def _dated_backlog(replayed: Replayed) -> Iterator[Check]:
    yield Check("base window", replayed.pow(360, service="web"), poor_web(0.3))
    yield Check("5 minutes", replayed.pow(360, "5m", "web"), poor_web(*[30.0] * 180, *[0.3] * 120))
    yield Check("totals", replayed.total("web"), poor_web(*[30.0] * 180, *[0.3] * 840))
    yield Check("alerts that fire", len(replayed.alerts() & {("firing", "past_threshold")}), 0, 0)


def _undated_backlog(replayed: Replayed) -> Iterator[Check]:
    yield Check("alerts that fire", len(replayed.alerts() & {("firing", "past_threshold")}), 0, 0)
    yield Check("alerts uncertain, catching up", len(replayed.alerts() & {("uncertain", "catching_up")}), 1, 0)


def _reloaded(replayed: Replayed) -> Iterator[Check]:
    """Soon after the reload, the former run and the new one; a minute later, the new one."""
    yield Check("base window", replayed.pow(120), poor(GOOD, (20, 180)))
    yield Check("a minute later", replayed.pow(180), poor(GOOD))
    yield Check("reports ignored", replayed.event("reports_duplicate"), 0, 0)


def _resent(replayed: Replayed) -> Iterator[Check]:
    yield Check("base window", replayed.pow(120), poor((30, 240)))


def _two_players(replayed: Replayed) -> Iterator[Check]:
    yield Check("base window", replayed.pow(120), poor(GOOD))
    yield Check("reports told of", replayed.event("reports_conflicting"), 59, 2)


def _last_will(replayed: Replayed) -> Iterator[Check]:
    open_stalls = [
        group["open_stalls"]
        for at_s, document in replayed.documents.items()
        if at_s > 60
        for service in document["services"]
        for group in service["groups"]
    ]
    yield Check("open stalls after it", sum(open_stalls), 0, 0)


def _taken(number: int) -> Callable[[Replayed], Iterator[Check]]:
    """A check of the number of reports that are taken."""

    def check(replayed: Replayed) -> Iterator[Check]:
        yield Check("reports taken", replayed.event("reports"), number, 0)

    return check


def _empty(replayed: Replayed) -> Iterator[Check]:
    yield Check("reports told of", replayed.event("reports_empty"), 1, 0)


def _array(*extra: str) -> bytes:
    """An array of 100 good reports, and some texts."""
    good = (json.dumps({"session": f"s{number}", "play_s": 10}) for number in range(100))
    return f"[{','.join([*good, *extra])}]".encode()


ALERT = {"name": "many-poor", "metric": "pow", "threshold": 0.3, "recovery": 0.2, "min_sessions": 20}


def _reloads(*, end: bool) -> list[Message]:
    """A hundred viewers: a stall; nine seconds later the page is loaded again under the same id, and plays."""
    messages = list[Message]()
    for number in range(100):
        name, at_s = f"v{number}", 80 + number / 20
        last = {"stall_count": 1, "stall_s": 9.0, "play_s": 3.0, "stalled": not end, "end": end}
        messages.append((at_s, "video", {"session": name, "seq": 0, "stall_count": 0, "stall_s": 0, "play_s": 0}))
        messages.append((at_s + 12, "video", {"session": name, "seq": 1, **last}))
        messages += [
            (
                at_s + 22 + 10 * k,
                "video",
                {"session": name, "seq": k, "stall_count": 0, "stall_s": 0, "play_s": 1 + 10 * k},
            )
            for k in range(20)
        ]
    return messages


def _outage(name: str, at_s: float) -> Iterator[Message]:
    """Stalls most of the time, without seq; after a reconnect its last two reports are sent again."""
    before = [
        (at_s + 10 * k, {"session": name, "stall_count": 0, "stall_s": 0.0, "play_s": 600 + 10.0 * k})
        for k in range(-12, 1)
    ]
    outage = [
        (at_s + 10 * k, {"session": name, "stall_count": k, "stall_s": 8.0 * k, "play_s": 600 + 2.0 * k})
        for k in range(1, 12)
    ]
    again = [(at_s + 112 + i / 100, report) for i, (_, report) in enumerate(outage[-2:])]
    yield from ((when_s, "video", report) for when_s, report in (*before, *outage, *again))


def _alternating() -> list[Message]:
    messages = list[Message]()
    for k in range(60):
        one = {"session": "s", "stall_count": 10, "stall_s": 50.0, "play_s": 1000 + 2.0 * k}
        other = {"session": "s", "stall_count": 0, "stall_s": 0.0, "play_s": 1 + 2.0 * k}
        messages += [(2.0 * k, "video", one), (2.0 * k + 1, "video", other)]
    return messages


def _usual_then_backlog(*, dated: bool) -> list[Message]:
    """Page loads; an outage of qoemon of four minutes with 180 slow loads, kept by the broker; then good ones."""
    messages = list[Message]()
    for number in range(120):
        messages.append((number / 2, "web", {"session": f"u{number}", "seq": 0, "response_s": 0.3}))
    for number in range(180):
        report = {"session": f"o{number}", "seq": 0, "response_s": 30.0}
        messages.append((300 + number / 1e4, "web", report | ({"ts": T0 + 60 + number / 3} if dated else {})))
    for number in range(720):
        report = {"session": f"n{number}", "seq": 0, "response_s": 0.3}
        at_s = 300.1 + number / 2
        messages.append((at_s, "web", report | ({"ts": T0 + at_s} if dated else {})))
    if dated:
        messages = [(at_s, service, {"ts": T0 + at_s, **report}) for at_s, service, report in messages]
    return messages


def _reports(*reports: tuple[float, dict[str, Any]]) -> list[Message]:
    return [(at_s, "video", {"session": "s", **report}) for at_s, report in reports]


def _counted(stalls: int, stall_s: float, play_s: float, **more: object) -> dict[str, Any]:
    return {"stall_count": stalls, "stall_s": stall_s, "play_s": play_s, **more}


CASES = (
    *(
        Case(
            "1",
            f"100 viewers without a stall each 10 s, 100 who stall half of the time each {pause_s} s",
            f"PoW {before}",
            audience(10, pause_s, LONG_S),
            LONG_S,
            _weights,
        )
        for pause_s, before in zip(PAUSES_S, (".441", ".355", ".296", ".167"), strict=True)
    ),
    Case(
        "2",
        "the good ones each 240 s, the bad ones each 10 s",
        "PoW .718",
        audience(240, 10, LONG_S),
        LONG_S,
        _weights,
    ),
    Case(
        "3",
        "`play_s` is a position, and the viewer seeks back",
        "PoW .002",
        _reports(
            (10, _counted(0, 0, 3600, seq=1)), (11, _counted(1, 1, 1800, seq=2)), (12, _counted(2, 3, 1801, seq=3))
        ),
        120,
        _position,
    ),
    Case(
        "4",
        "a laptop slept: `stall_s` + 28,800 in a second",
        "believed",
        [
            *_reports(
                *((10.0 * k, _counted(0, 0, 10 * k, seq=k)) for k in range(12)),
                (111, _counted(1, 28800, 110, seq=12)),
            )
        ],
        180,
        _asleep,
    ),
    Case(
        "5",
        "milliseconds in `stall_s` and `play_s`",
        "PoW .73",
        [
            (at_s, service, {**report, "stall_s": 1000 * report["stall_s"], "play_s": 1000 * report["play_s"]})
            for number in range(40)
            for at_s, service, report in viewer(f"v{number}", -number / 10, 300, 10, stalls=number % 2 == 0)
        ],
        300,
        _milliseconds,
        {"alerts": [ALERT | {"service": "video"}]},
    ),
    Case(
        "5",
        "milliseconds in `response_s`",
        "PoW 1.0",
        [
            (number / 2, "web", {"session": f"w{number}", "seq": 0, "response_s": [840, 1310]})
            for number in range(120)
        ],
        120,
        _responses_in_milliseconds,
    ),
    Case(
        "6",
        "`stalled` is never taken back, while `play_s` grows",
        "PoW .69",
        _reports(*((10.0 * k, _counted(1, 0.5, 10 * k, seq=k, stalled=True)) for k in range(30))),
        300,
        _never_taken_back,
    ),
    Case(
        "7",
        "a backlog of four minutes ago, with `ts`",
        "fires, or in no total",
        _usual_then_backlog(dated=True),
        720,
        _dated_backlog,
        {"alerts": [ALERT | {"service": "web"}]},
    ),
    Case(
        "8",
        "the same without `ts`",
        "fires",
        _usual_then_backlog(dated=False),
        720,
        _undated_backlog,
        {"alerts": [ALERT | {"service": "web"}]},
    ),
    Case("9", "the page is loaded again in a stall", "PoW .89 for 5 minutes", _reloads(end=False), 300, _reloaded),
    Case("10", "the same after `end: true`", "half of the reports lost", _reloads(end=True), 300, _reloaded),
    Case(
        "11",
        "no `seq`, and the last two reports are sent again",
        "PoW .12",
        [message for number in range(100) for message in _outage(f"v{number}", number / 10)],
        180,
        _resent,
    ),
    Case("12", "two players under one id", "stalls counted again and again", _alternating(), 180, _two_players),
    Case(
        "13",
        "a last will with `seq` 0 in an open stall",
        "the stall stays open",
        _reports(
            *((10.0 * k, _counted(int(k == 3), 0.0, 10.0 * k, seq=5 + k, stalled=k == 3)) for k in range(4)),
            (45, {"seq": 0, "end": True}),
        ),
        240,
        _last_will,
    ),
)


FIRST: Message = (0, "video", {"session": "first", "play_s": 1})
"""A recording begins with it, so that there is something to say in any case."""
ONE = b'{"session":"s","seq":1,"stall_count":0,"stall_s":0,"play_s":30}'
AGAIN = [(0, [2, 3]), (1, [3]), (2, [2, 3])]
LENIENT = {"session": "s", "seq": 7.0, "stall_count": None, "play_s": 9, "labels": {"x": [1], "y": 2}}
MISSPELT = {"session": "s", "stallCount": 1, "playSeconds": 9}
TIMELESS = {"session": "s", "stall_count": 3, "play_s": 40}


def _payload_case(number: str, feed: str, before: str, payload: bytes | dict[str, Any], taken: int) -> Case:
    """A payload of which so many reports are taken."""
    return Case(number, feed, before, [FIRST, (1, "video", payload)], 60, _taken(1 + taken))


PAYLOADS = (
    Case(
        "14",
        "`[2, 3]` again after `[3]`, without `seq` (documented)",
        "counted twice",
        [(at_s, "web", {"session": "s", "response_s": times_s}) for at_s, times_s in AGAIN],
        60,
        _taken(3),
    ),
    _payload_case("21", "an array with one `NaN`", "all lost, as one", _array('{"session":"n","play_s":NaN}'), 100),
    _payload_case("21", "an array with a trailing comma", "all lost, as one", _array("")[:-1] + b"]", 100),
    _payload_case("21", "an array that is cut off", "all lost, as one", _array()[:-10], 99),
    _payload_case("22", "a byte order mark before the JSON", "lost", b"\xef\xbb\xbf" + ONE, 1),
    _payload_case("23", "floats for integers, `null`, labels of any type", "lost", LENIENT, 1),
    Case("24", "`stallCount`, `playSeconds`", "no word", [FIRST, (1, "video", MISSPELT)], 60, _empty),
    _payload_case("25", "stalls without seconds", "rejected, no field named", TIMELESS, 0),
    _payload_case("26", "an empty payload", "`unparseable`", b"", 0),
)

BROKERS = {
    "15": (
        "topics changed under the same `client_id`",
        "5 responses count as 10",
        (
            "system/test_broker_sessions.py::test_a_filter_that_the_configuration_no_longer_has_is_unsubscribed"
            "_at_the_next_start"
        ),
    ),
    "16": (
        "the broker lost our session while qoemon was down",
        "INFO",
        (
            "system/test_broker_sessions.py::test_a_session_that_the_broker_lost_while_the_daemon_was_down_is_counted"
            "_and_logged"
        ),
    ),
    "17": (
        "a lower QoS than requested",
        "nothing",
        "inputs/mqtt/test_consumer.py::test_a_lower_qos_than_asked_is_said_and_still_received",
    ),
    "18": (
        "SUBACK 0x87 once",
        "never requested again",
        "inputs/mqtt/test_hostile_broker.py::test_a_refused_filter_is_requested_again_until_it_is_granted",
    ),
    "19": (
        "a broker that disconnects at more than eight filters",
        "an endless loop",
        (
            "inputs/mqtt/test_hostile_broker.py"
            "::test_a_broker_that_accepts_eight_filters_in_a_subscribe_gets_ten_in_two"
        ),
    ),
    "20": (
        "`password_file` is rotated",
        "not authorized",
        "inputs/mqtt/test_consumer.py::test_a_rotated_password_file_is_read_at_the_next_attempt",
    ),
    "27": (
        "10 ratings of a new group, in PromQL",
        "`increase()` is 0",
        "system/test_new_groups.py::test_the_increase_of_a_new_group_is_the_number_of_its_ratings",
    ),
}
"""Cases about brokers and Prometheus: feed, what happened in an early version, and the test that plays it."""


def passes(test: str) -> bool:
    """Whether a test of this project passes."""
    command = [sys.executable, "-m", "pytest", "-q", "-n0", f"tests/{test}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def main() -> None:
    """Print the table of all cases."""
    print("| # | feed | an early version | figure | now | truth | verdict |")
    print("|---|---|---|---|---:|---:|---|")
    for case in (*CASES, *PAYLOADS):
        with tempfile.TemporaryDirectory() as directory:
            checks = list(case.check(case.replay(Path(directory))))
        for check in checks:
            verdict = "right" if check.holds else "WRONG"
            figures = f"{check.measured:.3g} | {check.truth:.3g}"
            print(
                f"| {case.number} | {case.feed} | {case.before} | {check.name} | {figures} | {verdict} |",
                flush=True,
            )
    for number, (feed, before, test) in BROKERS.items():
        verdict = "right" if passes(test) else "WRONG"
        print(f"| {number} | {feed} | {before} | `{test.rpartition('::')[2]}` | | | {verdict} |", flush=True)


if __name__ == "__main__":
    main()
