"""The examples of the documentation for pages, run by node: a <video> element does what it is told."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import subprocess
import time
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import paho.mqtt.client as mqtt
import pytest

from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.core.qoe.mapping import VIDEO_STALL
from qoemon.core.wire.codec import Codec
from qoemon.inputs.inbox import Message
from tests.support.core import OneShard
from tests.support.parts import ROOT, Mosquitto, program, unused_port
from tests.support.patience import TEST_S, WAIT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PLAYER = ROOT / "docs/examples/player.js"
TOPIC = "qoe/v1/video/eu/a"
START_S = 1_700_000_040

STAGE = """
import { readFileSync } from "node:fs";
const [script, topic, acts] = JSON.parse(readFileSync(0, "utf8"));
let now = 0, every;
const page = new EventTarget();
const say = {
  performance: { now: () => now },
  setInterval: (does) => { every = does; },
  addEventListener: page.addEventListener.bind(page),
};
for (const [name, value] of Object.entries(say))
  Object.defineProperty(globalThis, name, { value, configurable: true });
const { watch } = await import("data:text/javascript," + encodeURIComponent(script));
const video = Object.assign(new EventTarget(), { currentTime: 0, seeking: false, paused: false, ended: false });
const heard = [];
const client = { connected: true, publish: (topic, payload) => heard.push({ now, topic, payload }) };
const stall = watch(video, client, topic);
const player = new EventTarget(); // as shaka-player: only its own event shows a stall
player.addEventListener("buffering", stall);
for (const act of acts) {
  now = act.at * 1000;
  Object.assign(video, act.video);
  Object.assign(client, act.client);
  if (act.fire) video.dispatchEvent(new Event(act.fire));
  if (act.page) page.dispatchEvent(new Event(act.page));
  if (act.hook) stall();
  if (act.say) stall.say(act.say);
  if (act.shaka !== undefined)
    player.dispatchEvent(Object.assign(new Event("buffering"), { buffering: act.shaka }));
  if (act.timer) every();
}
console.log(JSON.stringify(heard));
"""


def act(at: float, fire: str | None = None, *, to: float | None = None, **more: Any) -> dict[str, Any]:
    """What happens `at` seconds after the start; `to` is where the media is then."""
    video = more.pop("video", {}) | ({} if to is None else {"currentTime": to})
    return {"at": at, "fire": fire, "video": video, **more}


def ran(script: str, *given: Any) -> Any:
    """What a script prints in node, to which this is given as JSON."""
    command = [program("node", "Debian package nodejs"), "--input-type=module", "--eval", script]
    ended = subprocess.run(
        command, input=json.dumps(given), capture_output=True, text=True, timeout=TEST_S, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def played(*acts: dict[str, Any]) -> list[dict[str, Any]]:
    """What the player publishes: topic, payload, and when, ms since the start."""
    heard: list[dict[str, Any]] = ran(STAGE, PLAYER.read_text(), TOPIC, acts)
    return heard


def reports(heard: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [json.loads(each["payload"]) for each in heard]


def test_the_page_shows_the_file():
    """So that it reads well both in the repository and on the site."""
    assert f"```js\n{PLAYER.read_text()}```" in (ROOT / "docs/wire-format.md").read_text()


BEGUN = (act(0, "waiting"), act(2, "playing"), act(4, "timeupdate", to=2))
"""Two seconds of first buffering, and two of playing."""

VIEWING = (
    *BEGUN,
    act(10, "timeupdate", to=8),
    act(10, "waiting"),
    act(12, timer=True),
    act(14, "playing"),
    act(24, "timeupdate", to=18),
    # The viewer goes to 100 s, where nothing is loaded.
    act(24, "seeking", to=100, video={"seeking": True}),
    act(24, "waiting"),
    act(30, "timeupdate", video={"seeking": False}),
    act(30, "seeked"),
    act(30, "waiting"),
    act(31, "playing"),
    act(41, "timeupdate", to=110),
    act(41, "waiting"),
    act(42, "playing"),
    act(57, "timeupdate", to=125),
    act(58, page="pagehide"),
)
"""Stalls of 4 s and 1 s; 8, 10, 10 and 15 s of media."""


def messages(heard: Sequence[dict[str, Any]]) -> list[Message]:
    return [
        Message(each["topic"], each["payload"].encode(), START_S + each["now"] / 1000, 1, 1, 1) for each in heard
    ]


def test_the_daemon_judges_what_the_player_lived_through():
    plan = core_plan(Config())
    codec, monitor = Codec(plan), OneShard(plan)
    for message in messages(played(*VIEWING)):
        decoded = codec.decode([message])
        assert not decoded.rejected, decoded.sample
        monitor.apply(decoded.batch, message.arrival_s)
    judged = monitor.snapshot(START_S + 60).services[0].distributions[60]
    per_minute = 60 / 43
    truth = VIDEO_STALL(np.array([2 * per_minute]), np.array([5 * per_minute]))
    assert judged.observations == [1]
    assert judged.mos == pytest.approx(truth, abs=0.0025)


def test_counters_grow_and_a_running_stall_is_told():
    said = reports(played(*VIEWING))
    assert [each["seq"] for each in said] == list(range(len(said)))
    for name in ("stall_count", "stall_s", "play_s"):
        assert [each[name] for each in said] == sorted(each[name] for each in said)
    assert [(each["stall_count"], each["stall_s"], each["stalled"]) for each in said[:3]] == [
        (1, 0.001, True),
        (1, 2, True),
        (1, 4, False),
    ]
    last = said[-1]
    assert (last["stall_count"], last["stall_s"], last["play_s"]) == (2, 5, 43)
    assert last["end"] is True
    assert last["stalled"] is False


def test_first_buffering_and_seeking_are_no_stalls():
    seek = (
        act(4, "seeking", to=50, video={"seeking": True}),
        act(4, "waiting"),
        act(9, "seeked", video={"seeking": False}),
        act(9, "waiting"),
    )
    last = reports(played(*BEGUN, *seek, act(12, "playing"), act(13, "timeupdate", to=51), act(14, timer=True)))[-1]
    assert (last["stall_count"], last["stall_s"], last["play_s"]) == (0, 0, 3)


def test_a_nudge_during_a_stall_is_part_of_it():
    nudge = (
        act(4, "waiting"),
        act(5, "seeking", to=2.1, video={"seeking": True}),
        act(5, "seeked", video={"seeking": False}),
        act(7, "timeupdate", to=3.1),
    )
    last = reports(played(*BEGUN, *nudge))[-1]
    assert (last["stall_count"], last["stall_s"], last["play_s"]) == (1, 3, 3)


def test_who_pauses_does_not_wait():
    paused = (act(4, "waiting"), act(6, "pause", video={"paused": True}), act(60, "waiting"), act(60, timer=True))
    last = reports(played(*BEGUN, *paused))[-1]
    assert (last["stall_count"], last["stall_s"], last["stalled"]) == (1, 2, False)


def test_the_hook_of_a_player_counts_a_stall_once():
    last = reports(played(*BEGUN, act(4, hook=True), act(5, "waiting"), act(6, "playing")))[-1]
    assert (last["stall_count"], last["stall_s"]) == (1, 2)


def test_the_page_shows_the_hook_of_shaka():
    line = 'player.addEventListener("buffering", stall);\n'
    assert line in STAGE
    assert f"```js\n{line}```" in (ROOT / "docs/wire-format.md").read_text()


SHAKA_BEGUN = (
    act(0, shaka=True),
    act(1, "playing"),
    act(2, shaka=False),
    act(2, "playing"),
    act(4, "timeupdate", to=2),
)
"""Shaka loads: the element is ready to play at 1 s, but shaka keeps playbackRate at 0 for another second."""


def shaka_told(*acts: dict[str, Any]) -> tuple[int, float, float, bool]:
    """Stalls, stall seconds, play seconds and whether a stall is open, after these acts."""
    last = reports(played(*SHAKA_BEGUN, *acts, act(100, timer=True)))[-1]
    return last["stall_count"], last["stall_s"], last["play_s"], last["stalled"]


def test_a_stall_of_shaka_lasts_from_its_event_to_the_next():
    said = reports(
        played(
            *SHAKA_BEGUN,
            act(10, to=8.1, shaka=True, video={"playbackRate": 0}),
            act(10.1, "timeupdate", to=8.1),
            act(12, timer=True),
            act(14, shaka=False, video={"playbackRate": 1}),
            act(24, "timeupdate", to=18.1),
            act(25, timer=True),
        )
    )
    told = [(each["stall_count"], each["stall_s"], each["play_s"], each["stalled"]) for each in said]
    assert told == [(1, 0.001, 8.1, True), (1, 2, 8.1, True), (1, 4, 8.1, False), (1, 4, 18.1, False)]


def test_media_that_still_moves_a_little_does_not_end_a_stall_of_shaka():
    assert shaka_told(
        act(10, shaka=True), act(10.2, "timeupdate", to=2.1), act(10.3, "playing"), act(14, shaka=False)
    ) == (1, 4, 2.1, False)


def test_first_buffering_and_seeking_of_shaka_are_no_stalls():
    assert shaka_told(
        act(5, shaka=True, to=50, video={"seeking": True}),
        act(5, "seeking"),
        act(7, "seeked", video={"seeking": False}),
        act(7, "playing"),
        act(9, shaka=False),
        act(10, "timeupdate", to=51),
    ) == (0, 0, 3, False)


def test_a_pause_ends_a_stall_of_shaka_and_playing_on_without_data_begins_another():
    assert shaka_told(
        act(5, shaka=True),
        act(7, "pause", video={"paused": True}),
        act(20, "playing", video={"paused": False}),
        act(23, shaka=False),
    ) == (2, 5, 2, False)


def test_after_shaka_the_element_alone_tells_stalls_again():
    assert shaka_told(act(5, shaka=True), act(6, shaka=False), act(7, "waiting"), act(9, "timeupdate", to=3)) == (
        2,
        3,
        3,
        False,
    )


def test_what_the_user_says_is_reported_once_beside_the_counters():
    said = reports(played(*BEGUN, act(5, say={"asked": True}), act(8, say={"rating": 4}), act(9, timer=True)))
    assert [(each.get("asked"), each.get("rating"), each["play_s"]) for each in said] == [
        (True, None, 2),
        (None, 4, 2),
        (None, None, 2),
    ]


def test_what_the_user_says_while_the_connection_is_down_is_reported_afterwards():
    away = (
        act(4, client={"connected": False}),
        act(5, say={"asked": True}),
        act(6, say={"rating": 2}),
        act(7, say={"rating": 3}),
    )
    said = reports(played(*BEGUN, *away, act(20, client={"connected": True}, timer=True), act(30, timer=True)))
    assert [(each.get("asked"), each.get("rating")) for each in said] == [(True, 3), (None, None)]


ASKING = """
import { readFileSync } from "node:fs";
const [script, sessions, k] = JSON.parse(readFileSync(0, "utf8"));
const { isAsked } = await import("data:text/javascript," + encodeURIComponent(script));
console.log(JSON.stringify(sessions.map((session) => isAsked(session, k))));
"""


@pytest.mark.parametrize("k", [1, 2, 20, 100])
@pytest.mark.parametrize("name", [str, lambda at: str(uuid.UUID(int=at * 0x9E3779B97F4A7C15)), "séance-{}".format])
def test_one_in_k_sessions_is_asked_and_always_the_same_ones(name: Callable[[int], str], k: int):
    sessions = [name(at) for at in range(20_000)]
    first, second = (ran(ASKING, PLAYER.read_text(), sessions, k) for _ in range(2))
    assert first == second
    assert sum(first) == pytest.approx(len(sessions) / k, abs=4 * (len(sessions) / k) ** 0.5)
    # Neighbours are asked independently.
    both = sum(one and other for one, other in itertools.pairwise(first))
    assert both == pytest.approx(len(sessions) / k**2, abs=8 * (len(sessions) / k**2) ** 0.5 + 1)


MOODS = """
import { readFileSync } from "node:fs";
const [script, ...given] = JSON.parse(readFileSync(0, "utf8"));
const { mood } = await import("data:text/javascript," + encodeURIComponent(script));
console.log(JSON.stringify(given.map((each) => mood(...each) ?? null)));
"""
CLASSES = ("happy", "sad", "angry", "surprised", "neutral", "fearful", "disgusted")


def moods(*given: Sequence[dict[str, float]]) -> list[float | None]:
    """What mood.js makes of probabilities, and of a table if there is one; None for nothing."""
    return ran(MOODS, (ROOT / "docs/examples/mood.js").read_text(), *given)


def test_probabilities_of_classes_become_one_number():
    alone = moods(*[[{name: 1}] for name in CLASSES])
    assert None not in alone
    assert max(alone) == alone[0] == 1
    assert min(alone) == alone[CLASSES.index("angry")] == -1
    assert alone[CLASSES.index("neutral")] == 0
    shares = {"happy": 0.5, "neutral": 0.25, "angry": 0.25}
    assert moods([shares], [{name: 4 * share for name, share in shares.items()}]) == [0.25, 0.25]
    assert moods([{"sad": 1}, {"sad": 0.5}]) == [0.5]


def test_classes_that_the_table_does_not_have_are_left_out():
    assert moods([{"happy": 0.2, "contempt": 0.8, "constructor": 0.9}]) == [1]
    assert moods([{}], [{"contempt": 1}], [{"happy": 0}], [{"happy": -1}], [{"happy": None}]) == [None] * 5


def test_what_is_said_of_moods_and_of_asking_is_counted():
    """The score and the rating of the examples, through the codec, as the daemon takes them."""
    score = moods([{"happy": 0.6, "neutral": 0.4}])[0]
    said = played(*BEGUN, act(5, say={"asked": True, "rating": 4, "scores": {"face": score}}))
    plan = core_plan(Config.model_validate({"feedback": {"scores": ["face"]}}))
    decoded = Codec(plan).decode(messages(said))
    assert not decoded.rejected, decoded.sample
    opinions = decoded.batch.opinions
    assert opinions is not None
    assert (opinions.rating, opinions.asked, opinions.scores["face"]) == ([4], [True], [0.6])


def test_what_a_lost_connection_swallowed_is_told_afterwards():
    away = (act(4, client={"connected": False}), act(4, "waiting"), act(9, "playing"), act(10, timer=True))
    said = reports(played(*BEGUN, *away, act(20, client={"connected": True}, timer=True)))
    assert [(each["stall_count"], each["stall_s"]) for each in said] == [(1, 5)]


@pytest.mark.mosquitto
async def test_mosquitto_takes_it_by_websocket_as_documented(tmp_path: Path):
    """With the listener and the access rules of the page; certificates are left to the tests of TLS."""
    page = (ROOT / "docs/wire-format.md").read_text()
    listener, access = re.findall(r"```(?:conf|acl)\n(.*?)```", page, re.DOTALL)
    rules, port = tmp_path / "acl", unused_port()
    rules.write_text(access)
    rules.chmod(0o600)
    lines = listener.replace("listener 8083", f"listener {port} 127.0.0.1").replace(
        "/etc/mosquitto/acl", str(rules)
    )
    options = [line for line in lines.splitlines() if not line.startswith(("certfile", "keyfile"))]
    payload = played(*VIEWING)[-1]["payload"]
    with Mosquitto(tmp_path, options=options):
        assert await asyncio.to_thread(_through_websocket, port, payload) == payload.encode()


def _patiently(client: mqtt.Client, port: int) -> None:
    """Connect; mosquitto opens its listeners one after the other, and the first is what the part waits for."""
    deadline_s = time.monotonic() + WAIT_S
    while True:
        try:
            client.connect("127.0.0.1", port)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        else:
            return


def _through_websocket(port: int, payload: str) -> bytes:
    """Subscribe as qoemon does, publish as a player does, both by WebSocket; what arrived."""
    heard: list[bytes] = []
    reader = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, transport="websockets")
    reader.username_pw_set("qoemon")
    reader.on_connect = lambda *_: reader.subscribe("qoe/v1/+/+/+", 1)
    writer = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, transport="websockets")
    reader.on_subscribe = lambda *_: writer.connect("127.0.0.1", port)
    writer.on_connect = lambda *_: writer.publish(TOPIC, payload)
    reader.on_message = lambda *told: heard.append(told[2].payload)
    _patiently(reader, port)
    deadline_s = time.monotonic() + WAIT_S
    while not heard and time.monotonic() < deadline_s:
        reader.loop(0.02)
        if reader.is_connected():
            writer.loop(0.02)
    for client in (writer, reader):
        client.disconnect()
        client.loop(0.1)
        # They refer to the clients: a collected cycle would leave it to chance whether a client closes its sockets.
        client.on_connect = client.on_subscribe = client.on_message = None
    return heard[0] if heard else b""
