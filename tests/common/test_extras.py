"""How an extra is added, by the kind of installation."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.parts import ROOT

if TYPE_CHECKING:
    from pathlib import Path

ASK = "from qoemon.common.extras import how_to_add; print(how_to_add('plot'))"


def asked(python: Path | str) -> str:
    return subprocess.run([python, "-c", ASK], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_the_pip_of_the_environment_adds_it() -> None:
    """Another one would look for qoemon in a package index, where somebody else may publish this name."""
    assert asked(sys.executable) == f"{sys.executable} -m pip install 'qoemon[plot]'"


def test_an_environment_without_pip_is_not_told_to_use_it(tmp_path: Path) -> None:
    """As that of the Debian package."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "opt"], check=True)
    said = asked(tmp_path / "opt/bin/python")
    assert said == f"{tmp_path}/opt has no pip, so install qoemon with the extra plot in a virtual environment"
