"""Delivery to real receivers: an Alertmanager, brokers, and an HTTP server that fails as scripted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from qoemon.common.template import placeholders, render, template_fault
from qoemon.config.sections.notify import Notify
from qoemon.config.sections.types import first_secret
from qoemon.config.yaml import document as yamlfile
from qoemon.config.yaml.errors import ConfigError
from qoemon.config.yaml.validation import validated
from qoemon.core.alerting.decision import Reason
from qoemon.net.mqtt.client import Address, Broker
from qoemon.outputs.notify import http_client as post
from qoemon.outputs.notify import notifier
from qoemon.outputs.notify.alertmanager import alert
from qoemon.outputs.notify.mqtt import topic_of
from qoemon.outputs.notify.notice import Notice, document, timestamp
from qoemon.outputs.notify.notifier import Notifier
from qoemon.outputs.notify.outbox import BATCH, RepeatingQueue, TransitionQueue
from qoemon.outputs.notify.receivers import receivers
from tests.support.parts import Alertmanager, Mosquitto, broker_at, certificates
from tests.support.patience import NEVER_S, WAIT_S
from tests.support.patience import async_until as until

ROOT = Path(__file__).parents[3]
URL = "http://qoemon.example.org:9877"
WORD = "hunter2"
"""A secret."""

BROKERS = [
    pytest.param(("mosquitto", "5"), id="mosquitto-5", marks=pytest.mark.mosquitto),
    pytest.param(("mosquitto", "3.1.1"), id="mosquitto-3.1.1", marks=pytest.mark.mosquitto),
    pytest.param(("nats", "3.1.1"), id="nats-3.1.1"),
]


def notice(region: str = "eu", starts_s: float = 1000.25, **changes: Any) -> Notice:
    """A firing alert of a region."""
    firing = Notice(
        alert="ManyPoor",
        service="video",
        severity="page",
        groups={"region": region, "cdn": ""},
        labels={"team": "delivery"},
        annotations={"summary": "31.2% say poor"},
        starts_s=starts_s,
        ends_s=None,
        reason=Reason.PAST_THRESHOLD,
        figures={"value": 0.312, "users": 120},
    )
    return replace(firing, **changes)


def ended(firing: Notice, ends_s: float) -> Notice:
    return replace(firing, ends_s=ends_s, reason=Reason.RECOVERED)


def begun(region: str = "eu") -> Notice:
    """An alert that has just started firing."""
    return notice(region, time.time() - 1)


def over(firing: Notice) -> Notice:
    """The same alert, resolved now."""
    return ended(firing, time.time())


# --- notices ---


def test_template_is_filled_in() -> None:
    template = "{pow:.1%} of {users} users in {region}/{cdn} would say poor or worse"
    values = {"pow": 0.31249, "users": 120, "region": "eu", "cdn": "a"}
    assert placeholders(template) == values.keys()
    assert render(template, values) == "31.2% of 120 users in eu/a would say poor or worse"


def test_text_from_the_wire_is_not_a_template() -> None:
    assert render("in {region} {{now}}", {"region": "{users.__class__}"}) == "in {users.__class__} {now}"


def test_missing_value_is_rendered_as_n_a() -> None:
    assert render("{pow:.1%} of {users}", {"pow": None}) == "n/a of n/a"


@pytest.mark.parametrize(
    "template",
    ["{users.real}", "{users[0]}", "{users!r}", "{}", "{0}", "{users:{pow}}", "{users", "users}", "{us ers}"],
)
def test_template_cannot_access_attributes_or_formats_of_values(template: str) -> None:
    with pytest.raises(ValueError, match=r"\{name\} or \{name:format\}"):
        placeholders(template)


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{pow:.1%} in {region}", None),
        ("{gob}", "only the names pow, region in braces, unlike gob"),
        ("{region:.1%}", "a format that fits its value"),
        ("{pow!s}", "{name:format}"),
    ],
)
def test_template_is_validated_in_advance(template: str, fault: str | None) -> None:
    found = template_fault(template, {"pow": 0.5, "region": "eu"})
    assert found is None if fault is None else fault in str(found)


def test_id_identifies_the_transition() -> None:
    one = notice()
    later = replace(one, figures={"value": 0.5}, annotations={}, groups={"cdn": "", "region": "eu"})
    assert one.id == later.id
    others = [notice("us"), notice(starts_s=1001.0), ended(one, 1010.0), notice(alert="Other")]
    assert len({one.id, *(other.id for other in others)}) == 5


def test_document_has_state_times_and_figures() -> None:
    made = document(ended(notice(), 1060.5), URL, 1061)
    assert made["state"] == "resolved"
    assert (made["starts_at"], made["ends_at"]) == ("1970-01-01T00:16:40.250Z", "1970-01-01T00:17:40.500Z")
    assert made["figures"] == {"value": 0.312, "users": 120}
    assert document(notice(), URL, 1061)["ends_at"] is None


def test_timestamps_are_rounded_down() -> None:
    assert timestamp(1.9996) == "1970-01-01T00:00:01.999Z"


# --- queues ---


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["enqueue", "deliver", "fail"])), max_size=80),
    st.integers(4, 8),
)
def test_transition_queue_keeps_the_order_and_the_newest_of_each_alert(
    steps: list[tuple[int, str]], most: int
) -> None:
    """Whatever fails, a subsequence of each alert's notices arrives, in order and with the last one."""
    box = TransitionQueue(most)
    enqueued: defaultdict[str, list[float]] = defaultdict(list)
    arrived: defaultdict[str, list[float]] = defaultdict(list)
    for number, (region, step) in enumerate(steps):
        if step == "enqueue":
            box.enqueue([], [notice(str(region), number)], number)
            enqueued[str(region)].append(number)
        for taken in () if step == "enqueue" else box.take():
            if step == "fail":
                box.put_back([taken])
            else:
                arrived[taken.groups["region"]].append(taken.starts_s)
        assert len(box) == len(list(box)) <= most
    while batch := box.take():
        arrived[batch[0].groups["region"]].append(batch[0].starts_s)
    assert sum(map(len, enqueued.values())) == sum(map(len, arrived.values())) + box.dropped
    for name, numbers in enqueued.items():
        assert arrived[name] == sorted(arrived[name])
        assert set(arrived[name]) <= set(numbers)
        assert arrived[name][-1] == numbers[-1]


