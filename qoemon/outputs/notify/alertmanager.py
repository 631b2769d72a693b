"""Tells an Alertmanager, by version 2 of its API, how alerts stand.

It is told how long to believe it: an alert that is not told again ends by itself after `expire_s`. So a daemon
that is gone for good leaves none behind, and one that is back sooner has resolved none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from qoemon.outputs.notify.http_client import Address, Poster
from qoemon.outputs.notify.notice import Notice, timestamp

PATH = "/api/v2/alerts"


class Alertmanager:
    """One Alertmanager: each of a cluster is told, they sort it out among themselves.

    name   for logs and metrics
    url    of the daemon, which its notifications link to
    clock  seconds since the epoch
    """

    def __init__(
        self, name: str, address: Address, expire_s: float, url: str, clock: Callable[[], float] = time.time
    ) -> None:
        self.name = name
        self._poster = Poster(address)
        self._expire_s, self._url, self._clock = expire_s, url, clock

    async def send(self, notices: Sequence[Notice]) -> None:
        """Tell it how these alerts stand."""
        ends_s = self._clock() + self._expire_s
        await self._poster.post(msgspec.json.encode([alert(notice, ends_s, self._url) for notice in notices]))

    async def close(self) -> None:
        """Let go of the connection."""
        await self._poster.close()


def alert(notice: Notice, ends_s: float, url: str) -> dict[str, Any]:
    """What Alertmanager calls an alert. ends_s: until when it is to be believed if it fires."""
    return {
        "labels": {
            **notice.labels,
            **{name: value for name, value in notice.groups.items() if value},  # Empty means absent there.
            "alertname": notice.alert,
            "service": notice.service,
            "severity": notice.severity,
        },
        "annotations": notice.annotations,
        "startsAt": timestamp(notice.starts_s),
        "endsAt": timestamp(ends_s if notice.ends_s is None else notice.ends_s),
        "generatorURL": url,
    }
