"""Metrics of the pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@dataclass(frozen=True)
class PairStats:
    """Statistics of the pair.

    leading     whether this daemon sends notifications
    peer_up     whether the other one answers
    online      whether this one is connected to the broker for the lease
    takeovers   how often it began to send, since the start
    """

    leading: bool
    peer_up: bool
    online: bool
    takeovers: int


def pair_metrics(stats: PairStats) -> Iterator[Metric]:
    """Metrics of the pair."""
    yield GaugeMetricFamily(
        "qoemon_leader",
        "Whether this daemon of a pair sends notifications; the other one stands by.",
        value=float(stats.leading),
    )
    yield GaugeMetricFamily(
        "qoemon_pair_peer_up", "Whether the other daemon of the pair answers.", value=float(stats.peer_up)
    )
    yield GaugeMetricFamily(
        "qoemon_pair_connected",
        "Whether this daemon is connected to the broker for the lease.",
        value=float(stats.online),
    )
    yield CounterMetricFamily(
        "qoemon_pair_takeovers", "Times that this daemon began to send notifications.", value=stats.takeovers
    )
