"""What the page on brokers says of their configurations, as far as the brokers are here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.parts import ROOT

PAGE = (ROOT / "docs/brokers.md").read_text()


def test_nats_accepts_its_settings(tmp_path: Path) -> None:
    block = PAGE.partition("### NATS\n")[2].partition("```conf\n")[2].partition("```")[0]
    (tmp_path / "nats.conf").write_text(block)
    program = Path(sys.executable).with_name("nats-server")
    done = subprocess.run(
        [program, "-t", "-c", tmp_path / "nats.conf"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
