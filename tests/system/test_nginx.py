"""The example of nginx in front of the collector, in a real nginx: what players post and read goes through it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPSConnection
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.support.parts import Certificates, Daemon, Nginx, certificates, children, program, unused_port
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.nginx

PATH = "/cmcd/v1/video/eu/a"
PAGE = {"Origin": "https://video.example"}
RECORD = 'e=ps,sid="one",sn=0,sta=p,ts=1795873784659,v=2\n'


class Reply(NamedTuple):
    """What a page gets."""

    status: int
    headers: dict[str, str]


class Behind:
    """A daemon whose collector is behind nginx.

    changes  to the example
    more     of the daemon's settings
    """

    def __init__(
        self,
        directory: Path,
        start_daemon: Callable[..., Daemon],
        changes: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        self.issued: Certificates = certificates(directory / "issued")
        self.collector = unused_port()
        settings = {
            "mqtt": None,
            "sessions": {"tick": "1s"},
            "state": {"dir": str(directory / "state")},
            "shutdown_timeout": f"{WAIT_S:g}s",
            **more,
            "collector": {"port": self.collector, "token": "change-me"},
        }
        self.daemon = start_daemon(settings).ready()
        self.nginx = Nginx(directory, [self.collector], self.issued, changes)

    def ask(self, method: str, body: str = "", path: str = PATH, **headers: str) -> Reply:
        """Ask nginx on a connection of its own, as a page."""
        trusting = ssl.create_default_context(cafile=str(self.issued.ca))
        connection = HTTPSConnection("localhost", self.nginx.port, timeout=WAIT_S, context=trusting)
        with contextlib.closing(connection):
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, PAGE | headers)
            answer = connection.getresponse()
            answer.read()
            return Reply(answer.status, dict(answer.headers))

    def post(self, body: str = RECORD) -> Reply:
        return self.ask("POST", body, Content_Type="application/cmcd")

    def answered(self, status: int) -> float:
        """How many requests the collector has answered with it."""
        return self.daemon.samples().get(("qoemon_collector_requests_total", (("code", str(status)),)), 0)

    @property
    def workers(self) -> list[int]:
        """The daemon's processes that count."""
        found = children(self.daemon.pid).items()
        return [pid for pid, command in found if "qoemon.engine.workers" in command]


@pytest.fixture
def behind(tmp_path: Path, start_daemon: Callable[..., Daemon]) -> Iterator[Behind]:
    """A daemon behind the example as it is."""
    made = Behind(tmp_path, start_daemon)
    with made.nginx:
        yield made


def test_a_page_posts_through_nginx_without_a_token_of_its_own(behind: Behind) -> None:
    wanted = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type"}
    preflight = behind.ask("OPTIONS", **wanted)
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Methods"] == "POST, OPTIONS"
    reply = behind.post()
    assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (204, "*")
    until(lambda: behind.daemon.value("qoemon_reports_total") == 1, behind.daemon.log.read_text)
    assert behind.daemon.value("qoemon_collector_preflights_total") == 1


def test_requests_of_many_clients_share_one_connection_to_the_collector(behind: Behind) -> None:
    assert {behind.post().status for _ in range(20)} == {204}
    until(lambda: behind.answered(204) == 20, behind.daemon.log.read_text)
    assert behind.daemon.value("qoemon_collector_connections") == 1


def test_a_body_that_is_too_large_is_refused_by_the_collector_so_that_the_page_can_read_it(behind: Behind) -> None:
    reply = behind.post(RECORD * 2000)
    assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (413, "*")


def test_other_paths_do_not_reach_the_collector(behind: Behind) -> None:
    assert behind.ask("GET", path="/metrics").status == 404
    assert behind.post().status == 204
    until(lambda: behind.answered(204) == 1, behind.daemon.log.read_text)
    assert behind.answered(404) == 0


def test_who_reaches_the_collector_without_nginx_needs_the_token(behind: Behind) -> None:
    with contextlib.closing(HTTPConnection("127.0.0.1", behind.collector, timeout=WAIT_S)) as connection:
        connection.request("POST", PATH, RECORD, {"Content-Type": "application/cmcd"})
        assert connection.getresponse().status == 401


def test_a_flood_from_one_address_ends_at_nginx(tmp_path: Path, start_daemon: Callable[..., Daemon]) -> None:
    behind = Behind(tmp_path, start_daemon, {"rate=200r/s": "rate=1r/m", "burst=1000 ": "burst=4 "})
    with behind.nginx:
        assert [behind.post().status for _ in range(7)] == [204] * 5 + [429] * 2


def test_429_and_503_reach_the_page_with_the_time_to_wait(
    tmp_path: Path, start_daemon: Callable[..., Daemon]
) -> None:
    """A worker that is stopped keeps the first request from being stored, and the inbox full."""
    behind = Behind(tmp_path, start_daemon, workers=2, limits={"inbox_messages": 1})
    of_both = json.dumps([{"session": f"s{number}", "play_s": 10.0} for number in range(20)])
    with behind.nginx, ThreadPoolExecutor() as clients:
        until(lambda: len(behind.workers) == 2, behind.daemon.log.read_text)
        stopped = behind.workers[0]
        os.kill(stopped, signal.SIGSTOP)
        pending = clients.submit(behind.ask, "POST", of_both, Content_Type="application/json")
        until(lambda: behind.daemon.value("qoemon_inbox_messages") == 1, behind.daemon.log.read_text)
        assert told(behind.post()) == (429, "5", "*")
        stopping = clients.submit(behind.daemon.signal, signal.SIGTERM)
        until(lambda: told(behind.post()) == (503, "5", "*"), behind.daemon.log.read_text)
        os.kill(stopped, signal.SIGCONT)
        assert pending.result().status == 204
        assert stopping.result() == 0


def told(reply: Reply) -> tuple[int, str | None, str | None]:
    """Of a refusal: its status, when to try again, and which pages can read it."""
    return reply.status, reply.headers.get("Retry-After"), reply.headers.get("Access-Control-Allow-Origin")


@pytest.mark.chromium
def test_a_real_page_posts_by_https_with_a_preflight_only_if_it_is_of_another_origin(behind: Behind) -> None:
    api = pytest.importorskip("playwright.sync_api")
    path = program("chromium", "Debian package chromium")
    post = """async ([url, body]) => {
        const headers = {"Content-Type": "application/cmcd"};
        return (await fetch(url, {method: "POST", headers, body})).status;
    }"""
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            page = browser.new_context(ignore_https_errors=True).new_page()
            for host in ("127.0.0.1", "localhost"):
                page.goto(f"https://{host}:{behind.nginx.port}/")
                assert page.evaluate(post, [f"https://localhost:{behind.nginx.port}{PATH}", RECORD]) == 204
        finally:
            browser.close()
    until(lambda: behind.answered(204) == 2, behind.daemon.log.read_text)
    assert behind.daemon.value("qoemon_collector_preflights_total") == 1
