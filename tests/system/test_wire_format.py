"""What docs/wire-format.md promises of last wills, and of reports that are sent again."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt
import pytest

from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.core.wire.codec import Codec
from qoemon.inputs.inbox import Message
from tests.support.core import OneShard
from tests.support.parts import ROOT
from tests.support.patience import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.parts import Daemon, Mosquitto

PAGE = (ROOT / "docs/wire-format.md").read_text()
TOPIC = "qoe/v1/video/eu/a"


@pytest.mark.mosquitto
def test_the_will_of_the_page_ends_a_session_and_its_open_stall(
    mosquitto: Mosquitto, start_daemon: Callable[..., Daemon]
) -> None:
    (will,) = re.findall(r"### Last will\n.*?```json\n(.*?)\n```", PAGE, re.DOTALL)
    settings: dict[str, Any] = {
        "mqtt": {"host": "127.0.0.1", "port": mosquitto.port},
        "sessions": {"tick": "1s", "timeout": "1h"},
    }
    daemon = start_daemon(settings).ready()
    session = json.loads(will)["session"]
    dying = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    dying.will_set(TOPIC, will, qos=1)
    dying.connect("127.0.0.1", mosquitto.port)
    dying.loop_start()
    for seq in range(3):
        stall = {"session": session, "seq": seq, "stall_count": 1, "stall_s": 2 + seq, "play_s": 9, "stalled": True}
        dying.publish(TOPIC, json.dumps(stall), 1)

    def gauge(name: str) -> float | None:
        found = [value for (metric, _), value in daemon.samples().items() if metric == name]
        return sum(found) if found else None

    until(lambda: gauge("qoemon_open_stalls") == 1, daemon.log.read_text)
    connection = dying.socket()
    assert isinstance(connection, socket.socket)
    dying.on_disconnect = lambda *_: dying.disconnect()  # Else paho would connect again.
    connection.shutdown(socket.SHUT_RDWR)  # Without DISCONNECT, as by a crash.
    until(lambda: daemon.value("qoemon_reports_total") == 4, daemon.log.read_text)
    until(lambda: gauge("qoemon_open_stalls") == 0, daemon.log.read_text)
    assert daemon.value("qoemon_reports_duplicate_total") == 0
    dying.loop_stop()


@pytest.mark.parametrize(("seq", "counted"), [({}, 4), ({"seq": 7}, 2)], ids=["without seq", "with seq"])
def test_response_times_that_are_sent_again_need_a_seq(seq: dict[str, int], counted: int) -> None:
    plan = core_plan(Config())
    codec, monitor = Codec(plan), OneShard(plan)
    payload = json.dumps({"session": "s", "response_s": [2, 3], **seq}).encode()
    start_s = 1_700_000_040.0
    for arrival_s in (start_s, start_s + 1):
        message = Message("qoe/v1/web/eu/a", payload, arrival_s, 1, 1, 1)
        monitor.apply(codec.decode([message]).batch, arrival_s)
    services = {each.service.name: each for each in monitor.snapshot(start_s + 60).services}
    assert services["web"].distributions[60].observations == [counted]
