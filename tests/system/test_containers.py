"""The image and the compose file, as far as they can be tried without a container engine.

What the files say of each other is compared; then their commands and configurations run for real, one process a
service, with nothing changed but what must be: paths, addresses, and how often is ticked and scraped.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import aiomqtt
import pytest
import yaml

from qoemon.config import config as configuration
from tests.support.parts import ROOT, Part, get, program, unused_port
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CONFIG = ROOT / "config"
COMPOSE: dict[str, Any] = yaml.safe_load((CONFIG / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OF_THE_IMAGE = {name for name, service in SERVICES.items() if "build" in service}
PORTS = {"mosquitto": 1883, "qoemon": 9877, "alertmanager": 9093, "prometheus": 9090, "grafana": 3000}
"""Where each service listens."""


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile: each instruction, and what follows on its line and those that continue it."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in whole if line]


def last(name: str) -> str:
    """What the image has of an instruction: the last one says it."""
    return [rest for instruction, rest in instructions() if instruction == name][-1]


HEALTHCHECK: list[str] = json.loads(last("HEALTHCHECK").partition("CMD")[2])


def mounts(service: str) -> list[tuple[str, str, str]]:
    """Source, target and mode of each."""
    parts = [(*mount.split(":"), "rw") for mount in SERVICES[service].get("volumes", [])]
    return [(source, target, mode) for source, target, mode, *_ in parts]


def shipped(path: str) -> Any:
    return yaml.safe_load((CONFIG / path).read_text())


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_mounted_is_in_the_repository_or_a_volume(service: str) -> None:
    for source, _, mode in mounts(service):
        if source.startswith("."):
            assert (CONFIG / source).exists(), source
            assert mode == "ro"
        else:
            assert source in COMPOSE["volumes"]


def test_every_volume_is_used_once() -> None:
    used = [source for service in SERVICES for source, *_ in mounts(service) if not source.startswith(".")]
    assert sorted(used) == sorted(COMPOSE["volumes"])


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_do_no_more_than_it_must(service: str) -> None:
    told = SERVICES[service]
    assert told["read_only"] is True
    assert told["cap_drop"] == ["ALL"]
    assert told["security_opt"] == ["no-new-privileges:true"]
    assert all("size=" in tmpfs for tmpfs in told["tmpfs"])
    assert re.fullmatch(r"\d+[mg]", told["mem_limit"])
    assert told["pids_limit"] > 0
    assert not told.keys() & {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc"}


@pytest.mark.parametrize("service", sorted(SERVICES.keys() - OF_THE_IMAGE))
def test_images_are_pinned_to_a_release(service: str) -> None:
    assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", SERVICES[service]["image"])


@pytest.mark.parametrize("service", PORTS)
def test_ports_are_open_on_this_machine_only(service: str) -> None:
    assert SERVICES[service]["ports"] == [f"127.0.0.1:{PORTS[service]}:{PORTS[service]}"]


def test_services_listen_where_the_others_look_for_them() -> None:
    """Grafana, Prometheus and Alertmanager have their own defaults, which no file here changes."""
    settings = configuration.load(CONFIG / "compose/qoemon.yaml")
    assert (settings.http.host, settings.http.port) == ("0.0.0.0", PORTS["qoemon"])  # noqa: S104
    assert f"listener {PORTS['mosquitto']}\n" in (CONFIG / "compose/mosquitto.conf").read_text()
    assert last("EXPOSE") == str(PORTS["qoemon"])
    (source,) = shipped("grafana/provisioning/datasources/qoemon.yml")["datasources"]
    scraped = shipped("compose/prometheus.yml")
    simulate = SERVICES["simulate"]["command"]
    named = [
        f"{settings.mqtt.host}:{settings.mqtt.port}",
        f"{simulate[simulate.index('--host') + 1]}:{simulate[simulate.index('--port') + 1]}",
        *(urlsplit(alertmanager.url).netloc for alertmanager in settings.notify.alertmanagers),
        urlsplit(source["url"]).netloc,
        *(target for told in scraped["alerting"]["alertmanagers"] for target in targets(told)),
        *(target for told in scraped["scrape_configs"] for target in targets(told)),
    ]
    assert len(named) == 6
    assert set(named) <= {f"{service}:{port}" for service, port in PORTS.items()}


def targets(told: Mapping[str, Any]) -> list[str]:
    return [target for group in told["static_configs"] for target in group["targets"]]


@pytest.mark.parametrize("service", SERVICES)
def test_who_waits_for_health_waits_for_one_that_tells_it(service: str) -> None:
    for other, told in SERVICES[service].get("depends_on", {}).items():
        assert told == {"condition": "service_healthy"}
        assert other in {"qoemon", *(name for name in SERVICES if "test" in SERVICES[name].get("healthcheck", {}))}


def test_the_broker_is_set_as_the_page_on_brokers_demands() -> None:
    block = (ROOT / "docs/brokers.md").read_text().partition("```conf\n")[2].partition("```")[0]
    demanded = {line for line in block.splitlines() if line and not line.startswith("#")}
    assert "max_queued_messages 0" in demanded
    assert demanded <= set((CONFIG / "compose/mosquitto.conf").read_text().splitlines())


def test_grafana_finds_its_boards_and_where_to_look() -> None:
    (provider,) = shipped("grafana/provisioning/dashboards/qoemon.yml")["providers"]
    sources = {target: source for source, target, _ in mounts("grafana")}
    boards = CONFIG / sources[provider["options"]["path"]]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(provider["options"]["path"])
    assert (boards / home.rpartition("/")[2]).is_file()
    assert "/etc/grafana/provisioning" in sources


def qoemon(*arguments: str) -> str:
    """What it prints; it must end well."""
    command = [sys.executable, "-m", "qoemon", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_configuration_has_no_mistakes() -> None:
    assert "configuration is valid" in qoemon("check", "-c", "config/compose/qoemon.yaml")


def test_the_rules_are_those_of_the_configuration() -> None:
    assert (CONFIG / "compose/rules.yml").read_text() == qoemon("rules", "-c", "config/compose/qoemon.yaml")
    assert ("./compose/rules.yml", "/etc/prometheus/rules.yml", "ro") in mounts("prometheus")


def test_prometheus_does_not_repeat_what_the_daemon_tells() -> None:
    told = {alert.name for alert in configuration.load(CONFIG / "compose/qoemon.yaml").alerts}
    rules = [rule for group in shipped("compose/rules.yml")["groups"] for rule in group["rules"]]
    assert told
    assert told.isdisjoint(rule.get("alert") for rule in rules)
    written = yaml.safe_load(qoemon("rules", "-c", "config/compose/qoemon.yaml", "--scrape"))
    assert shipped("compose/prometheus.yml")["alerting"] == written["alerting"]


def test_the_image_runs_as_nobody_in_particular() -> None:
    user, _, group = last("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_both_stages_have_the_same_python_of_a_named_release() -> None:
    bases = {rest.split()[0] for instruction, rest in instructions() if instruction == "FROM"}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", bases.pop())


def test_the_image_has_the_pinned_dependencies_and_the_charts_of_the_live_page() -> None:
    (installs,) = [rest for instruction, rest in instructions() if instruction == "RUN" and " install " in rest]
    assert "/bin/python install --require-hashes --requirement config/requirements.txt " in installs
    assert installs.endswith("/bin/python install --no-deps /wheels/qoemon-*.whl")
    assert "\nplotly==" in (CONFIG / "requirements.txt").read_text()


def test_what_is_copied_into_the_image_is_there_and_nothing_else_is_sent() -> None:
    copies = [rest.split() for instruction, rest in instructions() if instruction == "COPY"]
    sources = {source for words in copies if not words[0].startswith("--from") for source in words[:-1]}
    assert all((ROOT / source).exists() for source in sources)
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert allowed == sources
    assert lines.index("*") < min(lines.index(f"!{source}") for source in sources)


def test_the_image_has_a_state_directory_that_is_the_daemons() -> None:
    (state,) = [target for source, target, _ in mounts("qoemon") if source in COMPOSE["volumes"]]
    assert ("COPY", f"--from=build --chown={last('USER')} /state {state}") in instructions()


def healthy(port: int) -> bool:
    """The verdict of the image's health check on what listens there."""
    python, *arguments = (word.replace(str(PORTS["qoemon"]), str(port)) for word in HEALTHCHECK)
    assert python == "python"
    # A proxy, as container engines hand one down, must not be asked for what is on this machine.
    environment = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False)
    assert done.returncode in {0, 1}, "an engine knows no other codes"
    return done.returncode == 0


