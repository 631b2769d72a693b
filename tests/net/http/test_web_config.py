"""Prometheus' web configuration file: what it may say, and what a daemon that has one does."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import re
import ssl
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import bcrypt
import pytest
import trustme
import yaml
from aiohttp import web

from qoemon.config.config import load
from qoemon.config.sections.web import CIPHERS
from qoemon.config.yaml.errors import ConfigError, ConfigProblem
from qoemon.net.http import passwords
from qoemon.net.http import web_config as webconfig
from qoemon.net.http.listener_stats import Ended
from qoemon.net.http.stats import HttpStats, Refused
from qoemon.net.http.web_config import WebConfig
from qoemon.tools.rules.scrape import prometheus_files
from tests.support.http import serve_app
from tests.support.parts import ROOT, Prometheus, program
from tests.support.patience import WAIT_S, async_until, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HASH = bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)).decode()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def write(folder: Path, content: dict[str, Any]) -> Path:
    file = folder / "web.yml"
    file.write_text(json.dumps(content))  # YAML includes JSON.
    return file


def issue(folder: Path, authority: trustme.CA, name: str = "server") -> dict[str, Any]:
    """The tls_server_config of a certificate for localhost; the file of its authority is ca.pem."""
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
    certificate.private_key_pem.write_to_path(str(folder / f"{name}.key"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return {"cert_file": f"{name}.pem", "key_file": f"{name}.key"}


def problems(folder: Path, content: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        webconfig.read(write(folder, content))
    return [f"{problem.key}: {problem}" for problem in error.value.problems]


def test_an_empty_file_is_plain_http_for_all(tmp_path: Path) -> None:
    file = webconfig.read(write(tmp_path, {}))
    assert file.tls_server_config is None
    assert not file.basic_auth_users


def test_what_prometheus_takes_is_taken(tmp_path: Path, authority: trustme.CA) -> None:
    """All the keys that both have, in one file, which promtool finds good as well."""
    headers = {
        "Content-Security-Policy": "default-src 'self'",
        "X-Frame-Options": "sameorigin",
        "X-Content-Type-Options": "nosniff",
        "X-XSS-Protection": "0",
        "Strict-Transport-Security": "max-age=60",
    }
    server = issue(tmp_path, authority) | {
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_ca_file": "ca.pem",
        "min_version": "TLS12",
        "max_version": "TLS13",
        "cipher_suites": list(CIPHERS),
        "prefer_server_cipher_suites": False,
    }
    content = {
        "tls_server_config": server,
        "http_server_config": {"http2": False, "headers": headers},
        "basic_auth_users": {"alice": HASH, "bob": HASH.replace("$2b$", "$2y$")},
    }
    file = write(tmp_path, content)
    in_force = WebConfig(file, HttpStats()).now()
    assert in_force.headers == headers
    assert set(in_force.users) == {"alice", "bob"}
    assert in_force.tls is not None
    assert in_force.tls.verify_mode is ssl.CERT_REQUIRED
    names = {cipher["name"] for cipher in in_force.tls.get_ciphers()}
    assert {name for name in names if not name.startswith("TLS_")} == set(CIPHERS.values())
    promtool = [program("promtool", "Debian package prometheus"), "check", "web-config", str(file)]
    told = subprocess.run(promtool, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize(
    ("server", "key", "words"),
    [
        ({"client_auth_type": "RequireAnyClientCert"}, "client_auth_type", "proves nothing"),
        ({"client_auth_type": "RequestClientCert"}, "client_auth_type", "proves nothing"),
        ({"client_auth_type": "Always"}, "client_auth_type", "RequireAndVerifyClientCert"),
        ({"client_auth_type": "VerifyClientCertIfGiven"}, "client_ca_file", "the name of a file"),
        ({"client_ca_file": "ca.pem"}, "client_auth_type", "as there is a client_ca_file"),
        ({"min_version": "TLS10"}, "min_version", '"TLS12" or "TLS13"'),
        ({"min_version": "TLS13", "max_version": "TLS12"}, "min_version", "at most max_version"),
        ({"cipher_suites": ["TLS_RSA_WITH_RC4_128_SHA"]}, "cipher_suites.0", "TLS_ECDHE_"),
        ({"cert_file": "missing.pem"}, "cert_file", "a file that can be read; no such file"),
        ({"key_file": "ca.pem"}, "key_file", "the key of the certificate"),
        ({"key_file": "other.key"}, "key_file", "key values mismatch"),
        ({"client_allowed_sans": ["x"]}, "client_allowed_sans", "an unknown key, expected one of cert_file"),
    ],
)
def test_tls_that_cannot_be_had_is_refused_in_words(
    tmp_path: Path, authority: trustme.CA, server: dict[str, Any], key: str, words: str
) -> None:
    issue(tmp_path, authority, "other")
    whole = issue(tmp_path, authority) | server
    [told] = problems(tmp_path, {"tls_server_config": whole})
    assert told.startswith(f"tls_server_config.{key}: {tmp_path / 'web.yml'}:1: ")
    assert words in told


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"tls_server_config": {}}, "tls_server_config.cert_file: found nothing, expected the name of a file"),
        ({"basic_auth_users": {"alice": "open sesame"}}, "basic_auth_users.alice: found a value that is not shown"),
        ({"basic_auth_users": {"alice": HASH.replace("$04$", "$31$")}}, "a cost from 4 to 16; its cost is 31"),
        ({"basic_auth_users": {"a:b": HASH}}, "a user name without colon"),
        ({"http_server_config": {"headers": {"Set-Cookie": "a=b"}}}, "an unknown key, expected one of Content-"),
        ({"http_server_config": {"headers": {"X-XSS-Protection": "a\r\nb"}}}, "ASCII in one line"),
        ({"http_server_config": {"headers": {"X-Frame-Options": "never"}}}, '"deny" or "sameorigin"'),
        ({"rate_limit": {"interval": "1s"}}, "rate_limit: found an unknown key"),
    ],
)
def test_impossible_values_are_refused_in_words(tmp_path: Path, content: dict[str, Any], words: str) -> None:
    told = problems(tmp_path, content)
    assert words in told[0]
    assert "open sesame" not in "".join(told)


def test_its_errors_are_reported_with_those_of_the_configuration(tmp_path: Path) -> None:
    write(tmp_path, {"basic_auth_users": {"alice": "x"}})
    main = tmp_path / "qoemon.yaml"
    main.write_text("http: {web_config_file: web.yml}\n")
    with pytest.raises(ConfigError, match=r"web\.yml:1: basic_auth_users\.alice"):
        load(main)


def test_the_example_in_the_documentation_is_one(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/security.md").read_text(), re.DOTALL)
    main, web_file, mqtt = blocks
    monkeypatch.setenv("QOEMON_PASSWORD", "x")
    issue(tmp_path, authority)
    for name in ("server.pem", "server.key"):
        (tmp_path / name.replace("server", "client")).write_bytes((tmp_path / name).read_bytes())
    (tmp_path / "clients-ca.pem").write_bytes((tmp_path / "ca.pem").read_bytes())
    (tmp_path / "web.yml").write_text(web_file)
    (tmp_path / "qoemon.yaml").write_text(main + mqtt)
    config = load(tmp_path / "qoemon.yaml")
    in_force = WebConfig(config.http.web_config_file, HttpStats()).now()
    assert in_force.verified
    assert list(in_force.users) == ["prometheus"]
    assert config.mqtt.tls is not None


@pytest.mark.prometheus
def test_the_example_of_a_scrape_configuration_gets_in(tmp_path: Path, authority: trustme.CA) -> None:
    server = issue(tmp_path, authority)
    server |= {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"}
    write(tmp_path, {"tls_server_config": server, "basic_auth_users": {"alice": HASH}})
    main = tmp_path / "qoemon.yaml"
    main.write_text("http: {web_config_file: web.yml}\n")
    example = prometheus_files(load(main)).scrape("127.0.0.1:9877")
    [scraped] = yaml.safe_load(example)["scrape_configs"]
    assert scraped["scheme"] == "https"
    assert set(scraped["tls_config"]) == {"ca_file", "cert_file", "key_file"}
    assert scraped["basic_auth"]["username"] == "alice"
    assert HASH not in example
    file = tmp_path / "prometheus.yml"
    file.write_text(example)
    promtool = [program("promtool", "Debian package prometheus"), "check", "config", "--syntax-only", str(file)]
    told = subprocess.run(promtool, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


@contextlib.asynccontextmanager
async def serving(file: Path) -> AsyncIterator[tuple[str, HttpStats]]:
    """A server with that file; its address without scheme, and its counts."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="up 1\n")

    app = web.Application()
    app.add_routes([web.get("/healthz", page), web.get("/metrics", page)])
    state = HttpStats()
    server, port = await serve_app(app, "127.0.0.1", 0, WebConfig(file, state), state)
    try:
        yield f"localhost:{port}", state
    finally:
        await server.cleanup()


