"""Each command in a block of the documentation is run as a reader runs it, or not-run.md says why not."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest

from qoemon.tools.recordings.recording import Header, Recorded, Writer
from tests.support.access_logs import combined
from tests.support.documented import Block, blocks, unmarked
from tests.support.parts import ROOT, Alertmanager, Daemon, Mosquitto, program, unused_port
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOT_RUN = tuple(
    name
    for row in re.findall(r"^\| (`.*?) \|", (ROOT / "docs/not-run.md").read_text(), re.MULTILINE)
    for name in re.findall(r"`([^`]+)`", row)
)
"""How the commands begin that no test runs."""

ELSEWHERE: dict[str, list[tuple[str, str]]] = {
    "tests/project/test_docs.py::test_the_worked_example_prints_what_the_page_says": [
        ("calibration.md", "qoemon theta docs/"),
        ("calibration.md", "qoemon fit docs/"),
        ("calibration.md", "qoemon validate docs/"),
    ],
    "tests/project/test_players_page.py::test_every_command_of_the_page_answers_as_it_shows": [("players.md", "")],
    "tests/project/test_upgrade_page.py::test_every_command_of_the_page_is_in_a_test": [("upgrade.md", "")],
    "tests/system/test_chart.py::test_rules_and_boards_of_a_configuration_become_values_as_the_page_says": [
        ("kubernetes.md", "jq")
    ],
    "tests/system/test_cluster_kill.py::test_whatever_is_killed_each_report_counts_once": [
        ("cluster.md", "qoemon run")
    ],
    "tests/system/test_deb.py::test_install_run_upgrade_remove_and_purge": [
        ("install.md", "make deb"),
        ("install.md", "qoemon check -c /etc"),
    ],
    "tests/system/test_demo_cluster.py::test_it_says_what_it_waits_for_and_shows_both_services": [
        ("getting-started.md", "make demo-cluster")
    ],
    "tests/system/test_install.py::test_files_of_a_release_install_with_their_pinned_dependencies": [
        ("install.md", "python3 -m venv /opt"),
        ("install.md", "/opt/qoemon"),
        ("install.md", "install -d"),
        ("install.md", "ln -sf"),
    ],
    "tests/system/test_install.py::test_both_ways_with_files_of_a_release_are_the_same": [
        ("install.md", "~/qoemon-env/bin/pip install --"),
    ],
    "tests/system/test_install.py::test_an_extra_is_added_where_qoemon_is": [
        ("install.md", "~/qoemon-env/bin/pip install 'qoemon[plot]'"),
    ],
    "tests/system/test_install.py::test_the_daemon_runs_from_there_and_has_its_charts": [
        ("install.md", "qoemon run")
    ],
    "tests/system/test_install.py::test_the_first_run_is_as_the_page_says": [
        ("install.md", "python3 -m venv ~"),
        ("install.md", "~/qoemon-env/bin/pip install '.[ui]'"),
        ("install.md", ". ~/qoemon-env"),
        ("install.md", "qoemon --version"),
        ("install.md", "qoemon config"),
        ("install.md", "qoemon check -c my.yaml"),
        ("install.md", "qoemon dashboards"),
        ("install.md", "qoemon rules"),
        ("install.md", "qoemon player.js"),
        ("install.md", "qoemon helm-chart"),
        ("install.md", "man qoemon-run"),
        ("getting-started.md", "python3 -m venv"),
        ("getting-started.md", "~/qoemon-env"),
        ("getting-started.md", ". ~/qoemon-env"),
    ],
    "tests/system/test_install.py::test_the_readme_connects_to_a_broker_in_the_same_way": [
        ("README.md", "python3 -m venv"),
        ("README.md", "venv/bin/pip"),
        ("README.md", ". venv"),
    ],
    "tests/tools/bridge/test_bridge.py::test_every_report_is_in_the_topic_by_its_shard": [
        ("cluster.md", "qoemon bridge")
    ],
    "tests/tools/demo/test_demo.py::test_demo_shows_both_services_and_ends_by_itself": [
        ("README.md", "make demo"),
        ("getting-started.md", "make demo FOR"),
    ],
    "tests/tools/players/test_demo_players.py::test_it_serves_the_players_and_the_stream_and_ends_by_itself": [
        ("getting-started.md", "make demo-players")
    ],
    "tests/tools/rules/test_files.py::test_rules_of_the_sample_configuration_hold": [
        ("prometheus-rules.md", "promtool")
    ],
}
"""Commands that other tests run, by test: the page, and how the commands begin. The longest beginning decides."""

UNTIL = {
    "qoemon run": "serving on http",
    "qoemon simulate": "reports",
    "qoemon record": "messages",
    "qoemon top": "video",
    "prometheus": "Server is ready to receive web requests",
}
"""Commands that do not end: what they print when they do what they should. They are then interrupted."""

ENDS = {"qoemon feedback test video": 3}
"""Exit codes other than 0: there are ratings of one day only."""


def is_not_run(command: str) -> bool:
    """Whether not-run.md has the command."""
    return f"{command} ".startswith(tuple(f"{name} " for name in NOT_RUN))


def elsewhere(page: str, command: str) -> tuple[str, str] | None:
    """The entry of ELSEWHERE that is about a command, if any."""
    found = (
        entry
        for entries in ELSEWHERE.values()
        for entry in entries
        if entry[0] == page and command.startswith(entry[1])
    )
    return max(found, key=lambda entry: len(entry[1]), default=None)


def here(block: Block) -> list[str]:
    """The commands of a block that are run by this file."""
    return [each for each in block.commands if not is_not_run(each) and elsewhere(block.page, each) is None]


BLOCKS = list(blocks())
COMMANDS = [(block.page, command) for block in BLOCKS for command in block.commands]


def test_no_command_hides_in_a_block_that_does_not_say_what_it_is() -> None:
    assert not list(unmarked())


def test_there_are_commands_and_most_are_run_here() -> None:
    assert len(COMMANDS) > 100
    assert sum(len(here(block)) for block in BLOCKS) > 40


@pytest.mark.parametrize("name", NOT_RUN)
def test_what_is_not_run_is_a_command_of_the_documentation(name: str) -> None:
    assert any(f"{command} ".startswith(f"{name} ") for _, command in COMMANDS)


@pytest.mark.parametrize("test", ELSEWHERE)
def test_what_is_run_elsewhere_is_a_command_and_its_test_exists(test: str) -> None:
    used = {elsewhere(page, command) for page, command in COMMANDS if not is_not_run(command)}
    assert used >= set(ELSEWHERE[test])
    file, _, name = test.partition("::")
    assert re.search(rf"^(async )?def {name}\b", (ROOT / file).read_text(), re.MULTILINE)


QOEMON = """\
#!/bin/sh
case "$1" in
  run) set -- "$@" --set http.port="$RUN" --set mqtt.host=127.0.0.1 --set mqtt.port="$MQTT" --set state.dir=run \
    --set mqtt.client_id=run ;;
  top) case "$2" in http*) ;; *) shift; set -- top "http://127.0.0.1:$HTTP" "$@" ;; esac ;;
  feedback) set -- "$@" --url "http://127.0.0.1:$HTTP" ;;
  record|import-cmcd) rm -f monday.jsonl.gz ;;
