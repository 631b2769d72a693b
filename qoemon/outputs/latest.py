"""The newest tick, for all readers."""

from __future__ import annotations

from qoemon.outputs.published import PublishedTick


class Latest:
    """Where the newest Published hangs: written by the daemon, read by everyone."""

    def __init__(self) -> None:
        self.newest: PublishedTick | None = None