async def status(url: str, tls: ssl.SSLContext | bool = True, **headers: str) -> int:
    """What a new connection gets."""
    async with aiohttp.ClientSession() as client, client.get(url, headers=headers, ssl=tls) as answer:
        return answer.status


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged, but for the event loop's own complaints about a slow machine."""
    return [record for record in caplog.records if record.name != "asyncio"]


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


async def test_only_who_knows_a_password_gets_an_answer_on_every_path(tmp_path: Path) -> None:
    async with serving(write(tmp_path, {"basic_auth_users": {"alice": HASH}})) as (address, state):
        for path in ("/metrics", "/healthz", "/nothing"):
            assert await status(f"http://{address}{path}") == 401
        wrong = [
            basic("alice", "x"),
            basic("alice", ""),
            basic("bob", "open sesame"),
            basic("", ""),
            "Basic ?",
            "Bearer x",
        ]
        wrong += [
            "Basic " + base64.b64encode(b"no colon").decode(),
            "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        ]
        wrong += [basic("alice", "open sesame\0"), basic("alice", "x" * 500)]
        for told in wrong:
            assert await status(f"http://{address}/metrics", Authorization=told) == 401, told
        right = basic("alice", "open sesame")
        assert await status(f"http://{address}/metrics", Authorization=right) == 200
        assert await status(f"http://{address}/metrics", Authorization=right.replace("Basic", "basic")) == 200
        assert state.refused == {Refused.AUTH: 3 + len(wrong)}


async def test_a_right_password_is_checked_once_and_a_wrong_one_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[str] = []
    matches = passwords._matches

    def counted(password: str, hashed: str) -> bool:
        checks.append(password)
        return matches(password, hashed)

    monkeypatch.setattr(passwords, "_matches", counted)
    checker, users = passwords.Passwords(), {"alice": HASH}
    for _ in range(5):
        assert await checker.accepts(users, "alice", "open sesame")
        assert not await checker.accepts(users, "alice", "open")
        assert not await checker.accepts(users, "bob", "open sesame")
    assert [checks.count(word) for word in ("open", "open sesame")] == [5, 1 + 5]
    # Another hash is another password.
    assert not await checker.accepts(
        {"alice": bcrypt.hashpw(b"new", bcrypt.gensalt(4)).decode()}, "alice", "open sesame"
    )


async def test_for_an_unknown_user_as_much_is_computed_as_for_the_costliest_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    costs: list[str] = []
    matches = passwords._matches

    def noted(password: str, hashed: str) -> bool:
        costs.append(hashed.split("$")[2])
        return matches(password, hashed)

    monkeypatch.setattr(passwords, "_matches", noted)
    users = {
        name: bcrypt.hashpw(b"x", bcrypt.gensalt(cost)).decode() for name, cost in (("a", 4), ("b", 6), ("c", 5))
    }
    for name in ("b", "nobody"):
        assert not await passwords.Passwords().accepts(users, name, "wrong")
    assert costs == ["06", "06"]


async def test_too_many_guesses_at_once_are_turned_away_and_the_event_loop_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matches, go_on = passwords._matches, threading.Event()

    def slow(password: str, hashed: str) -> bool:
        if password != "open sesame":  # noqa: S105
            go_on.wait(WAIT_S)
        return matches(password, hashed)

    monkeypatch.setattr(passwords, "_matches", slow)
    async with serving(write(tmp_path, {"basic_auth_users": {"alice": HASH}})) as (address, state):
        url, right = f"http://{address}/metrics", basic("alice", "open sesame")
        assert await status(url, Authorization=right) == 200
        guesses = [asyncio.create_task(status(url, Authorization=basic("alice", str(n)))) for n in range(60)]
        await async_until(lambda: state.refused[Refused.BUSY])
        assert await status(url, Authorization=right) == 200, "it waits for no check, being known"
        go_on.set()
        told = await asyncio.gather(*guesses)
    assert set(told) == {401, 503}
    assert state.refused[Refused.BUSY] == told.count(503)
    assert state.refused[Refused.AUTH] == told.count(401) >= passwords.WAITING


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=folder / "ca.pem")


