"""Publishes a simulated population to an MQTT broker, in real time.

The population has its own clock with fixed steps. A step begins when its time has come and the reports of the
previous step are sent. So a slow broker or a low rate makes the simulation lag instead of dropping reports or
queueing them in memory, and what is sent does not depend on the speed of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import count, product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import aiomqtt
import msgspec

from qoemon.core.wire.partition import shard_of
from qoemon.net.mqtt.client import new_client
from qoemon.net.mqtt.errors import describe_error
from qoemon.tools.simulate.simulate import SERVICES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence

    from qoemon.net.mqtt.client import Broker
    from qoemon.tools.simulate.simulate import Population, Reported

TOPICS = dict.fromkeys(SERVICES, "qoe/v1/{service}/{region}/{cdn}")

IN_FLIGHT = 20
"""Concurrent publishes. An MQTT 5 broker may disconnect a client that exceeds its receive maximum, which aiomqtt
does not expose; 20 is mosquitto's, the lowest default we know."""

CATCH_UP_S = 0.02
"""Timers fire late; messages overdue by at most this time are sent at once."""

ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "json": msgspec.json.Encoder().encode,
    "msgpack": msgspec.msgpack.Encoder().encode,
}


class Progress(NamedTuple):
    """Progress of a load."""

    elapsed_s: float
    reports: int
    """Sent and, at QoS 1, acknowledged."""
    messages: int
    active_sessions: int
    phase: str
    lag_s: float
    """Delay of the simulation behind the clock."""


class Totals(NamedTuple):
    """Totals of a finished load."""

    elapsed_s: float
    reports: int
    """Sent and, at QoS 1, acknowledged."""
    messages: int
    unsent_reports: int
    """Of the last step, not sent before time ran out."""
    lag_s: float
    """Delay of the simulation behind the clock at the end."""


class TopicError(ValueError):
    """The topic template does not yield valid topics; the message says why."""


class LoadError(Exception):
    """The broker did not accept the load; the message names the broker, what happened and what to do."""


