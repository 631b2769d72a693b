"""Ports for the servers that a demo starts."""

from __future__ import annotations

import contextlib
import random
import socket


def unused_port() -> int:
    """A loopback TCP port that was free a moment ago.

    Below those that the system gives to clients: of these, one may be taken before a server listens on it.
    """
    while True:
        port = random.SystemRandom().randrange(16_384, 32_768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
