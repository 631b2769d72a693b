"""How sessions are divided among processes: what was stored under another division says nothing to this one."""

from __future__ import annotations

import logging
import time
from pathlib import Path

LOG = logging.getLogger("qoemon.state")

ALONE = "alone"
"""All in one process."""

SHARDS = "-shards"
"""What the name of a division ends with whose workers have connections, and names at the broker, of their own."""

_FILE = "divided"


def divide(directory: Path, division: str) -> str | None:
    """Note that sessions are divided like this from now on; how they were before, if that was otherwise.

    What an earlier time of this same division has left there is out of date then, and put aside. The directory must
    be ours alone.
    """
    file = directory / _FILE
    before = _before(directory, file)
    file.write_text(f"{division}\n", encoding="ascii")
    if before in {None, division}:
        return None
    names = ["qoemon.db", "qoemon.db-wal", "qoemon.db-shm"] if division == ALONE else [division]
    for old in (directory / name for name in names):
        if old.exists():
            old.rename(old.with_name(f"{old.name}.old-{int(time.time())}"))
    LOG.warning(
        "sessions were divided otherwise before (%s, now %s): they, windows and counters begin anew, and windows "
        "fill within their length; delete what else is in %s when you are sure",
        before,
        division,
        directory,
    )
    return before


def _before(directory: Path, file: Path) -> str | None:
    if file.exists():
        return file.read_text(encoding="ascii").strip()
    return ALONE if (directory / "qoemon.db").exists() else None