async def publish(
    broker: Broker,
    population: Population,
    *,
    rate: float = math.inf,
    for_s: float | None = None,
    step_s: float = 0.5,
    qos: Literal[0, 1] = 0,
    batch: int = 1,
    topics: Mapping[str, str] = TOPICS,
    report_labels: Sequence[str] = (),
    shards: int = 16,
    encoding: Literal["json", "msgpack"] = "json",
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Totals:
    """Publish the reports of a population to a broker for `for_s` seconds or until cancelled.

    broker       only its first address is used, without its client id and session
    rate         maximum reports per second; in any second exceeded by at most 2 % and one message
    step_s       the population's time step
    batch        maximum reports per message; 1 sends plain objects, more sends arrays of one topic's reports
    topics       by service: a template with {service}, the groups' labels and {shard}
    report_labels  labels that the reports carry
    shards       number of values of {shard}
    on_progress  called about once a second, and once at the end, also after an error
    raises       LoadError if the broker is unreachable, refuses or closes the connection; TopicError if the topic
                 cannot be filled; ValueError if an argument is out of range
    """
    if not (rate > 0 and step_s > 0 and batch >= 1):
        raise ValueError(f"rate {rate}, step_s {step_s}, batch {batch}: expected all above 0")
    encoder = _Encoder(topics, report_labels, shards, encoding, batch)
    encoder.check(population.groups)
    async with _connected(broker) as client:
        load = _Load(client, qos, population, encoder, rate)
        try:
            return await load.run(step_s, for_s, on_progress)
        finally:
            on_progress(load.progress())


class _Message(NamedTuple):
    topic: str
    payload: bytes
    reports: int


@dataclass(frozen=True)
class _Encoder:
    """Converts reports to messages."""

    topics: Mapping[str, str]
    report_labels: Sequence[str]
    shards: int
    encoding: str
    batch: int

    def check(self, groups: Iterable[Mapping[str, str]]) -> None:
        """Raise TopicError if a group's labels do not yield a topic for publishing."""
        for labels, (service, template) in product(groups, self.topics.items()):
            try:
                topic = template.format(service=service, shard=0, **labels)
            except (LookupError, ValueError, AttributeError) as error:
                names = ", ".join(f"{{{name}}}" for name in ("service", *labels, "shard"))
                raise TopicError(f"topic {template!r}: expected no names but {names}") from error
            if not set("+#\0").isdisjoint(topic) or topic.count("/") != template.count("/"):
                raise TopicError(f"topic {template!r} gives {topic!r}: expected no + or #, and no / in labels")

    def messages(self, reports: list[Reported]) -> Iterator[_Message]:
        """Yield the messages one by one, so that each is encoded only when it is due."""
        by_topic: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for service, labels, report in reports:
            shard = shard_of(report["session"], self.shards)
            own = {name: labels[name] for name in self.report_labels}
            topic = self.topics[service].format(service=service, shard=shard, **labels)
            by_topic[topic].append(report | {"labels": own} if own else report)
        encode = ENCODERS[self.encoding]
        for topic, bodies in by_topic.items():
            for start in range(0, len(bodies), self.batch):
                part = bodies[start : start + self.batch]
                yield _Message(topic, encode(part if self.batch > 1 else part[0]), len(part))


class _Load:
    """One run: a producer that steps the population and paces its messages, and IN_FLIGHT senders."""

    def __init__(
        self, client: aiomqtt.Client, qos: int, population: Population, encoder: _Encoder, rate: float
    ) -> None:
        self._client = client
        self._qos = qos
        self._population = population
        self._encoder = encoder
        self._rate = rate
        self._clock = asyncio.get_running_loop().time
        self._started_s = self._next_turn_s = self._due_s = self._clock()
        self._outbox: asyncio.Queue[_Message] = asyncio.Queue(maxsize=IN_FLIGHT)
        self._produced = self._reports = self._messages = 0

    async def run(self, step_s: float, for_s: float | None, on_progress: Callable[[Progress], None]) -> Totals:
        try:
            async with asyncio.TaskGroup() as group:
                senders = (self._send() for _ in range(IN_FLIGHT))
                helpers = (self._until_lost(), self._report_progress(on_progress), *senders)
                tasks = [group.create_task(helper) for helper in helpers]
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(for_s):
                        await self._produce(step_s)
                await self._outbox.join()
                for task in tasks:
                    task.cancel()
        except ExceptionGroup as errors:
            first = errors.exceptions[0]  # any others report the same of another message
            raise first from first.__cause__
        unsent = self._produced - self._reports
        return Totals(self._elapsed_s(), self._reports, self._messages, unsent, self._lag_s())

    def progress(self) -> Progress:
        users = self._population
        sent = (self._reports, self._messages)
        return Progress(self._elapsed_s(), *sent, users.active_sessions, users.phase, self._lag_s())

    def _elapsed_s(self) -> float:
        return self._clock() - self._started_s

    def _lag_s(self) -> float:
        return max(0.0, self._clock() - self._due_s)

    async def _produce(self, step_s: float) -> None:
        start_s = self._population.now_s
        for step in count(1):
            self._due_s = self._started_s + step * step_s
            await asyncio.sleep(self._due_s - self._clock())
            reports = self._population.step(start_s + step * step_s)
            self._produced += len(reports)
            for message in self._encoder.messages(reports):
                await self._wait_for_turn(message.reports)
                await self._outbox.put(message)
            await self._outbox.join()

    async def _wait_for_turn(self, reports: int) -> None:
        turn_s = max(self._next_turn_s, self._clock() - CATCH_UP_S)
        self._next_turn_s = turn_s + reports / self._rate
        if turn_s > self._clock():
            await asyncio.sleep(turn_s - self._clock())

    async def _send(self) -> None:
        while True:
            message = await self._outbox.get()
            await self._client.publish(message.topic, message.payload, qos=self._qos)
            self._reports += message.reports
            self._messages += 1
            self._outbox.task_done()

    async def _report_progress(self, on_progress: Callable[[Progress], None]) -> None:
        while True:
            await asyncio.sleep(1)
            on_progress(self.progress())

    async def _until_lost(self) -> None:
        """Raise MqttError when the connection is lost; publishes would notice only by a timeout of ten seconds."""
        async for _ in self._client.messages:
            pass  # no messages: nothing is subscribed


@contextlib.asynccontextmanager
async def _connected(broker: Broker) -> AsyncIterator[aiomqtt.Client]:
    """A connection whose errors are raised as LoadError, when it opens and later."""
    # The name has a form that every broker must accept, and no session is left behind.
    broker = replace(broker, client_id=f"qoemonload{secrets.token_hex(4)}", session_expiry_s=0)
    connected = False
    try:
        async with await new_client(broker) as client:
            connected = True
            yield client
    except (aiomqtt.MqttError, OSError, UnicodeError) as error:  # UnicodeError: invalid host name.
        failure = "Lost the connection to" if connected else "Cannot connect to"
        raise LoadError(f"{failure} the MQTT broker at {broker}: {describe_error(error)}") from error
