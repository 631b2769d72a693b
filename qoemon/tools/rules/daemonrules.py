"""Prometheus rules on the daemon itself: whether its data are complete and up to date. Each says what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil

from qoemon.common import duration
from qoemon.core.plan.plan import Plan
from qoemon.tools.rules import capacityrules
from qoemon.tools.rules.capacityrules import Capacity
from qoemon.tools.rules.daemonrule import DaemonRule, Growth, counter_rule, gauge_rule, series
from qoemon.tools.rules.rulefile import INSTANCE, JOB, Case, Recording, RuleGroup, Value, selector

GROUPS = "job_instance_service:qoemon_groups:count"
"""Number of groups of each service of a daemon: limits.groups is per service, qoemon_groups is the total."""

SERVED_S = 10
"""How long after it was due a tick of a cluster is served at the latest, beside a tick."""

NEAR = 0.9
"""Share of a limit from which on a value is near it."""


def rules(
    plan: Plan, job: str, capacity: Capacity, *, clustered: bool = False, lease_s: float | None = None
) -> Iterator[DaemonRule]:
    """All rules on the daemon, with all targets in the same job.

    clustered  on the driver of a cluster and its bridges
    lease_s    on the two daemons of a pair with this lease
    """
    yield from _reached(job)
    if plan.topics:  # Without a broker there are no metrics of it.
        yield from _connected(plan)
    if plan.paths:
        yield from _collecting(plan)
    if clustered:
        yield from _clustered(plan)
        yield from _bridged()
    if lease_s is not None:
        yield from _paired(lease_s)
    yield from _on_time(plan)
    yield from _complete(plan)
    yield from _stored(plan, clustered=clustered)
    yield from _limits(plan)
    yield from capacityrules.rules(capacity)


def group(
    plan: Plan, job: str, capacity: Capacity, *, clustered: bool = False, lease_s: float | None = None
) -> RuleGroup:
    """The rules as a group of the file."""
    # Without the labels of groups, so that those of the target remain, such as the tenant.
    of_groups = ", ".join((*plan.labels, "rating"))
    counted = f"count without ({of_groups}) (count without (rating) (qoemon_expected_ratings_total))"
    alerts = [rule.alerting() for rule in rules(plan, job, capacity, clustered=clustered, lease_s=lease_s)]
    return RuleGroup("qoemon-daemon", 30, [Recording(GROUPS, counted, {}), *alerts])


def cases(
    plan: Plan, job: str, capacity: Capacity, *, clustered: bool = False, lease_s: float | None = None
) -> Iterator[Case]:
    """The tests of these rules."""
    for rule in rules(plan, job, capacity, clustered=clustered, lease_s=lease_s):
        yield from rule.cases(job)
    # A group for each value of a label; a single one without labels.
    values = [f'{plan.labels[0]}="{value}",' for value in "ab"] if plan.labels else [""]
    ratings = {
        f'qoemon_expected_ratings_total{{service="{service}",{label}rating="{rating}"}}': (0.0, 1.0)
        for service, labels in (("one", values), ("two", values[:1]))
        for label in labels
        for rating in (1, 2)
    }
    counts = [
        Value(5, selector(GROUPS, {"service": service}), n) for service, n in (("one", len(values)), ("two", 1))
    ]
    yield Case("groups are counted by service", series(ratings, job, 5), counts)


def _reached(job: str) -> Iterator[DaemonRule]:
    up = selector("up", {JOB: job})
    yield DaemonRule(
        alert="QoemonDown",
        severity="critical",
        for_s=120,
        expr=f"{up} == 0",
        summary="qoemon at {{ $labels.instance }} cannot be scraped",
        description="There are no data on its users. Check that it runs, and its log. "
        "Before its first tick it answers 503.",
        failing={"up": (0, 0)},
        healthy={"up": (1, 0)},
    )
    yield DaemonRule(
        alert="QoemonAbsent",
        severity="critical",
        for_s=120,
        expr=f"absent({up})",
        summary=f"Prometheus has no qoemon to scrape under the job {job}",
        description="Check scrape_configs. If the job has another name, generate the rules with that name.",
        failing={},
        healthy={"up": (0, 0)},
        labels={INSTANCE: ""},
    )


def _connected(plan: Plan) -> Iterator[DaemonRule]:
    yield gauge_rule(
        "QoemonNotConnected",
        "qoemon_mqtt_connected",
        "qoemon at {{ $labels.instance }} is not connected to its broker",
        "The log says why. The broker keeps messages of QoS 1 for mqtt.session_expiry.",
        for_s=120,
    )
    yield DaemonRule(
        alert="QoemonNotSubscribed",
        severity="critical",
        for_s=120,
        expr="qoemon_mqtt_subscribed == 0 and qoemon_mqtt_connected == 1",
        summary="qoemon at {{ $labels.instance }} is connected, but the broker refuses a subscription",
        description="Allow mqtt.username to read the topics of mqtt.topics.",
        failing={"qoemon_mqtt_connected": (1, 0), "qoemon_mqtt_subscribed": (0, 0)},
        healthy={"qoemon_mqtt_connected": (0, 0), "qoemon_mqtt_subscribed": (0, 0)},
    )
    silent_s = plan.timing.session_timeout_s
    yield DaemonRule(
        alert="QoemonNoMessages",
        severity="warning",
        for_s=silent_s,
        # The age has no sample before the first message.
        expr=f"(qoemon_last_message_age_seconds > {plan.timing.interval_s} or qoemon_messages_total == 0)\n"
        "and qoemon_mqtt_subscribed == 1\n",
        summary="qoemon at {{ $labels.instance }} is subscribed, but has received no messages for "
        f"{duration.text(silent_s)}",
        description="Check that clients publish, and that mqtt.topics matches their topics. "
        "All their sessions are timing out.",
        failing={"qoemon_messages_total": (0, 0), "qoemon_mqtt_subscribed": (1, 0)},
        healthy={
            "qoemon_messages_total": (0, 9),
            "qoemon_last_message_age_seconds": (2, 0),
            "qoemon_mqtt_subscribed": (1, 0),
        },
    )


def _collecting(plan: Plan) -> Iterator[DaemonRule]:
    silent_s = plan.timing.session_timeout_s
    requests = 'qoemon_collector_requests_total{code="204"}'
    yield DaemonRule(
        alert="QoemonNoRequests",
        severity="warning",
        for_s=silent_s,
        # The age has no sample before the first request.
        expr=f"qoemon_collector_last_request_age_seconds > {plan.timing.interval_s}\n"
        f"or sum without (code) ({requests}) == 0\n",
        summary="the collector of qoemon at {{ $labels.instance }} has received nothing for "
        f"{duration.text(silent_s)}",
        description="Post to it with curl from where the players are. qoemon_collector_requests_total says by code "
        "what it refuses. All sessions of its players are timing out.",
        failing={requests: (0, 0)},
        healthy={requests: (0, 9), "qoemon_collector_last_request_age_seconds": (2, 0)},
    )
    yield gauge_rule(
        "QoemonCollectorWebConfigBroken",
        "qoemon_collector_web_config_last_reload_successful",
        "qoemon at {{ $labels.instance }} could not reload collector.web_config_file, and keeps the previous one",
        "The log says what is wrong in the file.",
        severity="warning",
        for_s=0,
    )


def _clustered(plan: Plan) -> Iterator[DaemonRule]:
    late_s = 2 * plan.timing.tick_s + SERVED_S
    yield DaemonRule(
        alert="QoemonClusterLag",
        severity="warning",
        for_s=60,
        expr=f"qoemon_cluster_lag_seconds > {late_s}",
        summary="the newest tick from the cluster of qoemon at {{ $labels.instance }} is "
        "{{ $value | humanizeDuration }} old",
        description="/readyz says what is missing. If qoemon_cluster_batch_seconds is longer than sessions.tick, "
        "add cores; if qoemon_cluster_executors has fallen, see the cluster. Reports wait in Kafka.",
        failing={"qoemon_cluster_lag_seconds": (late_s + 1, 0)},
        healthy={"qoemon_cluster_lag_seconds": (late_s, 0)},
        shown=_humanized(late_s + 1),
    )
    yield counter_rule(
        "QoemonClusterQueryRestarted",
        "qoemon_cluster_query_restarts_total",
        "has started its query on the cluster again, since it failed",
        "Nothing is lost. The log says why it failed, such as executors that ended or Kafka that did not answer.",
    )


def _paired(lease_s: float) -> Iterator[DaemonRule]:
    yield gauge_rule(
        "QoemonPeerDown",
        "qoemon_pair_peer_up",
        "the other daemon of the pair does not answer qoemon at {{ $labels.instance }}",
        "There is no spare until it does. Start it; if it runs, check pair.peer. The reason is in /readyz.",
        severity="warning",
        for_s=120,
    )
    yield DaemonRule(
        alert="QoemonNoLeader",
        severity="critical",
        # A takeover takes up to the lease, and half of a minute until it is scraped and evaluated.
        for_s=max(60, lease_s + 30),
        expr="sum without (instance) (qoemon_leader) == 0",
        summary="no daemon of the pair sends notifications",
        description="Neither has the lease. /readyz and the log of both say why. Check the access rules of the "
        "broker for pair.topic.",
        failing={"qoemon_leader": (0, 0)},
        healthy={"qoemon_leader": (1, 0)},
        labels={INSTANCE: ""},
    )


def _bridged() -> Iterator[DaemonRule]:
    connected, stored = "qoemon_bridge_kafka_connected", "qoemon_bridge_records_total"
    undelivered = "qoemon_bridge_undelivered_records"
    yield gauge_rule(
        "QoemonBridgeNotConnected",
        connected,
        "the bridge at {{ $labels.instance }} does not reach Kafka",
        "Its reports are missing from all estimates until it does. The log and /readyz of the bridge say why.",
    )
    yield DaemonRule(
        alert="QoemonBridgeUndelivered",
        severity="critical",
        for_s=60,
        expr=f"{undelivered} > 0 and rate({stored}[2m]) == 0",
        summary="Kafka has stored no record of the bridge at {{ $labels.instance }} for two minutes, and "
        "{{ $value }} wait",
        description="Are enough replicas of the topic in sync (min.insync.replicas)? Messages wait at the broker, "
        "and requests are answered with 429.",
        failing={undelivered: (7, 0), stored: (9, 0)},
        healthy={undelivered: (7, 0), stored: (9, 1)},
        shown="7",
    )


def _on_time(plan: Plan) -> Iterator[DaemonRule]:
    tick_s = plan.timing.tick_s
    ticks = {"qoemon_tick_seconds_count": (0, 1)}
    yield DaemonRule(
        alert="QoemonTicksSlow",
        severity="warning",
        for_s=300,
        expr="rate(qoemon_tick_seconds_sum[5m]) / rate(qoemon_tick_seconds_count[5m])"
        f" > {tick_s / 2:g}\n"
        f"or qoemon_tick_lag_seconds > {tick_s / 2:g}\n",
        summary="ticks of qoemon at {{ $labels.instance }} take or lag {{ $value | humanizeDuration }}"
        f"; sessions.tick is {duration.text(tick_s)}",
        description="Ticks will soon be skipped. Raise sessions.tick, reduce the number of groups, or add CPU.",
        failing={**ticks, "qoemon_tick_seconds_sum": (0, tick_s)},
        healthy={**ticks, "qoemon_tick_seconds_sum": (0, tick_s / 4), "qoemon_tick_lag_seconds": (0, 0)},
        shown=_humanized(tick_s),
    )
    yield counter_rule(
        "QoemonTicksSkipped",
        "qoemon_tick_skipped_total",
        "has skipped ticks",
        "Estimates are older than they seem. Raise sessions.tick, reduce the number of groups, or add CPU.",
    )
    kept = _by_input(
        plan, "The broker keeps the reports of its sessions.", "Requests with its sessions are not answered."
    )
    yield gauge_rule(
        "QoemonWorkerDown",
        "qoemon_worker_up",
        "worker {{ $labels.worker }} of qoemon at {{ $labels.instance }} is down",
        "Estimates are not updated until it is up. /readyz says whether it is replaying its journal, the log why "
        f"it ended. {kept}",
        labels={"worker": "1"},
    )
    yield counter_rule(
        "QoemonWorkerRestarted",
        "qoemon_worker_restarts_total",
        "has restarted a worker that ended",
        "Nothing that was acknowledged is lost. The log says why the worker ended, such as lack of memory.",
    )
    stale_s = max(6 * tick_s, 60)
    yield DaemonRule(
        alert="QoemonSnapshotStale",
        severity="critical",
        for_s=60,
        expr=f"time() - qoemon_snapshot_timestamp_seconds > {stale_s}",
        summary="qoemon at {{ $labels.instance }} serves estimates that are {{ $value | humanizeDuration }} old",
        description="Check /healthz and the log for missing ticks. If there are none, the clocks of the two "
        "machines differ.",
        failing={"qoemon_snapshot_timestamp_seconds": (0, 0)},
        healthy={"qoemon_snapshot_timestamp_seconds": (0, 60)},
        shown="16m 0s",
    )


def _complete(plan: Plan) -> Iterator[DaemonRule]:
    accepted = "rate(qoemon_reports_total[5m])"
    rejected = "sum without (reason) (rate(qoemon_reports_rejected_total[5m]))"
    reports: dict[str, Growth] = {"qoemon_reports_total": (0, 960)}
    schema = 'qoemon_reports_rejected_total{reason="schema"}'
    range_ = 'qoemon_reports_rejected_total{reason="out_of_range"}'
    yield DaemonRule(
        alert="QoemonReportsRejected",
        severity="warning",
        for_s=600,
        expr=f"{rejected}\n/ ({rejected} + {accepted})\n> 0.01\n",
        summary="qoemon at {{ $labels.instance }} rejects {{ $value | humanizePercentage }} of the reports",
        description="Their users are missing from all estimates. The label reason of qoemon_reports_rejected_total "
        "and the samples in the log say what is wrong with them.",
        failing={**reports, schema: (0, 30), range_: (0, 10)},
        healthy={**reports, schema: (0, 4), range_: (0, 4)},
        shown="4%",
    )
    yield counter_rule(
        "QoemonMessagesDropped",
        "qoemon_messages_dropped_total",
        "has dropped messages of QoS 0, since its inbox was full",
        "Add CPU, or use QoS 1, which loses no messages.",
    )
    withholds = _by_input(plan, "leaves messages at the broker", "answers requests with 429", " and ")
    late = _by_input(plan, "The broker's queue may overflow.", "Clients send again, and some drop reports.")
    yield counter_rule(
        "QoemonMessagesWithheld",
        "qoemon_messages_withheld_total",
        f"{withholds}, since its inbox is repeatedly full",
        f"It is slower than its clients: add CPU. Estimates are late. {late}",
        for_s=600,
    )


def _by_input(plan: Plan, of_broker: str, of_collector: str, between: str = " ") -> str:
    """The texts about the inputs that there are."""
    return between.join([*([of_broker] if plan.topics else []), *([of_collector] if plan.paths else [])])


def _stored(plan: Plan, *, clustered: bool) -> Iterator[DaemonRule]:
    kept = _by_input(
        plan, "The broker keeps messages of QoS 1, but its queue may overflow.", "Requests are not answered."
    )
    yield gauge_rule(
        "QoemonStateNotWritable",
        "qoemon_state_writable",
        "qoemon at {{ $labels.instance }} cannot write its state, so it "
        + ("ends no batch" if clustered else "acknowledges no messages"),
        f"The log and /readyz say why: free space in state.dir. {'Reports wait in Kafka.' if clustered else kept}",
    )
    yield counter_rule(
        "QoemonClockSet",
        "qoemon_clock_steps_total",
        "has detected a step of its wall clock",
        "Its windows moved with the clock; graphs have a gap or an overlap there. Fix the time synchronisation.",
    )
    for alert, gauge, what in (
        ("QoemonReloadRefused", "qoemon_config_last_reload_successful", "its configuration"),
        ("QoemonWebConfigBroken", "qoemon_web_config_last_reload_successful", "http.web_config_file"),
    ):
        yield gauge_rule(
            alert,
            gauge,
            f"qoemon at {{{{ $labels.instance }}}} could not reload {what}, and keeps the previous version",
            "The log says what is wrong in the file, or which change needs a restart.",
            severity="warning",
            for_s=0,
        )


def _limits(plan: Plan) -> Iterator[DaemonRule]:
    limits = plan.limits
    yield _near_limit(
        "QoemonGroupsNearLimit",
        GROUPS,
        limits.groups,
        "qoemon at {{ $labels.instance }} has {{ $value }} groups of {{ $labels.service }}; "
        f"limits.groups is {limits.groups}",
        "Beyond the limit, new label sets are pooled in one group, other. Raise it, or remove a label.",
        {"service": plan.services[0].name},
    )
    yield counter_rule(
        "QoemonGroupsPooled",
        "qoemon_reports_pooled_total",
        f"pools new label sets in the group other, since limits.groups ({limits.groups}) is reached",
        "Raise limits.groups, or remove a label: one with a value for each client does not belong here.",
    )
    yield _near_limit(
        "QoemonSessionsNearLimit",
        "qoemon_sessions",
        limits.sessions,
        "qoemon at {{ $labels.instance }} holds {{ $value }} sessions; "
        f"limits.sessions is {limits.sessions} for each service",
        "Beyond the limit, new sessions are refused. Raise it, or find the client that invents sessions.",
        {},
    )
    yield counter_rule(
        "QoemonReportsRefused",
        "qoemon_reports_refused_total",
        f"refuses new sessions, since limits.sessions ({limits.sessions}) is reached",
        "Raise limits.sessions, or find the client that invents sessions.",
    )


def _near_limit(
    alert: str, metric: str, limit: int, summary: str, description: str, labels: Mapping[str, str]
) -> DaemonRule:
    """A rule on a number that is near its limit."""
    near, series_name = ceil(NEAR * limit), selector(metric, labels)
    return DaemonRule(
        alert=alert,
        severity="warning",
        for_s=300,
        expr=f"{metric} > {near}",
        summary=summary,
        description=description,
        failing={series_name: (near + 1, 0)},
        healthy={series_name: (near, 0)},
        shown=str(near + 1),
        labels=labels,
    )


def _humanized(length_s: float) -> str:
    """A duration below an hour as Prometheus's humanizeDuration writes it."""
    minutes, seconds = divmod(int(length_s), 60)
    return f"{minutes}m {seconds}s" if minutes else f"{seconds}s"
