"""Sends alerts to an Alertmanager, through version 2 of its API.

Each alert carries its expiry time: an alert that is not sent again resolves by itself after `expire_s`. So a daemon
that stops for good leaves no alert behind, and one that restarts sooner resolves none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from qoemon.outputs.notify.http_client import Address, JsonClient
from qoemon.outputs.notify.login import Login
from qoemon.outputs.notify.notice import Notice, timestamp

PATH = "/api/v2/alerts"


class Alertmanager:
    """One Alertmanager. Of a cluster every member gets all alerts: the members deduplicate them.

    name      for logs and metrics
    login     None if it requires none
    expire_s  validity of a firing alert after it was sent
    url       of the daemon, linked in its notifications
    clock     seconds since the epoch
    """

    def __init__(
        self,
        name: str,
        address: Address,
        login: Login | None,
        expire_s: float,
        url: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._client = JsonClient(address, rotates=login is not None and login.password.rotates)
        self._login = login
        self._expire_s, self._url, self._clock = expire_s, url, clock

    async def send(self, notices: Sequence[Notice]) -> None:
        """Post the current state of these alerts in one request."""
        headers = {} if self._login is None else await self._login.headers()
        ends_s = self._clock() + self._expire_s
        alerts = [alert(notice, ends_s, self._url) for notice in notices]
        await self._client.post(msgspec.json.encode(alerts), headers)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()


def alert(notice: Notice, ends_s: float, url: str) -> dict[str, Any]:
    """The alert in Alertmanager's format. ends_s: when it expires if it is firing."""
    ends_s = ends_s if notice.ends_s is None else notice.ends_s
    return {
        "labels": {
            **notice.labels,
            **{name: value for name, value in notice.groups.items() if value},  # Empty means absent there.
            "alertname": notice.alert,
            "service": notice.service,
            "severity": notice.severity,
        },
        "annotations": notice.annotations,
        # Alertmanager refuses an end before the begin; that may be of another daemon, whose clock is ahead.
        "startsAt": timestamp(min(notice.starts_s, ends_s)),
        "endsAt": timestamp(ends_s),
        "generatorURL": url,
    }
