"""Notifications to systemd (sd_notify) and the interval of its watchdog.

The protocol is a datagram of lines `NAME=value` to the socket in NOTIFY_SOCKET. Implemented here, since no library
fits: sdnotify blocks and has had no release since 2017, systemd-python must be compiled against libsystemd, and
cysystemd brings compiled code for one page of Python.
"""

from __future__ import annotations

import os
import socket
import time


def notify(**fields: str | int) -> bool:
    """Notify systemd, e.g. `notify(READY=1, STATUS="subscribed")`; whether it was sent. Never waits, never raises.

    Does nothing without systemd. Adds the time that RELOADING=1 requires; READY=1 ends the reload.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):  # Others, such as vsock, are for virtual machines.
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
    """Interval of `notify(WATCHDOG=1)`, s: half of the time after which systemd ends us; None without watchdog."""
    allowed, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
    # A parent process such as a shell passes on the variables that were meant for itself.
    if pid != str(os.getpid()) or not allowed.isdecimal() or int(allowed) == 0:
        return None
    return int(allowed) / 2e6


def _message(fields: dict[str, str | int]) -> bytes:
    """One line for each field; line ends in values become spaces, since each would begin a new field."""
    lines = (f"{name}={' '.join(str(value).splitlines())}" for name, value in fields.items())
    return "\n".join(lines).encode(errors="replace")


def _path(address: str) -> str:
    """The address of the socket: @ stands for the NUL before an abstract name."""
    return f"\0{address[1:]}" if address.startswith("@") else address
