"""Where the past comes from."""

from __future__ import annotations

from typing import Protocol

from qoemon.core.snapshot.past import PastAlerts, PastQuery, PastRatings


class PastSource(Protocol):
    """Answers questions about the past, without blocking the event loop. OSError if the history cannot be read."""

    async def ratings(self, query: PastQuery) -> PastRatings:
        """The ratings of a time range; PastError if they cannot be given in these steps."""

    async def alerts(self, from_s: int, to_s: int, service: str | None) -> PastAlerts:
        """The alerts that fired at some time in a range, of one service or of all."""
