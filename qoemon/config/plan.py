"""From the configuration to what each part is made with."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from qoemon.config.config import Config
from qoemon.core.alerting.rule import Rule
from qoemon.core.plan.plan import Limits, Plan, Timing

if TYPE_CHECKING:
    from qoemon.core.evaluation import Evaluation


def core_plan(config: Config) -> Plan:
    """What the Monitor is to do."""
    topics = tuple(topic.parsed for topic in config.mqtt.topics)
    of_topics = dict.fromkeys(name for topic in topics for name in topic.names)
    return Plan(
        services=config.core_services(),
        topics=topics,
        labels=(*of_topics, *config.labels),
        timing=Timing(
            tick_s=config.sessions.tick_s,
            interval_s=config.sessions.rating_interval_s,
            windows_s=config.windows_s,
            session_timeout_s=config.sessions.timeout_s,
            min_active_s=config.sessions.min_active_s,
            clock=config.sessions.clock,
        ),
        limits=Limits(
            sessions=config.limits.sessions,
            groups=config.limits.groups,
            message_bytes=config.limits.message_bytes,
            reports_per_message=config.limits.reports_per_message,
            label_length=config.limits.label_length,
        ),
        quantiles=config.quantiles,
        confidence=config.confidence,
    )


def alert_rules(config: Config) -> tuple[Rule, ...]:
    """The alert rules, one a service that each is about."""
    return tuple(
        alert.rule(service, config.sessions.rating_interval_s)
        for alert in config.alerts
        for service in config.services
        if alert.service in (None, service)
    )


def new_evaluation(config: Config) -> Evaluation:
    """The evaluation of all shards, at its beginning."""
    from qoemon.core.evaluation import Evaluation  # noqa: PLC0415 - not for `qoemon check`

    return Evaluation(core_plan(config), alert_rules(config), config.regimes.core)


def shard_plan(config: Config) -> Plan:
    """What the Monitor of one of several workers is to do: its share of the sessions.

    Which groups there are is the parent's to say, within the limit; until it has, a worker takes twice as many.
    """
    whole = core_plan(config)
    sessions = math.ceil(whole.limits.sessions / config.workers)
    return replace(whole, limits=replace(whole.limits, sessions=sessions, groups=2 * whole.limits.groups))


def sharded(config: Config) -> bool:
    """Whether clients make the shards, by a level of their topics."""
    return all(topic.parsed.sharded for topic in config.mqtt.topics)