async def test_tls_from_1_2_on_with_the_headers_of_the_file(tmp_path: Path, authority: trustme.CA) -> None:
    headers = {"Strict-Transport-Security": "max-age=60", "X-Frame-Options": "sameorigin"}
    content = {"tls_server_config": issue(tmp_path, authority), "http_server_config": {"headers": headers}}
    async with serving(write(tmp_path, content)) as (address, state):
        client, url = aiohttp.ClientSession(), f"https://{address}/metrics"
        async with client, client.get(url, ssl=trusting(tmp_path)) as answer:
            assert answer.status == 200
            assert {name: answer.headers[name] for name in headers} == headers
        old = trusting(tmp_path)
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(aiohttp.ClientConnectorError):
            await status(url, old)
        refused = state.ended[Ended.TLS]
        assert refused >= 1
        with pytest.raises((aiohttp.ClientError, OSError)):
            await status(url.replace("https", "http"))
        assert state.ended[Ended.TLS] > refused, "no answer without TLS"


@pytest.mark.parametrize("kind", ["RequireAndVerifyClientCert", "VerifyClientCertIfGiven"])
async def test_client_certificates_are_verified(tmp_path: Path, authority: trustme.CA, kind: str) -> None:
    server = issue(tmp_path, authority) | {"client_auth_type": kind, "client_ca_file": "ca.pem"}
    async with serving(write(tmp_path, {"tls_server_config": server})) as (address, state):
        url = f"https://{address}/metrics"
        known, foreign = trusting(tmp_path), trusting(tmp_path)
        authority.issue_cert("client").configure_cert(known)
        trustme.CA().issue_cert("client").configure_cert(foreign)
        assert await status(url, known) == 200
        if kind == "VerifyClientCertIfGiven":
            assert await status(url, trusting(tmp_path)) == 200
        else:
            with pytest.raises((aiohttp.ClientError, OSError)):
                await status(url, trusting(tmp_path))
        with pytest.raises((aiohttp.ClientError, OSError)):
            await status(url, foreign)
        assert state.ended[Ended.TLS] >= 1


