"""The daemon as it is run: a real broker before it, a real Prometheus behind it, and what goes wrong between them.

What a report counts for depends on when it arrives, which no test can choose to the millisecond. So the streams
here are such that every time within one rating interval gives the same numbers: sessions that begin and report in
one interval, which takes less than the slack for the jitter of delivery, and open stalls so bad already that time
cannot make them worse.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import signal
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import aiomqtt
import msgspec
import pytest

from tests.support.oracle import Mixture, video_mos, web_mos
from tests.support.parts import ROOT, Daemon, Mosquitto, Nats, Prometheus
from tests.support.patience import TEST_S, WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tests.support.parts import Part

VERSIONS = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}
GROUPS = [("eu", "a"), ("eu", "b"), ("us", "a")]
INTERVAL_S, TICK_S = 10, 5
"""Of the stage: there is time to be heard in one rating interval, and to be scraped after each tick."""
BASE, LONG = "10s", "2m"
MOS_STEP = 0.005
THETA = {"video": 0.3, "web": 0.25}

Group = tuple[str, str]


class Told(NamedTuple):
    """A report, and where it goes."""

    service: str
    group: Group
    report: dict[str, Any]

    @property
    def topic(self) -> str:
        return "/".join(("qoe/v1", self.service, *self.group))


def settings(
    port: int,
    version: str = "5",
    *,
    interval_s: int,
    tick_s: int = 1,
    mqtt: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The configuration of a daemon that lives as fast as a test can wait."""
    interval = f"{interval_s}s"
    reconnect = {"min": "100ms", "max": "200ms"}
    return {
        "mqtt": {"host": "127.0.0.1", "port": port, "version": version, "reconnect": reconnect, **(mqtt or {})},
        "sessions": {"tick": f"{tick_s}s", "rating_interval": interval, "timeout": interval, "min_active": "1s"},
        "windows": [interval, f"{12 * interval_s}s"],
        **more,
    }


def publish(port: int, stream: Sequence[Told], version: str = "5", batch: int = 10) -> None:
    """Publish at QoS 1, in this order, up to so many of one topic in a message; return once the broker has all."""
    encoders = (msgspec.json.encode, msgspec.msgpack.encode)

    async def send() -> None:
        async with aiomqtt.Client("127.0.0.1", port, protocol=VERSIONS[version], timeout=WAIT_S) as client:
            for number, (topic, reports) in enumerate(messages(stream, batch)):
                await client.publish(topic, encoders[number % 2](reports), qos=1)

    asyncio.run(send())


