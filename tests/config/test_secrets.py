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
from qoemon.daemon.daemon import Daemon as InProcess
from qoemon.engine.local import Alone
from qoemon.inputs.mqtt.options import broker_options
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
        "alerts": [{"name": "Any", "what": "open_stall_share", "enter": 0.01, "leave": 0.005, "for": "1s",
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


def qoemon(*arguments: str, **changes: str) -> str:
    """All that a command prints."""
    command = [sys.executable, "-m", "qoemon", *arguments]
    told = subprocess.run(
        command, cwd=ROOT, env=environment(**changes), capture_output=True, text=True, check=False, timeout=TEST_S
    )
    return told.stdout + told.stderr


@pytest.fixture
def mosquitto(tmp_path: Path, issued: Certificates) -> Iterator[Mosquitto]:
    folder = tmp_path / "broker"
    folder.mkdir()
    with Mosquitto(folder, tls=issued, users={"qoemon": SECRETS["mqtt"]}) as broker:
        yield broker


@pytest.mark.mosquitto
@pytest.mark.parametrize("known", [True, False])
def test_a_daemon_at_its_most_talkative_tells_none(
    tmp_path: Path, issued: Certificates, mosquitto: Mosquitto, known: bool
) -> None:
    """Connected, and refused; with receivers that fail; asked for everything it serves."""
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
    told = log.read_text()
    assert expected in told
    assert not leaks(told + served)


def get(port: int, issued: Certificates, path: str) -> str:
    """What a page says to who may ask, headers included; "" if nothing."""
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


def test_check_and_rules_tell_none(tmp_path: Path, issued: Certificates) -> None:
    file = str(settings(tmp_path, issued, 1883, 9877))
    told = [qoemon("check", "-c", file), qoemon("rules", "-c", file), qoemon("rules", "--scrape", "-c", file)]
    assert "no mistakes" in told[0]
    assert not leaks("".join(told))


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
def test_mistakes_around_secrets_tell_none(
    tmp_path: Path, issued: Certificates, section: str, change: dict[str, Any]
) -> None:
    file = settings(tmp_path, issued, 1883, 9877)
    (tmp_path / "broken.yml").write_text(f"basic_auth_users: {{alice: {PASSWORD}}}\n")
    content = json.loads(file.read_text())
    content[section] |= change
    file.write_text(json.dumps(content))
    told = qoemon("check", "-c", str(file))
    assert "mistake" in told
    assert not leaks(told)


def test_no_representation_of_what_is_made_of_it_has_one(
    tmp_path: Path, issued: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    config = load(settings(tmp_path, issued, 1883, 9877), environment())
    broker = broker_options(config)
    assert broker.password == SECRETS["mqtt"], "it is there to be found"
    told = receivers(config.notify, broker, "http://x")
    daemon = InProcess(config)
    shown = [config, broker, told, [one.state for one in told]]
    work = Alone(config, None)
    shown += [vars(daemon)["_web"].now(), work.intake, vars(work)]
    work.close()
    assert not leaks("".join(map(repr, shown)))
