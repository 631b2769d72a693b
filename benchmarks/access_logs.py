"""What `qoemon import-cmcd` finds, and costs for a million lines. `python -m benchmarks.access_logs`.

What it finds is the stall seconds of captures of real players, as logs of JSON lines, beside what the viewer saw.

The log repeats a capture of a real player (tests/captures): 2,000 viewers at a time, and when they have ended, the
next 2,000. CPU and memory are those of the whole process that imports it.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec

from benchmarks.bench import run
from benchmarks.row import Row
from tests.support.access_logs import json_lines, requests, truth

LINES, VIEWERS, APART_S = 1_000_000, 2000, 400.0
CAPTURE = "hlsjs-v1stall1"
MEGA = 1e6
FOUND = tuple(
    f"{player}-{scenario}"
    for player, scenarios in (("hlsjs", 3), ("dashjs", 3), ("shaka", 1))
    for scenario in ("v1stall1", "pause", "seek")[:scenarios]
)

Line = Callable[[float, str, str], str]
"""Makes a line of the time, the path and the query of a request."""


def rows() -> list[Row]:
    """Stall seconds of each capture; CPU seconds and memory for each format."""
    costs = [row for name, line in (("combined", _combined), ("json", _json)) for row in _imported(name, line)]
    return [*map(_found, FOUND), *costs]


def _combined(time_s: float, path: str, query: str) -> str:
    time = datetime.fromtimestamp(int(time_s), UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'10.0.0.7 - - [{time}] "GET {path}{query} HTTP/1.1" 200 5120 "-" "Mozilla/5.0 (X11)"'


def _json(time_s: float, path: str, query: str) -> str:
    line = {"timestamp": round(time_s, 3), "host": "a.example", "uri": path + query, "status": 200}
    return msgspec.json.encode(line).decode()


def _lines(line: Line) -> Iterator[str]:
    gets = requests(CAPTURE)
    first_s = gets[0]["t"]
    session = truth(CAPTURE).get("sid") or next(
        part for get in gets for part in get["raw_query"].split("%22") if len(part) == len(str(UUID(int=0)))
    )
    for number in range(-(-LINES // (len(gets) * VIEWERS))):
        for get in gets:
            for viewer in range(VIEWERS):
                other = str(UUID(int=number * VIEWERS + viewer))
                query = f"?{get['raw_query'].replace(session, other)}" * bool(get["raw_query"])
                yield line(first_s + number * APART_S + get["t"] - first_s, get["path"], query)


def _found(capture: str) -> Row:
    with tempfile.TemporaryDirectory() as directory:
        log, recording, found = (Path(directory) / name for name in ("access.log", "r.gz", "s.csv"))
        log.write_text("".join(f"{line}\n" for line in json_lines(capture)), encoding="utf-8")
        for command in (
            ["import-cmcd", log, "--format", "json", "-o", recording],
            ["replay", recording, "--sessions", found],
        ):
            subprocess.run([sys.executable, "-m", "qoemon", *map(str, command)], check=True, capture_output=True)
        stalls_s = [float(row["stall_s"]) for row in csv.DictReader(found.read_text(encoding="utf-8").splitlines())]
    seen = truth(capture)
    return Row.of(f"{capture}, viewer saw {seen['stall_count']}, {seen['stall_s']:.2f} s", "stall s", stalls_s)


def _imported(name: str, line: Line) -> list[Row]:
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "access.log"
        with log.open("w", encoding="utf-8") as file:
            file.writelines(f"{text}\n" for text, _ in zip(_lines(line), range(LINES), strict=False))
        arguments = ["import-cmcd", str(log), "--format", name, "-o", str(log.with_suffix(".gz"))]
        process = subprocess.Popen([sys.executable, "-m", "qoemon", *arguments], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ChildProcessError(f"import-cmcd ended with {process.returncode}")
    return [
        Row.of(f"a million lines, {name}", "CPU s", [used.ru_utime + used.ru_stime]),
        Row.of(f"memory of that, {name}", "MB", [used.ru_maxrss * 1024 / MEGA], at_most=250),
    ]


if __name__ == "__main__":
    sys.exit(run("Access logs", rows))
