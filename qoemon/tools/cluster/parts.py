"""The processes of qoemon in the demo: the bridge, and the driver with its Spark."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import qoemon
from qoemon.tools import child

_ANSWER_S = 5.0
_LOG_CHARACTERS = 4000


class PartError(Exception):
    """A part of the demo has ended; the message has the end of its log."""


class Part:
    """A process of qoemon with an HTTP port.

    name  its command, such as bridge
    """

    def __init__(
        self, name: str, port: int, configuration: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.port = name, port
        self.log = configuration.with_name(f"{name}.log")
        arguments = [name, "-c", str(configuration), "--set", f"http.port={port}"]
        # Temporary files go where the demo removes them: PySpark leaves one if it is interrupted at its start.
        own = {**_environment(), "TMPDIR": str(configuration.parent), **(environment or {})}
        self.process: subprocess.Popen[bytes] = child.start(
            [sys.executable, "-m", "qoemon", *arguments], self.log, own
        )

    def check(self) -> None:
        """PartError if it does not run any more."""
        if (code := self.process.poll()) is not None:
            text = self.log.read_text(errors="replace")[-_LOG_CHARACTERS:]
            raise PartError(f"qoemon {self.name} ended with exit code {code}; its log:\n{text}")

    def problems(self) -> str | None:
        """The first reason why it is not ready, in its own words; None if it is. Blocks up to _ANSWER_S."""
        self.check()
        answer = _get(self.port, "/readyz")
        if answer is None:
            return "its start"
        status, body = answer
        return None if status == http.HTTPStatus.OK else (body.strip().splitlines() or ["answer"])[0]

    def snapshot(self) -> dict[str, Any] | None:
        """The newest tick; None before the first. Blocks up to _ANSWER_S."""
        self.check()
        answer = _get(self.port, "/api/v1/snapshot")
        if answer is None or answer[0] != http.HTTPStatus.OK:
            return None
        document: dict[str, Any] = json.loads(answer[1])
        return document


def _environment() -> dict[str, str]:
    """That of this process, with which children and Spark's executors import the same qoemon as it."""
    paths = [str(Path(qoemon.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _get(port: int, path: str) -> tuple[int, str] | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def spark_home(folder: Path) -> Path:
    """A home for Spark with the files of PySpark: its workers write into their home, also where they may not."""
    import pyspark  # noqa: PLC0415 - an extra

    folder.mkdir()
    for entry in Path(pyspark.__file__).parent.iterdir():
        if entry.name != "work":
            (folder / entry.name).symlink_to(entry)
    return folder
