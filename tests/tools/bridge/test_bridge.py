"""What a broker and a collector receive is in the topic, by shard, before it is acknowledged."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, NamedTuple

import aiomqtt
import msgspec
import pytest

from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.core.counting.counts import Event
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.wire.codec import Codec
from qoemon.core.wire.message import Kind
from qoemon.core.wire.partition import shard_of
from qoemon.engine.spark.records import SHARDS, messages_of
from tests.support.kafka import Bridge, now_ms, reading
from tests.support.parts import ROOT, unused_port
from tests.support.patience import WAIT_S, async_until, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from qoemon.net.kafka.reader import Record
    from qoemon.state.frames import StoredMessage
    from qoemon.tools.cluster.kafka import Kafka
    from tests.support.parts import Mosquitto

pytestmark = [pytest.mark.kafka, pytest.mark.mosquitto]

S, PARTITIONS = 16, 3
TOPICS = [f"qoe/v1/video/{region}/{cdn}" for region in ("eu", "us") for cdn in ("a", "b")]


MISSING = (
    "there is no topic missing at {brokers}: create it: kafka-topics.sh --bootstrap-server {brokers} --create "
    "--topic missing --partitions 3 --replication-factor 1"
)


def settings(kafka: Kafka, topic: str, broker: Mosquitto | None, directory: Path, **more: Any) -> dict[str, Any]:
    mqtt = (
        None
        if broker is None
        else {"host": "127.0.0.1", "port": broker.port, "reconnect": {"min": "100ms", "max": "200ms"}}
    )
    return {
        "mqtt": mqtt,
        "engine": {"shards": S},
        "kafka": {"brokers": kafka.brokers, "topic": topic, "partitions": PARTITIONS},
        "state": {"dir": str(directory / "state")},
        "shutdown_timeout": f"{WAIT_S:g}s",
        **more,
    }


@pytest.fixture
def topic(kafka: Kafka) -> str:
    """A new topic."""
    name = f"reports-{unused_port()}"
    kafka.create_topic(name, PARTITIONS)
    return name


@pytest.fixture
def start(kafka: Kafka, topic: str, mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Callable[..., Bridge]]:
    """Starts the bridge of the test, with further settings, and waits until it is ready."""
    started: list[Bridge] = []

    def start_(**more: Any) -> Bridge:
        bridge = Bridge(tmp_path, settings(kafka, topic, mosquitto, tmp_path, **more), "bridge")
        started.append(bridge)
        bridge.start()
        return bridge.ready()

    yield start_
    for each in started:
        each.kill()


def collector() -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": unused_port(), "paths": ["/v1/{service}/{region}/{cdn}"]}


def records(kafka: Kafka, topic: str) -> list[tuple[int, Record]]:
    """All records of a topic, with their partitions."""
    with reading(kafka, topic) as reader:
        ends = reader.offsets_at(now_ms() / 1000 + 3600, reader.partitions())
        return [(at, record) for at, end in enumerate(ends) for record in reader.read(at, 0, end)]


def by_shard(kafka: Kafka, topic: str) -> Mapping[int, Sequence[StoredMessage]]:
    found = defaultdict(list)
    for partition, record in records(kafka, topic):
        shard = int(record.key)
        assert (partition, record.headers) == (shard % PARTITIONS, {SHARDS: b"%d" % S})
        found[shard] += messages_of(record.value, record.time_ms / 1000)
    return found


class Row(NamedTuple):
    session: str
    seq: int
    labels: tuple[str, ...]


def rows(messages: Sequence[StoredMessage], config: Config) -> list[Row]:
    """The reports and records of players, in their order; none may be rejected."""
    batch, players, rejected, sample = Codec(core_plan(config)).decode(messages)
    assert not rejected, sample
    return [
        Row(columns.session[at], int(columns.seq[at]), columns.routes[columns.route[at]].labels)
        for columns in (batch, players)
        for at in range(len(columns))
    ]


def counted(shards: Mapping[int, Sequence[StoredMessage]]) -> Counter[Event]:
    """What the core counts of the topic."""
    total: Counter[Event] = Counter()
    for messages in shards.values():
        pipeline = ShardPipeline(core_plan(Config()))
        # Partitions have their own times; a shard has one partition, and time that does not decrease.
        pipeline.apply(messages)
        total.update(pipeline.events)
    return total


def report(session: str, seq: int) -> dict[str, object]:
    return {"session": session, "seq": seq, "stall_count": 0, "stall_s": 0.0, "play_s": float(seq)}


async def publish(port: int, payloads: Sequence[tuple[str, bytes]]) -> None:
    async with aiomqtt.Client("127.0.0.1", port, timeout=WAIT_S) as client:
        for topic, payload in payloads:
            await client.publish(topic, payload, qos=1)


def post(port: int, path: str, content_type: str, body: bytes) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    try:
        connection.request("POST", path, body, {"Content-Type": content_type})
        return connection.getresponse().status
    finally:
        connection.close()


async def test_every_report_is_in_the_topic_by_its_shard(
    kafka: Kafka, topic: str, mosquitto: Mosquitto, start: Callable[..., Bridge]
) -> None:
    """Arrays, single reports, MessagePack and records of players, each once, and in the order of each session."""
    posting = collector()
    bridge = start(collector=posting)
    rng, sent, payloads = random.Random(1), list[Row](), []
    seqs: Counter[str] = Counter()
    for number in range(300):
        address = rng.choice(TOPICS)
        some = [f"s{rng.randrange(40)}" for _ in range(rng.choice([1, 1, 2, 20]))]
        said = []
        for session in some:
            seqs[session] += 1
            said.append(report(session, seqs[session]))
            sent.append(Row(session, seqs[session], tuple(address.split("/")[3:])))
        content = said[0] if len(said) == 1 else said
        payloads.append((address, json.dumps(content).encode() if number % 3 else msgspec.msgpack.encode(content)))
    await publish(mosquitto.port, payloads)
    for sn in range(20):
        body = b"".join(
            b'cid="c",e=t,sid="p%d",sn=%d,sta=p,ts=%d,v=2\n' % (player, sn, now_ms()) for player in range(3)
        )
        status = await asyncio.to_thread(post, posting["port"], "/v1/video/eu/a", "application/cmcd", body)
        assert status == 204
        sent += [Row(f"p{player}", sn, ("eu", "a")) for player in range(3)]
    body = json.dumps([report("posted", seq) for seq in range(5)]).encode()
    assert await asyncio.to_thread(post, posting["port"], "/v1/video/us/b", "application/json", body) == 204
    sent += [Row("posted", seq, ("us", "b")) for seq in range(5)]
    await async_until(lambda: bridge.value("qoemon_bridge_messages_total") == 321, bridge.log.read_text)

    shards = by_shard(kafka, topic)
    config = Config(collector={"paths": posting["paths"]})
    found = {shard: rows(messages, config) for shard, messages in shards.items()}
    assert {shard_of(row.session, S) == shard for shard, some in found.items() for row in some} == {True}
    assert sorted(row for some in found.values() for row in some) == sorted(sent)
    order = {session: [row for row in sent if row.session == session] for session in seqs}
    for some in found.values():
        for session in {row.session for row in some} & set(order):
            assert [row for row in some if row.session == session] == order[session]
    samples = bridge.samples()
    number = sum(1 for _ in records(kafka, topic))
    assert samples["qoemon_bridge_records_total", ()] == number
    assert samples["qoemon_bridge_delivery_seconds_count", ()] == number
    assert samples["qoemon_bridge_bytes_total", ()] == sum(len(each.value) for _, each in records(kafka, topic))
    assert samples["qoemon_bridge_undelivered_records", ()] == samples["qoemon_inbox_messages", ()] == 0
    assert {message.kind for some in shards.values() for message in some} == set(Kind)
    assert bridge.get("/healthz").status == 200
    assert bridge.signal(signal.SIGTERM) == 0


async def test_a_killed_bridge_loses_nothing_and_nothing_counts_twice(
    kafka: Kafka, topic: str, mosquitto: Mosquitto, start: Callable[..., Bridge]
) -> None:
    bridge, rng, seqs = start(), random.Random(2), Counter[str]()
    payloads = []
    for number in range(2000):
        said = []
        for session in rng.sample(range(300), 10):
            seqs[f"s{session}"] += 1
            said.append(report(f"s{session}", seqs[f"s{session}"]))
        payloads.append((TOPICS[number % len(TOPICS)], json.dumps(said).encode()))

    async def kill() -> None:
        for _ in range(3):
            await async_until(lambda: bridge.value("qoemon_bridge_messages_total") > 50, bridge.log.read_text)
            await asyncio.to_thread(bridge.kill)
            await asyncio.to_thread(bridge.start)

    async def load() -> None:
        for at in range(0, len(payloads), 20):
            await publish(mosquitto.port, payloads[at : at + 20])

    await asyncio.gather(kill(), load())
    expected = {(session, seq) for session, last in seqs.items() for seq in range(1, last + 1)}

    def arrived() -> bool:
        found = {(row.session, row.seq) for some in by_shard(kafka, topic).values() for row in rows(some, Config())}
        return found == expected

    until(arrived, bridge.log.read_text)
    assert counted(by_shard(kafka, topic))[Event.REPORT] == len(expected)


async def test_nothing_is_acknowledged_while_kafka_is_down(
    kafka: Kafka, topic: str, mosquitto: Mosquitto, start: Callable[..., Bridge]
) -> None:
    posting = collector()
    bridge = start(collector=posting)
    await publish(mosquitto.port, [(TOPICS[0], json.dumps(report("a", 1)).encode())])
    await async_until(lambda: bridge.value("qoemon_bridge_messages_total") == 1, bridge.log.read_text)
    kafka.kill(1)
    try:
        await async_until(lambda: bridge.get("/readyz").status == 503, bridge.log.read_text)
        assert bridge.get("/readyz").body.startswith(f"cannot reach Kafka at {kafka.brokers[0]}: ")
        await publish(mosquitto.port, [(TOPICS[0], json.dumps(report("a", seq)).encode()) for seq in range(2, 12)])
        body = json.dumps(report("posted", 1)).encode()
        answer = asyncio.create_task(
            asyncio.to_thread(post, posting["port"], "/v1/video/eu/a", "application/json", body)
        )
        await async_until(lambda: bridge.value("qoemon_inbox_messages") == 11, bridge.log.read_text)
        assert bridge.value("qoemon_collector_in_flight") == 1
        assert bridge.value("qoemon_bridge_messages_total") == 1
        assert bridge.value("qoemon_bridge_kafka_connected") == 0
        assert not answer.done()
    finally:
        kafka.start(1)
    assert await answer == 204
    bridge.ready()
    await async_until(lambda: bridge.value("qoemon_bridge_messages_total") == 12, bridge.log.read_text)
    found = [row for some in by_shard(kafka, topic).values() for row in rows(some, Config(collector=posting))]
    assert sorted((row.session, row.seq) for row in found) == [*(("a", seq) for seq in range(1, 12)), ("posted", 1)]
    log = bridge.log.read_text()
    assert log.count("lost Kafka at") == 1
    assert log.count("connected to Kafka at") == 2


async def test_a_bridge_that_is_stopped_stores_and_acknowledges_what_it_has(
    kafka: Kafka, topic: str, mosquitto: Mosquitto, start: Callable[..., Bridge]
) -> None:
    bridge = start()
    await publish(mosquitto.port, [(TOPICS[0], json.dumps(report("a", seq)).encode()) for seq in range(200)])
    await async_until(lambda: bridge.value("qoemon_messages_total") == 200, bridge.log.read_text)
    assert bridge.signal(signal.SIGTERM) == 0
    assert len(rows(by_shard(kafka, topic)[shard_of("a", S)], Config())) == 200
    bridge.start()  # The broker has nothing left for it.
    bridge.ready()
    await publish(mosquitto.port, [(TOPICS[0], json.dumps(report("a", 200)).encode())])
    await async_until(lambda: bridge.value("qoemon_bridge_messages_total"), bridge.log.read_text)
    assert bridge.value("qoemon_messages_total") == 1


def run(directory: Path, said: Mapping[str, Any], *command: str) -> tuple[int, list[str], str]:
    """Exit code of the bridge, its errors, and all that it wrote."""
    file = directory / "wrong.yaml"
    file.write_text(json.dumps({**said, "http": {"port": 0}}))
    done = subprocess.run(
        [sys.executable, *(command or ("-m", "qoemon")), "bridge", "-c", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return done.returncode, [line for line in done.stderr.splitlines() if line.startswith("qoemon: ")], done.stderr


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            {"topic": "missing"},
            f"{MISSING} --config message.timestamp.type=LogAppendTime",
        ),
        ({"partitions": 5}, "topic {topic} at {brokers} has 3 partitions, expected at least 5 (kafka.partitions)"),
        ({"client": {"linger": 3}}, 'kafka.client: No such configuration property: "linger"'),
        ({"client": {"linger.ms": "long"}}, "kafka.client: Invalid value"),
    ],
    ids=["no topic", "few partitions", "unknown option", "wrong value"],
)
def test_what_is_wrong_with_kafka_is_one_line(
    kafka: Kafka, topic: str, tmp_path: Path, mosquitto: Mosquitto, change: dict[str, Any], error: str
) -> None:
    said = settings(kafka, topic, mosquitto, tmp_path)
    code, errors, text = run(tmp_path, {**said, "kafka": {**said["kafka"], **change}})
    expected = error.replace("{brokers}", kafka.brokers[0]).replace("{topic}", topic)
    assert code == 2, text
    (line,) = errors
    assert line.startswith(f"qoemon: {expected}"), line
    assert "Traceback" not in text


def test_messages_larger_than_the_topic_accepts_are_refused_at_the_start(
    kafka: Kafka, topic: str, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    said = settings(kafka, topic, mosquitto, tmp_path) | {"limits": {"message_bytes": "2MiB"}}
    code, (line,), _ = run(tmp_path, said)
    assert code == 2
    assert "expected at least 2117152 (limits.message_bytes): kafka-configs.sh " in line
    assert line.endswith("--add-config max.message.bytes=2117152")


def test_without_kafka_or_its_client_there_is_no_bridge(tmp_path: Path) -> None:
    code, (line,), _ = run(tmp_path, {})
    assert (code, line[:24]) == (2, "qoemon: kafka is null: t")
    lacking = "import sys; sys.modules['confluent_kafka'] = None; from qoemon.cli import main; main()"
    code, (line,), _ = run(tmp_path, {"kafka": {"brokers": ["127.0.0.1:1"]}}, "-c", lacking)
    command = f"{sys.executable} -m pip install 'qoemon[kafka]'"
    assert (code, line) == (2, f"qoemon: the bridge needs confluent-kafka: {command}")


def test_a_kafka_that_does_not_answer_is_asked_again(tmp_path: Path, mosquitto: Mosquitto) -> None:
    said = {
        "mqtt": {"host": "127.0.0.1", "port": mosquitto.port},
        "kafka": {"brokers": [f"127.0.0.1:{unused_port()}"]},
    }
    bridge = Bridge(tmp_path, said, "bridge")
    with bridge:
        until(lambda: "cannot reach Kafka at 127.0.0.1" in bridge.log.read_text(), bridge.log.read_text)
        assert "Connection refused" in bridge.get("/readyz").body
        assert bridge.get("/healthz").status == 200
        assert bridge.signal(signal.SIGTERM) == 0
