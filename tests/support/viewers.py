"""Viewers who report to a broker, and are well or badly served."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any, Self

import aiomqtt
import msgspec

from tests.support.patience import WAIT_S

Group = tuple[str, str]
"""Region and CDN."""

EU, US = ("eu", "a"), ("us", "b")
VIEWERS = {EU: 60, US: 8}


class Viewers:
    """Each tells every half second how it was served since the last time, as long as the context lasts.

    bad  the groups that are badly served now
    """

    PAUSE_S = 0.5

    def __init__(self, port: int, bad: set[Group]) -> None:
        self.bad = bad
        self._port, self._rng = port, random.Random(1)
        self._sessions: dict[Group, list[dict[str, Any]]] = {
            group: [
                {"session": f"{group}-{number}", "seq": 0, "stall_count": 0, "stall_s": 0.0, "play_s": 0.0}
                for number in range(count)
            ]
            for group, count in VIEWERS.items()
        }
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._report()), name="viewers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    async def _report(self) -> None:
        """Report, also to a broker that comes back."""
        while not self._over.is_set():
            try:
                await self._publish()
            except aiomqtt.MqttError:
                await asyncio.sleep(self.PAUSE_S)

    async def _publish(self) -> None:
        async with aiomqtt.Client("127.0.0.1", self._port, timeout=WAIT_S) as client:
            while not self._over.is_set():
                for group, sessions in self._sessions.items():
                    for session in sessions:
                        self._go_on(session, 0.8 if group in self.bad else 0.005)
                    topic = "/".join(("qoe/v1/video", *group))
                    await client.publish(topic, msgspec.json.encode(sessions), qos=1)
                await asyncio.sleep(self.PAUSE_S)

    def _go_on(self, session: dict[str, Any], stalling: float) -> None:
        """What happens to a viewer in the next half second, half of which is stalled if any is."""
        stalled = self._rng.random() < stalling
        session["seq"] += 1
        session["stall_count"] += stalled
        session["stall_s"] += stalled * self.PAUSE_S / 2
        session["play_s"] += self.PAUSE_S / 2 if stalled else self.PAUSE_S