def test_the_health_check_finds_nothing_where_nothing_is(unused_port: int) -> None:
    assert not healthy(unused_port)


def test_the_health_check_believes_a_daemon_that_says_it_is_unwell() -> None:
    class Unwell(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Unwell) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert not healthy(server.server_port)
        thread.join()


class Stack:
    """The services on loopback: their commands and files, moved into a directory and to free ports."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = {service: unused_port() for service in PORTS}
        self._here = {
            target: directory / f"{service}{target}" for service in SERVICES for _, target, _ in mounts(service)
        }

    @contextmanager
    def running(self, service: str) -> Iterator[Part]:
        """The service, as soon as it answers."""
        with _Process(service, self) as part:
            yield part

    def lay_out(self, service: str) -> None:
        """Put its files where its command will look for them."""
        for source, target, _ in mounts(service):
            here = self._here[target]
            if source in COMPOSE["volumes"]:
                here.mkdir(parents=True, exist_ok=True)
            else:
                here.parent.mkdir(parents=True, exist_ok=True)
                here.write_text(self._adapted(service, self.moved((CONFIG / source).read_text())))

    def moved(self, text: str) -> str:
        """Paths in the containers become paths here, addresses among them addresses here."""
        paths = "|".join(sorted(map(re.escape, self._here), key=len, reverse=True))
        text = re.sub(rf"(?<![\w/])({paths})\b", lambda found: str(self._here[found[1]]), text)
        for service, port in PORTS.items():
            text = text.replace(f"{service}:{port}", f"127.0.0.1:{self.ports[service]}")
        return text

    def argv(self, service: str) -> list[str]:
        """Its command line."""
        if service in OF_THE_IMAGE:
            assert json.loads(last("ENTRYPOINT")) == ["qoemon"]
            arguments = SERVICES[service].get("command") or json.loads(last("CMD"))
            return [sys.executable, "-m", "qoemon", *map(self.moved, arguments)]
        if service == "mosquitto":
            path, *arguments = SERVICES[service]["command"]
            return [program(path.rpartition("/")[2], "Debian package mosquitto"), *map(self.moved, arguments)]
        package = {"alertmanager": "prometheus-alertmanager", "prometheus": "prometheus"}[service]
        listen = f"--web.listen-address=127.0.0.1:{self.ports[service]}"
        command = [*map(self.moved, SERVICES[service]["command"]), listen]
        return [program(package, f"Debian package {package}"), *command]

    def _adapted(self, service: str, text: str) -> str:
        """Its configuration, with what a container has of its own: addresses, users; and less patience."""
        if service == "mosquitto":
            listener = f"listener {self.ports[service]} 127.0.0.1"
            # Only root's mosquitto reads `user`: it would give up its rights to write here.
            return text.replace(f"listener {PORTS[service]}", listener) + "user root\n"
        if service == "qoemon":
            settings = yaml.safe_load(text)
            settings["mqtt"] |= {"host": "127.0.0.1", "port": self.ports["mosquitto"]}
            settings["http"] |= {"host": "127.0.0.1", "port": self.ports["qoemon"]}
            return json.dumps(settings | {"sessions": {"tick": "1s"}})
        return text.replace("scrape_interval: 10s", "scrape_interval: 1s")


class _Process(Part):
    def __init__(self, service: str, stack: Stack) -> None:
        super().__init__(service, stack.directory)
        self.cwd, self.port, self._stack = ROOT, stack.ports[service], stack

    def command(self) -> list[str]:
        self._stack.lay_out(self.name)
        return self._stack.argv(self.name)


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


def well(program: str, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.prometheus
def test_promtool_finds_no_mistake_in_the_configuration_of_prometheus(stack: Stack) -> None:
    stack.lay_out("prometheus")
    said = well(
        program("promtool", "Debian package prometheus"),
        "check",
        "config",
        stack.moved("/etc/prometheus/prometheus.yml"),
    )
    assert "1 rule files found" in said


@pytest.mark.alertmanager
def test_amtool_finds_no_mistake_in_the_configuration_of_alertmanager(stack: Stack) -> None:
    stack.lay_out("alertmanager")
    amtool = program("amtool", "Debian package prometheus-alertmanager")
    assert "1 receivers" in well(amtool, "check-config", stack.moved("/etc/alertmanager/alertmanager.yml"))


@pytest.mark.mosquitto
@pytest.mark.prometheus
@pytest.mark.alertmanager
def test_the_services_find_each_other_and_figures_reach_prometheus(stack: Stack) -> None:
    with ExitStack() as parts:
        for service in ("mosquitto", "alertmanager", "qoemon", "prometheus"):
            parts.enter_context(stack.running(service))
        until(lambda: healthy(stack.ports["qoemon"]), lambda: "the image's health check fails")
        until(lambda: answers_its_check(stack, "alertmanager"), lambda: "Alertmanager's health check fails")
        until(lambda: answers_its_check(stack, "prometheus"), lambda: "Prometheus' health check fails")
        simulate(stack, for_s=6)
        series = quote('qoemon_pow_ratio{job="qoemon",window="1m"}')
        until(lambda: asked(stack, f"query?query={series}")["result"], lambda: "no figures in Prometheus")
        (told,) = asked(stack, "alertmanagers")["activeAlertmanagers"]
        rules = [rule for group in asked(stack, "rules")["groups"] for rule in group["rules"]]
    assert urlsplit(told["url"]).netloc == f"127.0.0.1:{stack.ports['alertmanager']}"
    assert {"QoemonDown", "QoemonSloBurn1h"} < {rule["name"] for rule in rules}


def answers_its_check(stack: Stack, service: str) -> bool:
    """Whether what the service's health check asks for is there."""
    url = urlsplit(SERVICES[service]["healthcheck"]["test"][-1])
    assert url.netloc == f"127.0.0.1:{PORTS[service]}"
    return get(stack.ports[service], url.path).status == 200


