"""Simulated sessions are plausible and repeatable, and all their reports reach a broker."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import numpy as np
import pytest

from qoemon.net.mqtt.client import Broker
from qoemon.tools.simulate.load import LoadError, Progress, publish
from qoemon.tools.simulate.simulate import (
    CALM,
    SCENARIOS,
    SERVICES,
    Phase,
    Population,
    Reported,
    Scenario,
    groups,
    labels_of,
)
from tests.support.parts import Mosquitto, Nats, WebMosquitto, broker_at
from tests.support.patience import WAIT_S, async_until

START_S = 1_700_000_000.0
GROUPS = [{"region": region, "cdn": cdn} for region in ("eu", "us") for cdn in ("a", "b")]
HIT = {"region": "us", "cdn": "b"}


def population(scenario: Scenario = SCENARIOS["calm"], *, sessions: int = 400, seed: int = 1) -> Population:
    return Population(GROUPS, sessions=sessions, scenario=scenario, seed=seed, start_s=START_S)


def live(users: Population, seconds: int, *, step_s: float = 0.5) -> Iterator[Reported]:
    """What a population reports from its present on."""
    begun_s = users.now_s
    for step in range(1, int(seconds / step_s) + 1):
        yield from users.step(begun_s + step * step_s)


def stall_ratios(users: Population, seconds: int) -> dict[tuple[str, bool], float]:
    """Stalled share of the viewing time reported, by phase and by whether the group is HIT."""
    newest: dict[str, tuple[float, float]] = {}
    stalled_s: defaultdict[tuple[str, bool], float] = defaultdict(float)
    watched_s: defaultdict[tuple[str, bool], float] = defaultdict(float)
    for service, labels, report in live(users, seconds):
        if service == "video":
            before = newest.get(report["session"], (0.0, 0.0))
            now = newest[report["session"]] = report["stall_s"], report["play_s"]
            stalled_s[users.phase, labels == HIT] += now[0] - before[0]
            watched_s[users.phase, labels == HIT] += sum(now) - sum(before)
    return {key: stalled_s[key] / watched_s[key] for key in watched_s}


def is_seconds(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


def is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


# The wire format, design page, section 4.
WIRE: dict[str, Callable[[Any], bool]] = {
    "session": lambda value: isinstance(value, str) and 1 <= len(value) <= 128,
    "seq": is_count,
    "ts": is_seconds,
    "stall_count": is_count,
    "stall_s": is_seconds,
    "play_s": is_seconds,
    "stalled": lambda value: type(value) is bool,
    "response_s": lambda value: isinstance(value, list) and bool(value) and all(map(is_seconds, value)),
    "end": lambda value: type(value) is bool,
}
ALWAYS = {"session", "seq", "ts"}
VIDEO_FIELDS = ALWAYS | {"stall_count", "stall_s", "play_s", "stalled"}


def test_every_report_is_of_the_wire_format() -> None:
    ends = Counter[str]()
    for service, labels, report in live(population(SCENARIOS["demo"].lasting(600)), 600):
        assert labels in GROUPS
        assert all(WIRE[name](value) for name, value in report.items()), report
        if service == "video":
            assert report.keys() - {"end"} == VIDEO_FIELDS
        else:
            assert report.keys() >= ALWAYS
            assert report.keys() & {"response_s", "end"}, f"nothing to report: {report}"
        ends[service] += report.get("end", False)
    assert ends["video"] > 100
    assert ends["web"] > 50


def test_the_same_seed_and_steps_give_the_same_bytes() -> None:
    def encoded(seed: int) -> bytes:
        return msgspec.json.encode(list(live(population(SCENARIOS["demo"].lasting(120), seed=seed), 120)))

    assert encoded(1) == encoded(1)


def test_sessions_of_different_seeds_never_share_a_name() -> None:
    names = [{item.report["session"] for item in live(population(seed=seed), 60)} for seed in (1, 2)]
    assert min(map(len, names)) > 300
    assert names[0].isdisjoint(names[1])
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in names[0] | names[1])


def test_counters_never_fall_and_account_for_every_second_of_a_session() -> None:
    """Played and stalled seconds add up to the time since one and the same begin, stalls or outages or not."""
    begun_s: dict[str, float] = {}
    newest: dict[str, dict[str, Any]] = {}
    for service, _, report in live(population(SCENARIOS["demo"].lasting(600)), 900):
        if service == "video":
            name, age_s = report["session"], report["play_s"] + report["stall_s"]
            assert report["ts"] - age_s == pytest.approx(begun_s.setdefault(name, report["ts"] - age_s), abs=2e-3)
            before = newest.setdefault(name, report)
            assert all(before[field] <= report[field] for field in ("stall_count", "stall_s", "play_s"))
            assert (report["stall_count"] > 0) == (report["stall_s"] > 0 or report["stalled"])
            newest[name] = report
    assert len(newest) > 400


def test_seq_counts_a_sessions_reports_without_gap_and_nothing_follows_its_end() -> None:
    by_session: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in live(population(), 600):
        by_session[item.report["session"]].append(item.report)
    for reports in by_session.values():
        assert [report["seq"] for report in reports] == list(range(len(reports)))
        assert not any(report.get("end") for report in reports[:-1])


def test_players_report_every_five_seconds_each_at_its_own_time() -> None:
    times_s: defaultdict[str, list[float]] = defaultdict(list)
    for item in live(population(), 60):
        if item.service == "video" and "end" not in item.report:
            times_s[item.report["session"]].append(item.report["ts"])
    gaps_s = np.concatenate([np.diff(own) for own in times_s.values()])
    assert gaps_s == pytest.approx(5.0, abs=0.51)
    phases = Counter(own[0] % 5 for own in times_s.values())
    assert len(phases) == 10
    assert max(phases.values()) < 3 * min(phases.values())


def test_sessions_come_and_go_around_the_set_number() -> None:
    users = population(sessions=400)
    names, active = set(), []
    for item in live(users, 2 * 3600, step_s=2.0):
        names.add(item.report["session"])
        active.append(users.active_sessions)
    assert users.active_sessions != 400
    assert np.mean(active) == pytest.approx(400, rel=0.1)
    assert min(active) > 300
    assert max(active) < 500
    # Lives of 8 and 4 minutes: of 400 sessions, (300/8 + 100/4) a minute are replaced.
    assert len(names) == pytest.approx(400 + 120 * (300 / 8 + 100 / 4), rel=0.1)


def test_calm_viewers_stall_about_once_in_a_quarter_of_an_hour() -> None:
    newest = {
        item.report["session"]: item.report
        for item in live(population(sessions=2000), 1800, step_s=1.0)
        if item.service == "video"
    }
    stalls, stalled_s, played_s = (
        sum(report[name] for report in newest.values()) for name in ("stall_count", "stall_s", "play_s")
    )
    assert 10 <= played_s / 60 / stalls <= 20
    assert 1 <= stalled_s / stalls <= 2
    assert 0.0005 < stalled_s / (stalled_s + played_s) < 0.004


def test_pages_take_most_of_a_second_in_calm_and_several_where_it_is_bad() -> None:
    worst = Scenario((Phase("degraded", 1, 1, 1),), affects=HIT)
    pages_s: defaultdict[bool, list[float]] = defaultdict(list)
    for item in live(population(worst), 1200, step_s=1.0):
        pages_s[item.labels == HIT] += item.report.get("response_s", [])
    assert 0.5 < np.mean(pages_s[False]) < 1
    assert 4 < np.mean(pages_s[True]) < 8


def test_degradation_hits_its_group_alone_and_passes() -> None:
    ratios = stall_ratios(population(replace(SCENARIOS["degrade"], affects=HIT), sessions=1000), 1200)
    assert all(ratio < 0.01 for (_, hit), ratio in ratios.items() if not hit)
    assert ratios["calm", True] < 0.02
    assert 0.02 < ratios["degrade", True] < ratios["degraded", True]
    assert 0.15 < ratios["degraded", True] < 0.35
    assert ratios["recover", True] < ratios["degraded", True]


def test_degradation_ramps_without_a_jump_and_ends_at_the_worst() -> None:
    scenario = Scenario((Phase("degrade", 1, 0, 1), Phase("degraded", 1, 1, 1)), length_s=200)
    rates = [scenario.at(second).health.stalls_per_min for second in range(200)]
    steps = np.divide(rates[1:], rates[:-1])
    assert rates[0] == pytest.approx(CALM.stalls_per_min)
    assert rates[-1] == pytest.approx(scenario.worst.stalls_per_min)
    assert np.all((steps >= 1 - 1e-12) & (steps < 1.05))


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_shows_all_its_phases_in_its_length_and_repeats(name: str) -> None:
    scenario = SCENARIOS[name].lasting(60)
    run = [scenario.at(second) for second in range(60)]
    assert {moment.phase for moment in run} == {phase.name for phase in scenario.phases}
    assert [scenario.at(60 + second) for second in range(60)] == run


def test_an_outage_silences_its_group_at_once_while_every_player_stalls() -> None:
    """Each player's last report when the outage begins is that it stalls; then nothing arrives."""
    scenario = Scenario((Phase("calm", 60), Phase("outage", 60, outage=True), Phase("calm", 60)), 180, HIT)
    users, newest = population(scenario), dict[str, dict[str, Any]]()
    heard_s = {True: 0.0, False: 0.0}
    for service, labels, report in live(users, 119):
        heard_s[labels == HIT] = report["ts"] - START_S
        if service == "video" and labels == HIT:
            newest[report["session"]] = report
    assert heard_s == {True: 60.0, False: 119.0}
    there = [report for report in newest.values() if report["ts"] == START_S + 60 or "end" not in report]
    assert len(there) > 50
    assert all(report["stalled"] and report["ts"] == START_S + 60 for report in there)

    back = [report for _, labels, report in live(users, 30) if labels == HIT and report["session"] in newest]
    assert len({report["session"] for report in back}) > 40
    for report in back:
        assert report["stall_s"] >= newest[report["session"]]["stall_s"] + 59


