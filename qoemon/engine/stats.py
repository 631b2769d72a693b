"""Statistics of an engine and of its workers."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace

from qoemon.inputs.inbox import Inbox
from qoemon.inputs.stats import MqttStats
from qoemon.state.writer import WriterStats


@dataclass(frozen=True)
class EngineStats:
    """Statistics of one process, from the broker to the store. Totals count since the process began.

    dropped, withheld  messages of QoS 0 and of QoS 1 that did not fit in the inbox
    """

    mqtt: MqttStats = field(default_factory=MqttStats)
    writer: WriterStats = field(default_factory=WriterStats)
    inbox_messages: int = 0
    inbox_bytes: int = 0
    dropped: int = 0
    withheld: int = 0

    @classmethod
    def of(cls, mqtt: MqttStats, writer: WriterStats, inbox: Inbox) -> EngineStats:
        """The statistics of these parts, as a copy."""
        return cls(copy(mqtt), copy(writer), inbox.messages, inbox.bytes, inbox.dropped, inbox.withheld)

    def __add__(self, other: EngineStats) -> EngineStats:
        return EngineStats(
            mqtt=self.mqtt + other.mqtt,
            writer=self.writer + other.writer,
            inbox_messages=self.inbox_messages + other.inbox_messages,
            inbox_bytes=self.inbox_bytes + other.inbox_bytes,
            dropped=self.dropped + other.dropped,
            withheld=self.withheld + other.withheld,
        )

    def totals(self) -> EngineStats:
        """The totals of a process that has ended, to be added to those of others."""
        return replace(self, mqtt=self.mqtt.totals(), writer=self.writer.totals(), inbox_messages=0, inbox_bytes=0)


NOTHING_YET = EngineStats().totals()
"""The neutral element of addition."""


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