def test_full_transition_queue_drops_the_oldest_alert() -> None:
    box = TransitionQueue(2)
    box.enqueue([], [notice(region) for region in "abc"], 0)
    assert ([one.groups["region"] for one in box], box.dropped) == (["b", "c"], 1)


def test_failed_notice_does_not_block_other_alerts() -> None:
    box = TransitionQueue()
    first, second = notice("a"), notice("b")
    box.enqueue([], [first, ended(first, 1010.0), second], 0)
    box.put_back(box.take())
    assert [box.take(), box.take(), box.take(), box.take()] == [[second], [first], [ended(first, 1010.0)], []]


def test_repeating_queue_sends_changes_at_once_and_resends_firing_alerts() -> None:
    box = RepeatingQueue(resend_s=60, resolved_s=600)
    a, b = notice("a"), notice("b")
    sent = []
    for now_s in range(0, 200, 10):
        box.enqueue([a, b][: 1 + (now_s >= 30)], [b] if now_s == 30 else [], now_s)
        sent.append((now_s, [one.groups["region"] for one in box.take()]))
    assert [one for one in sent if one[1]] == [
        (0, ["a"]),
        (30, ["b"]),
        (60, ["a", "b"]),
        (120, ["a", "b"]),
        (180, ["a", "b"]),
    ]


def test_repeating_queue_resends_a_resolve_for_a_while() -> None:
    box = RepeatingQueue(resend_s=60, resolved_s=130)
    sent = []
    for now_s in range(1000, 1400, 10):
        box.enqueue([], [ended(notice(), now_s)] if now_s == 1010 else [], now_s)
        sent += [now_s for _ in box.take()]
    assert sent == [1010, 1060, 1120]


def test_repeating_queue_keeps_only_the_newest_state() -> None:
    """A state whose delivery failed never replaces a newer one."""
    box = RepeatingQueue(resend_s=1, resolved_s=60)
    one = notice()
    box.enqueue([one], [one], 0)
    under_way = box.take()
    box.enqueue([], [ended(one, 1010.0)], 0.5)
    box.put_back(under_way)
    assert box.take() == [ended(one, 1010.0)]
    again = notice(starts_s=1020.0)
    box.enqueue([again], [again], 0.7)
    box.enqueue([again], [], 10)
    assert (box.take(), box.dropped) == ([again], 0)


def test_repeating_queue_is_bounded_and_resends_after_the_clock_was_set_back() -> None:
    box = RepeatingQueue(resend_s=60, resolved_s=60, most=2)
    box.enqueue([notice(region) for region in "abc"], [], 1000)
    assert ([one.groups["region"] for one in box.take()], box.dropped) == (["b", "c"], 1)
    box.enqueue([notice("d")], [], 500)
    assert len(box) == 1


# --- parts ---


@dataclass
class Hook:
    """An HTTP server that follows a script for the next requests, and then accepts.

    script   a status, "slow" or "drop" for each request; or a function from the JSON to the status
    """

    script: list[int | str] | Callable[[Any], int] = field(default_factory=list)
    accepted: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)
    attempts: int = 0
    url: str = ""

    @property
    def states(self) -> list[tuple[str, str]]:
        """(region, state) of all accepted documents."""
        return [(each["groups"]["region"], each["state"]) for each in self.documents]

    @property
    def documents(self) -> list[Any]:
        return [json.loads(body) for _, body in self.accepted]

    async def take(self, request: web.Request) -> web.Response:
        self.attempts += 1
        body = await request.read()
        if isinstance(self.script, list):
            step = self.script.pop(0) if self.script else 200
        else:
            step = self.script(json.loads(body))
        if step == "slow":
            await asyncio.sleep(NEVER_S)
        if step == "drop":
            assert request.transport is not None
            request.transport.abort()
        if step == 200:
            self.accepted.append((dict(request.headers), body))
        return web.Response(status=int(step) if isinstance(step, int) else 200, text="because of\nthat")


@contextlib.asynccontextmanager
async def serving(hook: Hook, port: int = 0) -> AsyncIterator[Hook]:
    app = web.Application()
    app.router.add_post("/{path:.*}", hook.take)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield hook
    finally:
        await runner.cleanup()


def notifier_of(settings: Mapping[str, Any], broker: Broker | None = None) -> Notifier:
    """The notifier that the daemon would build from these settings."""
    section = Notify.model_validate(settings)
    return Notifier(receivers(section, broker or broker_at(1), URL))


@contextlib.asynccontextmanager
async def running(notifier: Notifier) -> AsyncIterator[Notifier]:
    before = asyncio.all_tasks()
    task = asyncio.create_task(notifier.run())
    try:
        yield notifier
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            async with asyncio.timeout(WAIT_S):
                await task
        await until(lambda: not tasks_since(before), lambda: f"left: {tasks_since(before)}")


