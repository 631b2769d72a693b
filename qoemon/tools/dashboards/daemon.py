"""The board about the health of qoemon itself: check it before trusting the other boards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qoemon.tools.dashboards.board import choice, filled, frame
from qoemon.tools.dashboards.panels import (
    BYTES,
    COUNT,
    GREEN,
    PER_SECOND,
    RED,
    SECONDS,
    SHARE,
    YELLOW,
    About,
    Ask,
    Steps,
    curves,
    states,
)
from qoemon.tools.dashboards.promql import MINUTES

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

    from qoemon.tools.dashboards.panels import Panel

PROBLEMS = (
    "reports_duplicate",
    "reports_late",
    "reports_ahead",
    "reports_empty",
    "reports_reset",
    "reports_conflicting",
    "reports_pooled",
    "reports_refused",
    "messages_dropped",
    "messages_withheld",
    "tick_skipped",
    "worker_restarts",
    "cluster_query_restarts",
    "mqtt_connect_failures",
    "mqtt_disconnects",
    "mqtt_sessions_lost",
)
SLOW = Steps(GREEN, ((1, YELLOW), (10, RED)))


def daemon() -> Dashboard:
    """The board about the daemon."""
    board = frame("Daemon", "Health of qoemon itself: input, losses, delays and resources.", "now-3h")
    board.with_variable(choice("instance", "qoemon_build_info"))
    return filled(board, [*_input(), *_delays(), *_resources(), *_connections(), *_cluster()])


def _gauge(name: str, legend: str) -> Ask:
    return Ask(_of(name), f"{{{{instance}}}} {legend}")


def _rate(name: str, legend: str) -> Ask:
    return Ask(f"rate({_of(name)}[{MINUTES}])", f"{{{{instance}}}} {legend}")


def _of(name: str) -> str:
    return f'{name}{{instance=~"$instance"}}'


def _input() -> list[Panel]:
    flow = About(
        "Messages and reports",
        "Messages and reports per second. If they fall to 0, check the broker below, then the clients.",
        PER_SECOND,
        8,
    )
    rejected = About(
        "Rejected reports",
        "Invalid reports by reason; the log shows an example of each. docs/wire-format.md explains the reasons. "
        "The usual cause is a new release of a client.",
        PER_SECOND,
        8,
    )
    problems = About(
        "Problems",
        "Should all be 0: reports ignored or pooled, messages lost, ticks skipped, workers restarted, connections "
        "lost. docs/operations.md says what to do about each.",
        PER_SECOND,
        8,
    )
    by_reason = f"sum by (reason) (rate({_of('qoemon_reports_rejected_total')}[{MINUTES}]))"
    return [
        curves(flow, [_rate("qoemon_messages_total", "messages"), _rate("qoemon_reports_total", "reports")]),
        curves(rejected, [Ask(by_reason, "{{reason}}")]),
        curves(
            problems,
            [
                *(_rate(f"qoemon_{name}_total", name.replace("_", " ")) for name in PROBLEMS),
                _rate("qoemon_reports_implausible_total", "reports implausible, {{reason}}"),
            ],
        ),
    ]


def _delays() -> list[Panel]:
    lag = About(
        "Lag",
        "Delay of ticks and of the event loop. If it exceeds the length of a tick, the machine is overloaded: add "
        "a core, or workers.",
        SECONDS,
        6,
    )
    age = About(
        "Age of data",
        "Time since the newest message and since the newest tick. If the age of the tick grows, the daemon hangs: "
        "restart it. If only the age of messages grows, check the broker and the clients.",
        SECONDS,
        6,
    )
    ticks = About(
        "Duration of ticks",
        "Mean and 99th percentile of the duration of a tick. It grows with groups and sessions; near the interval "
        "of ticks, ticks are skipped.",
        SECONDS,
        6,
    )
    queue = About(
        "Messages in the inbox",
        "Messages waiting to be processed. If they keep growing, the load is too high: beyond "
        "limits.inbox_messages, QoS 0 messages are lost and QoS 1 messages stay at the broker.",
        COUNT,
        6,
    )
    spent, made = (f"rate({_of(f'qoemon_tick_seconds_{part}')}[{MINUTES}])" for part in ("sum", "count"))
    buckets = f"sum by (instance, le) (rate({_of('qoemon_tick_seconds_bucket')}[{MINUTES}]))"
    return [
        curves(
            lag, [_gauge("qoemon_tick_lag_seconds", "tick"), _gauge("qoemon_event_loop_lag_seconds", "loop")], SLOW
        ),
        curves(
            age,
            [
                _gauge("qoemon_last_message_age_seconds", "message"),
                Ask(f"time() - {_of('qoemon_snapshot_timestamp_seconds')}", "{{instance}} tick"),
            ],
        ),
        curves(
            ticks,
            [
                Ask(f"{spent} / {made}", "{{instance}} mean"),
                Ask(f"histogram_quantile(0.99, {buckets})", "{{instance}} 99 %"),
            ],
        ),
        curves(queue, [_gauge("qoemon_inbox_messages", "messages")]),
    ]


def _resources() -> list[Panel]:
    memory = About(
        "Memory",
        "Memory of the process and its workers, and payload in the inbox. It grows with sessions; if it grows "
        "without them, report a bug in qoemon.",
        BYTES,
        8,
    )
    cpu = About(
        "CPU",
        "CPU of the daemon and of each worker, in % of a core. Near 100 %: add workers, see docs/workers.md.",
        SHARE,
        8,
    )
    held = About(
        "Sessions and groups",
        "Sessions and groups in memory. At limits.sessions new sessions are refused, at limits.groups new label "
        "sets are pooled: raise the limit, or remove a label.",
        COUNT,
        8,
    )
    return [
        curves(
            memory,
            [
                _gauge("process_resident_memory_bytes", "process"),
                _gauge("qoemon_worker_memory_bytes", "worker {{worker}}"),
                _gauge("qoemon_inbox_bytes", "inbox"),
            ],
        ),
        curves(
            cpu,
            [
                _rate("process_cpu_seconds_total", "process"),
                _rate("qoemon_worker_cpu_seconds_total", "worker {{worker}}"),
            ],
        ),
        curves(held, [_gauge("qoemon_sessions", "sessions"), _gauge("qoemon_groups", "groups")]),
    ]


def _connections() -> list[Panel]:
    broker = About(
        "Broker",
        "Whether the daemon is connected to the broker and subscribed. Not connected: check that the broker runs, "
        "and its name and port. Not subscribed: its access rules reject a topic, which the log names.",
        "none",
        12,
    )
    notifications = About(
        "Notifications",
        "Notifications delivered, failed, dropped and queued. If failures continue, the receiver is unreachable or "
        "rejects them; the log has the reason. Empty without receivers.",
        COUNT,
        12,
    )
    counters = {"notifications": "delivered", "notifications_failed": "failed", "notifications_dropped": "dropped"}
    changes = [
        Ask(f"increase({_of(f'qoemon_{name}_total')}[{MINUTES}])", f"{{{{receiver}}}} {word}")
        for name, word in counters.items()
    ]
    return [
        states(
            broker,
            [_gauge("qoemon_mqtt_connected", "connected"), _gauge("qoemon_mqtt_subscribed", "subscribed")],
            (("no", RED), ("yes", GREEN)),
        ),
        curves(notifications, [*changes, Ask(_of("qoemon_notification_queue"), "{{receiver}} queued")]),
    ]


def _cluster() -> list[Panel]:
    lag = About(
        "Cluster: lag",
        "Age of the newest tick that came from Spark, and how long a batch takes. A batch that takes longer than "
        "sessions.tick cannot keep up: add cores to the cluster. Empty without engine.kind spark.",
        SECONDS,
        6,
    )
    records = About(
        "Cluster: records",
        "Records of Kafka in the newest batch, and those left for later ones. If the rest grows, the cluster does "
        "not keep up, or catches up after an outage. docs/sizing.md says where each part saturates.",
        COUNT,
        6,
    )
    state = About(
        "Cluster: state",
        "Sessions as Spark stores them at each batch, and its memory for them. They grow with sessions; if batches "
        "become too long with them, add executors.",
        BYTES,
        6,
    )
    bridge = About(
        "Cluster: bridges",
        "How long Kafka takes to store a record of a bridge (99th percentile). If it takes seconds, see Kafka's "
        "brokers, and whether enough replicas are in sync. Meanwhile messages wait at the MQTT broker.",
        SECONDS,
        6,
    )
    buckets = f"sum by (instance, le) (rate({_of('qoemon_bridge_delivery_seconds_bucket')}[{MINUTES}]))"
    return [
        curves(
            lag,
            [
                _gauge("qoemon_cluster_lag_seconds", "newest tick"),
                _gauge("qoemon_cluster_batch_seconds", "newest batch"),
            ],
        ),
        curves(
            records,
            [
                _gauge("qoemon_cluster_batch_records", "in the newest batch"),
                _gauge("qoemon_cluster_lag_records", "left"),
                _gauge("qoemon_bridge_undelivered_records", "not stored yet"),
            ],
        ),
        curves(
            state,
            [
                _gauge("qoemon_cluster_state_bytes", "stored"),
                _gauge("qoemon_cluster_state_memory_bytes", "in memory"),
            ],
        ),
        curves(bridge, [Ask(f"histogram_quantile(0.99, {buckets})", "{{instance}} 99 %")]),
    ]
