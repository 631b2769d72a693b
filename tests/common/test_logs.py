"""The log: one line for each event in every format, whatever it contains, and few lines of a kind."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from qoemon.common.logs import KIND_LINES, LINE_LENGTH, MAX_KINDS, LimitedHandler
from tests.support.parts import ROOT, Daemon
from tests.support.patience import TEST_S, until

HOSTILE = '\x1b[2Jred\nlevel=critical "quoted" \\ \u202e \u2028 \x00 \ud800 ' + "x" * 2 * LINE_LENGTH
"""Orders to a terminal, a line and a field of its own, no characters, and too much of it."""

LOGFMT = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s="]+)(?: |$)')


@pytest.fixture
def errors(tmp_path: Path) -> Path:
    """An empty file, for standard error."""
    file = tmp_path / "errors"
    file.touch()
    return file


def logged(errors: Path, form: str, code: str, **env: str) -> list[str]:
    """The lines that a process logs to a file which runs this code."""
    program = "import logging\nfrom qoemon.common.logs import log_to_stderr\nLOG = logging.getLogger('qoemon.x')\n"
    program += f"log_to_stderr('INFO', {form!r}, dated=True)\nHOSTILE = {HOSTILE!r}\n{textwrap.dedent(code)}"
    command = [sys.executable, "-c", program]
    # As under systemd, where nothing declares that the reader accepts UTF-8.
    environment = {**os.environ, "LC_ALL": "C", **env}
    with errors.open("wb") as file:
        subprocess.run(command, cwd=ROOT, env=environment, timeout=TEST_S, stderr=file, check=False)
    return errors.read_bytes().decode().split("\n")[:-1]


def fields(line: str) -> dict[str, str]:
    """A line of logfmt, read as its readers do."""
    assert "".join(match.group() for match in LOGFMT.finditer(line)) == line, f"not logfmt: {line}"
    return {name: json.loads(value) if value.startswith('"') else value for name, value in LOGFMT.findall(line)}


READ: dict[str, Callable[[str], dict[str, Any]]] = {"json": json.loads, "logfmt": fields}

STRUCTURED = pytest.mark.parametrize("form", READ)


@STRUCTURED
def test_a_line_has_its_time_level_logger_and_event(form: str, errors: Path) -> None:
    [line] = logged(errors, form, "LOG.warning('%s is %d', 'all', 42)")
    written = READ[form](line)
    assert list(written) == ["time", "level", "logger", "event"]
    assert (written["level"], written["logger"], written["event"]) == ("warning", "qoemon.x", "all is 42")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", written["time"])
    assert abs(datetime.fromisoformat(written["time"]) - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize("form", ["text", *READ])
def test_hostile_text_stays_one_line(form: str, errors: Path) -> None:
    [line] = logged(errors, form, "LOG.error('got %s', HOSTILE)")
    assert line.isprintable()
    assert len(line) < 2 * LINE_LENGTH
    if form in READ:
        written = READ[form](line)
        assert written["level"] == "error"
        assert written["event"].startswith(r'got \x1b[2Jred\nlevel=critical "quoted" \ \u202e')


@STRUCTURED
def test_an_exception_is_in_its_line(form: str, errors: Path) -> None:
    code = """
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        LOG.exception("broke")
    """
    [line] = logged(errors, form, code)
    written = READ[form](line)
    assert line.isprintable()
    assert written["event"] == "broke"
    assert written["error"].startswith(r"ValueError: \x1b[2Jred")
    assert written["trace"].startswith("Traceback (most recent call last):\n")


@STRUCTURED
def test_what_ends_the_process_is_logged_too(form: str, errors: Path) -> None:
    [line] = logged(errors, form, "raise RuntimeError('a bug')")
    written = READ[form](line)
    assert (written["level"], written["error"]) == ("critical", "RuntimeError: a bug")


@STRUCTURED
def test_a_flood_gives_few_lines_and_the_count(form: str, errors: Path) -> None:
    code = """
    for number in range(10_000):
        LOG.warning("again %d", number)
        if number % 5000 == 0:
            LOG.warning("another kind")
    """
    written = [READ[form](line) for line in logged(errors, form, code)]
    kinds = [line for line in written if line["event"] == "another kind"]
    first, [last] = [line for line in written if "more" not in line], [line for line in written if "more" in line]
    assert len(kinds) == 2
    assert [line["event"] for line in first if line not in kinds] == [f"again {i}" for i in range(KIND_LINES)]
    assert int(last["more"]) == 10_000 - KIND_LINES
    assert last["event"] == f"and {10_000 - KIND_LINES} more of these within a minute; the last: again 9999"


def flooded(stream: io.StringIO, kinds: int = 1, span_s: float = 2.0) -> LimitedHandler:
    """A handler that was given a hundred records of each kind."""
    handler = LimitedHandler(stream, span_s)
    for number in range(100 * kinds):
        handler.handle(logging.LogRecord("x", logging.WARNING, "", 1, f"kind {number % kinds}", (), None))
    return handler


def test_the_count_comes_by_itself_when_the_time_is_over() -> None:
    stream = io.StringIO()
    handler = flooded(stream)
    assert len(stream.getvalue().splitlines()) == KIND_LINES
    until(lambda: "more of these" in stream.getvalue(), stream.getvalue)
    handler.handle(logging.LogRecord("x", logging.WARNING, "", 1, "kind 0", (), None))
    assert stream.getvalue().splitlines()[KIND_LINES:] == [
        f"and {100 - KIND_LINES} more of these within a minute; the last: kind 0",
        "kind 0",
    ]
    handler.close()


def test_kinds_are_bounded() -> None:
    """A logger that puts values into its text makes a kind of each; then all others are one."""
    stream = io.StringIO()
    flooded(stream, kinds=MAX_KINDS + 500, span_s=3600).close()
    lines = stream.getvalue().splitlines()
    assert sum("more of these" not in line for line in lines) == (MAX_KINDS + 1) * KIND_LINES
    hidden = sum(int(line.split()[1]) for line in lines if "more of these" in line)
    assert hidden == 100 * (MAX_KINDS + 500) - (MAX_KINDS + 1) * KIND_LINES


def test_journald_gets_priorities_and_no_second_time(errors: Path) -> None:
    """JOURNAL_STREAM has device and inode of the file that journald reads: standard error of the process."""
    code = "LOG.warning('w')\nLOG.info('i')\nraise RuntimeError('a bug')"
    about = errors.stat()
    lines = logged(errors, "text", code, JOURNAL_STREAM=f"{about.st_dev}:{about.st_ino}")
    assert lines[:2] == ["<4>WARNING qoemon.x: w", "<6>INFO qoemon.x: i"]
    assert all(line.startswith("<2>") for line in lines[2:])
    elsewhere = logged(errors, "text", code, JOURNAL_STREAM="1:1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING qoemon\.x: w", elsewhere[0])


@pytest.mark.parametrize("form", READ)
def test_a_daemon_logs_in_the_configured_format(
    form: str, start_daemon: Callable[..., Daemon], unused_port: int
) -> None:
    settings = {"log": {"format": form}, "mqtt": {"host": "127.0.0.1", "port": unused_port}}
    daemon = start_daemon(settings)
    daemon.signal(signal.SIGTERM)
    written = [READ[form](line) for line in daemon.log.read_text().splitlines()]
    assert [line["logger"] for line in written if "serving on" in line["event"]] == ["qoemon.daemon"]
    assert "SIGTERM: shutting down" in [line["event"] for line in written]