def simulate(stack: Stack, for_s: int) -> None:
    """The simulated users of the profile demo, their story in so many seconds."""
    users = stack.argv("simulate")
    users[users.index("--host") + 1] = "127.0.0.1"
    users[users.index("--port") + 1] = str(stack.ports["mosquitto"])
    users[users.index("--for") + 1] = f"{for_s}s"
    well(*users)


def asked(stack: Stack, path: str) -> Any:
    """What Prometheus answers."""
    return json.loads(get(stack.ports["prometheus"], f"/api/v1/{path}").body)["data"]


@pytest.mark.mosquitto
def test_the_broker_keeps_for_an_absent_daemon_more_than_its_default(stack: Stack) -> None:
    """Also over a restart of its own."""
    messages = 1500  # The default is 1000.
    with stack.running("mosquitto") as broker:
        with stack.running("qoemon"):
            until(lambda: get(stack.ports["qoemon"], "/readyz").status == 200, lambda: "not ready")
        asyncio.run(report(stack.ports["mosquitto"], messages))
        broker.restart()
        with stack.running("qoemon"):
            until(lambda: taken(stack) >= messages, lambda: f"{taken(stack)} of {messages} messages came")


async def report(port: int, messages: int) -> None:
    async with aiomqtt.Client("127.0.0.1", port, timeout=WAIT_S) as client:
        for number in range(messages):
            told = {"session": f"s{number}", "seq": 0, "stall_count": 0, "stall_s": 0, "play_s": 1}
            await client.publish("qoe/v1/video/eu/a", json.dumps(told), qos=1)


def taken(stack: Stack) -> float:
    answer = get(stack.ports["qoemon"], "/metrics").body
    found = re.search(r"^qoemon_messages_total (\S+)", answer, re.MULTILINE)
    return float(found[1]) if found else 0.0
