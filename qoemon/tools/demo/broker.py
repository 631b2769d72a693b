"""Embedded broker for the demo: nats-server from a wheel, with its MQTT listener on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from qoemon.common.extras import how_to_add
from qoemon.tools import child
from qoemon.tools.ports import unused_port

START_S = 15.0
STOP_S = 5.0


class BrokerError(Exception):
    """The embedded broker is missing or does not start; the message says what to do."""


@contextlib.asynccontextmanager
async def broker() -> AsyncIterator[int]:
    """Context with a running MQTT 3.1.1 broker; yields its port on 127.0.0.1, removes its files at the end."""
    program = _program()
    with tempfile.TemporaryDirectory(prefix="qoemon-broker-") as folder:
        port = unused_port()
        settings = _write_settings(Path(folder), port)
        log = Path(folder) / "log"
        process = child.start([program, "-c", str(settings)], log)
        try:
            await _wait_until_listening(process, port, log)
            yield port
        finally:
            child.stop([process], STOP_S)


def _program() -> str:
    # The wheel installs it beside the interpreter, which need not be on PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("nats-server", path=path)
    if found is None:
        raise BrokerError(f"nats-server is not installed: it comes with the extra demo: {how_to_add('demo')}")
    return found


def _write_settings(folder: Path, port: int) -> Path:
    settings = {
        "server_name": "qoemon-demo",
        "host": "127.0.0.1",
        "port": unused_port(),
        "jetstream": {"store_dir": str(folder / "jetstream")},
        # The default of NATS is 100 unacknowledged messages.
        "mqtt": {"host": "127.0.0.1", "port": port, "max_ack_pending": 65535},
    }
    path = folder / "nats.conf"
    path.write_text(json.dumps(settings))  # NATS's own format includes JSON.
    return path


async def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        if process.poll() is not None or time.monotonic() > deadline_s:
            text = log.read_text(errors="replace")[-2000:]
            raise BrokerError(f"nats-server did not answer on port {port} within {START_S:g} s; its log:\n{text}")
        await asyncio.sleep(0.02)
