"""The extras of the package: how one is added to the installation that runs."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec


def how_to_add(extra: str) -> str:
    """What to do if something from an extra is not installed: a command, or why there is none.

    The pip of another environment would look for qoemon in a package index.
    """
    if find_spec("pip") is None:
        return f"{sys.prefix} has no pip, so install qoemon with the extra {extra} in a virtual environment"
    return f"{shlex.quote(sys.executable)} -m pip install 'qoemon[{extra}]'"
