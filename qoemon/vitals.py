"""How the daemon itself fares, gathered from its parts at a tick."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field

from qoemon.alerting.notifier import Notifier
from qoemon.core.report import Reject
from qoemon.export import Vitals
from qoemon.httpstate import HttpState
from qoemon.inbox import Inbox
from qoemon.ingest import Ingest
from qoemon.state.keeper import Keeper, KeeperState


@dataclass
class Watchers:
    """The parts whose state is exported, and what the evaluation notes about itself."""

    inbox: Inbox
    ingest: Ingest
    notifier: Notifier
    http: HttpState = field(default_factory=HttpState)
    keeper: Keeper | None = None
    reloaded: bool = True
    """Whether the last reload of the configuration succeeded."""
    loop_lag_s: float = 0.0
    tick_lag_s: float = 0.0
    ticks_skipped: int = 0
    clock_steps: int = 0


def vitals(watchers: Watchers, rejected: Mapping[Reject, int], now_s: float) -> Vitals:
    """A copy of all of it that will not change."""
    state, inbox = watchers.ingest.state, watchers.inbox
    last_s = state.last_message_s
    return Vitals(
        connected=state.connected,
        subscribed=state.subscribed,
        connects=state.connects_total,
        connect_failures=state.connect_failures_total,
        disconnects=state.disconnects_total,
        messages=state.messages_total,
        message_bytes=state.message_bytes_total,
        retained_ignored=state.retained_ignored_total,
        bad_topics=state.bad_topics_total,
        stale_acks=state.stale_acks_total,
        last_message_age_s=None if last_s is None else max(0.0, now_s - last_s),
        inbox_messages=inbox.messages,
        inbox_bytes=inbox.bytes,
        dropped=inbox.dropped,
        withheld=inbox.withheld,
        rejected=dict(rejected),
        loop_lag_s=watchers.loop_lag_s,
        tick_lag_s=watchers.tick_lag_s,
        ticks_skipped=watchers.ticks_skipped,
        clock_steps=watchers.clock_steps,
        reloaded=watchers.reloaded,
        kept=deepcopy(watchers.keeper.state) if watchers.keeper else KeeperState(),
        receivers=watchers.notifier.states,
        http=deepcopy(watchers.http),
    )
