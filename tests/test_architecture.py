"""What the core may know: no clock, socket, logger, event loop or metrics library."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import qoemon.core

CORE = Path(qoemon.core.__file__).parent
IMPURE = {
    *("asyncio", "concurrent", "datetime", "http", "io", "logging", "multiprocessing", "os", "pathlib", "queue"),
    *(
        "random",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "socketserver",
        "ssl",
        "subprocess",
    ),
    *("sys", "syslog", "tempfile", "threading", "time", "urllib", "uuid"),
}
ALLOWED = {
    "numpy",
    "scipy.interpolate",
    "scipy.special",
    "msgspec",
    "http_sf",
    "urllib.parse",
    "qoemon.core",
    *(sys.stdlib_module_names - IMPURE),
}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: path.stem)
def test_the_core_imports_only_what_computes(path: Path) -> None:
    foreign = {
        name for name in imported(path) if not any(name == ok or name.startswith(f"{ok}.") for ok in ALLOWED)
    }
    if path == CORE / "qoe" / "special.py":
        foreign -= {"sys"}  # its sys.modules: it imports a part of scipy.special
    assert not foreign, f"{path.name} imports {', '.join(sorted(foreign))}"


def test_the_check_sees_the_core() -> None:
    assert {"monitor", "codec", "session_table", "bins", "mapping", "distribution"} <= {
        path.stem for path in CORE.rglob("*.py")
    }
    assert "numpy" in imported(CORE / "counting" / "monitor.py")
