"""Players that post to a pair through nginx, with the example of the documentation: both daemons count all."""

from __future__ import annotations

import contextlib
import ssl
from http.client import HTTPSConnection
from typing import TYPE_CHECKING

import pytest

from tests.support.pair import NAMES, Pair
from tests.support.parts import Mosquitto, Nginx, certificates, unused_port
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.parts import Certificates, Daemon

pytestmark = [pytest.mark.mosquitto, pytest.mark.nginx]

REPORTS, DUPLICATES = "qoemon_reports_total", "qoemon_cmcd_records_duplicate_total"


class Player:
    """Posts records of one session, each with the next number, on a connection of its own."""

    def __init__(self, nginx: Nginx, issued: Certificates) -> None:
        self._port, self._trusting = nginx.port, ssl.create_default_context(cafile=str(issued.ca))
        self.posted = 0

    def post(self) -> int:
        """Post a record; the status."""
        record = f'e=ps,sid="one",sn={self.posted},sta=p,ts={1795873784659 + 1000 * self.posted},v=2\n'
        self.posted += 1
        connection = HTTPSConnection("localhost", self._port, timeout=WAIT_S, context=self._trusting)
        with contextlib.closing(connection):
            connection.request("POST", "/cmcd/v1/video/eu/a", record, {"Content-Type": "application/cmcd"})
            answer = connection.getresponse()
            answer.read()
            return answer.status


def test_both_daemons_count_each_post_and_the_death_of_one_is_not_seen_by_players(tmp_path: Path) -> None:
    issued = certificates(tmp_path / "issued")
    collectors = {name: unused_port() for name in NAMES}
    own = {name: {"collector": {"port": port, "token": "change-me"}} for name, port in collectors.items()}
    settings = {"sessions": {"tick": "1s"}}
    with (
        Mosquitto(tmp_path) as broker,
        Pair(tmp_path, {**settings, "mqtt": {"host": "127.0.0.1", "port": broker.port}}, own) as pair,
        Nginx(tmp_path, [collectors[name] for name in NAMES], issued) as nginx,
    ):
        player, (a, b) = Player(nginx, issued), pair.daemons.values()
        assert {player.post() for _ in range(10)} == {204}
        until(lambda: counted(a) == counted(b) == 10, lambda: (counted(a), counted(b), nginx.log.read_text()))
        assert a.value(DUPLICATES) == b.value(DUPLICATES) == 0

        b.kill()
        assert {player.post() for _ in range(10)} == {204}
        until(lambda: counted(a) == 20, lambda: counted(a))
        b.start()
        b.ready()

        a.kill()
        before = counted(b)
        assert {player.post() for _ in range(10)} == {204}
        # It gets each post as the one that answers and as the one that gets the copy, and counts it once.
        until(lambda: b.value(DUPLICATES) == 10, lambda: (counted(b), b.log.read_text()))
        until(lambda: counted(b) == before + 10, lambda: counted(b))
        a.start()
        a.ready()
        a_before = counted(a)
        until(lambda: player.post() == 204 and counted(a) > a_before, a.log.read_text)


def counted(daemon: Daemon) -> float:
    """Reports made of the records that it has counted: one of each record."""
    return daemon.value(REPORTS)
