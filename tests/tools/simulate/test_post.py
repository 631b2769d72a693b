"""Simulated players speak CMCD to a collector, and live through the same as over MQTT."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import http_sf
import msgspec
import pytest
from aiohttp import web
from typer.testing import CliRunner

from qoemon import cli
from qoemon.tools.simulate import post as posting
from qoemon.tools.simulate.cmcd import PlayerMessages
from qoemon.tools.simulate.load import LoadError, Message, ReportMessages
from qoemon.tools.simulate.post import Target, post
from qoemon.tools.simulate.simulate import SCENARIOS, SERVICES, Phase, Population, Scenario, groups
from tests.support.parts import unused_port
from tests.support.patience import async_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

START_S = 1_700_000_000.0
PATHS = dict.fromkeys(SERVICES, "/cmcd/v1/{service}/{region}/{cdn}")
STEP_S = 0.5


class Crowd(NamedTuple):
    users: Population
    messages: PlayerMessages


def crowd(scenario: Scenario = SCENARIOS["calm"], sessions: int = 200, batch: int = 1) -> Crowd:
    users = Population(
        groups(), sessions=sessions, scenario=scenario, seed=1, start_s=START_S, report_every_s=2.0, at_changes=True
    )
    readers = ReportMessages(PATHS, (), 1, "json", batch)
    return Crowd(users, PlayerMessages(users, SERVICES[:1], readers, {"com.example-isp": "isp-01"}, 2.0, 1))


def sent(said: Crowd, seconds: float) -> Iterator[tuple[float, Message]]:
    """When it is sent, and what, from the start on."""
    for step in range(1, int(seconds / STEP_S) + 1):
        now_s = START_S + step * STEP_S
        count, messages = said.messages.of_step(said.users.step(now_s))
        of_step = list(messages)
        assert count == sum(message.reports for message in of_step)
        yield from ((now_s, message) for message in of_step)


class Record(NamedTuple):
    sent_s: float
    sn: int
    ts_ms: int
    state: str
    event: str


def by_session(messages: Iterator[tuple[float, Message]]) -> dict[str, list[Record]]:
    """The records of each player."""
    told: defaultdict[str, list[Record]] = defaultdict(list)
    for now_s, message in messages:
        for line in message.payload.splitlines() if message.content_type == "application/cmcd" else ():
            keys = {name: value for name, (value, _) in http_sf.parse(line, tltype="dictionary").items()}
            assert (keys["v"], keys["cid"], keys["com.example-isp"]) == (2, "simulated", "isp-01")
            told[keys["sid"]].append(Record(now_s, keys["sn"], keys["ts"], str(keys["sta"]), str(keys["e"])))
    return told


def test_every_player_numbers_its_records_and_begins_as_hlsjs_does() -> None:
    players = by_session(sent(crowd(), 60))
    assert len(players) > 150
    for records in players.values():
        assert [record.sn for record in records] == list(range(len(records)))
        begin = [("s", "ps"), ("s", "pr"), ("p", "ps")]
        assert [(record.state, record.event) for record in records[:3]] == begin[: len(records)]
        for before, after in pairwise(records):
            assert before.ts_ms <= after.ts_ms <= 1000 * after.sent_s + 1
        beats = [record.sent_s for record in records if record.event == "t"]
        for before_s, after_s in pairwise(beats):
            assert after_s - before_s == pytest.approx(2, abs=STEP_S)


def test_what_they_live_through_is_the_same_as_over_mqtt() -> None:
    scenario = SCENARIOS["recover"].lasting(240)
    twin = Population(groups(), sessions=200, scenario=scenario, seed=1, start_s=START_S, report_every_s=2.0)
    newest: dict[str, dict[str, Any]] = {}
    for step in range(1, 241):
        for service, _, report in twin.step(START_S + step * STEP_S):
            if service == "video":
                newest[report["session"]] = report
    stalls, players = 0, by_session(sent(crowd(scenario), 120))
    for session, report in newest.items():
        until_ms = 1000 * report["ts"]
        records = [record for record in players[session] if record.ts_ms <= until_ms]
        waits, waited_ms, since_ms = 0, 0.0, None
        for record in records:
            if since_ms is not None and record.state != "r":
                waited_ms, since_ms = waited_ms + record.ts_ms - since_ms, None
            elif since_ms is None and record.state == "r":
                waits, since_ms = waits + 1, record.ts_ms
        if since_ms is not None:
            waited_ms += until_ms - since_ms
        assert waits == report["stall_count"]
        assert waited_ms / 1000 == pytest.approx(report["stall_s"], abs=0.002 * (1 + waits))
        stalls += waits
    assert stalls > 50


def test_in_an_outage_players_say_that_they_stall_and_nothing_more_until_it_is_over() -> None:
    outage = Scenario((Phase("calm", 20), Phase("outage", 30, outage=True), Phase("calm", 30)), 80)
    silent = 0
    for records in by_session(sent(crowd(outage), 80)).values():
        assert [record.sn for record in records] == list(range(len(records)))
        for before, after in pairwise(records):
            if after.sent_s - before.sent_s > 5:
                silent += 1
                assert before.state == "r"
                assert after.sent_s >= START_S + 50
    assert silent > 20


def test_players_that_are_gone_are_forgotten() -> None:
    said = crowd(SCENARIOS["outage"].lasting(120), sessions=50)
    for _ in sent(said, 1200):
        pass
    assert len(said.messages._players) <= said.users.active_sessions
    assert len(said.users._changes) <= said.users.active_sessions


class Posted(NamedTuple):
    path: str
    content_type: str
    body: bytes
    token: str | None
    connection: int


@contextlib.asynccontextmanager
async def collector(answer: Callable[[int], int] = lambda _: 204) -> AsyncIterator[tuple[str, list[Posted]]]:
    """A server that answers each POST by its number from 0; its address and what arrived."""
    posted: list[Posted] = []

    async def take(request: web.Request) -> web.Response:
        number, body = len(posted), await request.read()
        assert request.transport is not None
        posted.append(
            Posted(
                request.path,
                request.content_type,
                body,
                request.headers.get("Authorization"),
                id(request.transport),
            )
        )
        return web.Response(status=answer(number), text="as the test wants it")

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", posted
    finally:
        await runner.cleanup()


async def test_players_and_readers_post_to_their_paths_on_kept_connections() -> None:
    said = crowd(sessions=400)
    paths = {f"/cmcd/v1/{service}/{group['region']}/{group['cdn']}" for service in SERVICES for group in groups()}
    async with collector() as (url, posted):
        load = asyncio.create_task(post(Target(url, "open sesame"), said.users, said.messages))
        await async_until(lambda: load.done() or {each.path for each in posted} >= paths)
        load.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await load
    assert {each.path for each in posted} == paths
    assert {each.content_type for each in posted} == {"application/cmcd", "application/json"}
    assert {each.token for each in posted} == {"Bearer open sesame"}
    assert len({each.connection for each in posted}) < len(posted) / 2
    for each in posted:
        if each.content_type == "application/json":
            assert msgspec.json.decode(each.body).keys() & {"response_s", "end"}
        else:
            assert each.body.endswith(b"v=2\n")
            assert b'com.example-isp="isp-01"' in each.body


async def test_what_is_refused_for_now_is_sent_again_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "AGAIN_S", 0.01)
    said = crowd(batch=10)
    async with collector(lambda number: (503, 429, 204)[number % 3]) as (url, posted):
        totals = await post(Target(url), said.users, said.messages, for_s=2)
    assert totals.messages >= 20
    bodies = Counter(each.body for each in posted)
    assert len(posted) == 3 * totals.messages
    assert len(bodies) == totals.messages


async def test_a_collector_that_refuses_for_good_ends_the_load_with_its_answer() -> None:
    said = crowd()
    async with collector(lambda _: 404) as (url, _):
        with pytest.raises(LoadError, match=rf"collector at {url}/cmcd/v1/\S+ answered 404: as the test wants it"):
            await post(Target(url), said.users, said.messages)


async def test_a_collector_that_is_not_there_is_named_with_what_to_check() -> None:
    said, url = crowd(), f"http://127.0.0.1:{unused_port()}"
    with pytest.raises(LoadError, match=f"Cannot connect to the collector at {url}: .* has a section collector"):
        await post(Target(url), said.users, said.messages)


def configured(folder: Path, **collector: Any) -> str:
    file = folder / "qoemon.yaml"
    file.write_text(json.dumps({"mqtt": None, "collector": collector}))
    return str(file)


async def test_without_a_broker_the_command_posts_to_the_collector_of_the_configuration(tmp_path: Path) -> None:
    async with collector() as (url, posted):
        settings = {"port": int(url.rpartition(":")[2]), "token": "open sesame"}
        file = configured(tmp_path, **settings)
        command = ["simulate", "-c", file, "--sessions", "100", "--for", "2s"]
        done = await asyncio.to_thread(CliRunner().invoke, cli.app, command)
    assert done.exit_code == 0, done.stderr
    assert f"to the collector at {url}; stop with Ctrl-C" in done.stderr
    assert posted
    assert {each.token for each in posted} == {"Bearer open sesame"}


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--transport", "tcp"), "--transport tcp: the configuration has no broker (mqtt: null), expected cmcd"),
        (("--username", "player"), "--username: not with cmcd, it is of MQTT"),
    ],
)
def test_options_of_mqtt_are_refused(tmp_path: Path, option: tuple[str, ...], words: str) -> None:
    done = CliRunner().invoke(cli.app, ["simulate", "-c", configured(tmp_path), *option, "--for", "1s"])
    assert done.exit_code == 2
    assert words in done.stderr
