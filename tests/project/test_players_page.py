"""The pages about players: each command gives the answer that it shows, and its players report to qoemon."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml

from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.core.counting.starts import STARTUP_MS
from tests.support.captures import CAPTURED, RUNS, WHOLE, naive, played_out
from tests.support.parts import ROOT, Daemon, program, unused_port
from tests.support.patience import WAIT_S, until
from tests.support.players import of_player

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE, REPORTED = ((ROOT / f"docs/{name}.md").read_text() for name in ("players", "players-reported"))
CHAPTERS = {chapter.partition("\n")[0]: chapter for chapter in re.split(r"\n###? ", PAGE + REPORTED)}
STEPS = re.findall(r"```(yaml|sh)\n(.*?)```(?:\n+```text\n(.*?)```)?", PAGE, re.DOTALL)
PORTS = {"9877": "http", "9878": "collector"}


def test_every_command_of_the_page_answers_as_it_shows(tmp_path: Path, start_daemon: Callable[..., Daemon]) -> None:
    """In the order of the page, each against the daemon with the configuration before it."""
    program("curl", "Debian package curl")
    ports: dict[str, str] = {}
    for kind, text, shown in STEPS:
        if kind == "yaml":
            ports = started(tmp_path, start_daemon, text)
        else:
            assert shown, f"without what it prints: {text}"
            agrees(tmp_path, text, ports, shown)


def agrees(directory: Path, command: str, ports: dict[str, str], shown: str) -> None:
    """Run a command; each line that is shown is in what it prints, if not at once then after the next tick."""
    said = ""

    def found() -> bool:
        nonlocal said
        said = ran(directory, command, ports)
        return all(line in said for line in shown.splitlines())

    if "9877" in command:
        until(found, lambda: said)
    else:
        assert found(), said


def started(directory: Path, start_daemon: Callable[..., Daemon], text: str) -> dict[str, str]:
    """The ports of a daemon with this configuration, by those of the page."""
    (directory / "my.yaml").write_text(text)
    settings: dict[str, Any] = yaml.safe_load(text)
    settings["collector"]["port"] = unused_port()
    name = f"daemon-{settings['collector']['port']}"
    settings |= {"state": {"dir": str(directory / name)}, "sessions": {"tick": "1s"}}
    daemon = start_daemon(settings, name).ready()
    return {"9877": str(daemon.port), "9878": str(settings["collector"]["port"])}


def ran(directory: Path, command: str, ports: dict[str, str]) -> str:
    """What a command prints, with the ports of the daemon."""
    command = re.sub("|".join(PORTS), lambda found: ports[found[0]], command)
    qoemon = f'qoemon() {{ "{sys.executable}" -m qoemon "$@"; }}\n'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    bash = ["bash", "-c", qoemon + command]
    done = subprocess.run(
        bash, cwd=directory, capture_output=True, text=True, timeout=WAIT_S, check=False, env=environment
    )
    return done.stdout + done.stderr


STAGE = """
import { readFileSync } from "node:fs";
const taken = [];
const named = (name) => (...values) => { taken.push([name, ...values]); return Promise.resolve(); };
const methods = ["loadSource", "attachMedia", "updateSettings", "initialize", "configure", "attach", "load"];
const player = () => Object.fromEntries(methods.map((name) => [name, named(name)]));
globalThis.video = {};
globalThis.Hls = class { constructor(options) { taken.push(["Hls", options]); Object.assign(this, player()); } };
globalThis.dashjs = { MediaPlayer: () => ({ create: player }) };
globalThis.shaka = { Player: class { constructor() { Object.assign(this, player()); } } };
await import("data:text/javascript," + encodeURIComponent(readFileSync(0, "utf8")));
console.log(JSON.stringify(taken));
"""


def cmcd(name: str) -> dict[str, Any]:
    """The CMCD settings that the page's code passes to this player."""
    (code,) = re.findall(r"```js\n(.*?)```", CHAPTERS[name], re.DOTALL)
    node = [program("node", "Debian package nodejs"), "--input-type=module", "-e", STAGE]
    done = subprocess.run(node, input=code, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
    for _, *values in json.loads(done.stdout):
        for value in values:
            options = value.get("streaming", value) if isinstance(value, dict) else {}
            if "cmcd" in options:
                found: dict[str, Any] = options["cmcd"]
                return found
    raise AssertionError(done.stdout)


@pytest.mark.parametrize("name", ["hls.js", "dash.js", "shaka-player"])
def test_the_settings_of_each_player_report_what_qoemon_needs_to_a_path_that_it_takes(name: str) -> None:
    settings = cmcd(name)
    assert settings["version"] == 2
    (target,) = settings["eventTargets"]
    assert {"ps", "t", "e"} <= set(target["events"])
    assert target.get("batchSize", 1) == 1
    config = Config.model_validate(yaml.safe_load(STEPS[0][1]))
    assert config.collector is not None
    assert target["interval"] == config.collector.heartbeat_s
    plan = core_plan(config)
    (labels,) = (found for path in plan.paths if (found := path.match(urlsplit(target["url"]).path)) is not None)
    assert labels["service"] in {service.name for service in plan.services}


def test_dash_js_is_told_to_send_each_key_that_qoemon_reads() -> None:
    (target,) = cmcd("dash.js")["eventTargets"]
    codec = (ROOT / "qoemon/core/wire/cmcd.py").read_text()
    read = set(re.findall(r'found(?:, |\.get\()"(\w+)"', codec))
    assert {"sid", "sta", "bg"} <= read <= set(target["enabledKeys"])


def test_startup_times_are_rated_by_the_configuration_that_is_shown() -> None:
    (settings,) = re.findall(r"```yaml\n(.*?)```", REPORTED, re.DOTALL)
    plan = core_plan(Config.model_validate(yaml.safe_load(settings)))
    assert plan.players.startup_service in {service.name for service in plan.services}


def test_figures_about_captures_are_theirs() -> None:
    chapter = CHAPTERS["Accuracy"]
    assert f"From {len(CAPTURED)} captures" in chapter
    assert f"In the {len(WHOLE)} in which" in chapter
    others = [each for each in WHOLE if each.player != "hlsjs"]
    assert f"wrong in all {len(others)} of dash.js" in chapter
    assert all(naive(each) != each.truth.stall_count for each in others)
    first = [each for each in WHOLE if each.scenario not in RUNS]
    less = [each.truth.startup_s - startup_s(each.posted) for each in first]
    assert f"| {min(less):.2f} to {max(less):.2f} s less" in chapter


def startup_s(posted: Any) -> float:
    """The startup time that is counted."""
    _, intervals = played_out(posted, of_player())
    return float(sum(each.services[0].starts[:, STARTUP_MS].sum() for each in intervals)) / 1000