def messages(stream: Sequence[Told], batch: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Topics and what is told there; sorted by topic, since no session tells on two."""
    for topic, of_topic in groupby(sorted(stream, key=lambda told: told.topic), key=lambda told: told.topic):
        reports = [told.report for told in of_topic]
        for begin in range(0, len(reports), batch):
            yield topic, reports[begin : begin + batch]


class User(NamedTuple):
    """What someone reports, in this order, and what it comes to: the MOS of each condition that is to be judged."""

    service: str
    group: Group
    reports: list[dict[str, Any]]
    repeated: int
    mos: list[float]


def users(seed: str) -> list[User]:
    """Viewers and readers of all groups, some of them badly served, some of them repeating themselves."""
    rng = random.Random(seed)
    kinds = (known_for_long, known_for_long, new, new, stuck, too_short_to_judge, reads, reads)
    return [
        kind(rng, f"{seed}-{'-'.join(group)}-{number}", group)
        for group in GROUPS
        for number, kind in enumerate(kinds * 4)
    ]


def woven(users: Sequence[User], rng: random.Random) -> list[Told]:
    """All of them at once, each in their own order."""
    waiting = [list(reversed(user.reports)) for user in users]
    turns = [number for number, user in enumerate(users) for _ in user.reports]
    rng.shuffle(turns)
    return [Told(users[number].service, users[number].group, waiting[number].pop()) for number in turns]


def known_for_long(rng: random.Random, name: str, group: Group) -> User:
    """Older than a rating interval when first heard of: only what comes after that counts."""
    before = {"session": name, "seq": 7, "stall_count": 40, "stall_s": 100.0, "play_s": 1000.0}
    stalls, played_ms = rng.choice([0, 0, 1, 1, 2, 4]), rng.randrange(2000, 3000)
    stall_ms = stalls * rng.randrange(20, 200)
    after = before | {
        "seq": 8,
        "stall_count": 40 + stalls,
        "stall_s": 100 + stall_ms / 1000,
        "play_s": 1000 + played_ms / 1000,
    }
    reports = [before, after, after | {"play_s": 5000.0}, before]
    return User("video", group, reports, 2, [stall_mos(stalls, stall_ms, played_ms)])


def new(rng: random.Random, name: str, group: Group) -> User:
    """Began a moment ago, and soon ends."""
    stalls, played_ms = rng.choice([0, 0, 0, 1]), rng.randrange(1400, 3500)
    first = {"session": name, "seq": 0, "stall_count": 0, "stall_s": 0.0, "play_s": 1.303}
    last = first | {"stall_count": stalls, "stall_s": stalls * 0.2, "play_s": played_ms / 1000}
    reports = [first, last | {"seq": 1}, last | {"seq": 2, "end": True}]
    return User("video", group, reports, 0, [stall_mos(stalls, stalls * 200, played_ms)])


def stuck(rng: random.Random, name: str, group: Group) -> User:
    """In a stall from the beginning, then silent: as bad as can be, however long that has run."""
    stall_s = rng.randrange(1200, 2000) / 1000
    report = {"session": name, "seq": 0, "stall_count": 1, "stall_s": stall_s, "play_s": 0.0, "stalled": True}
    return User("video", group, [report], 0, [1.5])


def too_short_to_judge(rng: random.Random, name: str, group: Group) -> User:
    """Less than min_active."""
    report = {"session": name, "seq": 0, "stall_count": 0, "stall_s": 0.0, "play_s": rng.randrange(900) / 1000}
    return User("video", group, [report], 0, [])


def reads(rng: random.Random, name: str, group: Group) -> User:
    """Loads pages; reports them singly and together."""
    times_s = [min(round(rng.lognormvariate(0.5, 1), 4), 9.5) for _ in range(3)]
    one = {"session": name, "seq": 0, "response_s": times_s[0]}
    reports = [one, one | {"seq": 3, "response_s": times_s[1:]}, one | {"response_s": 250.0}]
    return User("web", group, reports, 1, [page_mos(response_s) for response_s in times_s])


def stall_mos(stalls: int, stall_ms: int, played_ms: int) -> float:
    """Of a condition as the daemon judges it, at the nearest level of the MOS."""
    media = 60_000 / played_ms
    return round(video_mos(stalls * media, stall_ms / 1000 * media) / MOS_STEP) * MOS_STEP


def page_mos(response_s: float) -> float:
    """Of a response as the daemon judges it, in the middle of its bin, of which a decade has 120."""
    number = math.floor(120 * math.log10(response_s / 0.001))
    return web_mos(0.001 * math.pow(10, (number + 0.5) / 120))


def mixture(
    users: Iterable[User], service: str, groups: Sequence[Group] = GROUPS, theta: float | None = None
) -> Mixture:
    """What the users of these groups answer, by brute force."""
    counts = Counter(mos for user in users if user.service == service and user.group in groups for mos in user.mos)
    return Mixture(tuple(counts.items()), theta or THETA[service])


def weight(mixture: Mixture) -> float:
    return sum(count for _, count in mixture.parts)


@cache
def figures(mixture: Mixture) -> dict[str, float]:
    """What each gauge with one sample a window must say."""
    return {
        "qoemon_mos": mixture.mos,
        "qoemon_sos": mixture.sos,
        "qoemon_gob_ratio": mixture.gob,
        "qoemon_pow_ratio": mixture.pow,
        "qoemon_observations": weight(mixture),
    }


@cache
def ratings(mixture: Mixture) -> list[float]:
    return mixture.ratings


# --- The stage: three daemons, two brokers, one Prometheus, the same stream for all of them.

BROKERS = ["mosquitto-5", "mosquitto-3.1.1", "nats-3.1.1"]
on_each_broker = pytest.mark.parametrize("broker", BROKERS)


@dataclass
class Stage:
    """Some users were heard in one rating interval, others in another, and Prometheus has seen it.

    heard     (first, second) who
    closed_s  (first, second) when that rating interval ended, seconds since the epoch
    end_s     when Prometheus had seen all that
    """

    prometheus: Prometheus
    heard: list[list[User]]
    closed_s: list[int]
    end_s: float = 0.0

    def mixtures(self, service: str, intervals: slice = slice(0, 2)) -> dict[Group, Mixture]:
        """What the users of each group answer who were heard in these intervals."""
        heard = [user for there in self.heard[intervals] for user in there]
        return {group: mixture(heard, service, [group]) for group in GROUPS}

    def ask(self, promql: str, at_s: float) -> dict[tuple[str, ...], float]:
        """An instant vector, by the labels that the query leaves, in the order of their names."""
        drop = {"__name__", "job", "instance"}
        return {
            tuple(value for name, value in sorted(series["metric"].items()) if name not in drop): float(
                series["value"][1]
            )
            for series in self.prometheus.query(promql, at_s)
        }

    def scraped_s(self, broker: str, tick_s: int) -> float:
        """When Prometheus scraped the snapshot of that tick."""
        name = f'qoemon_snapshot_timestamp_seconds{{job="{broker}"}}[5m]'
        (series,) = self.prometheus.query(name, self.end_s)
        return next(float(at_s) for at_s, value in series["values"] if float(value) == tick_s)

    def wait_for_the_end(self) -> None:
        """Until all daemons have been scraped after the last rating interval."""

        def beyond() -> list[dict[str, Any]]:
            return self.prometheus.query(f"qoemon_snapshot_timestamp_seconds >= {self.closed_s[-1]}")

        until(lambda: len(beyond()) == len(BROKERS), beyond)
        self.end_s = time.time()

    @property
    def in_time(self) -> bool:
        """Whether every daemon had heard all users of a rating interval when it ended, and was scraped then."""
        sent = [sum(len(user.reports) for user in there) for there in self.heard]
        expected = {self.closed_s[0]: sent[0], self.closed_s[1]: sum(sent)}
        names = '__name__=~"qoemon_reports_total|qoemon_reports_duplicate_total"'
        try:
            return all(
                self.ask(f'sum({{job="{broker}",{names}}})', self.scraped_s(broker, tick_s)) == {(): count}
                for broker in BROKERS
                for tick_s, count in expected.items()
            )
        except StopIteration:
            return False


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage where all was in time. On a busy machine that may need another attempt."""
    deadline_s = time.monotonic() + TEST_S / 2
    while True:
        with staged(tmp_path_factory) as made:
            if made.in_time:
                yield made
                return
        assert time.monotonic() < deadline_s, "too slow a machine: rating intervals were over too soon"


@contextmanager
def staged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as parts:

        def start(part: Part) -> int:
            return parts.enter_context(part).port

        def directory(name: str) -> Any:
            return tmp_path_factory.mktemp(name)

        ports = {"mosquitto": start(Mosquitto(directory("mosquitto"))), "nats": start(Nats(directory("nats")))}
        daemons = {}
        for broker in BROKERS:
            server, version = broker.split("-")
            name = {"client_id": broker.replace(".", "")}
            told = settings(ports[server], version, interval_s=INTERVAL_S, tick_s=TICK_S, mqtt=name)
            daemons[broker] = Daemon(directory(broker), told)
        targets = {name: start(daemon) for name, daemon in daemons.items()}
        prometheus = Prometheus(directory("prometheus"), targets)
        start(prometheus)
        for daemon in daemons.values():
            daemon.ready()
        heard, closed_s = [users("A"), users("B")], []

        def publish_all(there: Sequence[User]) -> None:
            reports = woven(there, random.Random(1))
            publish(ports["mosquitto"], reports)
            publish(ports["nats"], reports, "3.1.1")

        publish_all(unrated())
        for daemon in daemons.values():
            wait_for_groups(daemon)
        for there in heard:
            closed_s.append(interval_begins() + INTERVAL_S)
            publish_all(there)
        made = Stage(prometheus, [[*unrated(), *heard[0]], heard[1]], closed_s)
        made.wait_for_the_end()
        yield made


def unrated() -> list[User]:
    """One user of each service in each group, who is not rated: so the groups of the others are not new."""
    told = {"video": {"play_s": 0.5, "end": True}, "web": {"end": True}}
    return [
        User(service, group, [{"session": f"unrated-{'-'.join(group)}", "seq": 0, **report}], 0, [])
        for group in GROUPS
        for service, report in told.items()
    ]


def wait_for_groups(daemon: Daemon) -> None:
    """Wait until no group is new: its counters are exported as 0 until then."""

    def known() -> set[tuple[str, str, str]]:
        samples = [dict(labels) for name, labels in daemon.samples() if name == "qoemon_expected_ratings_total"]
        return {(of["service"], of["region"], of["cdn"]) for of in samples}

    until(lambda: known() == {(service, *group) for service in THETA for group in GROUPS}, known)
    known_s = daemon.value("qoemon_snapshot_timestamp_seconds")
    until(lambda: daemon.value("qoemon_snapshot_timestamp_seconds") > known_s + INTERVAL_S)


def queries() -> list[str]:
    """Every PromQL example of the README and the metrics page."""
    pages = [(ROOT / name).read_text() for name in ("README.md", "docs/metrics.md")]
    return [query for page in pages for query in re.findall(r"```promql\n(.*?)```", page, re.DOTALL)]


def interval_begins() -> int:
    """Wait until sessions that are two seconds old have begun in a rating interval; when it began."""
    begin_s = math.ceil(time.time() / INTERVAL_S) * INTERVAL_S
    time.sleep(max(begin_s + 2.15 - time.time(), 0))
    return begin_s


@on_each_broker
@pytest.mark.mosquitto
@pytest.mark.prometheus
@pytest.mark.parametrize("service", ["video", "web"])
@pytest.mark.parametrize(("window", "intervals"), [(BASE, slice(0, 1)), (LONG, slice(0, 2))], ids=["base", "long"])
def test_prometheus_returns_the_figures_of_brute_force(
    stage: Stage, broker: str, service: str, window: str, intervals: slice
) -> None:
    at_s = stage.scraped_s(broker, stage.closed_s[intervals.stop - 1])
    of = f'{{job="{broker}",service="{service}",window="{window}"}}'
    mixtures = stage.mixtures(service, intervals)
    for name in figures(mixtures[GROUPS[0]]):
        found = stage.ask(f"sum by (cdn, region) ({name}{of})", at_s)
        told = {(cdn, region): figures(mixture)[name] for (region, cdn), mixture in mixtures.items()}
        assert found == pytest.approx(told, rel=1e-9), name
    shares = stage.ask(f"sum by (cdn, rating, region) (qoemon_rating_ratio{of})", at_s)
    assert shares == pytest.approx(by_rating(mixtures), rel=1e-9, abs=1e-12)
    opinions = stage.ask(f"sum by (cdn, quantile, region) (qoemon_opinion_quantile{of})", at_s)
    assert len(opinions) == 4 * len(GROUPS)
    for (cdn, q, region), opinion in opinions.items():
        cdf = mixtures[region, cdn].cdf
        assert cdf(opinion - 0.01) <= float(q) <= cdf(opinion + 0.01)


def by_rating(mixtures: Mapping[Group, Mixture]) -> dict[tuple[str, ...], float]:
    return {
        (cdn, str(rating), region): share
        for (region, cdn), mixture in mixtures.items()
        for rating, share in enumerate(ratings(mixture), 1)
    }


@on_each_broker
@pytest.mark.mosquitto
@pytest.mark.prometheus
def test_prometheus_returns_what_brute_force_finds_for_another_theta(stage: Stage, broker: str) -> None:
    at_s = stage.scraped_s(broker, stage.closed_s[0])
    for group, theta in ((group, theta) for group in GROUPS for theta in (0.1, 0.3)):
        truth = mixture(stage.heard[0], "video", [group], theta)
        of = f'{{job="{broker}",window="{BASE}",theta="{theta}",region="{group[0]}",cdn="{group[1]}"}}'
        assert stage.ask(f"sum(qoemon_gob_ratio_theta{of})", at_s)[()] == pytest.approx(truth.gob, rel=1e-9)
        assert stage.ask(f"sum(qoemon_pow_ratio_theta{of})", at_s)[()] == pytest.approx(truth.pow, rel=1e-9)


@on_each_broker
@pytest.mark.mosquitto
@pytest.mark.prometheus
@pytest.mark.parametrize("service", ["video", "web"])
def test_prometheus_gets_the_exact_share_of_any_time_and_any_groups_from_expected_ratings(
    stage: Stage, broker: str, service: str
) -> None:
    """The promise of the counters: rates of rates' sums, over any groups and time, divided, are a GoB."""
    first_s, last_s = (stage.scraped_s(broker, closed_s) for closed_s in stage.closed_s)
    # Looking back so far, Prometheus begins where the first users were counted, the second not.
    since = f"[{math.floor(last_s - first_s - 0.6)}s]"
    of = f'job="{broker}",service="{service}"'
    for region in ("", ',region="eu"'):
        groups = [group for group in GROUPS if not region or group[0] == "eu"]
        truth = mixture(stage.heard[1], service, groups)
        everyone = f"sum(rate(qoemon_expected_ratings_total{{{of}{region}}}{since}))"
        good = f'sum(rate(qoemon_expected_ratings_total{{{of}{region},rating=~"4|5"}}{since}))'
        assert stage.ask(f"{good} / {everyone}", last_s)[()] == pytest.approx(truth.gob, rel=1e-9)
        total = f"qoemon_expected_ratings_total{{{of}{region}}}"
        rise = f"sum({total} @ {last_s} - {total} @ {first_s})"
        assert stage.ask(rise, last_s)[()] == pytest.approx(weight(truth), rel=1e-9)


@on_each_broker
@pytest.mark.mosquitto
@pytest.mark.prometheus
def test_prometheus_gets_expected_ratings_of_all_groups_since_the_start(stage: Stage, broker: str) -> None:
    for service in ("video", "web"):
        of = f'{{job="{broker}",service="{service}"}}'
        found = stage.ask(f"sum by (cdn, rating, region) (qoemon_expected_ratings_total{of})", stage.end_s)
        mixtures = stage.mixtures(service)
        shares = by_rating(mixtures)
        expected = {(c, r, g): share * weight(mixtures[g, c]) for (c, r, g), share in shares.items()}
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@on_each_broker
@pytest.mark.mosquitto
@pytest.mark.prometheus
def test_prometheus_counts_each_report_once_and_each_repetition_as_such(stage: Stage, broker: str) -> None:
    def total(name: str) -> float:
        return stage.ask(f'sum({name}{{job="{broker}"}})', stage.end_s)[()]

    everyone = [user for users in stage.heard for user in users]
    repeated = sum(user.repeated for user in everyone)
    assert total("qoemon_reports_total") == sum(len(user.reports) for user in everyone) - repeated
    assert total("qoemon_reports_duplicate_total") == repeated
    assert total("qoemon_reports_rejected_total") == total("qoemon_messages_dropped_total") == 0


@on_each_broker
@pytest.mark.mosquitto
@pytest.mark.prometheus
def test_histograms_in_prometheus_hold_every_condition_that_was_judged(stage: Stage, broker: str) -> None:
    at_s = stage.end_s
    for service, name in (("video", "stall_count"), ("video", "stall_seconds"), ("web", "response_seconds")):
        of = f'{{job="{broker}",service="{service}"}}'
        everyone = sum(map(weight, stage.mixtures(service).values()))
        assert stage.ask(f"sum(qoemon_{name}_count{of})", at_s)[()] == everyone
        assert stage.ask(f'sum(qoemon_{name}_bucket{of[:-1]},le="+Inf"}})', at_s)[()] == everyone


# --- What goes wrong: brokers that restart, daemons that end, clients that fall silent, floods.


def one_report_each(begin: int, end: int) -> list[User]:
    """Sessions that are judged in one rating interval, whichever it is: what they come to depends on no time."""
    rng, there = random.Random(begin), []
    for number in range(begin, end):
        stalls = rng.choice([0, 0, 1])
        stall_ms, played_ms = stalls * rng.randrange(50, 500), 1303
        played = {"stall_count": stalls, "stall_s": stall_ms / 1000, "play_s": played_ms / 1000}
        report = {"session": f"once-{number}", "seq": 0, "end": True, **played}
        mos = stall_mos(stalls, stall_ms, played_ms)
        there.append(User("video", GROUPS[number % len(GROUPS)], [report], 0, [mos]))
    return there


def reports_of(users: Sequence[User]) -> list[Told]:
    return woven(users, random.Random(0))


def expected_ratings(users: Sequence[User]) -> dict[tuple[str, str, int], float]:
    """How many of them give each rating, by (region, cdn, rating)."""
    of_group = {group: mixture(users, "video", [group]) for group in GROUPS}
    return {
        (*group, rating): share * weight(told)
        for group, told in of_group.items()
        for rating, share in enumerate(told.ratings, 1)
    }


def exported_ratings(daemon: Daemon) -> dict[tuple[str, str, int], float]:
    found = {}
    for (name, labels), value in daemon.samples().items():
        if name == "qoemon_expected_ratings_total":
            of = dict(labels)
            found[of["region"], of["cdn"], int(of["rating"])] = value
    return found


def all_counted(daemon: Daemon, users: Sequence[User]) -> None:
    """Wait until all users are heard and judged, then compare what they come to with brute force."""
    until(
        lambda: sum(exported_ratings(daemon).values()) > len(users) - 0.5,
        lambda: f"{daemon.value('qoemon_reports_total')} of {len(users)} reports; {daemon.log.read_text()}",
    )
    assert daemon.value("qoemon_reports_total") == len(users)
    # Who began before a rating interval did is rated by a part of the session, in whole milliseconds.
    assert exported_ratings(daemon) == pytest.approx(expected_ratings(users), abs=0.01)


@pytest.mark.mosquitto
def test_nothing_is_lost_when_the_broker_restarts_in_the_middle(
    mosquitto: Mosquitto, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(settings(mosquitto.port, interval_s=2)).ready()
    users = one_report_each(0, 900)
    publish(mosquitto.port, reports_of(users[:500]), batch=2)
    mosquitto.restart()
    publish(mosquitto.port, reports_of(users[500:]), batch=2)
    all_counted(daemon, users)
    assert daemon.value("qoemon_mqtt_connects_total") >= 2


@pytest.mark.mosquitto
def test_what_is_published_while_the_daemon_is_away_arrives_when_it_returns(
    mosquitto: Mosquitto, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(settings(mosquitto.port, interval_s=2)).ready()
    before, away = one_report_each(0, 100), one_report_each(100, 300)
    publish(mosquitto.port, reports_of(before))
    until(lambda: daemon.value("qoemon_reports_total") == 100, daemon.log.read_text)
    assert daemon.signal(signal.SIGTERM) == 0
    log = daemon.log.read_text()
    assert "SIGTERM" in log
    assert "Traceback" not in log
    publish(mosquitto.port, reports_of(away))
    daemon.start()
    all_counted(daemon, away)  # And nothing of what the first run had taken in.


def test_what_a_killed_daemon_had_not_acknowledged_comes_to_the_next(
    nats: Nats, start_daemon: Callable[..., Daemon]
) -> None:
    version = "3.1.1"
    daemon = start_daemon(settings(nats.port, version, interval_s=2)).ready()
    publish(nats.port, reports_of(one_report_each(0, 200)), version)
    until(lambda: daemon.value("qoemon_reports_total") == 200, daemon.log.read_text)
    daemon.freeze()
    users = one_report_each(200, 300)
    publish(
        nats.port, reports_of(users), version, batch=1
    )  # The broker hands them over: they wait in the daemon's socket.
    daemon.kill()
    daemon.start()
    all_counted(daemon, users)
    assert "Traceback" not in daemon.log.read_text()


@pytest.mark.mosquitto
def test_a_flood_beyond_the_inbox_waits_at_the_broker_and_is_all_counted(
    mosquitto: Mosquitto, start_daemon: Callable[..., Daemon]
) -> None:
    small = {"inbox_messages": 100, "inbox_bytes": "10KiB", "message_bytes": "5KiB"}
    daemon = start_daemon(settings(mosquitto.port, interval_s=2, limits=small)).ready()
    daemon.freeze()
    users = one_report_each(0, 500)
    publish(mosquitto.port, reports_of(users), batch=1)
    daemon.thaw()
    all_counted(daemon, users)
    assert daemon.value("qoemon_messages_withheld_total") > 0
    assert daemon.value("qoemon_messages_dropped_total") == 0


def test_a_total_outage_shows_and_lasts_until_the_sessions_time_out(
    nats: Nats, start_daemon: Callable[..., Daemon]
) -> None:
    timeout_s = 10
    sessions = {"tick": "1s", "rating_interval": "2s", "timeout": f"{timeout_s}s", "min_active": "1s"}
    told = settings(nats.port, "3.1.1", interval_s=2, sessions=sessions, windows=["2s"])
    daemon = start_daemon(told).ready()

    def say(**more: Any) -> None:
        reports = [{"session": str(number), "seq": len(more), "play_s": 1.5, **more} for number in range(50)]
        publish(nats.port, [Told("video", ("eu", "a"), report) for report in reports], "3.1.1")

    say()
    seen: dict[int, tuple[int, float | None]] = {}

    def look() -> tuple[int, float | None]:
        snapshot = daemon.snapshot()
        seen[snapshot["time_s"]] = open_stalls_and_pow(snapshot)
        return seen[max(seen)]

    until(lambda: look()[1] is not None, daemon.log.read_text)
    assert all(poor is None or poor < 0.01 for _, poor in seen.values()), seen
    began_s = time.time()
    say(stall_count=1, stall_s=0.2, stalled=True)  # The last that is heard of them.
    until(lambda: look()[0] == 50, lambda: f"{seen}; {daemon.log.read_text()}")
    shown_s = max(seen)
    until(lambda: look() == (0, None), lambda: f"{seen}; {daemon.log.read_text()}")
    # A window later nothing else is in it, and nobody has timed out yet.
    silent = {at_s: what for at_s, what in seen.items() if shown_s + 2 <= at_s <= began_s + timeout_s}
    assert silent
    assert all(stalls == 50 and poor is not None and poor > 0.6 for stalls, poor in silent.values()), seen
    assert daemon.value("qoemon_sessions_expired_total") == 50


def open_stalls_and_pow(snapshot: dict[str, Any]) -> tuple[int, float | None]:
    """Of all groups of video together, which must not be more than one; (0, None) without any."""
    groups = snapshot["services"][0]["groups"] if snapshot else []
    assert len(groups) <= 1
    stalls = sum(group["open_stalls"] for group in groups)
    poor = [group["windows"]["2s"]["pow"] for group in groups if group["windows"]]
    return stalls, poor[0] if poor else None


@pytest.mark.mosquitto
@pytest.mark.prometheus
@pytest.mark.parametrize("query", queries(), ids=lambda query: query.split("(")[0].strip())
def test_the_queries_of_the_documentation_are_answered(stage: Stage, query: str) -> None:
    """As they stand there, but for the windows, which are shorter here, and a threshold."""
    at_s = stage.scraped_s(BROKERS[0], stage.closed_s[1])
    shorter = re.sub(r'window="\w+"', f'window="{LONG}"', query).replace("> 0.1", "> 0")
    assert stage.prometheus.query(shorter, at_s)
