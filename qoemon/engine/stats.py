"""Statistics of an engine and of its workers."""

from __future__ import annotations

from copy import copy, deepcopy
from dataclasses import dataclass, field, replace

from qoemon.inputs.inbox import Inbox
from qoemon.inputs.sources import Sources
from qoemon.inputs.stats import CollectorStats, MqttStats
from qoemon.state.writer import WriterStats


@dataclass(frozen=True)
class EngineStats:
    """Statistics of one process, from its inputs to the store. Totals count since the process began.

    mqtt, collector    None without a connection to a broker, or without a collector
    dropped, withheld  messages of QoS 0 and of QoS 1 that did not fit in the inbox
    """

    mqtt: MqttStats | None = None
    collector: CollectorStats | None = None
    writer: WriterStats = field(default_factory=WriterStats)
    inbox_messages: int = 0
    inbox_bytes: int = 0
    dropped: int = 0
    withheld: int = 0

    @classmethod
    def of(cls, sources: Sources, writer: WriterStats, inbox: Inbox) -> EngineStats:
        """The statistics of these parts, as a copy."""
        mqtt = None if sources.mqtt is None else copy(sources.mqtt.stats)
        collector = None if sources.collector is None else deepcopy(sources.collector.stats)
        return cls(mqtt, collector, copy(writer), inbox.messages, inbox.bytes, inbox.dropped, inbox.withheld)

    @property
    def connected(self) -> bool:
        """Whether reports can arrive, as far as is known: the broker is connected, if there is one."""
        return self.mqtt is None or self.mqtt.connected

    def __add__(self, other: EngineStats) -> EngineStats:
        return EngineStats(
            mqtt=_sum(self.mqtt, other.mqtt),
            collector=self.collector or other.collector,  # Only one process has it.
            writer=self.writer + other.writer,
            inbox_messages=self.inbox_messages + other.inbox_messages,
            inbox_bytes=self.inbox_bytes + other.inbox_bytes,
            dropped=self.dropped + other.dropped,
            withheld=self.withheld + other.withheld,
        )

    def totals(self) -> EngineStats:
        """The totals of a process that has ended, to be added to those of others."""
        mqtt = None if self.mqtt is None else self.mqtt.totals()
        return replace(self, mqtt=mqtt, writer=self.writer.totals(), inbox_messages=0, inbox_bytes=0)


NOTHING_YET = EngineStats()
"""The neutral element of addition."""


def _sum(one: MqttStats | None, other: MqttStats | None) -> MqttStats | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


@dataclass(frozen=True)
class WorkerStats:
    """One worker.

    up        whether it runs, has its sessions, and responds
    restarts  how often it has been restarted
    cpu_s     CPU time of the present process and of earlier ones, seconds
    memory    resident, bytes
    reports   accepted, as of its newest tick
    """

    up: bool
    restarts: int = 0
    cpu_s: float = 0.0
    memory: int = 0
    reports: int = 0
