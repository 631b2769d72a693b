"""What is remembered of sessions at brokers is found again, bounded, and lost without harm."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from qoemon.inputs.mqtt.session_memory import MOST_SESSIONS, SAVE_S, BrokerSession, Fate, SessionMemory, fate
from qoemon.state.durable_file import DurableFile

KNOWN = BrokerSession("localhost:1883", "qoemon", ("a/+", "b/#"), 3600, 1000.0)
NOTHING = BrokerSession("localhost:1883", "qoemon")


@pytest.mark.parametrize(
    ("before", "now_s", "kept", "running", "expected"),
    [
        (NOTHING, 1000.0, False, False, Fate.NEW),
        (NOTHING, 1000.0, True, False, Fate.UNKNOWN),
        (replace(KNOWN, connected_s=None), 1000.0, False, False, Fate.NEW),  # The SUBSCRIBE may not have left.
        (KNOWN, 1000.0, True, False, Fate.KEPT),
        (KNOWN, 9999.0, True, False, Fate.KEPT),
        (KNOWN, 4600.0, False, False, Fate.LOST),
        (KNOWN, 4601.0, False, False, Fate.EXPIRED),
        (KNOWN, 4601.0, False, True, Fate.LOST),
        (KNOWN, 1.0, False, False, Fate.LOST),  # The clock was set back.
        (replace(KNOWN, expiry_s=None), 1e9, False, False, Fate.LOST),
    ],
)
def test_the_fate_of_a_session_follows_from_what_is_known_of_it(
    before: BrokerSession, now_s: float, kept: bool, running: bool, expected: Fate
) -> None:
    assert fate(before, now_s, kept=kept, running=running) is expected


def test_sessions_are_found_again_by_broker_and_client_id(tmp_path: Path) -> None:
    memory = SessionMemory(DurableFile(tmp_path / "sessions"))
    others = [replace(KNOWN, broker="localhost:1884", filters=()), replace(KNOWN, client_id="other", expiry_s=None)]
    for each in (KNOWN, *others, replace(KNOWN, connected_s=2000.0)):
        memory.update(each)
    memory.save()
    again = SessionMemory(DurableFile(tmp_path / "sessions"))
    assert again.session("localhost:1883", "qoemon") == replace(KNOWN, connected_s=2000.0)
    assert [again.session(each.broker, each.client_id) for each in others] == others
    assert again.filters("qoemon") == KNOWN.filters
    assert again.filters("nobody") == ()
    assert again.session("elsewhere:1883", "qoemon") == BrokerSession("elsewhere:1883", "qoemon")


def test_only_the_newest_sessions_are_remembered() -> None:
    memory = SessionMemory()
    for number in range(MOST_SESSIONS + 1):
        memory.update(replace(KNOWN, client_id=str(number)))
        memory.update(replace(KNOWN, client_id="1"))
    assert memory.session(KNOWN.broker, "0").filters == ()
    assert all(memory.session(KNOWN.broker, str(number)).filters for number in (1, 3, MOST_SESSIONS))


def test_a_change_is_due_at_once_and_the_time_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 10 * SAVE_S
    monkeypatch.setattr("qoemon.inputs.mqtt.session_memory.time.monotonic", lambda: now_s)
    memory = SessionMemory(DurableFile(tmp_path / "sessions"))
    memory.update(KNOWN)
    assert memory.due
    memory.save()
    memory.update(replace(KNOWN, connected_s=2000.0))
    assert not memory.due
    now_s += SAVE_S
    assert memory.due
    memory.save()
    memory.update(replace(KNOWN, filters=("a/+",)))
    assert memory.due


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"{}", b'[{"broker": "b"}]', b'[{"broker": "b", "client_id": "c", "filters": 1}]']
)
def test_what_cannot_be_read_is_logged_and_replaced(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = DurableFile(tmp_path / "sessions")
    file.write(content)
    memory = SessionMemory(file)
    assert f"cannot read {tmp_path / 'sessions'}: " in caplog.text
    assert memory.session(KNOWN.broker, KNOWN.client_id) == NOTHING
    memory.update(KNOWN)
    memory.save()
    assert SessionMemory(file).session(KNOWN.broker, KNOWN.client_id) == KNOWN


def test_what_cannot_be_written_is_logged_once_and_is_still_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    directory = tmp_path / "gone"
    memory = SessionMemory(DurableFile(directory / "sessions"))
    memory.update(KNOWN)
    for _ in range(2):
        memory.save()
        assert memory.due
    assert caplog.text.count(f"cannot write {directory / 'sessions'}: No such file or directory; after a") == 1
    assert memory.session(KNOWN.broker, KNOWN.client_id) == KNOWN
    directory.mkdir()
    memory.save()
    assert not memory.due
