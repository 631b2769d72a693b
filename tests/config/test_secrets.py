"""Secrets that are configured everywhere appear nowhere: in no message, log, metric or representation."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest
from cryptography.hazmat.primitives import serialization

from qoemon.config.config import load
from qoemon.engine.local import LocalEngine
from qoemon.inputs.mqtt.options import broker_options
from qoemon.net.http.stats import HttpStats
from qoemon.net.http.web_config import WebConfig
from qoemon.outputs.notify.receivers import receivers
from tests.support.parts import ROOT, Certificates, Mosquitto, certificates, unused_port
from tests.support.patience import TEST_S, WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "sesame-web"  # noqa: S105 - for the page, never in a file
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
WRONG = "sesame-wrong"
SECRETS = {
    "mqtt": "sesame-mqtt",
    "key": "sesame-key",
    "alertmanager": "sesame-alertmanager",
    "webhook": "sesame-webhook",
    "token": "sesame-token",
}
FORMS = {
    *SECRETS.values(),
    PASSWORD,
    WRONG,
    HASH,
    HASH[10:],
    *(b64encode(s.encode()).decode() for s in SECRETS.values()),
}
"""What must not be found anywhere, as it is or as HTTP carries it."""


def leaks(text: str) -> list[str]:
    return [secret for secret in FORMS if secret in text]


@pytest.fixture
def issued(tmp_path: Path) -> Certificates:
    return certificates(tmp_path / "tls")


def settings(folder: Path, issued: Certificates, broker_port: int, http_port: int) -> Path:
    """A configuration with secrets by environment, by file and as they are."""
    (folder / "web.yml").write_text(
        json.dumps(
            {
                "tls_server_config": {"cert_file": str(issued.server), "key_file": str(issued.server_key)},
                "basic_auth_users": {"alice": HASH},
            }
        )
    )
    (folder / "webhook.secret").write_text(SECRETS["webhook"] + "\n")
    dead = unused_port()  # Receivers that are not there have their failures logged.
    content = {
        "mqtt": {
            "host": "localhost",
            "port": broker_port,
            "username": "qoemon",
            "password": "${MQTT_PASSWORD}",
            "reconnect": {"min": "100ms", "max": "100ms"},
            "tls": {
                "ca_file": str(issued.ca),
                "cert_file": str(issued.client),
                "key_file": str(encrypted(folder, issued.client_key)),
                "key_password": "${KEY_PASSWORD}",
            },
        },
        "sessions": {"tick": "1s", "rating_interval": "5s", "timeout": "10s", "min_active": "1s"},
        "windows": ["5s"],
        "alerts": [{"name": "Any", "metric": "open_stall_share", "threshold": 0.01, "recovery": 0.005, "for": "1s",
                    "min_sessions": 1, "confidence": False}],
        "notify": {
            "alertmanagers": [
                {"url": f"http://127.0.0.1:{dead}", "username": "q", "password": SECRETS["alertmanager"]}
            ],
            "webhooks": [
                {"url": f"http://127.0.0.1:{dead}/hook?token={SECRETS['token']}", "secret_file": "webhook.secret"}
            ],
        },
        "http": {"port": http_port, "web_config_file": "web.yml"},
        "log": {"level": "debug"},
    }  # fmt: skip
    file = folder / "qoemon.yaml"
    file.write_text(json.dumps(content))
    return file


def encrypted(folder: Path, key: Path) -> Path:
    """The key with a password."""
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    file = folder / "client.encrypted.key"
    file.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(SECRETS["key"].encode()),
        )
    )
    return file


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "MQTT_PASSWORD": SECRETS["mqtt"], "KEY_PASSWORD": SECRETS["key"], **changes}


def qoemon(*arguments: str, accepted: bool = True, **changes: str) -> str:
    """The output of a command, which accepts the configuration or rejects it."""
    command = [sys.executable, "-m", "qoemon", *arguments]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment(**changes), capture_output=True, text=True, check=False, timeout=TEST_S
    )
    assert (ended.returncode == 0) == accepted, ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture
def mosquitto(tmp_path: Path, issued: Certificates) -> Iterator[Mosquitto]:
    folder = tmp_path / "broker"
    folder.mkdir()
    with Mosquitto(folder, tls=issued, users={"qoemon": SECRETS["mqtt"]}) as broker:
        yield broker


@pytest.mark.mosquitto
@pytest.mark.parametrize("known", [True, False])
def test_a_daemon_that_logs_and_serves_all_it_can_shows_none(
    tmp_path: Path, issued: Certificates, mosquitto: Mosquitto, known: bool
) -> None:
    """Connected and rejected, with receivers that fail, and with every page requested."""
    port = unused_port()
    file = settings(tmp_path, issued, mosquitto.port, port)
    secrets = environment() if known else environment(MQTT_PASSWORD=WRONG)
    log = tmp_path / "log"
    command = [sys.executable, "-m", "qoemon", "run", "-c", str(file)]
    with log.open("wb") as out, subprocess.Popen(command, cwd=ROOT, env=secrets, stdout=out, stderr=out) as daemon:
        try:
            expected = "subscribed to" if known else "does not authorize us"
            until(lambda: expected in log.read_text(), log.read_text)
            until(lambda: "qoemon_build_info" in get(port, issued, "/metrics"), log.read_text)
            pages = ["/metrics", "/api/v1/snapshot", "/readyz", "/healthz", "/nothing", "/api/v1/group?service=x"]
            served = "".join(get(port, issued, page) for page in pages)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(WAIT_S)
    output = log.read_text()
    assert expected in output
    assert not leaks(output + served)


def get(port: int, issued: Certificates, path: str) -> str:
    """The response to an authorised request, headers included; "" if there is none."""
    request = urllib.request.Request(f"https://localhost:{port}{path}")
    request.add_header("Authorization", "Basic " + b64encode(f"alice:{PASSWORD}".encode()).decode())
    context = ssl.create_default_context(cafile=issued.ca)
    try:
        with urllib.request.urlopen(request, context=context, timeout=WAIT_S) as answer:  # noqa: S310
            return f"{answer.headers}\n{answer.read().decode()}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.headers}\n{error.read().decode()}"
    except OSError:
        return ""


def test_check_and_rules_show_none(tmp_path: Path, issued: Certificates) -> None:
    file = str(settings(tmp_path, issued, 1883, 9877))
    output = [qoemon("check", "-c", file), qoemon("rules", "-c", file), qoemon("rules", "--scrape", "-c", file)]
    assert "configuration is valid" in output[0]
    assert not leaks("".join(output))


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("mqtt", {"password": SECRETS["mqtt"], "password_file": "webhook.secret"}),
        ("mqtt", {"password": [SECRETS["mqtt"]]}),
        ("mqtt", {"password": {"text": SECRETS["mqtt"]}}),
        ("mqtt", {"username": None}),
        ("mqtt", {"port": "${MQTT_PASSWORD}"}),
        ("mqtt", {"password_file": SECRETS["mqtt"]}),
        ("mqtt", {"tls": {"key_password": SECRETS["key"]}}),
        ("mqtt", {"tls": SECRETS["key"]}),
        ("notify", {"webhooks": [{"url": f"http://user:{SECRETS['token']}@x/"}]}),
        ("notify", {"webhooks": [{"secret": SECRETS["webhook"]}]}),
        ("notify", {"alertmanagers": [{"url": "http://x", "password": SECRETS["alertmanager"]}]}),
        ("http", {"web_config_file": "broken.yml"}),
    ],
    ids=str,
)
def test_errors_about_secrets_show_none(
    tmp_path: Path, issued: Certificates, section: str, change: dict[str, Any]
) -> None:
    file = settings(tmp_path, issued, 1883, 9877)
    (tmp_path / "broken.yml").write_text(f"basic_auth_users: {{alice: {PASSWORD}}}\n")
    content = json.loads(file.read_text())
    content[section] |= change
    file.write_text(json.dumps(content))
    output = qoemon("check", "-c", str(file), accepted=False)
    assert ", expected " in output
    assert not leaks(output)


def test_no_representation_of_what_is_made_of_it_has_one(
    tmp_path: Path, issued: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    config = load(settings(tmp_path, issued, 1883, 9877), environment())
    broker = broker_options(config.mqtt)
    assert broker.password == SECRETS["mqtt"], "it is there to be found"
    senders = receivers(config.notify, broker, "http://x")
    shown = [config, broker, senders, [one.state for one in senders]]
    engine = LocalEngine(config, None)
    shown += [WebConfig(config.http.web_config_file, HttpStats(), environment()).now(), engine.stats, vars(engine)]
    shown += [vars(engine.shard), vars(engine.shard.sources.mqtt)]
    engine.close()
    assert not leaks("".join(map(repr, shown)))
