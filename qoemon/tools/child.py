"""Processes that end with the thread that starts them, however that ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from qoemon.tools.cache import MissingError


def start(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process whose output is appended to a file; MissingError without setpriv.

    It has its own session, so that Ctrl-C in the terminal does not reach it, and runs in the folder of that file.

    environment  instead of that of this process
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise MissingError("setpriv is not installed, which ends children with qoemon: apt-get install util-linux")
    with log.open("ab") as out:
        return subprocess.Popen(
            [setpriv, "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=log.parent,
            env=environment,
            start_new_session=True,
        )


def stop(processes: Iterable[subprocess.Popen[bytes]], within_s: float) -> None:
    """Ask all to end, and wait for them; what is left then, of their children too, is killed."""
    running, deadline_s = list(processes), time.monotonic() + within_s
    for process in running:
        process.terminate()
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline_s - time.monotonic()))
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process with its children at once, as `kill -9` or a crash would."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
