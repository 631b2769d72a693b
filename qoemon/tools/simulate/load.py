"""Sends the reports of a simulated population, in real time, and publishes them to an MQTT broker.

The population has its own clock with fixed steps. A step begins when its time has come and the reports of the
previous step are sent. So a slow receiver or a low rate makes the simulation lag instead of dropping reports or
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
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, Protocol

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
    """The receiver did not accept the load; the message names it, what happened and what to do."""


class Message(NamedTuple):
    """What is sent at once."""

    address: str
    """A topic, or a path."""
    payload: bytes
    reports: int
    content_type: str = ""


class Messages(Protocol):
    """Makes messages of reports."""

    def of_step(self, reports: list[Reported]) -> tuple[int, Iterator[Message]]:
        """How many reports a step sends, and its messages one by one, so that each is encoded only when due."""


class Link(Protocol):
    """A way to the receiver."""

    in_flight: int
    """Concurrent calls of send."""

    async def send(self, message: Message) -> None:
        """Send a message, and return when it is accepted."""

    async def until_lost(self) -> NoReturn:
        """Wait until the receiver is lost, and raise why."""


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
    encoder = ReportMessages(topics, report_labels, shards, encoding, batch)
    encoder.check(population.groups)
    async with _connected(broker) as client:
        return await run(_ByMqtt(client, qos), population, encoder, rate, for_s, step_s, on_progress)


async def run(
    link: Link,
    population: Population,
    messages: Messages,
    rate: float,
    for_s: float | None,
    step_s: float,
    on_progress: Callable[[Progress], None],
) -> Totals:
    """Send the reports of a population over a link; see publish()."""
    load = _Load(link, population, messages, rate)
    try:
        return await load.run(step_s, for_s, on_progress)
    finally:
        on_progress(load.progress())


@dataclass(frozen=True)
class ReportMessages:
    """Converts reports to messages in the wire format; the arguments are those of publish()."""

    topics: Mapping[str, str]
    report_labels: Sequence[str]
    shards: int
    encoding: Literal["json", "msgpack"]
    batch: int

    def check(self, groups: Iterable[Mapping[str, str]]) -> None:
        """Raise TopicError if a group's labels do not yield a topic for publishing, or a path."""
        for labels, (service, template) in product(groups, self.topics.items()):
            try:
                topic = template.format(service=service, shard=0, **labels)
            except (LookupError, ValueError, AttributeError) as error:
                names = ", ".join(f"{{{name}}}" for name in ("service", *labels, "shard"))
                raise TopicError(f"topic {template!r}: expected no names but {names}") from error
            if not set("+#\0").isdisjoint(topic) or topic.count("/") != template.count("/"):
                raise TopicError(f"topic {template!r} gives {topic!r}: expected no + or #, and no / in labels")

    def of_step(self, reports: list[Reported]) -> tuple[int, Iterator[Message]]:
        """See Messages."""
        return len(reports), self._messages(reports)

    def _messages(self, reports: list[Reported]) -> Iterator[Message]:
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
                payload = encode(part if self.batch > 1 else part[0])
                yield Message(topic, payload, len(part), f"application/{self.encoding}")


class _ByMqtt:
    """Publishes at a QoS."""

    in_flight = IN_FLIGHT

    def __init__(self, client: aiomqtt.Client, qos: int) -> None:
        self._client, self._qos = client, qos

    async def send(self, message: Message) -> None:
        await self._client.publish(message.address, message.payload, qos=self._qos)

    async def until_lost(self) -> NoReturn:
        """Raise MqttError when the connection is lost; publishes would notice only by a timeout of ten seconds."""
        async for _ in self._client.messages:
            pass  # no messages: nothing is subscribed
        raise AssertionError  # The iterator ends by an error only.


class _Load:
    """One run: a producer that steps the population and paces its messages, and the senders."""

    def __init__(self, link: Link, population: Population, messages: Messages, rate: float) -> None:
        self._link = link
        self._population = population
        self._encoder = messages
        self._rate = rate
        self._clock = asyncio.get_running_loop().time
        self._started_s = self._next_turn_s = self._due_s = self._clock()
        self._outbox: asyncio.Queue[Message] = asyncio.Queue(maxsize=link.in_flight)
        self._produced = self._reports = self._messages = 0

    async def run(self, step_s: float, for_s: float | None, on_progress: Callable[[Progress], None]) -> Totals:
        try:
            async with asyncio.TaskGroup() as group:
                senders = (self._send() for _ in range(self._link.in_flight))
                helpers = (self._link.until_lost(), self._report_progress(on_progress), *senders)
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
            count_of_step, messages = self._encoder.of_step(reports)
            self._produced += count_of_step
            for message in messages:
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
            await self._link.send(message)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError  # asyncio.wait_for() of Python 3.11 loses a cancellation now and then.
            self._reports += message.reports
            self._messages += 1
            self._outbox.task_done()

    async def _report_progress(self, on_progress: Callable[[Progress], None]) -> None:
        while True:
            await asyncio.sleep(1)
            on_progress(self.progress())


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
