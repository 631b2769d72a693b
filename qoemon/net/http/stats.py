"""Statistics of the HTTP server, and its metrics. Totals count since the start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from qoemon.net.http.listener_stats import Ended, ListenerStats


class Refused(StrEnum):
    """Why a request got no answer but a refusal."""

    AUTH = "auth"
    """No user and password, or wrong ones."""
    BUSY = "busy"
    """Too many passwords waited for their check."""
    METHOD = "method"
    """Neither GET nor HEAD."""
    BODY = "body"
    """A request with content."""
    MALFORMED = "malformed"
    """Not HTTP, or a line or header that is too long."""


ENDED = tuple(reason for reason in Ended if reason is not Ended.IDLE)
"""aiohttp itself ends connections that are idle."""


@dataclass
class HttpStats(ListenerStats):
    """Counts of the HTTP side."""

    refused: Counter[Refused] = field(default_factory=Counter)


def http_metrics(state: HttpStats) -> Iterator[Metric]:
    """The same as metrics; every reason is there from the start."""
    yield GaugeMetricFamily("qoemon_http_connections", "Connections to the HTTP port.", value=state.connections)
    yield _by_reason("qoemon_http_connections_ended", "HTTP connections that were cut.", ENDED, state.ended)
    yield _by_reason("qoemon_http_requests_refused", "HTTP requests that were refused.", Refused, state.refused)
    yield GaugeMetricFamily(
        "qoemon_web_config_last_reload_successful",
        "Whether the web configuration file as it is now is in force.",
        value=float(state.web_config_good),
    )


Reason = TypeVar("Reason", bound=StrEnum)


def _by_reason(name: str, text: str, reasons: Iterable[Reason], counts: Counter[Reason]) -> Metric:
    family = CounterMetricFamily(name, text, labels=("reason",))
    for reason in reasons:
        family.add_metric((reason,), counts[reason])
    return family
