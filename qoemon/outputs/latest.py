"""The newest tick, for all readers."""

from __future__ import annotations

import asyncio

from qoemon.outputs.published import PublishedTick


class Latest:
    """Holds the newest published tick. Used on one event loop."""

    def __init__(self) -> None:
        self._value: PublishedTick | None = None
        self._changed = asyncio.Condition()

    @property
    def value(self) -> PublishedTick | None:
        """The newest tick; None before the first."""
        return self._value

    async def put(self, published: PublishedTick) -> None:
        """Replace the newest tick, and wake all that wait in newer_than()."""
        self._value = published
        async with self._changed:
            self._changed.notify_all()

    async def newer_than(self, seen: PublishedTick | None) -> PublishedTick:
        """Wait until the newest tick is not `seen`; returns it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._value is not None and self._value is not seen)
        assert self._value is not None, "waited for"  # noqa: S101 - for the type checker
        return self._value
