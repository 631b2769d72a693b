"""What systemd is told, and that the unit file is one that it takes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qoemon.common.systemd import notify, watchdog_s
from tests.support.parts import ROOT, program
from tests.support.patience import WAIT_S

UNIT = ROOT / "config/systemd/qoemon.service"
EXECUTABLE = "/opt/qoemon/bin/qoemon"

DENIED = """
import ctypes, mmap
libc = ctypes.CDLL(None)
if libc.prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN
    raise SystemExit(77)
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    from benchmarks.attack import run
    from qoemon.core.plan.plan import Limits
    from qoemon.daemon import daemon
    assert run(Limits(), 0, 0).sessions
    raise SystemExit(0)
"""
"""Judges users, with memory that is either written or executed; the daemon's whole program is there."""

EXPOSURE = 12
"""Tenths, out of 100: what remains is that the daemon has a network."""


@pytest.fixture(params=["file", "abstract"])
def systemd(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """The socket at which systemd would listen."""
    address = str(tmp_path / "notify") if request.param == "file" else f"@qoemon-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0"))
        listening.settimeout(WAIT_S)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield listening


def test_systemd_is_told(systemd: socket.socket) -> None:
    assert notify(READY=1, STATUS="subscribed; 12 groups")
    assert systemd.recv(4096) == b"READY=1\nSTATUS=subscribed; 12 groups"


def test_a_text_can_not_become_a_field(systemd: socket.socket) -> None:
    assert notify(STATUS="lost\nMAINPID=1\x0b\x1cREADY=1 \ud800")
    assert systemd.recv(4096).splitlines() == [b"STATUS=lost MAINPID=1  READY=1 ?"]


def test_a_reload_says_when(systemd: socket.socket) -> None:
    before_us = time.monotonic_ns() // 1000
    assert notify(RELOADING=1)
    told = dict(line.split("=") for line in systemd.recv(4096).decode().splitlines())
    assert told["RELOADING"] == "1"
    assert before_us <= int(told["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_a_systemd_that_does_not_read_holds_nobody_up(systemd: socket.socket) -> None:
    """Its queue is full at some time; then it is not told, and nobody waits."""
    told = [notify(WATCHDOG=1) for _ in range(2000)]
    assert told[0]
    assert not told[-1]


@pytest.mark.parametrize("address", [None, "", "/there/is/no/such/socket", "@", "vsock:2:1234", "@" + "x" * 200])
def test_without_systemd_nobody_is_told(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify(READY=1)


@pytest.mark.parametrize(
    ("allowed", "pid", "due_s"),
    [
        ("120000000", "ours", 60.0),
        ("120000000", None, 60.0),
        ("120000000", "0", None),
        ("0", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_the_watchdog_is_due_twice_in_its_time(
    allowed: str | None, pid: str | None, due_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WATCHDOG_USEC", allowed), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value.replace("ours", str(os.getpid())))
    assert watchdog_s() == due_s


def analyze(tmp_path: Path, *arguments: str, **renamed: str) -> subprocess.CompletedProcess[str]:
    """systemd-analyze about the unit file, with a program that is there, and other words for the keys named."""
    systemd_analyze = program("systemd-analyze", "Debian package systemd")
    text = UNIT.read_text()
    changes = {EXECUTABLE: "/bin/true"} | {f"\n{old}=": f"\n{new}=" for old, new in renamed.items()}
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    unit = tmp_path / UNIT.name
    unit.write_text(text)
    return subprocess.run([systemd_analyze, *arguments, str(unit)], capture_output=True, text=True, check=False)


def test_systemd_takes_the_unit_file_without_a_word(tmp_path: Path) -> None:
    verdict = analyze(tmp_path, "verify")
    assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, "", "")
    assert "Unknown key" in analyze(tmp_path, "verify", Restart="Restrat").stderr


def test_the_sandbox_is_as_tight_as_the_docs_say(tmp_path: Path) -> None:
    security = ("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}")
    verdict = analyze(tmp_path, *security)
    assert verdict.returncode == 0, verdict.stdout
    assert analyze(tmp_path, *security, CapabilityBoundingSet="#").returncode != 0
    assert f"above {EXPOSURE / 10}" in (ROOT / "docs/running.md").read_text()


def test_all_runs_without_memory_that_is_both_written_and_executed() -> None:
    """MemoryDenyWriteExecute: numpy and scipy do without."""
    ended = subprocess.run([sys.executable, "-c", DENIED], cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode == 77:
        pytest.skip("this kernel cannot refuse it: PR_SET_MDWE is there since Linux 6.3")
    assert ended.returncode == 0, ended.stderr
