"""The newest tick, for all readers."""

from __future__ import annotations

from qoemon.outputs.published import Published


class Board:
    """Where the newest Published hangs: written by the daemon, read by everyone."""

    def __init__(self) -> None:
        self.newest: Published | None = None
