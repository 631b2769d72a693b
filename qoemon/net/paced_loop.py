"""An event loop that reads many small requests together, when it is asked to.

Of thousands of clients that each send little, one request arrives every fraction of a millisecond. A loop that
looks at once finds one request at a time, and the wake-up and cold caches cost more than the request itself. So a
part that has just taken such a request, and answers it later anyway, asks for a pause: the next look at the sockets
is PAUSE_S after the last one, as a network card pauses its interrupts. Nothing waits in a loop that is idle. The
loop does not pause while it has work, or while a socket waits until it can be written to.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable

PAUSE_S = 0.005
"""Longer pauses save hardly more, and all sockets of the loop wait that long."""


class Pacer:
    """Where a pause is asked for. wanted: set it to pause before the next look, once."""

    __slots__ = ("wanted",)

    def __init__(self) -> None:
        self.wanted = False


class PacedSelector(selectors.DefaultSelector):
    """Waits for sockets, with pauses.

    clock, sleep  seconds, of time.monotonic and time.sleep
    """

    def __init__(
        self,
        pacer: Pacer,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        self._pacer, self._clock, self._sleep = pacer, clock, sleep
        self._looked_s = clock()
        self._writers: set[int] = set()

    def register(self, fileobj: int, events: int, data: object = None) -> selectors.SelectorKey:  # type: ignore[override]  # asyncio passes numbers
        """As of the base class."""
        key = super().register(fileobj, events, data)
        self._note(key)
        return key

    def modify(self, fileobj: int, events: int, data: object = None) -> selectors.SelectorKey:  # type: ignore[override]
        """As of the base class."""
        key: selectors.SelectorKey = super().modify(fileobj, events, data)
        self._note(key)
        return key

    def unregister(self, fileobj: int) -> selectors.SelectorKey:  # type: ignore[override]
        """As of the base class."""
        key = super().unregister(fileobj)
        self._writers.discard(key.fd)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As of the base class. A pause takes no longer than the timeout."""
        if self._pacer.wanted and not self._writers and (timeout is None or timeout > 0):
            pause_s = self._looked_s + PAUSE_S - self._clock()
            if timeout is not None:
                pause_s = min(pause_s, timeout)
            if pause_s > 0:
                self._sleep(pause_s)
                timeout = None if timeout is None else timeout - pause_s
        self._pacer.wanted = False
        found = super().select(timeout)
        self._looked_s = self._clock()
        return found

    def _note(self, key: selectors.SelectorKey) -> None:
        if key.events & selectors.EVENT_WRITE:
            self._writers.add(key.fd)
        else:
            self._writers.discard(key.fd)


class PacedLoop(asyncio.SelectorEventLoop):
    """An event loop with pauses; pacer: where they are asked for."""

    def __init__(self) -> None:
        self.pacer = Pacer()
        super().__init__(PacedSelector(self.pacer))


def pacer_of(loop: asyncio.AbstractEventLoop) -> Pacer:
    """The pacer of this loop; one without effect if it never pauses."""
    return loop.pacer if isinstance(loop, PacedLoop) else Pacer()