def tasks_since(before: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """New tasks, except those of the server, which end with their connections."""
    new = asyncio.all_tasks() - before
    return [task for task in new if "RequestHandler" not in getattr(task.get_coro(), "__qualname__", "")]


async def alerts_of(part: Alertmanager, count: int) -> list[dict[str, Any]]:
    """Its alerts, as soon as there are that many."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(WAIT_S):
        while True:
            found = await asyncio.to_thread(part.alerts)
            if len(found) == count:
                return found
            await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def short_pauses_and_long_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test of a slow receiver sets the limit of its answer."""
    monkeypatch.setattr(post, "ANSWER_S", NEVER_S)
    monkeypatch.setattr("qoemon.outputs.notify.mqtt.ANSWER_S", NEVER_S)
    monkeypatch.setattr(notifier, "SHORTEST_S", 0.02)
    monkeypatch.setattr(notifier, "LONGEST_S", 0.2)


# --- Alertmanager ---


async def test_alertmanager_accepts_the_end_of_an_alert_that_began_by_a_clock_ahead(
    alertmanager: Alertmanager,
) -> None:
    """It began in the other daemon of a pair."""
    now_s = time.time()
    ahead = replace(begun(), starts_s=now_s + 300)
    settings = {"alertmanagers": [{"url": f"http://127.0.0.1:{alertmanager.port}/"}]}
    async with running(notifier_of(settings)) as notifier:
        notifier.dispatch([ahead], [ahead], now_s)
        await until(lambda: notifier.states[0].sent == 1, lambda: notifier.states)
        notifier.dispatch([], [ended(ahead, now_s)], now_s)
        await until(lambda: not notifier.undelivered())
        assert (notifier.states[0].sent, notifier.states[0].last_error) == (2, None)


def test_alertmanager_gets_no_empty_labels_and_reserved_names_win() -> None:
    made = alert(notice(labels={"team": "x", "severity": "none"}), 2000.0, URL)
    assert made["labels"] == {
        "alertname": "ManyPoor",
        "service": "video",
        "severity": "page",
        "region": "eu",
        "team": "x",
    }
    assert made["endsAt"] == "1970-01-01T00:33:20.000Z"


async def test_alertmanager_gets_a_firing_alert_and_its_end(alertmanager: Alertmanager) -> None:
    settings = {"alertmanagers": [{"url": f"http://127.0.0.1:{alertmanager.port}/"}]}
    async with running(notifier_of(settings)) as notifier:
        firing = begun()
        notifier.dispatch([firing], [firing], time.time())
        (got,) = await alerts_of(alertmanager, 1)
        assert got["labels"]["alertname"] == "ManyPoor"
        assert got["annotations"] == {"summary": "31.2% say poor"}
        assert got["generatorURL"] == URL
        assert got["startsAt"] == timestamp(firing.starts_s)
        notifier.dispatch([], [over(firing)], time.time())
        await alerts_of(alertmanager, 0)
        await notifier.flush()  # The response arrives a moment after the alert is visible.
        (state,) = notifier.states
        assert (state.name, state.sent, state.failed, state.queue, state.last_error) == (
            f"alertmanager 127.0.0.1:{alertmanager.port}",
            2,
            0,
            0,
            None,
        )


async def test_alert_stays_active_as_long_as_it_is_resent(alertmanager: Alertmanager) -> None:
    settings = {
        "resend": "500ms",
        "expire": "5s",
        "alertmanagers": [{"url": f"http://127.0.0.1:{alertmanager.port}"}],
    }
    async with running(notifier_of(settings)) as notifier:
        firing = begun()
        notifier.dispatch([firing], [firing], time.time())
        (first,) = await alerts_of(alertmanager, 1)
        ends_s = datetime.fromisoformat(first["endsAt"]).timestamp()
        async with asyncio.timeout(WAIT_S):
            while time.time() <= ends_s or len(await asyncio.to_thread(alertmanager.alerts)) != 1:
                await asyncio.sleep(0.2)
                notifier.dispatch([firing], [], time.time())
    await alerts_of(alertmanager, 0)


async def test_restarted_alertmanager_gets_the_alerts_again(alertmanager: Alertmanager) -> None:
    """It loses its alerts in a restart."""
    settings = {"resend": "100ms", "alertmanagers": [{"url": f"http://127.0.0.1:{alertmanager.port}"}]}
    async with running(notifier_of(settings)) as notifier:
        firing = begun()
        notifier.dispatch([firing], [firing], time.time())
        await alerts_of(alertmanager, 1)
        await asyncio.to_thread(alertmanager.restart)
        async with asyncio.timeout(WAIT_S):
            while not await asyncio.to_thread(alertmanager.alerts):
                notifier.dispatch([firing], [], time.time())  # As each tick does: one alone may come too early.
                await asyncio.sleep(0.05)


async def test_dead_alertmanager_delays_no_other_and_gets_the_newest_state_when_it_is_back(
    alertmanager: Alertmanager, tmp_path: Path
) -> None:
    other = Alertmanager(tmp_path, name="other")
    settings = {"alertmanagers": [{"url": f"http://127.0.0.1:{part.port}"} for part in (alertmanager, other)]}
    async with running(notifier_of(settings)) as notifier:
        eu, us = begun("eu"), begun("us")
        notifier.dispatch([eu, us], [eu, us], time.time())
        await alerts_of(alertmanager, 2)
        notifier.dispatch([us], [over(eu)], time.time())
        (got,) = await alerts_of(alertmanager, 1)
        assert got["labels"]["region"] == "us"
        # One may be queued while an older one of the same alert is in flight; in the end one is left of each.
        await until(lambda: notifier.states[1].queue == 2, lambda: notifier.states)
        dead = notifier.states[1]
        assert (dead.sent, dead.dropped) == (0, 0)
        assert (
            dead.last_error
            == "connection refused: check the url, and that the receiver runs; retrying until it succeeds"
        )
        try:
            await asyncio.to_thread(other.start)
            (got,) = await alerts_of(other, 1)
            assert got["labels"]["region"] == "us"
            await until(lambda: notifier.states[1].last_error is None, lambda: notifier.states)
        finally:
            await asyncio.to_thread(other.stop)


async def test_alertmanager_behind_a_path_with_tls_and_password(tmp_path: Path) -> None:
    tls = certificates(tmp_path / "tls")
    hashed = "$2b$04$.Fdgi4xGEqri2FWQglhX2edrBoUfLRmTPh7hfiPUFhkCKT5k26.oG"  # of WORD
    files = {"cert_file": str(tls.server), "key_file": str(tls.server_key)}
    with Alertmanager(
        tmp_path, prefix="/am", web={"tls_server_config": files, "basic_auth_users": {"qoemon": hashed}}
    ) as part:
        good = {
            "url": f"https://localhost:{part.port}/am",
            "username": "qoemon",
            "password": WORD,
            "ca_file": str(tls.ca),
        }
        wrong = [{**good, "password": "wrong"}, {**good, "ca_file": None}, {**good, "url": good["url"][:-3]}]
        firing = begun()
        for settings, error in zip(
            [good, *wrong], [None, "401 Unauthorized", "certificate not accepted", "404"], strict=True
        ):
            async with running(notifier_of({"alertmanagers": [settings]})) as notifier:
                notifier.dispatch([firing], [firing], time.time())
                await until(lambda: sum(_sent_and_failed(notifier)), lambda: notifier.states)
                (state,) = notifier.states
                assert (error is None) == (state.last_error is None), state
                assert (error or "") in (state.last_error or ""), state
                assert WORD not in repr(state)


async def test_a_rotated_password_of_an_alertmanager_is_used_at_the_next_attempt(tmp_path: Path) -> None:
    """A rejection is retried: the file may be replaced a moment after the receiver's password."""
    hashed = "$2b$04$.Fdgi4xGEqri2FWQglhX2edrBoUfLRmTPh7hfiPUFhkCKT5k26.oG"  # of WORD
    file = tmp_path / "password"
    file.write_text("of before\n")
    with Alertmanager(tmp_path, web={"basic_auth_users": {"qoemon": hashed}}) as part:
        settings = {"url": f"http://127.0.0.1:{part.port}", "username": "qoemon", "password_file": str(file)}
        async with running(notifier_of({"alertmanagers": [settings]})) as notifier:
            firing = begun()
            notifier.dispatch([firing], [firing], time.time())
            await until(lambda: _sent_and_failed(notifier)[1], lambda: notifier.states)
            assert "401 Unauthorized" in str(notifier.states[0].last_error)
            file.write_text(WORD + "\n")
            await until(lambda: _sent_and_failed(notifier)[0], lambda: notifier.states)
            assert notifier.states[0].dropped == 0


def _sent_and_failed(notifier: Notifier) -> tuple[int, int]:
    (state,) = notifier.states
    return state.sent, state.failed


async def test_many_alerts_arrive(alertmanager: Alertmanager) -> None:
    settings = {"alertmanagers": [{"url": f"http://127.0.0.1:{alertmanager.port}"}]}
    async with running(notifier_of(settings)) as notifier:
        firing = [begun(f"r{number}") for number in range(2 * BATCH + 1)]
        notifier.dispatch(firing, firing, time.time())
        await alerts_of(alertmanager, len(firing))


# --- webhooks ---


def documented_check() -> Callable[[bytes, str, str], None]:
    """The receiver's check as the documentation gives it."""
    page = (ROOT / "docs" / "notifications.md").read_text().partition("## Webhooks")[2]
    block = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {}
    exec(block[1], names)  # noqa: S102
    check: Callable[[bytes, str, str], None] = names["check"]
    return check


async def test_webhook_gets_each_transition_once_and_in_order_whatever_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(post, "ANSWER_S", 3.0)
    hook = Hook([500, "slow", "drop", 503, 408, 302, 429, 200, "drop", "slow", 502, 200])
    async with serving(hook), running(notifier_of({"webhooks": [{"url": hook.url, "secret": WORD}]})) as notifier:
        firing = begun()
        notifier.dispatch([firing], [firing], time.time())
        notifier.dispatch([], [over(firing)], time.time())
        await until(lambda: len(hook.accepted) == 2, lambda: notifier.states)
        await until(lambda: notifier.states[0].last_error is None, lambda: notifier.states)
        (state,) = notifier.states
        assert hook.states == [("eu", "firing"), ("eu", "resolved")]
        assert (state.sent, state.failed, state.dropped, state.queue) == (2, 10, 0, 0)
        for headers, body in hook.accepted:
            got = json.loads(body)
            assert headers["X-Qoemon-Id"] == got["id"]
            documented_check()(body, headers["X-Qoemon-Signature"], WORD)
            for forged in (body.replace(b"eu", b"us"), body.replace(b'"sent_at":"20', b'"sent_at":"19')):
                with pytest.raises(ValueError, match="signature"):
                    documented_check()(forged, headers["X-Qoemon-Signature"], WORD)


async def test_replayed_message_is_rejected_by_the_documented_check() -> None:
    hook = Hook()
    async with serving(hook):
        section = Notify.model_validate({"webhooks": [{"url": hook.url, "secret": WORD}]})
        (receiver,) = receivers(section, broker_at(1), URL)
        receiver._sender._clock = lambda: time.time() - 3600  # type: ignore[attr-defined]
        async with running(Notifier([receiver])) as notifier:
            notifier.dispatch([], [begun()], time.time())
            await until(lambda: hook.accepted, lambda: notifier.states)
    headers, body = hook.accepted[0]
    with pytest.raises(ValueError, match="old"):
        documented_check()(body, headers["X-Qoemon-Signature"], WORD)


class Checking(Hook):
    """Accepts only what is signed with its secret."""

    secret = "of before"  # noqa: S105 - of the test

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            documented_check()(body, request.headers["X-Qoemon-Signature"], self.secret)
        except ValueError:
            self.script = [403]
        return await super().take(request)


async def test_a_rotated_secret_signs_the_next_attempt_and_no_transition_is_lost(tmp_path: Path) -> None:
    hook, file = Checking(), tmp_path / "secret"
    file.write_text("of before\n")
    firing = begun()
    async with (
        serving(hook),
        running(notifier_of({"webhooks": [{"url": hook.url, "secret_file": str(file)}]})) as notifier,
    ):
        notifier.dispatch([firing], [firing], time.time())
        await until(lambda: hook.accepted, lambda: notifier.states)
        hook.secret = WORD
        notifier.dispatch([], [over(firing)], time.time())
        await until(lambda: notifier.states[0].failed, lambda: notifier.states)
        file.write_text(WORD + "\n")
        await until(lambda: len(hook.accepted) == 2, lambda: notifier.states)
        assert hook.states == [("eu", "firing"), ("eu", "resolved")]
        assert notifier.states[0].dropped == 0


@pytest.mark.parametrize(("content", "reason"), [(None, "no such file"), (b"", "empty"), (b"\xff", "not UTF-8")])
async def test_a_secret_file_without_a_secret_is_named_and_the_notice_waits_for_it(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    hook, file = Hook(), tmp_path / "secret"
    file.write_text(WORD)
    async with (
        serving(hook),
        running(notifier_of({"webhooks": [{"url": hook.url, "secret_file": str(file)}]})) as notifier,
    ):
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        notifier.dispatch([], [begun()], time.time())
        await until(lambda: notifier.states[0].failed, lambda: notifier.states)
        assert f"cannot read secret_file {file}: " in str(notifier.states[0].last_error)
        assert reason in str(notifier.states[0].last_error)
        file.write_text(WORD)
        await until(lambda: hook.accepted, lambda: notifier.states)


async def test_without_a_file_a_rejected_secret_is_final() -> None:
    """It can change only with a restart."""
    hook = Hook([401, 403])
    async with serving(hook), running(notifier_of({"webhooks": [{"url": hook.url, "secret": WORD}]})) as notifier:
        notifier.dispatch([], [begun("a"), begun("b"), begun("c")], time.time())
        await until(lambda: notifier.states[0].sent, lambda: notifier.states)
        assert hook.states == [("c", "firing")]
        assert notifier.states[0].dropped == 2


async def test_webhook_without_secret_is_not_signed() -> None:
    hook = Hook()
    async with serving(hook), running(notifier_of({"webhooks": [{"url": hook.url}]})) as notifier:
        notifier.dispatch([], [begun()], time.time())
        await until(lambda: hook.accepted, lambda: notifier.states)
    assert "X-Qoemon-Signature" not in hook.accepted[0][0]


async def test_notice_that_a_webhook_rejects_for_good_is_dropped() -> None:
    hook = Hook([400, 404, 200])
    async with serving(hook), running(notifier_of({"webhooks": [{"url": hook.url}]})) as notifier:
        notifier.dispatch([], [begun("a"), begun("b"), begun("c")], time.time())
        await until(lambda: hook.accepted, lambda: notifier.states)
        await until(lambda: notifier.states[0].sent, lambda: notifier.states)
        (state,) = notifier.states
        assert hook.states == [("c", "firing")]
        assert (state.sent, state.failed, state.dropped, hook.attempts) == (1, 2, 2, 3)


async def test_notice_that_always_fails_does_not_block_the_others() -> None:
    hook = Hook(lambda document: 500 if document["groups"]["region"] == "bad" else 200)
    async with serving(hook), running(notifier_of({"webhooks": [{"url": hook.url}]})) as notifier:
        changed = [begun("bad"), begun("a"), begun("b")]
        notifier.dispatch(changed, changed, time.time())
        await until(lambda: len(hook.accepted) == 2, lambda: notifier.states)
        await until(lambda: notifier.states[0].queue == 1, lambda: notifier.states)
        hook.script = []
        await until(lambda: len(hook.accepted) == 3, lambda: notifier.states)


async def test_slow_receiver_delays_no_other() -> None:
    slow, fast = Hook(["slow"] * 9), Hook()
    async with serving(slow), serving(fast):
        settings = {"webhooks": [{"url": slow.url}, {"url": fast.url}]}
        async with running(notifier_of(settings)) as notifier:
            firing = begun()
            notifier.dispatch([firing], [firing], time.time())
            notifier.dispatch([], [over(firing)], time.time())
            await until(lambda: len(fast.accepted) == 2, lambda: notifier.states)
            await until(lambda: notifier.states[1].queue == 0, lambda: notifier.states)  # The answer is on its way.
            assert (notifier.states[0].queue, slow.accepted) == (2, [])


async def test_outcome_is_logged_once_and_secrets_never(unused_port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "qoemon")
    hook = Hook()
    url = f"http://127.0.0.1:{unused_port}/hook?token={WORD}"
    async with running(notifier_of({"webhooks": [{"url": url, "secret": WORD + "!"}]})) as notifier:
        notifier.dispatch([], [begun()], time.time())
        await until(lambda: notifier.states[0].failed > 3, lambda: notifier.states)
        async with serving(hook, unused_port):
            await until(lambda: hook.accepted, lambda: notifier.states)
            await until(lambda: notifier.states[0].sent, lambda: notifier.states)
    logged = [record.getMessage() for record in caplog.records if record.name == "qoemon.outputs.notify"]
    name = f"webhook 127.0.0.1:{unused_port}"
    assert logged == [
        f"{name}: connection refused: check the url, and that the receiver runs; retrying until it succeeds",
        f"{name}: delivery works again, 0 notifications queued",
    ]
    assert WORD not in caplog.text


async def test_undelivered_notices_survive_a_restart(unused_port: int) -> None:
    hook = Hook()
    settings = {"webhooks": [{"url": f"http://127.0.0.1:{unused_port}"}]}
    firing = begun()
    async with running(notifier_of(settings)) as notifier:
        notifier.dispatch([firing], [firing], time.time())
        notifier.dispatch([], [over(firing)], time.time())
        await until(lambda: notifier.states[0].failed, lambda: notifier.states)
    kept = msgspec.json.encode(notifier.undelivered())
    async with serving(hook, unused_port), running(notifier_of(settings)) as restarted:
        restarted.dispatch([], msgspec.json.decode(kept, type=tuple[Notice, ...]), time.time())
        await until(lambda: len(hook.accepted) == 2, lambda: restarted.states)
    assert [each["state"] for each in hook.documents] == ["firing", "resolved"]
    assert hook.documents[0]["id"] == firing.id


@pytest.mark.parametrize("behaviour", ["slow", "refuses", "idle"])
async def test_ends_at_once_and_leaves_nothing(behaviour: str, unused_port: int) -> None:
    hook = Hook(["slow"] * 9)
    async with serving(hook):
        url = f"http://127.0.0.1:{unused_port}" if behaviour == "refuses" else hook.url
        settings = {"webhooks": [{"url": url}], "alertmanagers": [{"url": url}], "mqtt": {}}
        async with running(notifier_of(settings, broker_at(unused_port))) as notifier:
            if behaviour != "idle":
                notifier.dispatch([], [begun()], time.time())
                await until(lambda: all(state.queue for state in notifier.states), lambda: notifier.states)
                await asyncio.sleep(0.1)


async def test_without_receivers_there_is_nothing_to_do() -> None:
    notifier = notifier_of({})
    notifier.dispatch([begun()], [begun()], time.time())
    await notifier.run()
    assert (notifier.states, notifier.undelivered()) == ((), ())


# --- MQTT ---


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Broker:
    part, version = request.param
    return broker_at(request.getfixturevalue(part).port, version=version)


@contextlib.asynccontextmanager
async def subscriber(broker: Broker) -> AsyncIterator[aiomqtt.Client]:
    version = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}[broker.version]
    async with aiomqtt.Client("127.0.0.1", broker.port, protocol=version, timeout=WAIT_S) as client:
        await client.subscribe("qoe/v1/alerts/#", qos=1)
        yield client


async def retained(broker: Broker, count: int) -> dict[str, Any]:
    """What a new subscriber gets, by topic."""
    found: dict[str, Any] = {}
    async with asyncio.timeout(WAIT_S), subscriber(broker) as client:
        async for message in client.messages:
            found[str(message.topic)] = json.loads(message.payload)
            assert message.retain
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize("broker", BROKERS, indirect=True)
async def test_later_subscriber_gets_the_state_of_each_alert(broker: Broker) -> None:
    async with running(notifier_of({"mqtt": {}}, broker)) as notifier:
        eu, us = begun("eu"), begun("us")
        notifier.dispatch([eu, us], [eu, us], time.time())
        await until(lambda: notifier.states[0].sent == 2, lambda: notifier.states)
        notifier.dispatch([us], [over(eu)], time.time())
        await until(lambda: notifier.states[0].sent == 3, lambda: notifier.states)
        found = await retained(broker, 2)
        assert {topic: each["state"] for topic, each in found.items()} == {
            "qoe/v1/alerts/ManyPoor/video/eu/%": "resolved",
            "qoe/v1/alerts/ManyPoor/video/us/%": "firing",
        }
        assert found["qoe/v1/alerts/ManyPoor/video/us/%"]["id"] == us.id


@pytest.mark.mosquitto
async def test_live_subscriber_sees_every_change(mosquitto: Mosquitto) -> None:
    broker = broker_at(mosquitto.port)
    async with subscriber(broker) as client, running(notifier_of({"mqtt": {}}, broker)) as notifier:
        firing, states = begun(), []
        notifier.dispatch([firing], [firing], time.time())
        async with asyncio.timeout(WAIT_S):
            async for message in client.messages:
                states.append(json.loads(message.payload)["state"])
                if len(states) == 2:
                    break
                notifier.dispatch([], [over(firing)], time.time())
    assert states == ["firing", "resolved"]


@pytest.mark.mosquitto
async def test_message_of_a_stopped_daemon_expires(mosquitto: Mosquitto) -> None:
    broker = broker_at(mosquitto.port)
    async with running(notifier_of({"resend": "1s", "expire": "2s", "mqtt": {}}, broker)) as notifier:
        firing = begun()
        notifier.dispatch([firing], [firing], time.time())
        await until(lambda: notifier.states[0].sent, lambda: notifier.states)
    async with asyncio.timeout(WAIT_S):
        while await is_retained(broker):
            await asyncio.sleep(0.2)


async def is_retained(broker: Broker) -> bool:
    """Whether anything comes before a message that is published after the subscription."""
    async with subscriber(broker) as client:
        await client.publish("qoe/v1/alerts/last", b"", 1)
        return str((await anext(client.messages)).topic) != "qoe/v1/alerts/last"


@pytest.mark.mosquitto
async def test_broker_that_starts_late_or_restarts_gets_the_alerts(mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    broker = broker_at(mosquitto.port)
    async with running(notifier_of({"mqtt": {}}, broker)) as notifier:
        firing = begun()
        notifier.dispatch([firing], [firing], time.time())
        await until(lambda: notifier.states[0].failed, lambda: notifier.states)
        assert "connection refused" in (notifier.states[0].last_error or "")
        for changed in ([firing], [over(firing)]):
            await asyncio.to_thread(mosquitto.start)
            notifier.dispatch([], changed, time.time())
            await until(lambda: notifier.states[0].queue == 0, lambda: notifier.states)
            await asyncio.to_thread(mosquitto.stop)
        await asyncio.to_thread(mosquitto.start)
        (found,) = (await retained(broker, 1)).values()
        assert found["state"] == "resolved"


@pytest.mark.mosquitto
async def test_the_next_of_several_brokers_gets_the_alerts_when_one_is_away(
    mosquitto: Mosquitto, unused_port: int
) -> None:
    broker = broker_at(unused_port, others=(Address("localhost", mosquitto.port),))
    async with running(notifier_of({"mqtt": {}}, broker)) as notifier:
        notifier.dispatch([], [begun()], time.time())
        await until(lambda: notifier.states[0].sent == 1, lambda: notifier.states)
        (state,) = notifier.states
        assert state.failed == 1
        # Also of the other daemon of a pair, which lists them in another order: it has to know what was delivered.
        assert state.name == notifier_of({"mqtt": {}}, broker.next_address()).states[0].name
        assert set(broker.each_address) == set(state.name.removeprefix("mqtt ").split(" or "))
        assert len(await retained(broker_at(mosquitto.port), 1)) == 1


def ruled(directory: Path, *rules: str) -> Mosquitto:
    """A mosquitto where all may read everything, and further access rules."""
    acl = directory / "acl"
    acl.write_text("\n".join(["topic read #", *rules, ""]))
    acl.chmod(0o600)
    return Mosquitto(directory, options=[f"acl_file {acl}"])


@pytest.mark.mosquitto
async def test_rejection_by_the_broker_counts_as_a_failed_delivery(tmp_path: Path) -> None:
    with ruled(tmp_path) as part:
        async with running(notifier_of({"mqtt": {}}, broker_at(part.port))) as notifier:
            notifier.dispatch([], [begun()], time.time())
            await until(lambda: notifier.states[0].last_error, lambda: notifier.states)
            (state,) = notifier.states
            assert state.sent == 0
            assert "rejected the message to qoe/v1/alerts/ManyPoor/video/eu/%" in str(state.last_error)


@pytest.mark.mosquitto
async def test_what_the_broker_rejects_keeps_no_other_alert_waiting(tmp_path: Path) -> None:
    with ruled(tmp_path, "topic write qoe/v1/alerts/+/+/us/#") as part:
        broker = broker_at(part.port)
        async with running(notifier_of({"mqtt": {}}, broker)) as notifier:
            eu, us = begun("eu"), begun("us")
            notifier.dispatch([eu, us], [eu, us], time.time())
            await until(lambda: notifier.states[0].sent == 1, lambda: notifier.states)
            assert list(await retained(broker, 1)) == ["qoe/v1/alerts/ManyPoor/video/us/%"]
            notifier.dispatch([eu], [over(us)], time.time())
            await until(lambda: notifier.states[0].sent == 2, lambda: notifier.states)
            (state,) = notifier.states
            assert (state.queue, "rejected the message" in str(state.last_error)) == (1, True)
            assert [each.notice.groups["region"] for each in notifier.delivered()[state.name]] == ["us"]


@pytest.mark.mosquitto
async def test_a_broker_that_ends_the_connection_at_one_alert_gets_the_others(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As brokers do with what a client may not publish. Here a relay ends it."""
    monkeypatch.setattr("qoemon.outputs.notify.mqtt.ANSWER_S", 1)

    async def relayed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while (sent := await reader.read(4096)) and b"/video/eu/" not in sent:
                writer.write(sent)
                await writer.drain()
        writer.close()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_broker, to_broker = await asyncio.open_connection("127.0.0.1", mosquitto.port)
        await asyncio.gather(relayed(reader, to_broker), relayed(from_broker, writer))

    async with await asyncio.start_server(served, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with running(notifier_of({"mqtt": {}}, broker_at(port))) as notifier:
            eu, us, asia = begun("eu"), begun("us"), begun("asia")
            notifier.dispatch([eu, us, asia], [eu, us, asia], time.time())
            await until(lambda: notifier.states[0].sent == 2, lambda: notifier.states)
            assert notifier.states[0].queue == 1
        assert len(await retained(broker_at(mosquitto.port), 2)) == 2


@pytest.mark.mosquitto
async def test_a_rotated_password_of_the_broker_is_used_for_the_next_batch(tmp_path: Path) -> None:
    file = tmp_path / "broker.password"
    file.write_text("old-1")
    with Mosquitto(tmp_path, users={"reader": "new-2"}) as mosquitto:
        broker = broker_at(mosquitto.port, username="reader", password_file=file)
        async with running(notifier_of({"mqtt": {}}, broker)) as notifier:
            notifier.dispatch([begun("eu")], [begun("eu")], time.time())
            await until(lambda: "check username" in str(notifier.states[0].last_error), lambda: notifier.states)
            file.write_text("new-2")
            await until(lambda: notifier.states[0].sent == 1, lambda: notifier.states)


@pytest.mark.mosquitto
async def test_any_label_makes_a_valid_topic_of_its_own(mosquitto: Mosquitto) -> None:
    regions = ["+", "#", "a/b", "a%2Fb", "a b", "", "%", "ü", "\1", "\ufffe", "x" * 128, "$SYS", "\u2028"]
    broker = broker_at(mosquitto.port)
    async with running(notifier_of({"mqtt": {}}, broker)) as notifier:
        firing = [begun(region) for region in regions]
        notifier.dispatch(firing, firing, time.time())
        await until(lambda: notifier.states[0].sent == len(regions), lambda: notifier.states)
        found = await retained(broker, len(regions))
    assert {each["groups"]["region"] for each in found.values()} == set(regions)
    assert all(topic.count("/") == 6 for topic in found)


def test_topic_is_made_of_levels() -> None:
    assert topic_of("{service}/a{groups}/{groups}/{alert}", notice()) == "video/a{groups}/eu/%/ManyPoor"
    assert topic_of("{alert}/{groups}/{service}", notice(groups={})) == "ManyPoor/video"


# --- configuration ---


def section(file: Path, text: str, env: Mapping[str, str] | None = None) -> Notify:
    file.write_text(text)
    return validated(yamlfile.read(file, env or {}), Notify)


def test_there_are_no_receivers_by_default() -> None:
    assert receivers(Notify(), broker_at(1), URL) == ()


def test_receivers_are_named_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(WORD + "\n")
    configured = section(
        tmp_path / "notifier.yaml",
        "alertmanagers: [{url: 'http://am:9093/x/'}, {url: 'http://am:9093/y', username: u, password: '${WORD}'}]\n"
        "webhooks: [{url: 'https://hooks.example.org/hunter2?k=hunter2', secret_file: secret}]\n"
        "mqtt: {}\n",
        {"WORD": WORD},
    )
    assert configured.alertmanagers[0].url == "http://am:9093/x"
    assert first_secret(configured.alertmanagers[1].password) == WORD
    assert configured.webhooks[0].secret_file == tmp_path / "secret"
    states = [receiver.state for receiver in receivers(configured, broker_at(1883), URL)]
    assert [state.name for state in states] == [
        "alertmanager am:9093",
        "alertmanager am:9093 #2",
        "webhook hooks.example.org",
        "mqtt localhost:1883",
    ]
    assert WORD not in repr(states)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("alertmanagers: [{url: 'am:9093'}]", "alertmanagers.0.url", "a URL such as"),
        ("alertmanagers: [{url: 'ftp://am'}]", "alertmanagers.0.url", "a URL such as"),
        ("alertmanagers: [{url: 'http://:9093'}]", "alertmanagers.0.url", "a URL such as"),
        ("alertmanagers: [{url: 'http://am:99999'}]", "alertmanagers.0.url", "a URL such as"),
        ("alertmanagers: [{url: 'http://u:p@am'}]", "alertmanagers.0.url", "without user"),
        ("alertmanagers: [{url: 'http://am/?a=b'}]", "alertmanagers.0.url", "without a query"),
        ("alertmanagers: [{}]", "alertmanagers.0.url", "text"),
        ("alertmanagers: [{url: 'http://am', password: p}]", "alertmanagers.0.username", "the user name"),
        ("alertmanagers: [{url: 'http://am'}, {url: 'http://am/'}]", "alertmanagers.1.url", "each URL once"),
        ("webhooks: [{url: 'http://h', secret: ''}]", "webhooks.0.secret", "not empty"),
        ("webhooks: [{url: 'http://h', secret: s, secret_file: FILE}]", "webhooks.0.secret", "either secret or"),
        ("webhooks: [{url: 'http://h', ca_file: FILE}]", "webhooks.0.url", "an https URL"),
        ("webhooks: [{url: 'http://h', ca_file: absent}]", "webhooks.0.ca_file", "a file that can be read"),
        ("webhooks: [{url: 'http://h', token: t}]", "webhooks.0.token", "one of"),
        ("expire: 90s", "expire", r"at least twice resend \(1m\)"),
        ("mqtt: {topic: 'alerts/{alert}/{service}'}", "mqtt.topic", "the levels {alert}, {service}, {groups}"),
        ("mqtt: {topic: '{alert}/{service}/{groups}/{cdn}'}", "mqtt.topic", "no other names"),
        ("mqtt: {topic: 'a/+/{alert}/{service}/{groups}'}", "mqtt.topic", "wildcards"),
    ],
)
def test_error_names_the_key(tmp_path: Path, text: str, key: str, words: str) -> None:
    (tmp_path / "file").write_text(WORD)
    with pytest.raises(ConfigError) as raised:
        section(tmp_path / "notifier.yaml", text.replace("FILE", "file"))
    (problem,) = raised.value.problems
    assert problem.key == key
    assert re.search(words, problem.expected), problem
    assert WORD not in str(problem)