esac
exec "$PYTHON" -m qoemon "$@"
"""
PROGRAMS = {
    "qoemon": QOEMON,
    "python": '#!/bin/sh\nexec "$PYTHON" "$@"\n',
    "curl": '#!/bin/sh\nexec "$CURL" --fail-with-body "$@"\n',
    "mosquitto_pub": '#!/bin/sh\nexec "$MOSQUITTO_PUB" -p "$MQTT" "$@"\n',
    "prometheus": '#!/bin/sh\nexec "$PROMETHEUS" "$@" --web.listen-address="127.0.0.1:$RUN"\n',
}
"""Programs at the ports of this test, where the pages name the usual ones; curl fails where HTTP does."""

RECORDING = "monday.jsonl.gz"
VIEWERS = 40
TOPIC = "qoe/v1/video/eu/a"


def reports(now_s: float) -> list[dict[str, object]]:
    """What viewers have reported in the last 20 s; they also rate."""
    counters = [(0, 0, 20), (10, 0, 10), (19, 1, 0)]
    return [
        {
            "session": f"viewer-{viewer}",
            "seq": seq,
            "ts": now_s - before_s,
            "play_s": play_s,
            "stall_count": stalls * (viewer % 2),
            "stall_s": 3.0 * stalls * (viewer % 2),
            **({"rating": 3 + viewer % 3, "asked": True} if seq == 2 else {}),
        }
        for seq, (play_s, stalls, before_s) in enumerate(counters)
        for viewer in range(VIEWERS)
    ]


def samples(folder: Path, settings: dict[str, object]) -> None:
    """The files that pages take for granted, and what a checkout has."""
    for name in ("config", "dashboards", "docs/examples"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "my.yaml").write_text(json.dumps(settings))  # YAML includes JSON.
    (folder / "other.yaml").write_text("services: {video: {mapping: video-stall, theta: 0.1}}\n")
    (folder / "defaults.yaml").write_text(json.dumps({"mqtt": settings["mqtt"]}))
    ratings = [f"{level} stalls,{1 + (level + viewer) % 5}" for level in range(6) for viewer in range(level, 18)]
    (folder / "ratings.csv").write_text("\n".join(["condition,rating", *ratings, ""]))
    study = re.findall(r"```csv\n(.*?)```", (ROOT / "docs/calibration.md").read_text(), re.DOTALL)
    (folder / "study.csv").write_text(study[0])
    (folder / "access.log.gz").write_bytes(gzip.compress("\n".join(combined("dashjs-again")).encode()))
    (folder / "message.json").write_text(json.dumps(reports(time.time())[0]))
    begin_s = 1_764_400_020.0
    with Writer(folder / RECORDING, Header(started_s=begin_s, source="broker:1883")) as writer:
        for interval in range(4):
            at_s = begin_s + 60 * interval + 30
            each = [{**one, "session": f"{one['session']}-{interval}"} for one in reports(at_s)]
            writer.write([Recorded(TOPIC, json.dumps(each).encode(), at_s)])


def posted(port: int, body: str) -> None:
    """Send reports to the collector."""
    connection = HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    connection.request("POST", "/cmcd/v1/video/eu/a", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 204
    connection.close()


class Place:
    """A broker, a daemon with viewers who rate, an Alertmanager, and the files that pages take for granted."""

    def __init__(self, folder: Path, parts: ExitStack) -> None:
        self.files, self._run = folder / "files", folder / "run"
        self.files.mkdir()
        collector, self.broker = unused_port(), parts.enter_context(Mosquitto(folder))
        settings: dict[str, object] = {
            "mqtt": {"host": "127.0.0.1", "port": self.broker.port, "client_id": "qoemon-pages"},
            "collector": {"port": collector},
            "sessions": {"tick": "1s", "rating_interval": "10s"},
            "windows": ["10s", "1m", "5m"],
            "state": {"dir": str(folder / "state")},
        }
        daemon = parts.enter_context(Daemon(folder, settings)).ready()
        self._ports = {
            "9877": str(daemon.port),
            "9878": str(collector),
            "9879": str(unused_port()),
            "9093": str(parts.enter_context(Alertmanager(folder)).port),
        }
        posted(collector, json.dumps(reports(time.time())))
        rated = ("qoemon_feedback_asked_sessions_total", (("service", "video"),))
        until(lambda: daemon.samples().get(rated) == VIEWERS, daemon.log.read_text)
        samples(self.files, {**settings, "http": {"port": daemon.port}})
        self._programs = folder / "bin"
        self._programs.mkdir()
        for name, text in PROGRAMS.items():
            (self._programs / name).write_text(text)
            (self._programs / name).chmod(0o755)

    def run(self, page: list[Block]) -> None:
        """Run the commands of a page, in a new copy of the files; each must end as it should."""
        shutil.rmtree(self._run, ignore_errors=True)
        shutil.copytree(self.files, self._run)
        for block in page:
            shutil.copy(self.files / RECORDING, self._run)  # Commands before may have recorded something else.
            exports = ""
            for command in here(block):
                if command.startswith("export "):
                    exports += f"{command}; "
                else:
                    self._one(command, exports)

    def _one(self, command: str, exports: str) -> None:
        yesterday = datetime.now(UTC) - timedelta(days=1)
        script = re.sub(r"\b(qoe\.example\.net|localhost):", "127.0.0.1:", command)
        script = re.sub(r":(\d{4})\b", lambda found: f":{self._ports.get(found[1], found[1])}", script)
        script = re.sub(r"\b\d{4}-\d\d-\d\d(?=T\d)", f"{yesterday:%Y-%m-%d}", script)
        with (self._run / "log").open("w+") as log:
            bash = ["bash", "-euo", "pipefail", "-c", exports + script]
            process = subprocess.Popen(
                bash, cwd=self._run, env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            try:
                self._ended(process, command)
            finally:
                process.kill()
                process.wait()

    def _ended(self, process: subprocess.Popen[bytes], command: str) -> None:
        log = self._run / "log"

        def said() -> str:
            return f"{command}\n{log.read_text()}"

        shown = next((text for name, text in UNTIL.items() if command.startswith(name)), None)
        if shown is None or "--once" in command:
            until(lambda: process.poll() is not None, said)
            assert process.returncode == ENDS.get(command, 0), said()
        else:
            until(lambda: shown in log.read_text() or process.poll() is not None, said)
            assert process.poll() is None, said()
            process.send_signal(signal.SIGINT)
            until(lambda: process.poll() is not None, said)
            assert process.returncode in {0, 128 + signal.SIGINT}, said()

    def _environment(self) -> dict[str, str]:
        real = {
            "CURL": program("curl", "Debian package curl"),
            "MOSQUITTO_PUB": program("mosquitto_pub", "Debian package mosquitto-clients"),
            "PROMETHEUS": program("prometheus", "Debian package prometheus"),
        }
        return {
            **os.environ,
            **real,
            "PATH": os.pathsep.join([str(self._programs), os.environ["PATH"]]),
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "QOEMON_CONFIG": "defaults.yaml",
            "USER": "operator",
            "HTTP": self._ports["9877"],
            "MQTT": str(self.broker.port),
            "RUN": str(unused_port()),
        }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    for name, package in (("amtool", "prometheus-alertmanager"), ("promtool", "prometheus"), ("jq", "jq")):
        program(name, f"Debian package {package}")
    with ExitStack() as parts:
        yield Place(tmp_path_factory.mktemp("place"), parts)


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if here(block)}))
def test_the_commands_of_a_page_do_what_they_should(page: str, place: Place) -> None:
    """As a reader copies them, with the ports of this test, and yesterday for the dates of the page."""
    place.run([block for block in BLOCKS if block.page == page])
