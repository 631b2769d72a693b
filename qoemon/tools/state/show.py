"""What is in a state directory, as lines of text or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime

import msgspec

from qoemon.common import duration
from qoemon.common.text import printable
from qoemon.state.contents import Contents
from qoemon.state.versions import READABLE


def document(found: Contents) -> str:
    """The contents as JSON, with the names of their fields."""
    named = {**asdict(found), "journal": found.journal._asdict()}
    return msgspec.json.format(msgspec.json.encode(named), indent=2).decode()


def lines(found: Contents) -> Iterator[str]:
    """The contents line by line."""
    running = "no daemon is running" if found.process is None else f"process {found.process} is running"
    yield f"{found.directory}: {found.layout}, {running}"
    yield "versions: " + ", ".join(f"{part} {_version(part, number)}" for part, number in found.versions.items())
    if found.timing is None:
        yield "checkpoint: none yet"
    else:
        tick_s, interval_s, windows_s = found.timing
        windows = ", ".join(map(duration.text, windows_s))
        yield f"checkpoint: newest tick {_utc(found.tick_s)}; {found.stores:,} bytes with the journal"
        yield f"labels: {', '.join(found.labels)}"
        yield f"tick {duration.text(tick_s)}, rating interval {duration.text(interval_s)}, windows {windows}"
    for each in found.services:
        sessions = (
            "sessions in the checkpoint of the cluster" if each.sessions is None else f"{each.sessions:,} sessions"
        )
        yield f"service {printable(each.service)}: {sessions}, {each.groups:,} group{'s' * (each.groups != 1)}"
    newest = "" if found.journal.newest_s is None else f", newest message {_utc(found.journal.newest_s)}"
    yield f"journal: {found.journal.entries:,} commits, {found.journal.bytes:,} bytes{newest}"
    if (history := found.history) is not None:
        yield (
            f"history: {_utc(history.from_s)} to {_utc(history.to_s)}, {history.intervals:,} intervals of "
            f"services, {history.alerts:,} alerts, {history.bytes:,} bytes"
        )
    for broker, client_id in found.broker_sessions:
        yield f"session at {printable(broker)}: client id {printable(client_id)}"
    for name, size in found.others.items():
        yield f"not used: {printable(name)}, {size:,} bytes"


def _version(part: str, number: int) -> str:
    newest = READABLE[part]
    if number == newest:
        return str(number)
    return f"{number} (this qoemon {'reads' if number > newest else 'converts it to'} {newest})"


def _utc(time_s: float | None) -> str:
    return "none" if time_s is None else f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
