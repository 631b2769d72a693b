"""CPU of a bridge for a report, beside the daemon's, from mosquitto. `python -m benchmarks.bridging`.

Gateways publish arrays of 100 reports at QoS 1, at a fixed rate. The daemon keeps its state in memory, the bridge
its messages in a directory.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.bench import run
from benchmarks.row import Row
from benchmarks.wire import cpu
from benchmarks.wire.load import CHUNK, Generator, packets, payloads
from benchmarks.wire.receivers import PATIENCE_S, LostError, Qoemon
from qoemon.tools.cluster.kafka import Kafka
from tests.support.kafka import Bridge
from tests.support.parts import WebMosquitto
from tests.support.patience import until

RATE, BATCH = 60_000, 100
"""Reports a second, and in a message."""
SESSIONS, GROUPS, SHARDS, PARTITIONS = 400_000, 20, 64, 8
SECONDS, ROUNDS = (5, 1) if os.environ.get("QUICK") else (10, 5)
TOPIC = "qoemon-reports"


def bridge_cost(bridge: Bridge, messages: int, send: Callable[[], object]) -> float:
    """CPU seconds until Kafka has all messages; LostError after PATIENCE_S without progress."""
    counted = "qoemon_bridge_messages_total"
    before, began_s = bridge.value(counted), cpu.seconds(bridge.pid)
    send()
    received, progress_s = 0.0, time.monotonic()
    while received < messages:
        time.sleep(0.2)
        now = bridge.value(counted) - before
        if now > received:
            received, progress_s = now, time.monotonic()
        elif time.monotonic() - progress_s > PATIENCE_S:
            raise LostError(received, messages)
    return cpu.seconds(bridge.pid) - began_s


def loads() -> Iterator[list[bytes]]:
    """The packets of each round, after those of one that is not measured."""
    messages = RATE // BATCH * SECONDS // CHUNK * CHUNK
    for number in range(ROUNDS + 1):
        yield packets(payloads(messages, BATCH, SESSIONS, GROUPS, number * messages * BATCH), qos=1)


def rows() -> list[Row]:
    """All rows."""
    messages = RATE // BATCH * SECONDS // CHUNK * CHUNK
    reports = messages * BATCH
    with tempfile.TemporaryDirectory() as name, ExitStack() as ends:
        directory = Path(name)
        (directory / "kafka").mkdir()
        kafka = ends.enter_context(Kafka(directory / "kafka"))
        kafka.create_topic(TOPIC, PARTITIONS)
        broker = ends.enter_context(
            WebMosquitto(directory, options=["max_inflight_messages 0", "max_queued_messages 0"])
        )
        settings = {
            "mqtt": {"host": "127.0.0.1", "port": broker.port, "client_id": "bench-bridge"},
            "engine": {"kind": "spark", "shards": SHARDS, "checkpoint": str(directory / "checkpoint")},
            "kafka": {"brokers": kafka.brokers, "topic": TOPIC, "partitions": PARTITIONS},
            "state": {"dir": str(directory / "state")},
            "log": {"level": "warning"},
        }
        bridge = ends.enter_context(Bridge(directory, settings, "bridge")).ready()
        until(lambda: bridge.value("qoemon_mqtt_connected") == 1, bridge.log.read_text)
        daemon = ends.enter_context(Qoemon(directory, broker.port, 1))
        generator = ends.enter_context(Generator(broker.port))
        bridged, counted = [], []
        for packed in loads():
            began_s = cpu.seconds(daemon.pid)
            send = partial(generator.pace, packed, RATE / BATCH)
            bridged.append(bridge_cost(bridge, messages, send) / reports * 1e6)
            counted.append((cpu.seconds(daemon.pid) - began_s) / reports * 1e6)
    name = f"{RATE:,} reports/s"
    return [
        Row.of(f"{name}: bridge", "us/report", bridged[1:]),
        Row.of(f"{name}: daemon", "us/report", counted[1:]),
        Row.ratio(f"{name}: bridge / daemon", bridged[1:], counted[1:]),
    ]


if __name__ == "__main__":
    sys.exit(run("A bridge beside a daemon, from one broker", rows))
