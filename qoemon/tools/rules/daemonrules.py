"""Prometheus's rules on the daemon itself: is what it tells whole and fresh? Each says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from qoemon.common import duration
from qoemon.core.plan.plan import Plan
from qoemon.tools.rules.daemonrule import Detector, Growth, rising, series
from qoemon.tools.rules.rulefile import INSTANCE, JOB, Case, Recording, RuleGroup, Value, selector

GROUPS = "job_instance_service:qoemon_groups:count"
"""How many groups a daemon knows of each service: limits.groups is for each, qoemon_groups is of all."""

NEAR = 0.9
"""This share of a limit is near it."""


def watches(plan: Plan, job: str) -> Iterator[Detector]:
    """All rules on the daemon."""
    yield from _reached(job)
    yield from _connected(plan)
    yield from _on_time(plan)
    yield from _whole()
    yield from _stored()
    yield from _limits(plan)


def group(plan: Plan, job: str) -> RuleGroup:
    """The rules as a group of the file."""
    counted = "count by (job, instance, service) (count without (rating) (qoemon_expected_ratings_total))"
    alerts = [watch.alerting() for watch in watches(plan, job)]
    return RuleGroup("qoemon-daemon", 30, [Recording(GROUPS, counted, {}), *alerts])


def cases(plan: Plan, job: str) -> Iterator[Case]:
    """The tests of these rules."""
    for watch in watches(plan, job):
        yield from watch.cases(job)
    ratings = {
        f'qoemon_expected_ratings_total{{service="{service}",{label}rating="{rating}"}}': (0.0, 1.0)
        for service, label in (("one", 'a="1",'), ("one", 'a="2",'), ("two", ""))
        for rating in (1, 2)
    }
    counts = [Value(5, selector(GROUPS, {"service": service}), n) for service, n in (("one", 2), ("two", 1))]
    yield Case("groups are counted by service", series(ratings, job, 5), counts)


def _reached(job: str) -> Iterator[Detector]:
    up = selector("up", {JOB: job})
    yield Detector(
        alert="QoemonDown",
        severity="critical",
        for_s=120,
        expr=f"{up} == 0",
        summary="qoemon at {{ $labels.instance }} can't be scraped",
        description="Nothing is known of its users. Does it run, and does its log say why not? "
        "Before its first tick it answers 503.",
        bad={"up": (0, 0)},
        well={"up": (1, 0)},
    )
    yield Detector(
        alert="QoemonAbsent",
        severity="critical",
        for_s=120,
        expr=f"absent({up})",
        summary=f"Prometheus has no qoemon to scrape under the job {job}",
        description="Is it in scrape_configs? If its job has another name, write the rules with that name.",
        bad={},
        well={"up": (0, 0)},
        labels={INSTANCE: ""},
    )


def _connected(plan: Plan) -> Iterator[Detector]:
    yield Detector(
        alert="QoemonNotConnected",
        severity="critical",
        for_s=120,
        expr="qoemon_mqtt_connected == 0",
        summary="qoemon at {{ $labels.instance }} is not connected to its broker",
        description="Its log says why, in words. The broker keeps messages of QoS 1 meanwhile, "
        "for mqtt.session_expiry.",
        bad={"qoemon_mqtt_connected": (0, 0)},
        well={"qoemon_mqtt_connected": (1, 0)},
    )
    yield Detector(
        alert="QoemonNotSubscribed",
        severity="critical",
        for_s=120,
        expr="qoemon_mqtt_subscribed == 0 and qoemon_mqtt_connected == 1",
        summary="qoemon at {{ $labels.instance }} is connected, but the broker refuses a subscription",
        description="Allow mqtt.username to read the topics of mqtt.topics.",
        bad={"qoemon_mqtt_connected": (1, 0), "qoemon_mqtt_subscribed": (0, 0)},
        well={"qoemon_mqtt_connected": (0, 0), "qoemon_mqtt_subscribed": (0, 0)},
    )
    silent_s = plan.timing.session_timeout_s
    yield Detector(
        alert="QoemonNoMessages",
        severity="warning",
        for_s=silent_s,
        # The age has no sample before the first message.
        expr=f"(qoemon_last_message_age_seconds > {plan.timing.interval_s} or qoemon_messages_total == 0)\n"
        "and qoemon_mqtt_subscribed == 1\n",
        summary=f"qoemon at {{{{ $labels.instance }}}} has heard nothing for {duration.text(silent_s)}, "
        "though it is subscribed",
        description="Are clients publishing, and to the topics of mqtt.topics? All their sessions time out now.",
        bad={"qoemon_messages_total": (0, 0), "qoemon_mqtt_subscribed": (1, 0)},
        well={
            "qoemon_messages_total": (0, 9),
            "qoemon_last_message_age_seconds": (2, 0),
            "qoemon_mqtt_subscribed": (1, 0),
        },
    )


def _on_time(plan: Plan) -> Iterator[Detector]:
    tick_s = plan.timing.tick_s
    took = {"qoemon_tick_seconds_count": (0, 1)}
    yield Detector(
        alert="QoemonTicksSlow",
        severity="warning",
        for_s=300,
        expr="rate(qoemon_tick_seconds_sum[5m]) / rate(qoemon_tick_seconds_count[5m])"
        f" > {tick_s / 2:g}\n"
        f"or qoemon_tick_lag_seconds > {tick_s / 2:g}\n",
        summary="qoemon at {{ $labels.instance }} takes or loses {{ $value | humanizeDuration }} a tick"
        f", of {duration.text(tick_s)}",
        description="Soon ticks will be left out. A longer sessions.tick, fewer groups, or more CPU.",
        bad={**took, "qoemon_tick_seconds_sum": (0, tick_s)},
        well={**took, "qoemon_tick_seconds_sum": (0, tick_s / 4), "qoemon_tick_lag_seconds": (0, 0)},
        shown=_humanized(tick_s),
    )
    yield rising(
        "QoemonTicksSkipped",
        "qoemon_tick_skipped_total",
        "has left out ticks",
        "Figures are older than they seem. A longer sessions.tick, fewer groups, or more CPU.",
    )
    yield Detector(
        alert="QoemonWorkerDown",
        severity="critical",
        for_s=60,
        expr="qoemon_worker_up == 0",
        summary="worker {{ $labels.worker }} of qoemon at {{ $labels.instance }} does not come back",
        description="Figures stand still until it does. /readyz says whether it runs its journal again, the log "
        "why it ended. What its sessions report waits at the broker.",
        bad={'qoemon_worker_up{worker="1"}': (0, 0)},
        well={'qoemon_worker_up{worker="1"}': (1, 0)},
        labels={"worker": "1"},
    )
    yield rising(
        "QoemonWorkerRestarted",
        "qoemon_worker_restarts_total",
        "has had a worker end, and started it again",
        "Nothing that was acknowledged is lost. The log says how it ended: for want of memory, perhaps?",
    )
    stale_s = max(6 * tick_s, 60)
    yield Detector(
        alert="QoemonSnapshotStale",
        severity="critical",
        for_s=60,
        expr=f"time() - qoemon_snapshot_timestamp_seconds > {stale_s}",
        summary="qoemon at {{ $labels.instance }} serves figures that are {{ $value | humanizeDuration }} old",
        description="Ticks do not come: look at /healthz and at the log. If they do, the clocks of the two "
        "machines differ.",
        bad={"qoemon_snapshot_timestamp_seconds": (0, 0)},
        well={"qoemon_snapshot_timestamp_seconds": (0, 60)},
        shown="16m 0s",
    )


def _whole() -> Iterator[Detector]:
    taken = "rate(qoemon_reports_total[5m])"
    rejected = "sum without (reason) (rate(qoemon_reports_rejected_total[5m]))"
    reports: dict[str, Growth] = {"qoemon_reports_total": (0, 960)}
    schema = 'qoemon_reports_rejected_total{reason="schema"}'
    range_ = 'qoemon_reports_rejected_total{reason="out_of_range"}'
    yield Detector(
        alert="QoemonReportsRejected",
        severity="warning",
        for_s=600,
        expr=f"{rejected}\n/ ({rejected} + {taken})\n> 0.01\n",
        summary="qoemon at {{ $labels.instance }} can't take {{ $value | humanizePercentage }} of the reports",
        description="Their users are missing in all figures. The label reason of qoemon_reports_rejected_total and "
        "the samples in the log say what is wrong with them.",
        bad={**reports, schema: (0, 30), range_: (0, 10)},
        well={**reports, schema: (0, 4), range_: (0, 4)},
        shown="4%",
    )
    yield rising(
        "QoemonMessagesDropped",
        "qoemon_messages_dropped_total",
        "has lost messages of QoS 0, as its inbox was full",
        "More CPU, or QoS 1, of which nothing is lost.",
    )
    yield rising(
        "QoemonMessagesWithheld",
        "qoemon_messages_withheld_total",
        "leaves messages with the broker, as its inbox is full again and again",
        "It is slower than its clients: more CPU. Figures are late, and the broker's queue may overflow.",
        for_s=600,
    )


def _stored() -> Iterator[Detector]:
    yield Detector(
        alert="QoemonStateNotWritable",
        severity="critical",
        for_s=60,
        expr="qoemon_state_writable == 0",
        summary="qoemon at {{ $labels.instance }} can store nothing, so it acknowledges nothing",
        description="Its log and /readyz say why. Messages of QoS 1 wait at the broker, whose queue may overflow: "
        "free space where state.dir is.",
        bad={"qoemon_state_writable": (0, 0)},
        well={"qoemon_state_writable": (1, 0)},
    )
    yield rising(
        "QoemonClockSet",
        "qoemon_clock_steps_total",
        "has seen its wall clock set",
        "Its windows have moved with the clock; graphs have a gap or an overlap there. Mend time synchronisation.",
    )
    for alert, metric, what in (
        ("QoemonReloadRefused", "qoemon_config_last_reload_successful", "its configuration"),
        ("QoemonWebConfigBroken", "qoemon_web_config_last_reload_successful", "http.web_config_file"),
    ):
        yield Detector(
            alert=alert,
            severity="warning",
            for_s=0,
            expr=f"{metric} == 0",
            summary=f"qoemon at {{{{ $labels.instance }}}} could not read {what} again: what it had goes on",
            description="Its log says what is wrong in the file, or what takes a restart.",
            bad={metric: (0, 0)},
            well={metric: (1, 0)},
        )


def _limits(plan: Plan) -> Iterator[Detector]:
    limits, near = plan.limits, ceil(NEAR * plan.limits.groups)
    service = plan.services[0].name
    known = selector(GROUPS, {"service": service})
    yield Detector(
        alert="QoemonGroupsNearLimit",
        severity="warning",
        for_s=300,
        expr=f"{GROUPS} > {near}",
        summary="qoemon at {{ $labels.instance }} knows {{ $value }} groups of {{ $labels.service }}; "
        f"limits.groups is {limits.groups}",
        description="Beyond it new label sets go to one group, other. Raise it, or take a label out.",
        bad={known: (near + 1, 0)},
        well={known: (near, 0)},
        shown=str(near + 1),
        labels={"service": service},
    )
    yield rising(
        "QoemonGroupsPooled",
        "qoemon_reports_pooled_total",
        f"pools new label sets in the group other, as there are limits.groups ({limits.groups})",
        "Raise limits.groups, or take a label out: one with a value for each client does not belong here.",
    )
    near = ceil(NEAR * limits.sessions)
    yield Detector(
        alert="QoemonSessionsNearLimit",
        severity="warning",
        for_s=300,
        expr=f"qoemon_sessions > {near}",
        summary="qoemon at {{ $labels.instance }} holds {{ $value }} sessions; "
        f"limits.sessions is {limits.sessions} for each service",
        description="Beyond it new sessions are left out. Raise it, or find who invents sessions.",
        bad={"qoemon_sessions": (near + 1, 0)},
        well={"qoemon_sessions": (near, 0)},
        shown=str(near + 1),
    )
    yield rising(
        "QoemonReportsRefused",
        "qoemon_reports_refused_total",
        f"leaves new sessions out, as there are limits.sessions ({limits.sessions})",
        "Raise limits.sessions, or find who invents sessions.",
    )


def _humanized(length_s: float) -> str:
    """As Prometheus's humanizeDuration writes less than an hour."""
    minutes, seconds = divmod(int(length_s), 60)
    return f"{minutes}m {seconds}s" if minutes else f"{seconds}s"
