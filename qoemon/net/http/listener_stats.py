"""Statistics of a listener: its connections, and its web configuration. Totals count since the start."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Ended(StrEnum):
    """Why we ended a connection, or did not begin it."""

    EVICTED = "crowded"
    """Idle for longest when a new one needed its place."""
    FULL = "full"
    """Not let in: every place was taken by one that is being answered."""
    SLOW = "slow"
    """Its request did not come, or its answer was not read, in time."""
    LARGE = "large"
    """It sent more than a request may have."""
    TLS = "tls"
    """It could not agree on TLS with us, a client certificate included."""
    IDLE = "idle"
    """It sent no further request in time."""


@dataclass
class ListenerStats:
    """Counts of one listener."""

    connections: int = 0
    """Open now, those in a handshake included."""
    ended: Counter[Ended] = field(default_factory=Counter)
    web_config_good: bool = True
    """Whether the web configuration file as it is now is in force."""