def test_groups_have_numbers_of_one_width() -> None:
    assert groups() == GROUPS
    many = groups(25, 100)
    assert (many[0], many[-1]) == (
        {"region": "region-01", "cdn": "cdn-001"},
        {"region": "region-25", "cdn": "cdn-100"},
    )
    assert len({tuple(group.items()) for group in many}) == 2500
    assert [group["cdn"] for group in groups(1, 2)] == ["cdn-01", "cdn-02"]
    assert {group["cdn"] for group in groups(3)} == {"a", "b"}


@pytest.mark.parametrize(
    ("where", "labels"),
    [
        ("cdn-07", {"cdn": "cdn-07"}),
        ("region-03", {"region": "region-03"}),
        ("region-03/cdn-07", {"region": "region-03", "cdn": "cdn-07"}),
        ("cdn-07/region-03", {"region": "region-03", "cdn": "cdn-07"}),
    ],
)
def test_what_is_hit_is_a_region_a_cdn_or_both_and_nothing_else(where: str, labels: dict[str, str]) -> None:
    places = groups(25, 20)
    assert labels_of(where, places) == labels
    worst = replace(SCENARIOS["recover"], affects=labels_of(where, places))
    users = Population(places, sessions=6000, scenario=worst, seed=1, start_s=START_S)
    stalled: dict[bool, list[float]] = {True: [], False: []}
    for service, place, report in live(users, 60, step_s=5.0):
        if service == "video":
            stalled[labels.items() <= place.items()].append(report["stall_count"])
    assert np.mean(stalled[False]) < 0.1
    assert np.mean(stalled[True]) > 0.3


