"""Prometheus rules on what fills up: disk, memory, inbox, journal. They fire while there is still time to act."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qoemon.tools.rules.daemonrule import DaemonRule, counter_rule

HALF, NEAR = 0.5, 0.9
GIB = 2**30


@dataclass(frozen=True)
class Capacity:
    """Limits of the configuration that a plan does not have; the defaults are its defaults."""

    inbox_messages: int = 200_000
    inbox_bytes: int = 64 * 2**20
    journal_bytes: int = 256 * 2**20


def rules(capacity: Capacity) -> Iterator[DaemonRule]:
    """The rules; none of them fires where a daemon lacks the metric, as without a state directory."""
    free, least = "qoemon_state_free_bytes", 3 * capacity.journal_bytes
    yield DaemonRule(
        alert="QoemonDiskFilling",
        severity="warning",
        for_s=600,
        # The second finds what fills it within hours. Both need data of half their time: a start, an export or a
        # checkpoint takes room for minutes, which says nothing.
        expr=f"{_full_within(free, 86400, '6h', '3h')}\n"
        f"or {_full_within(free, 7200, '30m', '15m')}\n"
        f"or {free} < {least}\n",
        summary="the disk of state.dir of qoemon at {{ $labels.instance }} is full within a day, or nearly full",
        description="When it is full, nothing is acknowledged any more. Find what grows; `qoemon state show` names "
        "files that may be deleted. A shorter state.history frees space over the next days.",
        failing={free: (least - 1, 0)},
        healthy={free: (least, 0)},
    )
    resident, limit = "process_resident_memory_bytes", "qoemon_memory_limit_bytes"
    workers = "sum without (worker) (qoemon_worker_memory_bytes)"
    yield DaemonRule(
        alert="QoemonMemoryNearLimit",
        severity="warning",
        for_s=300,
        expr=f"({resident} + ({workers} or 0 * {resident}))\n> {NEAR:g} * {limit}\n",
        summary="qoemon at {{ $labels.instance }} uses more than 90 % of the memory limit of its unit or container",
        description="Beyond the limit it is ended and restarted, and nothing that was acknowledged is lost. Raise "
        "the limit, or lower limits.sessions and limits.groups (docs/sizing.md).",
        failing={resident: (0.95 * GIB, 0), limit: (GIB, 0)},
        healthy={resident: (0.85 * GIB, 0), limit: (GIB, 0)},
    )
    messages, size = "qoemon_inbox_messages", "qoemon_inbox_bytes"
    yield DaemonRule(
        alert="QoemonInboxFilling",
        severity="warning",
        for_s=300,
        expr=f"{messages} > {HALF * capacity.inbox_messages:g}\nor {size} > {HALF * capacity.inbox_bytes:.0f}\n",
        summary="the inbox of qoemon at {{ $labels.instance }} is more than half full for five minutes",
        description="It counts or stores more slowly than reports come: see qoemon_state_writable and "
        "qoemon_tick_seconds; add CPU. Beyond the limit messages wait at the broker, and requests are refused.",
        failing={messages: (0.6 * capacity.inbox_messages, 0)},
        healthy={messages: (0.4 * capacity.inbox_messages, 0)},
    )
    journal = "qoemon_journal_bytes"
    yield DaemonRule(
        alert="QoemonJournalLarge",
        severity="warning",
        for_s=300,
        expr=f"{journal} > {capacity.journal_bytes}",
        summary="the journal of qoemon at {{ $labels.instance }} is larger than state.journal_bytes",
        description="Checkpoints fail or are too slow: the log says why. At twice this size nothing is "
        "acknowledged. A faster disk, or a larger state.journal_bytes.",
        failing={journal: (capacity.journal_bytes + 1, 0)},
        healthy={journal: (capacity.journal_bytes, 0)},
    )
    yield counter_rule(
        "QoemonHistoryNotWritten",
        "qoemon_history_failures_total",
        "could not write its history",
        "The log says why: is the disk full? Everything else continues; what cannot be written for long is lost.",
    )


def _full_within(free: str, ahead_s: int, span: str, least: str) -> str:
    """Whether the disk is full after that time if it fills as in the span, with data from before `least`."""
    return f"(predict_linear({free}[{span}], {ahead_s}) < 0 and {free} offset {least})"
