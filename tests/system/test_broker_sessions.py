"""What the broker remembers of the daemon is remembered by the daemon too, over restarts of both."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from paho.mqtt.publish import single

from qoemon.state.layout import BROKER_SESSIONS
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.parts import Daemon, Mosquitto

pytestmark = pytest.mark.mosquitto

FORGOTTEN = "has forgotten our session: messages since 2"
UNKNOWN = "whose topic filters are not known here"


def settings(
    broker: Mosquitto, directory: Path | None, *topics: dict[str, str] | str, **more: Any
) -> dict[str, Any]:
    """A configuration for these topics, with state in a directory if there is one."""
    mqtt: dict[str, Any] = {"host": "127.0.0.1", "port": broker.port, "client_id": "kept"}
    if topics:
        mqtt["topics"] = list(topics)
    state = {} if directory is None else {"state": {"dir": str(directory)}}
    return {"mqtt": mqtt, "sessions": {"tick": "1s"}, **state, **more}


def response(broker: Mosquitto, topic: str, number: int) -> None:
    """Publish a response time. It has no seq, so it counts as often as it arrives."""
    report = json.dumps({"session": f"s{number}", "response_s": 1.0})
    single(topic, report, qos=1, hostname="127.0.0.1", port=broker.port)


def queued(broker: Mosquitto, client_id: str, *topics: str) -> list[str]:
    """The topics of these that the session of an absent client is subscribed to, once for each subscription."""

    async def look() -> list[str]:
        options: dict[str, Any] = {"identifier": client_id, "clean_session": False, "timeout": WAIT_S}
        version = aiomqtt.ProtocolVersion.V311
        found = []
        async with aiomqtt.Client("127.0.0.1", broker.port, protocol=version, **options) as client:
            await client.subscribe("last", 1)
            await client.publish("last", b"", 1)
            async for message in client.messages:
                if message.topic.value == "last":
                    return found
                found.append(message.topic.value)
        raise AssertionError

    for topic in topics:
        single(topic, "{}", qos=1, hostname="127.0.0.1", port=broker.port)
    return asyncio.run(look())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_filter_that_the_configuration_no_longer_has_is_unsubscribed_at_the_next_start(
    mosquitto: Mosquitto, start_daemon: Callable[..., Daemon], tmp_path: Path, workers: int
) -> None:
    """Also one that overlaps with a new one, whose messages would count twice."""
    state = tmp_path / "state"
    before = settings(mosquitto, state, "qoe/v1/{service}/{region}/{cdn}", "old/{service}", workers=workers)
    start_daemon(before).ready().signal(signal.SIGTERM)

    after = settings(mosquitto, state, {"template": "qoe/v1/web/{region}/{cdn}", "service": "web"}, workers=workers)
    daemon = start_daemon(after).ready()
    until(lambda: "unsubscribed from " in daemon.log.read_text(), daemon.log.read_text)
    assert "unsubscribed from qoe/v1/+/+/+, old/+, of an earlier configuration" in daemon.log.read_text()
    for number in range(5):
        response(mosquitto, "old/web", number)
        response(mosquitto, "qoe/v1/web/eu/a", number)
    until(lambda: daemon.value("qoemon_reports_total") >= 5, daemon.log.read_text)
    assert daemon.value("qoemon_messages_total") == 5
    daemon.signal(signal.SIGTERM)
    topics = ("qoe/v1/web/eu/a", "qoe/v1/video/eu/a", "old/web")
    assert queued(mosquitto, "kept", *topics) == ["qoe/v1/web/eu/a"]
    assert UNKNOWN not in daemon.log.read_text()


def test_each_worker_with_a_connection_of_its_own_unsubscribes_too(
    mosquitto: Mosquitto, start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    state, more = tmp_path / "state", {"workers": 2}
    one, other = ("a/{service}/{region}/{shard}", "b/{service}/{region}/{shard}")
    start_daemon(settings(mosquitto, state, one, **more)).ready().signal(signal.SIGTERM)
    daemon = start_daemon(settings(mosquitto, state, other, **more)).ready()
    until(lambda: daemon.log.read_text().count("unsubscribed from ") == 2, daemon.log.read_text)
    daemon.signal(signal.SIGTERM)
    assert queued(mosquitto, "kept-0-of-2", "a/web/eu/0", "b/web/eu/0") == ["b/web/eu/0"]


def test_a_killed_daemon_has_stored_its_filters(
    mosquitto: Mosquitto, start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    state = tmp_path / "state"
    start_daemon(settings(mosquitto, state, "a/{service}")).ready().kill()
    daemon = start_daemon(settings(mosquitto, state, "b/{service}")).ready()
    until(lambda: "unsubscribed from a/+, of" in daemon.log.read_text(), daemon.log.read_text)


def test_filters_are_unsubscribed_at_another_address_of_the_broker_too(
    mosquitto: Mosquitto, start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    state = tmp_path / "state"
    start_daemon(settings(mosquitto, state, "a/{service}")).ready().signal(signal.SIGTERM)
    later = settings(mosquitto, state, "b/{service}")
    later["mqtt"]["host"] = "localhost"
    daemon = start_daemon(later).ready()
    until(lambda: "unsubscribed from a/+, of" in daemon.log.read_text(), daemon.log.read_text)


def test_without_state_a_session_whose_filters_are_unknown_is_logged_with_the_remedy(
    mosquitto: Mosquitto, start_daemon: Callable[..., Daemon]
) -> None:
    for lines in (0, 1):
        daemon = start_daemon(settings(mosquitto, None)).ready()
        daemon.signal(signal.SIGTERM)
        assert daemon.log.read_text().count(UNKNOWN) == lines
    assert "set another client_id, or delete the session at the broker; with state.dir" in daemon.log.read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_session_that_the_broker_lost_while_the_daemon_was_down_is_counted_and_logged(
    mosquitto: Mosquitto, start_daemon: Callable[..., Daemon], tmp_path: Path, workers: int
) -> None:
    told = settings(mosquitto, tmp_path / "state", workers=workers)
    for number, lost in enumerate((0, 1, 0)):
        if number:
            mosquitto.stop()
            if lost:
                (tmp_path / "mosquitto.db").unlink()
            mosquitto.start()
        daemon = start_daemon(told).ready()
        until(lambda daemon=daemon: daemon.value("qoemon_mqtt_connects_total"), daemon.log.read_text)  # type: ignore[misc]
        assert daemon.value("qoemon_mqtt_sessions_lost_total") == lost
        daemon.signal(signal.SIGTERM)
    assert daemon.log.read_text().count(FORGOTTEN) == 1


def test_a_session_that_was_kept_as_long_as_agreed_is_not_counted_as_lost(
    mosquitto: Mosquitto, start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """The last connection was longer ago than the default session_expiry of a day."""
    told = settings(mosquitto, tmp_path / "state")
    start_daemon(told).ready().signal(signal.SIGTERM)
    file = tmp_path / "state" / BROKER_SESSIONS
    (session,) = json.loads(file.read_bytes())
    session["connected_s"] -= 86_401
    file.write_text(json.dumps([session]))
    mosquitto.stop()
    (tmp_path / "mosquitto.db").unlink()
    mosquitto.start()

    daemon = start_daemon(told).ready()
    until(lambda: daemon.value("qoemon_mqtt_connects_total"), daemon.log.read_text)
    assert daemon.value("qoemon_mqtt_sessions_lost_total") == 0
    assert "no longer has our session, which it kept for 1d after a disconnect" in daemon.log.read_text()
    assert FORGOTTEN not in daemon.log.read_text()


def test_a_damaged_memory_of_sessions_is_logged_and_replaced(
    mosquitto: Mosquitto, start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    told = settings(mosquitto, tmp_path / "state")
    file = tmp_path / "state" / BROKER_SESSIONS
    start_daemon(told).ready().signal(signal.SIGTERM)
    whole = json.loads(file.read_bytes())
    file.write_bytes(file.read_bytes()[:-20])
    for _ in range(2):
        daemon = start_daemon(told).ready()
        daemon.signal(signal.SIGTERM)
    log = daemon.log.read_text()
    assert log.count(f"cannot read {file}: ") == log.count(UNKNOWN) == 1
    stored = json.loads(file.read_bytes())
    assert [each.pop("connected_s") < 1e11 for each in (*whole, *stored)] == [True, True]
    assert stored == whole
