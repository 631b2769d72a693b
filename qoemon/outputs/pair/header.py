"""The header of the snapshot's answer about a pair; for `qoemon top`, which starts without the rest of the room."""

from __future__ import annotations

PAIR = "Qoemon-Pair"
"""Says which daemon of a pair has sent the answer, and what the other one is."""