@pytest.mark.parametrize(
    "where", ["cdn-7", "cdn-21", "region-03/region-04", "", "cdn-07/", "region-03/cdn-07/cdn-08"]
)
def test_a_place_that_is_not_there_is_refused_with_those_that_are(where: str) -> None:
    expected = f"found '{where}', expected a region (region-01 to region-25), a CDN (cdn-01 to cdn-20), or both"
    with pytest.raises(ValueError, match=re.escape(expected)):
        labels_of(where, groups(25, 20))


def test_services_have_their_names_and_only_their_kind_of_users() -> None:
    def share(viewers: list[str], readers: list[str]) -> Counter[str]:
        calm, services = SCENARIOS["calm"], (viewers, readers)
        users = Population(GROUPS, sessions=400, scenario=calm, seed=1, start_s=START_S, services=services)
        kinds = {item.report["session"]: (item.service, "play_s" in item.report) for item in live(users, 60)}
        assert {name for name, plays in kinds.values() if plays} <= set(viewers)
        assert {name for name, plays in kinds.values() if not plays} <= set(readers)
        return Counter(name for name, _ in kinds.values())

    assert share([], ["shop"]).keys() == {"shop"}
    movies_and_live = share(["movies", "live"], [])
    assert movies_and_live["movies"] == pytest.approx(movies_and_live["live"], rel=0.3)
    assert share(["movies"], ["shop"]).keys() == {"movies", "shop"}


