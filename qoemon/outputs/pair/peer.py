"""Asks the other daemon of a pair for its standing, again and again."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import NoReturn

import msgspec

from qoemon.outputs.notify.http_client import Address, JsonClient
from qoemon.outputs.notify.login import Login
from qoemon.outputs.notify.notifier import DeliveryError
from qoemon.outputs.pair.standing import UNREADABLE, Standing

PAUSE_S = 0.05
"""Between two requests: what is delivered within it is sent to the other daemon at once."""

RETRY_S = 0.5
"""Pause after a request that failed."""


class Peer:
    """The other daemon.

    stamp     gives that of what we know about deliveries
    answered  called with each of its answers
    clock     steady, seconds
    """

    def __init__(
        self,
        address: Address,
        login: Login | None,
        stamp: Callable[[], int],
        answered: Callable[[Standing], None],
        clock: Callable[[], float],
    ) -> None:
        self._client = JsonClient(address, rotates=False)
        self._login, self._stamp, self._answered, self._clock = login, stamp, answered, clock
        self.standing: Standing | None = None
        """Its last answer."""
        self.error: str | None = None
        """Why there was none at the last attempt."""
        self._answered_s = -math.inf
        self._failing_s = math.inf
        self._failures = 0
        """Since its last answer, and since when."""
        self._known = ""

    def fresh(self, now_s: float, within_s: float) -> Standing | None:
        """Its answer, if it is at most this old."""
        return self.standing if now_s - self._answered_s <= within_s else None

    def unreachable(self, now_s: float, for_s: float) -> bool:
        """Whether attempts have failed for so long: several, since the first one after a pause proves nothing."""
        return self._failures > 1 and now_s - self._failing_s >= for_s

    async def run(self) -> NoReturn:
        """Ask until cancelled."""
        try:
            while True:
                await asyncio.sleep(PAUSE_S if await self._ask() else RETRY_S)
        finally:
            await self._client.close()

    async def _ask(self) -> bool:
        """Make one request; returns whether there was an answer."""
        try:
            headers = {} if self._login is None else await self._login.headers()
            query = {"after": self._known, "known": str(self._stamp())}
            body = await self._client.get(query, headers)
            standing = msgspec.json.decode(body, type=Standing)
        except (DeliveryError, *UNREADABLE) as error:
            self.error = str(error)
            if not isinstance(error, DeliveryError):
                self.error = f"no answer of a pair: {error}; check pair.peer.url, and upgrade the older daemon"
            self._failing_s = min(self._failing_s, self._clock())
            self._failures += 1
            return False
        self.error, self._failing_s, self._failures = None, math.inf, 0
        self.standing, self._answered_s, self._known = standing, self._clock(), standing.version
        self._answered(standing)
        return True
