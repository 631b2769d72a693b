"""What of a configuration is simulated: its services of viewers and readers, with their topics and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qoemon.core.plan.plan import Counters, Service
from qoemon.core.qoe.mapping import RESPONSE, Qos

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qoemon.config.config import Config


class ScopeError(ValueError):
    """No service of the configuration can be simulated; the message says why for each."""


@dataclass(frozen=True)
class Scope:
    """What is simulated.

    viewers        services whose users report stalls
    readers        services whose users report response times
    topics         topic template by service
    report_labels  labels that reports carry
    constants      values of the labels that are neither a region nor a CDN: one each
    left_out       why each of the other services is not simulated
    """

    viewers: Sequence[str]
    readers: Sequence[str]
    topics: Mapping[str, str]
    report_labels: Sequence[str]
    constants: Mapping[str, str]
    left_out: Sequence[str]

    @classmethod
    def of(cls, config: Config) -> Scope:
        """Of this configuration; ScopeError if nothing of it can be simulated."""
        faults = {service.name: _fault(service, config) for service in config.core_services()}
        left_out = [f"{name} is not simulated: {fault}" for name, fault in faults.items() if fault]
        simulated = [service for service in config.core_services() if not faults[service.name]]
        if not simulated:
            raise ScopeError("\n".join(left_out))
        topics = {service.name: _topic(service.name, config) or "" for service in simulated}
        named = {name for topic in config.topics for name in topic.parsed.names}
        return cls(
            viewers=[service.name for service in simulated if service.mapping.qos is Qos.STALLS],
            readers=[service.name for service in simulated if service.mapping.qos is Qos.RESPONSES],
            topics=topics,
            report_labels=config.labels,
            constants={name: f"{name}-01" for name in sorted(named | set(config.labels)) if name not in _VARIED},
            left_out=left_out,
        )


_VARIED = ("region", "cdn")


def _fault(service: Service, config: Config) -> str | None:
    """Why a service is not simulated."""
    mapping = service.mapping
    if mapping.qos is Qos.MEASURES or (mapping.qos is Qos.RESPONSES and mapping.inputs != (RESPONSE,)):
        return f"{mapping.name} needs {', '.join(mapping.inputs)}, and only stalls or response times are simulated"
    if service.counters is Counters.DELTA and mapping.qos is Qos.STALLS:
        return "it has counters: delta, and only totals are simulated"
    return None if _topic(service.name, config) else "mqtt.topics has no topic for it"


def _topic(service: str, config: Config) -> str | None:
    """The first topic template under which the service can be reported."""
    fitting = (topic.template for topic in config.topics if topic.service in {None, service})
    return next(fitting, None)
