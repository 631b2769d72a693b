"""TLS to the broker: what keeps us from it is named, renewed certificates are used, and nothing goes in the clear.

Wrong authority, wrong host and an expired certificate of the broker: tests/inputs/mqtt/test_consumer.py.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from qoemon.inputs.inbox import Inbox
from qoemon.inputs.mqtt.consumer import MqttConsumer
from qoemon.net.mqtt.client import Broker
from qoemon.net.mqtt.tls import Tls, tls_context
from tests.inputs.mqtt.test_consumer import failure, running
from tests.support.parts import Certificates, Mosquitto, broker_at, certificates
from tests.support.patience import WAIT_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def issued(tmp_path: Path) -> Certificates:
    return certificates(tmp_path / "issued")


@pytest.fixture
def demanding(tmp_path: Path, issued: Certificates) -> Iterator[Mosquitto]:
    """A broker that asks for a client certificate."""
    with Mosquitto(tmp_path, tls=issued, options=["require_certificate true", f"cafile {issued.ca}"]) as broker:
        yield broker


def showing(issued: Certificates, own: Certificates | None) -> Tls:
    """Trusts what was issued, and shows the client's certificate of another or the same."""
    cert_file, key_file = (None, None) if own is None else (own.client, own.client_key)
    return Tls(ca_file=issued.ca, cert_file=cert_file, key_file=key_file, key_password=None)


def broker(port: int, tls: Tls | None) -> Broker:
    return replace(broker_at(port), host="localhost", tls=tls)


async def connects(broker: Broker) -> None:
    async with running(MqttConsumer(broker, Inbox(10, 1000))) as ingest:
        await until(lambda: ingest.stats.subscribed, lambda: str(ingest.stats))


@pytest.mark.mosquitto
async def test_a_client_certificate_that_the_broker_trusts_gets_us_in(
    demanding: Mosquitto, issued: Certificates
) -> None:
    await connects(broker(demanding.port, showing(issued, issued)))


@pytest.mark.mosquitto
async def test_a_missing_or_foreign_client_certificate_is_named(
    tmp_path: Path, demanding: Mosquitto, issued: Certificates
) -> None:
    """If the broker closes the connection before we write, the reason is lost: the next attempt reads it."""
    missing = await failure(broker(demanding.port, showing(issued, None)), "requires a client certificate")
    assert "cert_file" in missing
    foreign = showing(issued, certificates(tmp_path / "foreign"))
    assert "cert_file" in await failure(broker(demanding.port, foreign), "does not accept our certificate")


@pytest.mark.mosquitto
async def test_a_renewed_certificate_is_used_with_the_next_connection(
    tmp_path: Path, demanding: Mosquitto, issued: Certificates
) -> None:
    """Ours has expired; it is renewed in place; nobody restarts anything."""
    mine = certificates(tmp_path / "mine")
    ours = replace(showing(issued, issued), cert_file=mine.client, key_file=mine.client_key)
    async with running(MqttConsumer(broker(demanding.port, ours), Inbox(10, 1000))) as ingest:
        await until(
            lambda: "does not accept our certificate" in str(ingest.stats.last_error), lambda: str(ingest.stats)
        )
        mine.client_key.write_bytes(issued.client_key.read_bytes())
        mine.client.write_bytes(issued.client.read_bytes())
        await until(lambda: ingest.stats.subscribed, lambda: str(ingest.stats))


@pytest.mark.mosquitto
async def test_a_key_password_file_is_read_at_each_attempt(
    tmp_path: Path, demanding: Mosquitto, issued: Certificates
) -> None:
    key, password = tmp_path / "encrypted.key", tmp_path / "key.password"
    key.write_bytes(
        load_pem_private_key(issued.client_key.read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"right-1")
        )
    )
    password.write_text("wrong-2")
    ours = replace(showing(issued, issued), key_file=key, key_password_file=password)
    async with running(MqttConsumer(broker(demanding.port, ours), Inbox(10, 1000))) as ingest:
        await until(lambda: "key_password" in str(ingest.stats.last_error), lambda: ingest.stats)
        password.unlink()
        missing = f"cannot read key_password_file {password}: no such file"
        await until(lambda: missing in str(ingest.stats.last_error), lambda: ingest.stats)
        password.write_text("right-1\n")
        await until(lambda: ingest.stats.subscribed, lambda: ingest.stats)


@pytest.mark.mosquitto
async def test_a_broker_that_wants_tls_is_named_where_we_have_none(demanding: Mosquitto) -> None:
    told = await failure(broker(demanding.port, None))
    assert "whether it requires TLS" in told or "whether the port requires TLS" in told


class Listener:
    """Takes connections, keeps what is sent on them, and answers with what it is told to, or hangs up."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_server(("localhost", 0))
        self.port: int = self._socket.getsockname()[1]
        self._context = context
        self.heard: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(WAIT_S)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, _ = self._socket.accept()
                with wire, contextlib.suppress(OSError):
                    if self._context is None:
                        self.heard.append(wire.recv(1000))
                    else:
                        self._context.wrap_socket(wire, server_side=True).close()


async def test_with_tls_configured_nothing_is_ever_sent_in_the_clear(issued: Certificates) -> None:
    with Listener() as plain:
        secret = replace(broker(plain.port, showing(issued, None)), username="user", password="sesame")  # noqa: S106
        async with running(MqttConsumer(secret, Inbox(10, 1000))) as ingest:
            await until(lambda: len(plain.heard) >= 3, lambda: str(ingest.stats))
        told = str(ingest.stats.last_error)
    client_hello = b"\x16\x03"
    assert all(heard.startswith(client_hello) for heard in plain.heard)
    assert not any(word in heard for heard in plain.heard for word in (b"MQTT", b"user", b"sesame"))
    assert "TLS" in told


async def test_a_broker_with_nothing_but_old_tls_is_refused_by_name(issued: Certificates) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.load_cert_chain(issued.server, issued.server_key)
    with Listener(old) as broker_of_old:
        told = await failure(broker(broker_of_old.port, showing(issued, None)))
    assert "does not speak TLS 1.2 or later" in told


def test_tls_1_2_is_the_oldest_and_host_names_are_checked(issued: Certificates) -> None:
    context = tls_context(showing(issued, issued))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
