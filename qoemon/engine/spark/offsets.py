"""Where each batch ends: a tick, and the offset of each partition at that time.

A batch is repeated with the same offsets, which Spark stores; so what all shards must know at the same moment
travels in them: the tick, and the groups that are full. The number of shards is there because the checkpoint has
the sessions divided among so many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from qoemon.core.counting.groups import Labels

Full = Mapping[str, Sequence[Labels]]
"""The groups of each service whose limit is reached."""


@dataclass(frozen=True)
class Cut:
    """The end of a batch, which is the beginning of the next.

    tick_s   its newest tick, seconds since the epoch
    offsets  by partition, the first record that belongs to later
    shards   among how many the sessions are divided
    every_s  time between two ticks, seconds
    full     the groups that were full when it was made, as JSON
    """

    tick_s: int
    offsets: tuple[int, ...]
    shards: int
    every_s: int
    full: str = "{}"

    def stored(self) -> dict[str, object]:
        """As Spark stores it: text, numbers and mappings of them."""
        return {
            "tick_s": self.tick_s,
            "offsets": {str(number): offset for number, offset in enumerate(self.offsets)},
            "shards": self.shards,
            "every_s": self.every_s,
            "full": self.full,
        }

    @classmethod
    def restored(cls, stored: Mapping[str, object]) -> Cut:
        """The cut of stored()."""
        return msgspec.convert(
            {**stored, "offsets": [offset for _, offset in sorted(_numbered(stored["offsets"]))]}, cls
        )


def at_least(offsets: Sequence[int], partitions: int) -> tuple[int, ...]:
    """Offsets of so many partitions: a topic may get further ones, which begin with their first record."""
    return (*offsets, *[0] * (partitions - len(offsets)))


def full_groups(text: str | bytes) -> Full:
    """The groups of Cut.full."""
    return msgspec.json.decode(text, type=dict[str, list[Labels]])


def write_full(file: Path, full: Full) -> None:
    """Write the groups that are full where the source finds them, at once or not at all."""
    text = msgspec.json.encode(full, order="deterministic")
    if not file.exists() or file.read_bytes() != text:
        fresh = file.with_suffix(".new")
        fresh.write_bytes(text)
        fresh.replace(file)


def _numbered(offsets: object) -> list[tuple[int, int]]:
    return [(int(number), offset) for number, offset in msgspec.convert(offsets, dict[str, int]).items()]
