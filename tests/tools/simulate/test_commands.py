"""`qoemon simulate` as an operator runs it."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
from typing import TYPE_CHECKING

import aiomqtt
import pytest
from typer.testing import CliRunner

from qoemon import cli
from tests.support.parts import ROOT, Mosquitto, certificates, unused_port
from tests.support.patience import WAIT_S

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.mosquitto
async def test_broker_topics_and_services_are_those_of_the_configuration(tmp_path: Path) -> None:
    """TLS, user, shards, labels in topics and in reports; and any number of regions and CDNs."""
    issued, password = certificates(tmp_path / "issued"), tmp_path / "password"
    password.write_text("open sesame\n")
    with Mosquitto(tmp_path, users={"player": "open sesame"}, tls=issued) as broker:
        mqtt = {
            "port": broker.port,
            "username": "player",
            "password_file": str(password),
            "tls": {"ca_file": str(issued.ca)},
            "shards": 4,
            "topics": ["{shard}/{service}/in/{region}"],
        }
        services = {"movies": {"mapping": "video-stall", "theta": 0.3}}
        file = tmp_path / "qoemon.yaml"
        file.write_text(json.dumps({"mqtt": mqtt, "services": services, "labels": ["cdn"], "alerts": []}))
        command = [sys.executable, "-m", "qoemon", "simulate", "-c", str(file)]
        command += ["--regions", "25", "--cdns", "20", "--hit", "cdn-07", "--sessions", "3000"]
        tls = ssl.create_default_context(cafile=issued.ca)
        account = {"username": "player", "password": "open sesame"}
        async with aiomqtt.Client("localhost", broker.port, tls_context=tls, timeout=WAIT_S, **account) as client:
            await client.subscribe("#", qos=1)
            users = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=asyncio.subprocess.DEVNULL)
            try:
                received = await asyncio.wait_for(first(client, 600), WAIT_S)
            finally:
                users.terminate()
                await users.wait()
    groups = set()
    for topic, report in received:
        place = re.fullmatch(r"[0-3]/movies/in/(region-\d\d)", topic)
        assert place, topic
        assert report.keys() >= {"stall_count", "play_s"}
        assert re.fullmatch(r"cdn-\d\d", report["labels"]["cdn"])
        groups.add((place[1], report["labels"]["cdn"]))
    assert len(groups) > 200
    assert {min(region for region, _ in groups), max(region for region, _ in groups)} == {"region-01", "region-25"}
    assert {min(cdn for _, cdn in groups), max(cdn for _, cdn in groups)} == {"cdn-01", "cdn-20"}


async def first(client: aiomqtt.Client, count: int) -> list[tuple[str, dict[str, dict[str, str]]]]:
    """Topic and report of the first messages."""
    received: list[tuple[str, dict[str, dict[str, str]]]] = []
    async for message in client.messages:
        received.append((str(message.topic), json.loads(bytes(message.payload))))
        if len(received) == count:
            break
    return received


def test_a_place_that_is_not_simulated_is_refused() -> None:
    done = CliRunner().invoke(cli.app, ["simulate", "--cdns", "20", "--hit", "cdn-21", "--for", "1s"])
    assert done.exit_code == 2
    assert "--hit: found 'cdn-21', expected a region (eu to us), a CDN (cdn-01 to cdn-20), or both" in done.stderr


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--off", "0.3"], "--off 0.3: nobody rates, expected --ratings SHARE as well"),
        (["--ratings", "0%"], "found '0%', expected a share such as 5% or 0.05"),
        (
            ["--ratings", "5%", "--transport", "cmcd"],
            "not with cmcd, records of players have no ratings",
        ),
    ],
)
def test_ratings_that_cannot_be_simulated_are_refused(options: list[str], error: str) -> None:
    done = CliRunner().invoke(cli.app, ["simulate", *options, "--for", "1s"], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert error in done.stderr


@pytest.mark.parametrize(
    ("option", "address"),
    [
        ((), "broker.invalid:8883/ws"),
        (("--host", "other.invalid"), "other.invalid:8883/ws"),
        (("--port", "{port}", "--host", "127.0.0.1"), "127.0.0.1:{port}/ws"),
        (("--transport", "tcp"), "broker.invalid:8883:"),
        (("--websocket-path", "/mqtt"), "broker.invalid:8883/mqtt"),
    ],
)
def test_options_replace_keys_of_the_configuration(tmp_path: Path, option: tuple[str, ...], address: str) -> None:
    port, file = str(unused_port()), tmp_path / "qoemon.yaml"
    mqtt = {"hosts": ["broker.invalid:8883"], "transport": "websockets", "websocket_path": "/ws"}
    file.write_text(json.dumps({"mqtt": mqtt}))
    options = [each.replace("{port}", port) for each in option]
    done = CliRunner().invoke(cli.app, ["simulate", "-c", str(file), *options, "--for", "1s"])
    assert done.exit_code == 1
    assert f"Cannot connect to the MQTT broker at {address.replace('{port}', port)}" in done.stderr
