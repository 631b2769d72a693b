"""Where the state of a configuration is kept."""

from __future__ import annotations

import os
from pathlib import Path

from qoemon.config.config import Config
from qoemon.config.plan import sharded
from qoemon.config.sections.state import Durability
from qoemon.state.layout import ALONE, SHARDS
from qoemon.state.store import Store


def state_directory(config: Config) -> Path | None:
    """Where state is kept: state.dir, or what systemd gives; None if nothing is kept."""
    systemds = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    directory = config.state.dir or (Path(systemds) if systemds else None)
    return None if config.state.durability is Durability.NONE else directory


def open_store(config: Config, directory: Path) -> Store:
    """The store in that directory; StateError if it cannot be used."""
    return Store(directory, config.state.durability, config.state.journal_bytes)


def layout_name(config: Config) -> str:
    """How sessions are divided, in words for a file name; divided otherwise, each worker would have others."""
    if config.workers == 1:
        return ALONE
    return f"workers-{config.workers}" + (f"-of-{config.mqtt.shards}{SHARDS}" if sharded(config) else "")
