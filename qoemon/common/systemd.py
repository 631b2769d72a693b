"""What systemd is told of this process (sd_notify), and how often it wants to hear that it lives.

The protocol is a datagram of lines `NAME=value` to the socket in NOTIFY_SOCKET. Written here, since none of the
libraries is good: sdnotify blocks and has had no release since 2017, systemd-python must be compiled against
libsystemd, cysystemd brings compiled code for what takes a page.
"""

from __future__ import annotations

import os
import socket
import time


def notify(**fields: str | int) -> bool:
    """Tell systemd, e.g. `notify(READY=1, STATUS="subscribed")`; whether it was told. Never waits, never raises.

    Without systemd nobody is told. RELOADING=1 gets the time that systemd wants with it; READY=1 ends the reload.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):  # Others are for machines: vsock.
        return False
    if "RELOADING" in fields:
        fields["MONOTONIC_USEC"] = time.monotonic_ns() // 1000
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.sendto(_message(fields), _path(address))
    except OSError:
        return False
    return True


def watchdog_s() -> float | None:
    """How often `notify(WATCHDOG=1)` is due, s: twice in the time after which systemd ends us; None if never."""
    allowed, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
    # A process that we were started by, such as a shell, leaves us the variables that were meant for itself.
    if pid != str(os.getpid()) or not allowed.isdecimal() or int(allowed) == 0:
        return None
    return int(allowed) / 2e6


def _message(fields: dict[str, str | int]) -> bytes:
    """A line a field: a line end in a value would begin another."""
    lines = (f"{name}={' '.join(str(value).splitlines())}" for name, value in fields.items())
    return "\n".join(lines).encode(errors="replace")


def _path(address: str) -> str:
    """Where the socket is: @ stands for the NUL before an abstract name."""
    return f"\0{address[1:]}" if address.startswith("@") else address
