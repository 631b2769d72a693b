"""What of a configuration is simulated: its services of viewers and readers, with their topics and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qoemon.core.plan.plan import Counters, Service
from qoemon.core.qoe.mapping import RESPONSE, MediaStall, Qos
from qoemon.tools.simulate.shown import Measures, ladder

if TYPE_CHECKING:
    from qoemon.config.config import Config
    from qoemon.config.sections.collector import Collector, CollectorPath
    from qoemon.config.sections.mqtt import Topic


class ScopeError(ValueError):
    """No service of the configuration can be simulated; the message says why for each."""


@dataclass(frozen=True)
class Scope:
    """What is simulated.

    viewers        services whose users report stalls
    readers        services whose users report response times
    shown          measures of the viewers of services that rate them, by service, as shown.py has them
    topics         template of the topic by service, or of the path to which it is posted
    report_labels  labels that reports carry
    keys           values of custom CMCD keys that carry a label, by key
    constants      values of the labels that are neither a region nor a CDN: one each
    left_out       why each of the other services is not simulated
    """

    viewers: Sequence[str]
    readers: Sequence[str]
    shown: Mapping[str, Sequence[Measures]]
    topics: Mapping[str, str]
    report_labels: Sequence[str]
    keys: Mapping[str, str]
    constants: Mapping[str, str]
    left_out: Sequence[str]

    @classmethod
    def of(cls, config: Config, collector: Collector | None = None) -> Scope:
        """Of this configuration; ScopeError if nothing of it can be simulated.

        collector  to which everything is posted; None: it is published to the broker
        """
        templates = config.topics if collector is None else [path for path in collector.paths if not path.off]
        source = "mqtt.topics" if collector is None else "collector.paths"
        faults = {
            service.name: _fault(service, templates, source, players=collector is not None)
            for service in config.core_services()
        }
        left_out = [f"{name} is not simulated: {fault}" for name, fault in faults.items() if fault]
        simulated = [service for service in config.core_services() if not faults[service.name]]
        if not simulated:
            raise ScopeError("\n".join(left_out))
        topics = {service.name: _topic(service.name, templates) or "" for service in simulated}
        named = {name for template in templates for name in template.parsed.names}
        labels = {} if collector is None else collector.labels
        return cls(
            viewers=[service.name for service in simulated if service.mapping.qos is Qos.STALLS],
            readers=[service.name for service in simulated if service.mapping.qos is Qos.RESPONSES],
            shown={
                service.name: ladder(service.mapping.quality)
                for service in simulated
                if isinstance(service.mapping, MediaStall)
            },
            topics=topics,
            report_labels=config.labels,
            keys={key: f"{label}-01" for key, label in labels.items() if _CUSTOM in key},
            constants={name: f"{name}-01" for name in sorted(named | set(config.labels)) if name not in _VARIED},
            left_out=left_out,
        )


_VARIED = ("region", "cdn")

_CUSTOM = "-"
"""In a key of CMCD that is not reserved, such as com.example-isp."""

Templates = Sequence["Topic"] | Sequence["CollectorPath"]


def _fault(service: Service, templates: Templates, source: str, *, players: bool) -> str | None:
    """Why a service is not simulated; players: whether its viewers are players, which report no measures."""
    mapping = service.mapping
    if mapping.qos is Qos.MEASURES or (mapping.qos is Qos.RESPONSES and mapping.inputs != (RESPONSE,)):
        return f"{mapping.name} needs {', '.join(mapping.inputs)}, and only stalls or response times are simulated"
    if service.counters is Counters.DELTA and mapping.qos is Qos.STALLS:
        return "it has counters: delta, and only totals are simulated"
    if players and isinstance(mapping, MediaStall):
        return f"{mapping.name} needs {', '.join(mapping.measures)}, which players do not report"
    return None if _topic(service.name, templates) else f"{source} has none for it"


def _topic(service: str, templates: Templates) -> str | None:
    """The first template under which the service can be reported."""
    fitting = (one.template for one in templates if one.service in {None, service})
    return next(fitting, None)