def test_an_outage_does_not_end_in_a_burst() -> None:
    scenario = Scenario((Phase("outage", 1, outage=True), Phase("calm", 1)), 120, HIT)
    reported = live(population(scenario, sessions=2000), 80)
    a_step = Counter(item.report["ts"] for item in reported if item.labels == HIT and item.service == "video")
    after = [count for ts, count in a_step.items() if ts >= START_S + 60]
    assert len(after) == 41
    assert max(after) < 2 * np.median(after)


def test_what_cannot_be_simulated_is_refused_in_words() -> None:
    users = population()
    users.step(START_S + 1)
    with pytest.raises(ValueError, match="time must increase"):
        users.step(START_S + 1)
    with pytest.raises(ValueError, match=r"'cdn': 'z'.*no group has these labels"):
        population(replace(SCENARIOS["outage"], affects={"cdn": "z"}))
    with pytest.raises(ValueError, match="at least one group"):
        Population([], sessions=1, scenario=SCENARIOS["calm"], seed=1, start_s=0)
    with pytest.raises(ValueError, match="at least one phase"):
        SCENARIOS["calm"].lasting(0)


def target(broker: Nats | Mosquitto) -> Broker:
    if isinstance(broker, WebMosquitto):
        return broker_at(broker.web_port, websocket_path="/mqtt")
    return broker_at(broker.port, version="5" if isinstance(broker, Mosquitto) else "3.1.1")


@pytest.fixture
def web_mosquitto(tmp_path: Path) -> Iterator[WebMosquitto]:
    """A mosquitto that also speaks WebSocket."""
    with WebMosquitto(tmp_path) as part:
        yield part


@pytest.fixture(
    params=["nats", *(pytest.param(name, marks=pytest.mark.mosquitto) for name in ("mosquitto", "web_mosquitto"))]
)
def broker(request: pytest.FixtureRequest) -> Nats | Mosquitto:
    started: Nats | Mosquitto = request.getfixturevalue(request.param)
    return started


@contextlib.asynccontextmanager
async def subscriber(broker: Nats | Mosquitto) -> AsyncIterator[list[tuple[str, bytes]]]:
    """What arrives, complete when the block has been left."""
    received: list[tuple[str, bytes]] = []

    async def collect() -> None:
        async for message in client.messages:
            if message.topic.matches("qoe/last"):
                return
            received.append((str(message.topic), bytes(message.payload)))

    async with aiomqtt.Client("127.0.0.1", broker.port, timeout=WAIT_S) as client:
        await client.subscribe("qoe/#", qos=1)
        collecting = asyncio.create_task(collect())
        yield received
        await client.publish("qoe/last", b"", qos=1)
        await asyncio.wait_for(collecting, WAIT_S)