async def test_renewed_certificates_and_users_are_in_force_at_once(tmp_path: Path, authority: trustme.CA) -> None:
    content = {"tls_server_config": issue(tmp_path, authority), "basic_auth_users": {"alice": HASH}}
    async with serving(write(tmp_path, content)) as (address, state):
        url, right = f"https://{address}/metrics", basic("alice", "open sesame")
        before = trusting(tmp_path)
        assert await status(url, before, Authorization=right) == 200
        issue(tmp_path, trustme.CA())  # Over the same files.
        assert await status(url, trusting(tmp_path), Authorization=right) == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await status(url, before)
        write(tmp_path, content | {"basic_auth_users": {"bob": HASH}})
        assert await status(url, trusting(tmp_path), Authorization=right) == 401
        assert await status(url, trusting(tmp_path), Authorization=basic("bob", "open sesame")) == 200
        assert state.web_config_good


async def test_a_file_that_could_not_be_read_is_in_force_once_its_rights_are_mended(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its time nor its content changes then. Root, who runs these tests, may read everything."""
    content = {"tls_server_config": issue(tmp_path, authority), "basic_auth_users": {"alice": HASH}}
    file = write(tmp_path, content)
    async with serving(file) as (address, state):
        url = f"https://{address}/metrics"
        with monkeypatch.context() as unreadable:
            unreadable.setattr("qoemon.net.http.web_config.read", refuse)
            write(tmp_path, content | {"basic_auth_users": {"bob": HASH}})
            assert await status(url, trusting(tmp_path), Authorization=basic("alice", "open sesame")) == 200
            assert not state.web_config_good
        file.chmod(0o640)
        assert await status(url, trusting(tmp_path), Authorization=basic("bob", "open sesame")) == 200
        assert state.web_config_good


def refuse(path: Path, *_: object) -> None:
    raise ConfigError([ConfigProblem(str(path), None, "", "no right to read it", "a file that can be read")])


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("basic_auth_users: {alice: secret}", "a value that is not shown"),
        ("basic_auth_users: [", "invalid YAML"),
        ("", "no tls_server_config, basic_auth_users any more"),
        (None, "no such file"),
    ],
)
async def test_a_file_that_breaks_later_changes_nothing_and_is_told_once(
    tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture, broken: str | None, words: str
) -> None:
    content = {"tls_server_config": issue(tmp_path, authority), "basic_auth_users": {"alice": HASH}}
    file = write(tmp_path, content)
    async with serving(file) as (address, state):
        url, right = f"https://{address}/metrics", basic("alice", "open sesame")
        if broken is None:
            file.unlink()
        else:
            file.write_text(broken)
        with caplog.at_level(logging.INFO):
            for _ in range(3):
                assert await status(url, trusting(tmp_path), Authorization=right) == 200
                assert await status(url, trusting(tmp_path)) == 401
        [record] = logged(caplog)
        assert words in record.getMessage()
        assert not state.web_config_good
        write(tmp_path, content)
        assert await status(url, trusting(tmp_path), Authorization=right) == 200
        assert state.web_config_good


async def test_whoever_serves_beyond_loopback_to_all_is_warned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for host, content, words in (
        ("127.0.0.1", {}, None),
        ("0.0.0.0", {}, "every client that reaches 0.0.0.0 can read everything"),  # noqa: S104 - that is what is tested
        ("0.0.0.0", {"basic_auth_users": {"alice": HASH}}, "passwords are sent to 0.0.0.0 unencrypted"),  # noqa: S104
    ):
        caplog.clear()
        server, _ = await serve_app(web.Application(), host, 0, WebConfig(write(tmp_path, content), HttpStats()))
        await server.cleanup()
        assert [record.levelname for record in logged(caplog)] == ["WARNING"] * bool(words)
        assert (words or "") in caplog.text


@pytest.mark.prometheus
async def test_prometheus_scrapes_with_certificate_and_password(tmp_path: Path, authority: trustme.CA) -> None:
    server = issue(tmp_path, authority)
    server |= {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"}
    certificate = authority.issue_cert("prometheus")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "client.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "client.key"))
    access = {
        "scheme": "https",
        "tls_config": {"ca_file": "ca.pem", "cert_file": "client.pem", "key_file": "client.key"},
        "basic_auth": {"username": "alice", "password": "open sesame"},
    }
    content = {"tls_server_config": server, "basic_auth_users": {"alice": HASH}}
    async with serving(write(tmp_path, content)) as (address, _):
        targets = {"qoemon": int(address.partition(":")[2])}
        prometheus = Prometheus(tmp_path, targets, access=access)
        await asyncio.to_thread(prometheus.start)
        try:
            up = 'up{job="qoemon"} == 1'
            await asyncio.to_thread(until, lambda: prometheus.query(up), lambda: str(prometheus.query("up")))
        finally:
            await asyncio.to_thread(prometheus.stop)
