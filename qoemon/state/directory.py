"""The state directory, locked so that only one daemon uses it."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

LOCK = "lock"
LOST_AND_FOUND = "lost+found"
"""Belongs to the file system, in the root of a volume of ext4: as good as nothing."""
"""File name of the lock in a state directory."""
LOCKS = Path("/proc/locks")
"""All locks on files, by process and inode."""


class StateError(Exception):
    """The stored state cannot be used; the message gives the place, the reason and the remedy."""


class UnsuitableStateError(StateError):
    """The state is of another version or layout, so trying again is no use."""


def locked(directory: Path) -> IO[str]:
    """Create the directory if missing, and lock it until the returned file is closed or the process ends.

    raises   StateError if it cannot be written, or another daemon has locked it
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = open(directory / LOCK, "a+", encoding="ascii", opener=_unlinked)  # noqa: SIM115 - the caller's
    except OSError as error:
        linked = error.errno == errno.ELOOP
        reason = f"{LOCK} is a symbolic link" if linked else (error.strerror or str(error)).lower()
        raise StateError(
            f"cannot keep state in {directory}: {reason}; let the user qoemon runs as write there, or set state.dir"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise StateError(
            f"another qoemon (process {holder}) keeps its state in {directory}: stop it, or set another state.dir"
        ) from None
    lock.seek(0)
    lock.truncate()
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _unlinked(path: str, flags: int) -> int:
    """Root may lock a directory of another user, whose links could lead to any file."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def holder(directory: Path) -> int | None:
    """The process that has locked the directory, without locking it; None if there is none.

    raises   StateError if the directory cannot be read
    """
    try:
        inode = (directory / LOCK).stat().st_ino
        locks = LOCKS.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(
            f"cannot read {directory}: {(error.strerror or str(error)).lower()}; read it as root or as the user of "
            "the daemon"
        ) from None
    # Such as "1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF". The device is not compared: btrfs has others here.
    fields = (line.split() for line in locks)
    return next((int(each[4]) for each in fields if each[1] == "FLOCK" and each[5].endswith(f":{inode}")), None)
