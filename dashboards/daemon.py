"""Is qoemon itself well? Before its figures are believed, this board should be calm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.board import choice, filled, frame
from dashboards.panels import (
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
from dashboards.promql import MINUTES

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

    from dashboards.panels import Panel

TROUBLE = (
    "reports_duplicate",
    "reports_late",
    "reports_ahead",
    "reports_reset",
    "reports_pooled",
    "reports_refused",
    "messages_dropped",
    "messages_withheld",
    "tick_skipped",
    "worker_restarts",
    "mqtt_connect_failures",
    "mqtt_disconnects",
)
SLOW = Steps(GREEN, ((1, YELLOW), (10, RED)))


def daemon() -> Dashboard:
    """The board about the daemon."""
    board = frame("Daemon", "Whether qoemon itself is well: what arrives, what it costs, what is lost.", "now-3h")
    board.with_variable(choice("instance", "qoemon_build_info"))
    return filled(board, [*_taken_in(), *_in_time(), *_resources(), *_others()])


def _gauge(name: str, legend: str) -> Ask:
    return Ask(_of(name), f"{{{{instance}}}} {legend}")


def _rate(name: str, legend: str) -> Ask:
    return Ask(f"rate({_of(name)}[{MINUTES}])", f"{{{{instance}}}} {legend}")


def _of(name: str) -> str:
    return f'{name}{{instance=~"$instance"}}'


def _taken_in() -> list[Panel]:
    flow = About(
        "Messages and reports",
        "What arrives a second. If it falls to 0, look at the broker below, then at the clients.",
        PER_SECOND,
        8,
    )
    rejected = About(
        "Rejected reports",
        "Reports that could not be taken, by reason; the log shows one of each. docs/wire-format.md says what "
        "each reason means. Usually a client was released that writes them wrongly.",
        PER_SECOND,
        8,
    )
    trouble = About(
        "What should stand still",
        "Reports left out or pooled, messages lost, ticks skipped, workers ended, connections lost. "
        "docs/operations.md says what to do about each.",
        PER_SECOND,
        8,
    )
    by_reason = f"sum by (reason) (rate({_of('qoemon_reports_rejected_total')}[{MINUTES}]))"
    return [
        curves(flow, [_rate("qoemon_messages_total", "messages"), _rate("qoemon_reports_total", "reports")]),
        curves(rejected, [Ask(by_reason, "{{reason}}")]),
        curves(trouble, [_rate(f"qoemon_{name}_total", name.replace("_", " ")) for name in TROUBLE]),
    ]


def _in_time() -> list[Panel]:
    lag = About(
        "Lag",
        "How late ticks began, and how long the event loop was held up. More than a tick's length: the machine is "
        "too busy; give it a core, or more workers.",
        SECONDS,
        6,
    )
    age = About(
        "Age of news",
        "Time since the newest message and since the tick that these figures are of. A growing age of the tick "
        "means that the daemon hangs: restart it. Of messages alone: look at the broker and the clients.",
        SECONDS,
        6,
    )
    ticks = About(
        "Duration of ticks",
        "The mean, and what 99 of 100 ticks stay below. It grows with groups and sessions; near the length of a "
        "tick, ticks are skipped.",
        SECONDS,
        6,
    )
    queue = About(
        "Waiting messages",
        "Messages that wait to be evaluated. If it grows without end, more arrives than is evaluated; beyond "
        "limits.inbox_messages QoS 0 is lost and QoS 1 withheld.",
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
                Ask(f"histogram_quantile(0.99, {buckets})", "{{instance}} 99%"),
            ],
        ),
        curves(queue, [_gauge("qoemon_inbox_messages", "messages")]),
    ]


def _resources() -> list[Panel]:
    memory = About(
        "Memory",
        "Memory of the process and its workers, and payload that waits. It grows with sessions; if it grows alone, "
        "that is a mistake in qoemon: report it.",
        BYTES,
        8,
    )
    cpu = About(
        "CPU",
        "Share of one core, of the daemon and of each worker. If one stays near 1, more workers: docs/workers.md.",
        SHARE,
        8,
    )
    held = About(
        "Sessions and groups",
        "What is held in memory. Near limits.sessions new sessions are refused, near limits.groups label sets are "
        "pooled: raise the limit, or leave out a label.",
        COUNT,
        8,
    )
    return [
        curves(
            memory,
            [
                _gauge("process_resident_memory_bytes", "process"),
                _gauge("qoemon_worker_memory_bytes", "worker {{worker}}"),
                _gauge("qoemon_inbox_bytes", "waiting payload"),
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


def _others() -> list[Panel]:
    broker = About(
        "Broker",
        "Whether the broker is connected and granted the subscriptions. Not connected: is it up, are name and port "
        "right? Not subscribed: its access rules refuse a topic; the log says which.",
        "none",
        12,
    )
    told = About(
        "Notifications",
        "Notifications taken, failed and given up, and those that wait. Failures that go on: the receiver is away "
        "or refuses; the log says why. Empty without receivers.",
        COUNT,
        12,
    )
    counters = {"notifications": "taken", "notifications_failed": "failed", "notifications_dropped": "given up"}
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
        curves(told, [*changes, Ask(_of("qoemon_notification_queue"), "{{receiver}} waiting")]),
    ]
