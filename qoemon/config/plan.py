"""The plan and the alert rules of the core, from the configuration."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from qoemon.config.config import Config
from qoemon.config.sections.collector import Collector
from qoemon.core.alerting.rule import Rule
from qoemon.core.plan.plan import Limits, Plan, Players, Timing

if TYPE_CHECKING:
    from qoemon.core.evaluation import Evaluation


def core_plan(config: Config) -> Plan:
    """The plan of a Monitor with all sessions."""
    return Plan(
        services=config.core_services(),
        topics=tuple(topic.parsed for topic in config.topics),
        labels=config.group_labels,
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
            group_idle_s=config.limits.group_idle_s,
            message_bytes=config.limits.message_bytes,
            reports_per_message=config.limits.reports_per_message,
            label_length=config.limits.label_length,
        ),
        quantiles=config.quantiles,
        confidence=config.confidence,
        roll_ups=config.roll_up_labels,
        paths=() if config.collector is None else tuple(path.parsed for path in config.collector.paths),
        players=_players(config.collector),
        feedback=config.feedback.core,
    )


def _players(collector: Collector | None) -> Players:
    """How states of players become sessions."""
    if collector is None:
        return Players()
    return Players(
        reorder_s=collector.reorder_s,
        heartbeat_s=collector.heartbeat_s,
        startup_service=collector.startup_service,
        failed_worst=collector.failed_starts == "worst",
        hidden=collector.hidden,
        labels=collector.labels,
    )


def alert_rules(config: Config) -> tuple[Rule, ...]:
    """The alert rules, one for each alert and service that it applies to; not for default alerts that are off."""
    return tuple(
        alert.rule(service, config.sessions.rating_interval_s, config.group_labels)
        for alert in config.alerts
        for service in config.services
        if alert.service in (None, service) and (alert.name, service) not in config.alerts_off
    )


def new_evaluation(config: Config) -> Evaluation:
    """A new evaluation of all shards."""
    from qoemon.core.evaluation import Evaluation  # noqa: PLC0415 - not for `qoemon check`

    return Evaluation(core_plan(config), alert_rules(config), config.regimes.core)


def shard_plan(config: Config, shards: int) -> Plan:
    """The plan of the Monitor of one of several shards, with its share of the sessions.

    The evaluation limits the groups. Until it has frozen them, a shard accepts twice as many.
    """
    whole = core_plan(config)
    sessions = math.ceil(whole.limits.sessions / shards)
    return replace(whole, limits=replace(whole.limits, sessions=sessions, groups=2 * whole.limits.groups))
