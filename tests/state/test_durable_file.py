"""A small file survives whatever ends its replacement: it has the old content or the new one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qoemon.state.durable_file import DurableFile
from tests.support.parts import ROOT
from tests.support.patience import until

ENDLESS = """
import itertools, pathlib, sys
from qoemon.state.durable_file import DurableFile
file = DurableFile(pathlib.Path(sys.argv[1]))
for number in itertools.count():
    file.write(b"%d " % number * 20_000)
"""


def test_what_was_written_last_is_read(tmp_path: Path) -> None:
    file = DurableFile(tmp_path / "small.json")
    assert file.read() is None
    for content in (b"first", b"", b"\xff"):
        file.write(content)
        assert DurableFile(tmp_path / "small.json").read() == content
    assert list(tmp_path.iterdir()) == [tmp_path / "small.json"]


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    file = DurableFile(tmp_path / "small.json")
    file.write(b"old")
    (tmp_path / "small.json.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        file.write(b"new")
    assert file.read() == b"old"


def test_a_process_that_is_killed_while_it_writes_leaves_a_whole_file(tmp_path: Path) -> None:
    file = DurableFile(tmp_path / "small.json")
    for _ in range(5):
        before = file.read()
        command = [sys.executable, "-c", ENDLESS, str(tmp_path / "small.json")]
        with subprocess.Popen(command, cwd=ROOT) as writing:
            until(lambda before=before: file.read() != before)  # type: ignore[misc]
            writing.send_signal(signal.SIGKILL)
        content = file.read()
        assert content is not None
        assert len(set(content.split())) == 1
        assert len(content.split()) == 20_000
    file.write(b"the next process goes on")
    assert list(tmp_path.iterdir()) == [tmp_path / "small.json"]