async def test_a_broker_gets_exactly_the_reports_that_are_counted(broker: Nats | Mosquitto) -> None:
    users, progress = population(sessions=2000), list[Progress]()
    reports = messages = 0
    async with subscriber(broker) as received:
        while reports <= 500:
            totals = await publish(target(broker), users, for_s=3, qos=1, batch=10, on_progress=progress.append)
            reports, messages = reports + totals.reports, messages + totals.messages
    batches = [msgspec.json.decode(payload) for _, payload in received]
    assert sum(map(len, batches)) == reports
    assert len(batches) == messages < reports / 4
    assert max(map(len, batches)) == 10
    assert {topic for topic, _ in received} == {
        f"qoe/v1/{service}/{group['region']}/{group['cdn']}" for service in SERVICES for group in GROUPS
    }
    assert len(progress) >= 2
    assert progress[-1].reports == totals.reports
    assert progress[-1].phase == "calm"


async def test_what_is_sent_does_not_depend_on_how_fast_it_could_be(nats: Nats) -> None:
    """At a rate too low, in MessagePack: the reports of a twin that had all the time, as far as it got."""
    encode = msgspec.msgpack.Encoder().encode
    async with subscriber(nats) as received:
        totals = await publish(target(nats), population(), for_s=3, rate=20, encoding="msgpack")
    sent = Counter(payload for _, payload in received)
    until_s = max(msgspec.msgpack.decode(payload)["ts"] for payload in sent)
    twin = [item.report for item in live(population(), 3)]
    assert sent <= Counter(encode(report) for report in twin)
    assert sent >= Counter(encode(report) for report in twin if report["ts"] < until_s)
    assert sent.total() == totals.reports


async def test_the_rate_is_kept_and_the_lag_is_reported(nats: Nats) -> None:
    users, reports = population(sessions=1000), 0
    while reports <= 20:
        totals = await publish(target(nats), users, for_s=3, rate=20)
        assert totals.reports <= 20 * (1.02 * totals.elapsed_s + 0.1)
        reports += totals.reports
    assert totals.unsent_reports > 0
    assert totals.lag_s > 1


async def test_a_lost_broker_ends_the_load_at_once_with_its_name(broker: Nats | Mosquitto) -> None:
    asyncio.get_running_loop().call_later(1, broker.kill)
    with pytest.raises(LoadError, match=f"Lost the connection to the MQTT broker at {target(broker)}: ") as lost:
        await publish(target(broker), population(), qos=1)
    assert not re.search("no answer|timed out", str(lost.value)), "found out by a timeout only"


async def test_a_failed_connection_names_the_broker_and_the_reason(nats: Nats, unused_port: int) -> None:
    with pytest.raises(LoadError, match=f"Cannot connect to .* localhost:{unused_port}: connection refused: check"):
        await publish(broker_at(unused_port), population())
    with pytest.raises(LoadError, match="does not speak this version of MQTT"):
        await publish(replace(target(nats), version="5"), population())


async def test_cancelling_leaves_no_task_and_reports_the_progress(nats: Nats) -> None:
    progress: list[Progress] = []
    others = asyncio.all_tasks()
    load = asyncio.create_task(publish(target(nats), population(), qos=1, on_progress=progress.append))
    await async_until(lambda: progress and progress[-1].reports)
    before = progress[-1]
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load
    await async_until(lambda: asyncio.all_tasks() == others)
    assert progress[-1].elapsed_s > before.elapsed_s
    assert progress[-1].reports >= before.reports


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"topics": dict.fromkeys(SERVICES, "qoe/{service}/{city}")},
            "expected no names but {service}, {region}, {cdn}",
        ),
        ({"topics": {"web": "qoe/{}"}}, "expected no names but"),
        ({"rate": 0}, "rate 0"),
        ({"batch": 0}, "batch 0"),
    ],
)
async def test_what_cannot_be_published_is_refused_without_a_broker(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        await publish(broker_at(1883, host="host.invalid"), population(), **arguments)


@pytest.mark.parametrize("label", ["a/b", "+", "#"])
async def test_labels_that_would_change_the_topic_are_refused(label: str) -> None:
    groups = [{"region": "eu", "cdn": label}]
    users = Population(groups, sessions=1, scenario=SCENARIOS["calm"], seed=1, start_s=0)
    with pytest.raises(ValueError, match="in labels"):
        await publish(broker_at(1883, host="host.invalid"), users)


def test_a_broker_never_shows_its_password() -> None:
    word = "open sesame"
    assert word not in repr(broker_at(1883, password=word))
