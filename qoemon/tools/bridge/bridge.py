"""The bridge: inputs as of the daemon, with Kafka behind them instead of a shard.

A message is acknowledged when Kafka has stored all of its reports in all replicas in sync. So after a crash of the
bridge the broker delivers again what is not known to be stored: a report comes at least once, and counts once.

Several bridges can share the load of a topic. Each has a client_id of its own and reads other MQTT topics. A
session must stay with one bridge, since two do not keep the order of its reports, so clients put a level into the
topic that they derive from the session, as for workers: the cluster has `qoe/v1/{shard}/{service}/{cdn}`, and each
bridge the values that are its own, such as `qoe/v1/3/{service}/{cdn}`. It is not important which bridge a session
uses, since the key of a record is the shard of its sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from qoemon.common import systemd
from qoemon.common.backoff import Repeats, backoff_s
from qoemon.common.signals import cancelled_by_signals
from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.config.sections.kafka import Kafka
from qoemon.daemon.daemon import ListenError, bound_sockets, feed_watchdog, url_of
from qoemon.engine import garbage, interpreter
from qoemon.engine.inputs import sources
from qoemon.engine.storage import state_directory
from qoemon.inputs.inbox import Inbox, Message
from qoemon.inputs.mqtt.options import broker_options
from qoemon.net.http.server import serve
from qoemon.net.http.stats import HttpStats
from qoemon.net.http.web_config import WebConfig
from qoemon.net.kafka.client import client_options
from qoemon.net.kafka.producer import RecordProducer
from qoemon.net.kafka.topic import KafkaUnreachable, check_topic
from qoemon.state.directory import locked
from qoemon.tools.bridge.forwarder import Forwarder, largest_record
from qoemon.tools.bridge.metrics import BridgeMetrics
from qoemon.tools.bridge.routes import application

LOG = logging.getLogger("qoemon.bridge")

DIRECTORY = "bridge"
"""In the state directory, so that a daemon on the same machine can have that one."""

SHORTEST_S, LONGEST_S = 1.0, 30.0
"""Range of pauses before Kafka is asked again at the start."""

SILENT_S = 10.0
"""Longer without an answer of Kafka to a record is a problem."""

LOOK_S = 0.02
"""How often the end looks whether everything is acknowledged."""


async def run(config: Config, kafka: Kafka) -> None:
    """Run the bridge until SIGTERM or SIGINT.

    raises   TopicError, OptionError, ConfigError, StateError, ListenError; ProducerError if Kafka refuses a record
    """
    interpreter.tune()
    with cancelled_by_signals():
        async with garbage.collected(), _Bridge(config, kafka).running():
            await asyncio.sleep(math.inf)


class _Bridge:
    def __init__(self, config: Config, kafka: Kafka) -> None:
        self._config, self._kafka = config, kafka
        self._options = client_options(kafka.brokers, kafka.client)
        self._plan = core_plan(config)
        self._inbox = Inbox(config.limits.inbox_messages, config.limits.inbox_bytes)
        self._producer: RecordProducer | None = None
        self._problem = "Kafka is not checked yet"
        """Why nothing is received yet, before there is a producer."""
        self._draining = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run all parts while the block runs; then deliver and acknowledge what has arrived."""
        config = self._config
        async with contextlib.AsyncExitStack() as ends:
            directory = self._locked(ends)
            # This process has all topics, also if a daemon with the same file has workers.
            self._sources = sources(config.model_copy(update={"workers": 1}), self._inbox, directory)
            ends.callback(self._sources.close)
            http_stats = HttpStats()
            self._metrics = BridgeMetrics(self._sources, self._inbox, http_stats)
            await self._serve(http_stats, ends)
            try:
                await self._sources.listen()
            except OSError as error:
                raise ListenError(str(error)) from None
            systemd.notify(READY=1, STATUS="waiting for Kafka")
            partitions = await self._partitions()
            self._producer = producer = RecordProducer(
                self._options, self._kafka.topic, largest_record(self._plan), self._metrics.observe_delivery
            )
            ends.callback(producer.close)
            self._metrics.kafka = producer.stats
            shards = config.engine.shards
            forwarder = Forwarder(self._plan, shards, partitions, self._inbox, producer, self._acknowledge)
            ends.callback(forwarder.close)
            async with self._working(forwarder, producer):
                yield

    def _locked(self, ends: contextlib.AsyncExitStack) -> Path | None:
        """The directory of the bridge, locked until the end; None if nothing is stored."""
        state = state_directory(self._config)
        if state is None:
            return None
        directory = state / DIRECTORY
        ends.enter_context(locked(directory))
        return directory

    async def _serve(self, stats: HttpStats, ends: contextlib.AsyncExitStack) -> None:
        http = self._config.http
        web = WebConfig(http.web_config_file, stats)
        sockets = await bound_sockets(http)
        for listening in sockets:
            ends.callback(listening.close)
        app = application(self._metrics, self._ready)
        serving = await serve(app, sockets, web, stats, self._config.limits.http_connections)
        ends.push_async_callback(serving.cleanup)
        LOG.info("serving on %s", url_of(web.now().scheme, http.host, sockets[0].getsockname()[1]))

    async def _partitions(self) -> int:
        """The number of partitions of the topic, once Kafka answers."""
        kafka, failures, repeats = self._kafka, 0, Repeats()
        while True:
            try:
                found = await asyncio.to_thread(
                    check_topic, self._options, kafka.topic, kafka.partitions, largest_record(self._plan)
                )
            except KafkaUnreachable as error:
                self._problem = str(error)
                failures += 1
                pause_s = backoff_s(failures, SHORTEST_S, LONGEST_S)
                if repeats.is_news(self._problem, time.monotonic()):
                    LOG.warning(
                        "%s; nothing is received until Kafka answers; next attempt in %.1f s", error, pause_s
                    )
                await asyncio.sleep(pause_s)
            else:
                LOG.info(
                    "writing to topic %s at %s: %d shards in %d partitions",
                    kafka.topic,
                    ", ".join(kafka.brokers),
                    self._config.engine.shards,
                    found,
                )
                return found

    @contextlib.asynccontextmanager
    async def _working(self, forwarder: Forwarder, producer: RecordProducer) -> AsyncIterator[None]:
        parts = self._sources.parts() | {
            "forwarder": forwarder.run(),
            "producer": producer.run(),
            "watchdog": feed_watchdog(list),
        }
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part, name=f"qoemon.{name}") for name, part in parts.items()]
            systemd.notify(STATUS=f"writing to topic {self._kafka.topic}")
            try:
                yield
            finally:
                await self._drain(tasks)
                for task in tasks:
                    task.cancel()

    async def _drain(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Stop receiving, and wait until Kafka has stored all that has arrived, and it is acknowledged."""
        self._draining = True
        systemd.notify(STOPPING=1, STATUS="shutting down")
        self._sources.leave()
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._config.shutdown_timeout_s
        while self._inbox.messages and loop.time() < until_s and not any(map(_failed, tasks)):
            await asyncio.sleep(LOOK_S)
        if self._inbox.messages:
            LOG.warning(
                "shutting down with %d messages that Kafka has not stored: they are not acknowledged, so senders "
                "send them again",
                self._inbox.messages,
            )

    def _acknowledge(self, messages: Sequence[Message]) -> None:
        self._metrics.messages_total += len(messages)
        self._sources.ack(messages)

    def _ready(self) -> list[str]:
        """Why reports do not reach Kafka; empty if they do."""
        problems = ["shutting down"] if self._draining else []
        producer, mqtt = self._producer, self._sources.mqtt
        if producer is None:
            return [*problems, self._problem]
        if not producer.stats.connected:
            reason = producer.stats.last_error or "not connected yet"
            problems.append(f"cannot reach Kafka at {', '.join(self._kafka.brokers)}: {reason}")
        elif producer.silent_s > SILENT_S:
            problems.append(
                f"Kafka has stored none of {producer.stats.undelivered} records for {producer.silent_s:.0f} s: "
                "are enough replicas in sync (min.insync.replicas)?"
            )
        if mqtt is not None and not mqtt.stats.subscribed and self._config.mqtt is not None:
            problems.append(mqtt.stats.last_error or f"not subscribed yet at {broker_options(self._config.mqtt)}")
        return problems


def _failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
