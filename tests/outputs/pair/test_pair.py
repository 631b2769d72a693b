"""Two daemons' parts of a pair, with a real broker and real HTTP between them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiomqtt
import msgspec
import pytest
from aiohttp import web

from qoemon import __version__
from qoemon.outputs.notify import notifier as notifying
from qoemon.outputs.notify.http_client import Address
from qoemon.outputs.notify.notifier import Notifier
from qoemon.outputs.notify.outbox import TransitionQueue
from qoemon.outputs.pair.pair import Pair, PairOptions
from qoemon.outputs.pair.routes import add_pair
from qoemon.outputs.pair.standing import PATH, Standing
from tests.outputs.notify.test_notifier import ended, notice
from tests.support.http import serve_app
from tests.support.parts import broker_at, unused_port
from tests.support.patience import WAIT_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from qoemon.core.alerting.alerts import AlertKey
    from qoemon.outputs.notify.notice import Notice
    from tests.support.parts import Mosquitto

pytestmark = pytest.mark.mosquitto

LEASE_S = 4.0
LEASE_TO_SEND_S = 12.0
"""More than twice SEND_S, so that a delivery begins at any time between two renewals."""

TICK_S = 10


@dataclass
class Half:
    """One daemon of a pair, without what a daemon has besides."""

    pair: Pair
    notifier: Notifier
    sent: list[Notice]
    """What its receiver has got."""
    ready: bool = True
    sections: dict[str, str] = field(default_factory=lambda: {"alerts": "1"})
    adopted: list[Mapping[AlertKey, int]] = field(default_factory=list)

    tick: Callable[[], None] = lambda: None
    """What it does right before it continues the alerts of the other one."""

    async def adopt(self, firing: Callable[[], Mapping[AlertKey, int]]) -> None:
        self.tick()
        self.adopted.append(firing())


class Receiver:
    """Accepts everything, in this process."""

    name = "hook"

    def __init__(self, sent: list[Notice]) -> None:
        self._sent = sent

    async def send(self, notices: Sequence[Notice]) -> None:
        self._sent.extend(notices)

    async def close(self) -> None:
        """Nothing to close."""


@contextlib.asynccontextmanager
async def halves(broker: int, of_both: float = LEASE_S, /, **of_b: Any) -> AsyncIterator[tuple[Half, Half]]:
    """Both, running.

    of_both  length of the lease
    of_b     options of the second that differ; client_id is that of its connection for reports, ahead_s says how
             far its wall clock is ahead
    """
    ports = unused_port(), unused_port()
    made = []
    async with contextlib.AsyncExitStack() as parts:
        tasks = await parts.enter_async_context(asyncio.TaskGroup())
        for name, own, other, changes in (("a", *ports, {}), ("b", *reversed(ports), of_b)):
            client_id, ahead_s = changes.get("client_id", f"qoemon-{name}"), changes.get("ahead_s", 0.0)
            settings = {"name": name, "topic": "qoe/v1/pair", "lease_s": of_both, "login": None, "tick_s": TICK_S}
            settings |= {"peer": Address(f"http://127.0.0.1:{other}{PATH}")}
            settings |= {key: value for key, value in changes.items() if key not in {"client_id", "ahead_s"}}
            pair = Pair(
                PairOptions(**settings),
                broker_at(broker, client_id=client_id),
                run=f"run-{name}",
                wall=lambda ahead_s=ahead_s: time.time() + ahead_s,
            )
            sent: list[Notice] = []
            notifier = Notifier([notifying.Receiver(Receiver(sent), TransitionQueue())], pair)
            half = Half(pair, notifier, sent)
            made.append(half)
            app = web.Application()
            add_pair(app, pair)
            serving, _ = await serve_app(app, port=own)
            parts.push_async_callback(serving.cleanup)
            notifier.dispatch([], [], time.time() + ahead_s)
            running = pair.run(notifier, half.adopt, lambda half=half: half.ready, lambda half=half: half.sections)
            parts.callback(tasks.create_task(running, name=name).cancel)
            parts.callback(tasks.create_task(notifier.run(), name=f"notifier of {name}").cancel)
        yield made[0], made[1]


async def one_of(a: Half, b: Half) -> tuple[Half, Half]:
    """Wait until one of them leads; that one first."""
    await until(lambda: a.pair.leads is not b.pair.leads and a.adopted + b.adopted)
    return (a, b) if a.pair.leads else (b, a)


async def test_a_daemon_that_is_not_ready_hands_over_to_one_that_is(mosquitto: Mosquitto) -> None:
    async with halves(mosquitto.port) as (a, b):
        leader, spare = await one_of(a, b)
        leader.ready = False
        await until(lambda: spare.pair.leads)
        assert not leader.pair.leads


@pytest.mark.parametrize(
    ("ready", "other", "willing"),
    [
        (True, {"ready": True, "online": True}, True),
        (False, {"ready": True, "online": True}, False),
        (False, {"ready": False, "online": True}, True),
        (False, {"ready": True, "online": False}, True),
        (True, {"ready": True, "online": True, "leading": True}, False),
    ],
)
async def test_who_takes_a_free_lease(ready: bool, other: dict[str, bool], willing: bool) -> None:
    """One that is not ready, too, if the other one is not either, or cannot: access rules forbid it the topic."""
    address = Address(f"http://127.0.0.1:{unused_port()}{PATH}")
    options = PairOptions(name="a", topic="t", lease_s=LEASE_S, peer=address, login=None, tick_s=TICK_S)
    pair = Pair(options, broker_at(unused_port()), run="run-a")
    vars(pair)["_ready"] = lambda: ready
    told = msgspec.structs.replace(await pair.standing(""), **other)
    assert pair._willing(told) is willing


async def test_a_daemon_that_stops_gives_the_lease_back(mosquitto: Mosquitto) -> None:
    async with halves(mosquitto.port) as (a, b):
        leader, spare = await one_of(a, b)
        await leader.pair.release()
        assert not leader.pair.leads
        await until(lambda: spare.pair.leads)
        assert "stands by" in spare.pair.remark()


@pytest.mark.parametrize("ahead_s", [-300.0, 300.0])
async def test_clocks_that_differ_repeat_and_lose_nothing(mosquitto: Mosquitto, ahead_s: float) -> None:
    """Both find the same changes, each by its own clock; what the leader has sent, the spare does not send."""
    async with halves(mosquitto.port, LEASE_TO_SEND_S, ahead_s=ahead_s) as (a, b):
        leader, spare = await one_of(a, b)

        def begins(half: Half) -> Notice:
            """The alert begins in one daemon, as of a tick."""
            now_s = int(time.time() + (ahead_s if half is b else 0))
            began = notice(starts_s=now_s)
            half.notifier.dispatch([began], [began], now_s)
            return began

        def ends(half: Half, began: Notice) -> None:
            now_s = int(time.time() + (ahead_s if half is b else 0))
            half.notifier.dispatch([], [ended(began, now_s)], now_s)

        alerts: dict[str, Notice] = {}
        for count in range(1, 6):
            for name, half in (("leader", leader), ("spare", spare)):
                if count % 2:
                    alerts[name] = begins(half)
                else:
                    ends(half, alerts[name])
            await until(lambda count=count: len(leader.sent) == count, lambda: leader.sent)
            await until(lambda: newest(spare) == newest(leader))
        await until(lambda: not spare.notifier.undelivered(), spare.notifier.undelivered)
        await leader.pair.release()
        await until(lambda: len(spare.adopted) and spare.pair.held)
        assert list(spare.adopted[-1].values()) == [alerts["leader"].starts_s]
        for half in (leader, spare):
            ends(half, alerts["leader"])  # The core continues it with its begin.
        await until(lambda: spare.sent)
        assert [each.firing for each in spare.sent] == [False]
        assert len(leader.sent) == 5


async def test_a_first_tick_at_the_takeover_repeats_nothing_from_before_a_restart(mosquitto: Mosquitto) -> None:
    """What waited when the state was saved was delivered then, and the alert has begun again soon after."""
    now_s = int(time.time())
    first, again = notice(starts_s=now_s - 100), notice(starts_s=now_s - 80)
    end = ended(first, now_s - 90)
    async with halves(mosquitto.port, LEASE_TO_SEND_S) as (a, b):
        leader, spare = await one_of(a, b)
        leader.notifier.dispatch([again], [first, end, again], now_s)
        await until(lambda: len(leader.sent) == 3, lambda: leader.sent)
        spare.pair.follow(await leader.pair.standing(""))
        found = notice(starts_s=now_s)
        spare.tick = lambda: spare.notifier.dispatch([found], [end, found], now_s)
        await leader.pair.release()
        await until(lambda: spare.adopted and spare.pair.held)
        assert list(spare.adopted[-1].values()) == [again.starts_s]
        assert spare.notifier.undelivered() == ()
        assert spare.sent == []


async def test_what_a_restart_brings_back_is_older_than_what_the_other_one_has_done_since(
    mosquitto: Mosquitto,
) -> None:
    """Also if the clock of the one that comes back is ahead: stamps are compared, not times."""
    firing = notice(starts_s=int(time.time()))
    async with halves(mosquitto.port, LEASE_TO_SEND_S, ahead_s=300.0) as (a, b):
        leader, spare = await one_of(a, b)
        leader.notifier.dispatch([firing], [firing], firing.starts_s)
        await until(lambda: newest(spare) == [firing])
        saved = spare.notifier.stamp, spare.notifier.delivered()
        assert saved[0] == leader.notifier.stamp > 0
        end = ended(firing, firing.starts_s + 1)
        leader.notifier.dispatch([], [end], end.at_s)
        await until(lambda: newest(spare) == [end])
        back = msgspec.structs.replace(await spare.pair.standing(""), stamp=saved[0], delivered=saved[1])
        leader.pair.follow(back)
        assert newest(leader) == [end]


async def test_a_daemon_that_knows_less_does_not_overwrite_what_the_other_one_knows(mosquitto: Mosquitto) -> None:
    """A leader that was restarted says that it has sent nothing; the spare knows better, and keeps it."""
    firing = notice(starts_s=time.time())
    async with halves(mosquitto.port, LEASE_TO_SEND_S) as (a, b):
        leader, spare = await one_of(a, b)
        for half in (leader, spare):
            half.notifier.dispatch([firing], [firing], firing.starts_s)
        await until(lambda: newest(spare) == [firing])
        stamp = (await spare.pair.standing("")).stamp
        forgetful = msgspec.structs.replace(
            await leader.pair.standing(""), stamp=stamp - 1, version="run-c.1", delivered={"hook": []}
        )
        spare.pair.follow(forgetful)
        assert newest(spare) == [firing]
        spare.pair.follow(msgspec.structs.replace(forgetful, stamp=stamp + 1))
        assert newest(spare) == []


def newest(half: Half) -> list[Notice]:
    """What it knows that its receiver has accepted."""
    return [each.notice for each in half.notifier.delivered()["hook"]]


@pytest.mark.parametrize(
    ("of_b", "words"),
    [
        ({"name": "a"}, "both daemons have pair.name a"),
        ({"client_id": "qoemon-a"}, "both daemons have mqtt.client_id qoemon-a"),
        ({"topic": "another"}, "pair.topic is another here and qoe/v1/pair in the other daemon"),
        ({"lease_s": 8.0}, "pair.lease is 8 s here and 4 s in the other daemon"),
    ],
)
async def test_configurations_that_do_not_fit_are_reported(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture, of_b: dict[str, Any], words: str
) -> None:
    async with halves(mosquitto.port, **of_b):
        await until(lambda: words in caplog.text, lambda: caplog.text)
    assert {record.levelno for record in caplog.records if words in record.message} == {logging.ERROR}


async def test_a_daemon_says_what_differs_in_the_other_one(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """Rules that differ during an upgrade are allowed; to the people who read it, they are named."""
    async with halves(mosquitto.port) as (a, b):
        b.sections = {"alerts": "2"}
        await until(lambda: "has other alerts in its configuration" in a.pair.remark(), a.pair.remark)
        assert "the other daemon of the pair has other alerts" in caplog.text
        newer = msgspec.structs.replace(await b.pair.standing(""), release="99.0", sections={"alerts": "3"})
        body = msgspec.json.encode(newer)[:-1] + b',"a_field_of_version_99":1}'
        a.pair.follow(msgspec.json.decode(body, type=Standing))
        assert f"runs qoemon 99.0, this one {__version__}" in caplog.text


async def test_a_lease_of_a_later_version_is_left_to_it(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """Its records cannot be understood: both stand by, and continue when it has been silent for a lease."""
    record = json.dumps({"version": 2, "holders": ["c"]})
    async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=WAIT_S) as client:
        await client.publish("qoe/v1/pair", record, 1, retain=True)
        async with halves(mosquitto.port) as (a, b):
            words = "a later version of qoemon has the lease (record of version 2, this one knows 1)"
            await until(lambda: caplog.text.count(words) == 2, lambda: caplog.text)
            assert not a.pair.leads
            assert not b.pair.leads
            await one_of(a, b)


async def test_a_daemon_without_an_answer_says_why(mosquitto: Mosquitto) -> None:
    nobody = Address(f"http://127.0.0.1:{unused_port()}{PATH}")
    async with halves(mosquitto.port, peer=nobody) as (_, b):
        await until(lambda: "connection refused" in b.pair.remark(), b.pair.remark)
