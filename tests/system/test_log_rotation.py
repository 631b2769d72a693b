"""A log in a file, rotated by a real logrotate as the manual says."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING

from tests.support.parts import ROOT, program, unused_port
from tests.support.patience import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.parts import Daemon

PAGE = (ROOT / "docs/upgrade.md").read_text()


def test_the_daemon_continues_in_the_file_that_logrotate_has_emptied(
    tmp_path: Path, start_daemon: Callable[..., Daemon]
) -> None:
    """Its output is redirected with >>; what was in the file is in the compressed copy, and nothing twice."""
    logrotate = program("logrotate", "Debian package logrotate")
    (documented,) = re.findall(r"```text\n(/var/log/qoemon\.log \{.*?)```", PAGE, re.DOTALL)
    daemon = start_daemon({"mqtt": {"host": "127.0.0.1", "port": unused_port()}})
    until(lambda: "serving on" in daemon.log.read_text())
    before = daemon.log.read_text()
    configuration = tmp_path / "logrotate.conf"
    configuration.write_text(documented.replace("/var/log/qoemon.log", str(daemon.log)))
    configuration.chmod(0o644)
    command = [logrotate, "--force", "--state", str(tmp_path / "status"), str(configuration)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    (copy,) = tmp_path.glob("qoemon.log.*")
    assert gzip.decompress(copy.read_bytes()).decode().startswith(before)

    os.kill(daemon.pid, signal.SIGHUP)
    until(lambda: "reloaded" in daemon.log.read_text(), daemon.log.read_text)
    after = daemon.log.read_bytes()
    assert b"\0" not in after
    assert b"serving on" not in after
