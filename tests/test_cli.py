"""The command line: the output and exit code of each command; no error of a user ends in a traceback."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from typer.testing import CliRunner

import qoemon
from qoemon import cli
from qoemon.tools.simulate import commands
from qoemon.tools.simulate.simulate import SCENARIOS
from tests.support.oracle import Mixture, video_mos
from tests.support.parts import ROOT, unused_port
from tests.support.patience import TEST_S, WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result

    from tests.support.parts import Daemon, Mosquitto, Nats

SAMPLE = ROOT / "config" / "qoemon.yaml"
RATED = "stall_count,stall_s,play_s\n0,0,60\n1,2.5,60\n3,12,60\n0,0,60\n"

BROKEN = """\
mqtt:
  port: 70000
  hots: broker
sessions:
  tick: 7s
services:
  video: {mapping: video-stal, theta: 3}
"""


def qoemon_cli(*arguments: str, stdin: str = "") -> Result:
    """In this process; anything but an exit is a traceback that a user would see."""
    result = CliRunner().invoke(cli.app, arguments, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """As a user runs it."""
    command = [sys.executable, "-m", "qoemon", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TEST_S, check=False)


def test_version_is_printed_by_the_command_itself() -> None:
    done = process("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"qoemon {qoemon.__version__}\n", "")


def test_check_names_every_address_of_the_broker(tmp_path: Path) -> None:
    config = tmp_path / "qoemon.yaml"
    config.write_text(
        "mqtt:\n  hosts: [a, '[::1]:1884']\n  port: 443\n  transport: websockets\n  websocket_path: /ws?token=x\n"
    )
    result = qoemon_cli("check", "-c", str(config))
    assert "at a:443/ws or [::1]:1884/ws, MQTT 5" in result.stdout
    assert "token" not in result.stdout


def test_check_says_who_does_what_where_a_cluster_counts(tmp_path: Path) -> None:
    config = tmp_path / "qoemon.yaml"
    config.write_text(
        "engine: {kind: spark, checkpoint: 's3a://qoe/checkpoint'}\nkafka: {brokers: [k1:9092, k2:9092]}\n"
    )
    result = qoemon_cli("check", "-c", str(config))
    assert (
        "`qoemon bridge` does that, and writes to topic qoemon-reports of Kafka at k1:9092, k2:9092"
        in result.stdout
    )
    assert "counts on Spark (local[*]), 64 shards, checkpoint s3a://qoe/checkpoint" in result.stdout


@pytest.mark.parametrize("config", [[], ["-c", str(SAMPLE)]], ids=["defaults", "sample"])
def test_check_summarises_the_configuration(config: list[str]) -> None:
    result = qoemon_cli("check", *config)
    assert result.exit_code == 0
    for told in (
        "configuration is valid",
        "qoe/v1/+/+/+",
        "localhost:1883",
        "region, cdn",
        "1m, 5m, 1h",
        "MOS 1.50 to 5.00",
    ):
        assert told in result.stdout
    assert "to 89.1 %" in result.stdout  # The poor share of video can reach .8915 at most.


def test_check_reports_every_error_with_its_line_and_exits_with_2(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(BROKEN)
    done = process("check", "-c", str(file))
    assert done.returncode == 2
    assert done.stdout == ""
    for line, key in ((2, "mqtt.port"), (3, "mqtt.hots"), (5, "sessions.tick"), (7, "services.video.mapping")):
        assert f"{file}:{line}: {key}: found" in done.stderr
    assert "services.video.theta" in done.stderr
    assert "5 errors" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["run", "check", "analyze - --service video"])
def test_a_configuration_that_is_missing_or_broken_ends_every_command_with_2(command: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(BROKEN)
    for file in (broken, tmp_path / "missing.yaml"):
        result = qoemon_cli(*command.split(), "-c", str(file))
        assert result.exit_code == 2
        assert str(file) in result.stderr
        assert "error" in result.stderr.splitlines()[-1]


def test_schema_is_one_and_takes_the_sample() -> None:
    result = qoemon_cli("check", "--schema")
    assert result.exit_code == 0
    schema = json.loads(result.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(SAMPLE.read_text()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(BROKEN), schema)


@pytest.fixture
def rated(tmp_path: Path) -> str:
    file = tmp_path / "rated.csv"
    file.write_text(RATED)
    return str(file)


@pytest.mark.parametrize("theta", [0.3, 0.1])
def test_analyze_exactly_gives_the_figures_of_brute_force(rated: str, theta: float) -> None:
    result = qoemon_cli("analyze", rated, "--service", "video", "--exact", "--json", "--theta", str(theta))
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    truth = Mixture([(video_mos(n, t), 1) for n, t in ((0, 0), (1, 2.5), (3, 12), (0, 0))], theta)
    assert told["observations"] == 4
    for name in ("mos", "sos", "gob", "pow"):
        assert told[name] == pytest.approx(getattr(truth, name), rel=1e-9)
    assert list(told["ratings"].values()) == pytest.approx(truth.ratings, rel=1e-9, abs=1e-12)


def test_analyze_through_the_bins_is_as_near_as_promised(rated: str) -> None:
    exact, binned = (
        json.loads(qoemon_cli("analyze", rated, "--service", "video", "--json", *more).stdout)
        for more in (["--exact"], [])
    )
    assert binned["mos"] == pytest.approx(exact["mos"], abs=0.003)
    assert binned["gob"] == pytest.approx(exact["gob"], abs=0.0011)


def test_analyze_prints_a_table_and_reads_standard_input(rated: str) -> None:
    from_file = qoemon_cli("analyze", rated, "--service", "video")
    from_stdin = qoemon_cli("analyze", "-", "--service", "video", stdin=RATED)
    assert from_file.exit_code == from_stdin.exit_code == 0
    assert from_file.stdout == from_stdin.stdout
    for told in ("4 rated experiences of video", "GoB", "PoW", "MOS", "theta 0.3"):
        assert told in from_file.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["FILE", "--service", "radio"], 2, "no service 'radio' in the configuration; it has video, web"),
        (["nowhere.csv", "--service", "video"], 2, "nowhere.csv: cannot be read"),
        (["FILE", "--service", "video", "--theta", "1.5"], 2, "theta"),
        (["FILE", "--service", "web"], 1, "needs a header with response_s"),
        (["FILE"], 2, "--service"),
        (["BAD", "--service", "video"], 1, "line 3"),
    ],
    ids=["service", "file", "theta", "header", "option", "row"],
)
def test_analyze_tells_what_is_wrong_and_ends_with_its_code(
    rated: str, tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("stall_count,stall_s,play_s\n0,0,60\n0,much,60\n")
    files = {"FILE": rated, "BAD": str(bad)}
    result = qoemon_cli("analyze", *(files.get(argument, argument) for argument in arguments))
    assert result.exit_code == code
    assert told in result.stderr
    assert result.stdout == ""


def test_scenarios_of_the_command_are_those_of_the_simulator() -> None:
    assert get_args(commands.ScenarioName) == tuple(SCENARIOS)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["run", "--nothing"],
        ["simulate", "--for", "long"],
        ["simulate", "--scenario", "party"],
        ["simulate", "--port", "0"],
        ["demo", "--sessions", "1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    result = qoemon_cli(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.output


@pytest.mark.mosquitto
def test_simulate_reports_to_a_real_broker_until_its_time_is_up(mosquitto: Mosquitto) -> None:
    where = ("--host", "127.0.0.1", "--port", str(mosquitto.port))
    done = process("simulate", *where, "--for", "1s", "--sessions", "50", "--batch", "5", "--encoding", "msgpack")
    assert done.returncode == 0
    assert "50 sessions" in done.stderr
    assert "sent " in done.stderr
    assert "Traceback" not in done.stderr


def test_simulate_without_a_broker_says_where_it_looked_and_ends_with_1() -> None:
    port = unused_port()
    done = qoemon_cli("simulate", "--host", "127.0.0.1", "--port", str(port), "--for", "2s")
    assert done.exit_code == 1
    assert f"127.0.0.1:{port}: connection refused" in done.stderr


@pytest.mark.parametrize("topic", ["qoe/{servise}", "qoe/+/{region}", "qoe/{"])
def test_simulate_to_a_topic_that_cannot_be_filled_ends_with_2(nats: Nats, topic: str) -> None:
    """Usage, not a bug of the program."""
    where = ("--host", "127.0.0.1", "--port", str(nats.port), "--version", "3.1.1", "--for", "1s")
    result = qoemon_cli("simulate", *where, "--topic", topic)
    assert result.exit_code == 2
    assert topic in result.stderr


def test_simulate_with_a_ca_file_that_is_none_ends_with_2(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate\n")
    result = qoemon_cli("simulate", "--ca-file", str(file), "--for", "1s")
    assert result.exit_code == 2
    assert str(file) in result.stderr


def test_run_on_a_port_in_use_says_so_and_ends_with_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = tmp_path / "qoemon.yaml"
        file.write_text(json.dumps({"http": {"port": port}, "mqtt": {"host": "127.0.0.1", "port": unused_port()}}))
        done = process("run", "-c", str(file))
    assert done.returncode == 1
    assert f"qoemon: cannot listen on 127.0.0.1:{port}: " in done.stderr
    assert "in use: another program has this port, such as a second qoemon; stop it, or set another" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.mosquitto
def test_the_sample_configuration_runs_as_it_is(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """But for its ports, which a test must choose."""
    port = unused_port()
    text = SAMPLE.read_text()
    assert text.count("port: 1883") == text.count("port: 9877") == 1
    file = tmp_path / "qoemon.yaml"
    file.write_text(text.replace("port: 1883", f"port: {mosquitto.port}").replace("port: 9877", f"port: {port}"))
    command = [sys.executable, "-m", "qoemon", "run", "-c", str(file)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as daemon:
        try:
            assert daemon.stderr is not None
            said = [next(daemon.stderr) for _ in range(4)]
        finally:
            daemon.send_signal(signal.SIGTERM)
            rest = daemon.communicate(timeout=WAIT_S)[1]
    assert "nothing survives a restart: state.dir is not set" in said[0]
    assert f"serving on http://127.0.0.1:{port}" in said[1]
    assert "connected to localhost" in said[2]
    assert "subscribed to qoe/v1/+/+/+ (QoS 1)" in said[3]
    assert daemon.returncode == 0
    assert "SIGTERM: shutting down" in rest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_ends_in_order_while_it_still_looks_for_its_broker(
    start_daemon: Callable[..., Daemon], number: signal.Signals
) -> None:
    daemon = start_daemon({"mqtt": {"host": "127.0.0.1", "port": unused_port()}})
    until(lambda: "connection refused" in daemon.log.read_text(), daemon.log.read_text)
    assert daemon.signal(number) == 0
    log = daemon.log.read_text()
    assert f"{number.name}: shutting down" in log
    assert "Traceback" not in log


def test_the_configuration_may_come_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("mqtt: {host: broker}")
    result = CliRunner().invoke(cli.app, ["check"], env={"QOEMON_CONFIG": str(file)})
    assert f"{file}: configuration is valid" in result.stdout
    assert "at broker:1883" in result.stdout
    result = CliRunner().invoke(cli.app, ["check", "-c", str(SAMPLE)], env={"QOEMON_CONFIG": str(file)})
    assert "at localhost:1883" in result.stdout


def test_a_key_can_be_set_by_a_flag(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("mqtt: {host: broker}")
    result = qoemon_cli("check", "-c", str(file), "--set", "mqtt.port=8883", "--set", "windows=[1m, 2m]")
    assert "at broker:8883" in result.stdout
    assert "windows 1m, 2m" in result.stdout


def test_what_flags_set_is_checked_with_the_file_and_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("mqtt:\n  qos: 3")
    result = qoemon_cli("run", "-c", str(file), "--set", "mqtt.port=0", "--set", "mqtt.hots=x")
    assert result.exit_code == 2
    assert "--set: mqtt.port: found 0, expected a whole number from 1 to 65535" in result.stderr
    assert "--set: mqtt.hots: found an unknown key, expected one of host, " in result.stderr
    assert f"{file}:2: mqtt.qos: found 3" in result.stderr
    assert "3 errors" in result.stderr


def test_check_names_the_default_services_that_are_no_longer_rated(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    told = {
        "services: {video: {mapping: video-stall, theta: 0.2}}": "web is no longer rated",
        "services: {radio: {mapping: web-iqx, theta: 0.2}}": "video and web are no longer rated",
        "mqtt: {}": None,
    }
    for text, words in told.items():
        file.write_text(text)
        result = qoemon_cli("check", "-c", str(file))
        assert ("services replaces the defaults" in result.stdout) == (words is not None)
        assert words is None or f"services replaces the defaults: {words}" in result.stdout


STUDY = "response_s,rating\n" + "".join(
    f"{wait},{rating}\n"
    for wait, mos in ((0.5, 4), (1, 4), (2, 3), (4, 3), (8, 2))
    for rating in (mos, mos + 1, mos)
)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("fit", "--mapping", "web-iqx"), "web"),
        (("fit", "--mapping", "web-iqx", "--service", "shop"), "shop"),
        (("fit", "--mapping", "iqx"), "iqx"),
        (("theta",), "video"),
        (("theta", "--mapping", "web-iqx"), "web"),
    ],
    ids=" ".join,
)
def test_fragments_have_the_usual_name_of_the_service(
    tmp_path: Path, arguments: tuple[str, ...], name: str
) -> None:
    file = tmp_path / "study.csv"
    file.write_text(STUDY.replace("response_s", "condition") if arguments[0] == "theta" else STUDY)
    result = qoemon_cli(arguments[0], str(file), *arguments[1:])
    assert result.exit_code == 0
    note, _, fragment = result.stdout.partition("For the configuration")[2].partition("\n\n")
    assert list(yaml.safe_load(fragment)["services"]) == [name]
    assert "services replaces the defaults" in note
    other = {"web": "add video if", "video": "add web if"}.get(name, "add video and web if")
    assert other in note


@pytest.mark.parametrize(
    ("conditions", "code"),
    [
        (("pow > .05",), 1),
        (("pow>0.9",), 0),
        (("gob <= 0.5", "mos < 4.9"), 1),
        (("gob <= 0.5", "mos < 2"), 0),
    ],
    ids=str,
)
def test_analyze_fails_if_a_condition_holds(rated: str, conditions: tuple[str, ...], code: int) -> None:
    flags = [word for condition in conditions for word in ("--fail-if", condition)]
    result = qoemon_cli("analyze", rated, "--service", "video", "--json", *flags)
    assert result.exit_code == code
    assert json.loads(result.stdout)["observations"] == 4
    assert ("--fail-if is" in result.stderr) == (code == 1)


@pytest.mark.parametrize("condition", ["pow", "pow = .2", "sos > 1", "pow > 20", "pow > -1", "pow > nan", ""])
def test_a_condition_that_is_none_is_wrong_usage(rated: str, condition: str) -> None:
    result = qoemon_cli("analyze", rated, "--service", "video", "--fail-if", condition)
    assert result.exit_code == 2
    assert f"--fail-if: found {condition!r}, expected" in result.stderr


@pytest.mark.parametrize(
    ("suffix", "magic"), [("png", b"\x89PNG"), ("html", b"<!doctype html>"), ("svg", b"<?xml")]
)
def test_analyze_plots_what_it_found(rated: str, tmp_path: Path, suffix: str, magic: bytes) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'qoemon[plot]'")
    file = tmp_path / f"ratings.{suffix}"
    result = qoemon_cli("analyze", rated, "--service", "video", "--plot", str(file))
    assert result.exit_code == 0
    content = file.read_bytes()
    assert content.startswith(magic)
    assert suffix != "html" or not [url for url in ("src=", "@import") if url in content.decode()]


def test_a_plot_of_an_unknown_kind_is_wrong_usage_before_anything_is_read(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'qoemon[plot]'")
    result = qoemon_cli("analyze", "nowhere.csv", "--service", "video", "--plot", str(tmp_path / "a.doc"))
    assert result.exit_code == 2
    assert "found the suffix .doc, expected a file that ends in .png, .svg, .pdf or .html" in result.stderr


@pytest.mark.parametrize("command", [("analyze", "FILE", "--service", "video", "--plot", "a.png"), ("paper", "x")])
def test_without_matplotlib_the_error_names_the_extra(
    rated: str, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.chdir(tmp_path)
    result = qoemon_cli(*(word.replace("FILE", rated) for word in command))
    assert result.exit_code == 2
    assert f"needs matplotlib: {sys.executable} -m pip install 'qoemon[plot]'" in result.stderr
