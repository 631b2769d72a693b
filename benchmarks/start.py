"""What the start of a command costs, as a ratio to `import numpy` in the same run. `python -m benchmarks.start`.

CPU time of the whole process, user and system, interpreter and byte code cache included; the cache is warm, as that
of an installed package. `run` is measured until its HTTP port answers, without a broker.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import run
from benchmarks.row import Row

REPEATS = 11
KILO, GIGA = 1e3, 1e9

COMMANDS = (
    ("qoemon --version", ("--version",), 2.0),
    ("qoemon --help", ("--help",), 2.0),
    ("qoemon check", ("check",), 4.0),
    ("qoemon check -c config/qoemon.yaml", ("check", "-c", "config/qoemon.yaml"), 4.0),
)

COMPLETION = [sys.executable, "-c", "from qoemon.cli import app; app(prog_name='qoemon')"]
COMPLETED = {"_QOEMON_COMPLETE": "complete_bash", "COMP_WORDS": "qoemon re", "COMP_CWORD": "1"}
"""What a shell runs and sets for `qoemon re`, then the tabulator key."""

NO_BROKER = "mqtt: {host: 127.0.0.1, port: 1}\nhttp: {host: 127.0.0.1, port: %d}\n"


def rows() -> list[Row]:
    """Every command beside numpy, round by round, so that other load on the machine meets them alike."""
    with tempfile.TemporaryDirectory() as folder:
        file, port = Path(folder) / "qoemon.yaml", _unused_port()
        file.write_text(NO_BROKER % port, encoding="utf-8")
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        env["PYTHONPYCACHEPREFIX"] = folder
        works: list[Callable[[], float]] = [
            lambda: _until_its_end([sys.executable, "-c", "import numpy"], env),
            *(lambda to=to: _until_its_end([sys.executable, "-m", "qoemon", *to], env) for _, to, _ in COMMANDS),
            lambda: _until_its_end(COMPLETION, env | COMPLETED),
            lambda: _until_it_listens([sys.executable, "-m", "qoemon", "run", "-c", str(file)], env, port),
        ]
        for work in works:
            work()  # writes the byte code
        rounds = [[work() for work in works] for _ in range(REPEATS)]
    bars = [
        *((name, bar) for name, _, bar in COMMANDS),
        ("completion of a command", 2.0),
        ("qoemon run, until it listens", 5.0),
    ]
    numpy_s, *others = zip(*rounds, strict=True)
    base_s = statistics.median(numpy_s)
    return [
        Row.of("import numpy", "ms", [used_s * KILO for used_s in numpy_s]),
        *(
            Row.of(name, "x numpy", [used_s / base_s for used_s in column], at_most=bar)
            for (name, bar), column in zip(bars, others, strict=True)
        ),
    ]


def _until_its_end(command: list[str], env: dict[str, str]) -> float:
    """CPU seconds of a process from its start to its end."""
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return used.ru_utime + used.ru_stime


def _until_it_listens(command: list[str], env: dict[str, str], port: int) -> float:
    """CPU seconds of a daemon until it has logged that it serves; its port then takes a connection."""
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        log = ""
        while "serving on" not in log:
            log = next(process.stderr)
        tasks = Path(f"/proc/{process.pid}/task").iterdir()
        used_s = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / GIGA
        socket.create_connection(("127.0.0.1", port)).close()
        process.send_signal(signal.SIGTERM)
        process.communicate()
    return used_s


def _unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(run("Start of the commands, CPU time", rows))
