"""Opens the stores and files that a configuration needs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from qoemon.config.config import Config
from qoemon.config.sections.state import Durability
from qoemon.inputs.mqtt.session_memory import SessionMemory
from qoemon.state.backup import keep_before_upgrade
from qoemon.state.directory import locked
from qoemon.state.durable_file import DurableFile
from qoemon.state.history_store import HistoryStore
from qoemon.state.layout import BROKER_SESSIONS, CLUSTER, HISTORY, SHARDS, SINGLE, enter_layout
from qoemon.state.store import Store
from qoemon.state.versions import require_readable


def state_directory(config: Config) -> Path | None:
    """The state directory: state.dir, or the one that systemd provides; None if nothing is stored."""
    systemds = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    directory = config.state.dir or (Path(systemds) if systemds else None)
    return None if config.state.durability is Durability.NONE else directory


def enter(config: Config, directory: Path) -> tuple[IO[str], str | None]:
    """Lock a state directory, and prepare it for the daemon of a configuration, before that opens any store.

    returns  the lock, see locked(); and the layout of before, if that was another one, see enter_layout()
    raises   StateError if it cannot be used, UnsuitableStateError if a newer qoemon has written it
    """
    lock = locked(directory)
    try:
        require_readable(directory)
        keep_before_upgrade(directory)
        return lock, enter_layout(directory, layout_name(config))
    except BaseException:
        lock.close()
        raise


def open_store(config: Config, directory: Path) -> Store:
    """Open the store in a directory; StateError if it cannot be used."""
    return Store(directory, config.state.durability, config.state.journal_bytes)


def open_worker_store(config: Config, worker: int) -> Store | None:
    """Open the store of one worker, with its part of the journal's size; None if nothing is stored."""
    directory, state = state_directory(config), config.state
    if directory is None:
        return None
    journal_bytes = max(state.journal_bytes // config.workers, 1)
    return Store(directory / layout_name(config) / str(worker), state.durability, journal_bytes)


def session_memory(directory: Path | None) -> SessionMemory:
    """The sessions at brokers that are known in a locked directory; None if nothing is stored."""
    return SessionMemory(None if directory is None else DurableFile(directory / BROKER_SESSIONS))


def history_store(config: Config) -> HistoryStore:
    """The history, in the state directory or in memory. It is opened at its first use."""
    directory, interval_s = state_directory(config), config.sessions.rating_interval_s
    kept_s = int(config.state.history_s)
    return HistoryStore(directory / HISTORY if directory and kept_s else None, interval_s, kept_s)


def layout_name(config: Config) -> str:
    """The name of the layout, for a file name."""
    if config.clustered:
        return CLUSTER
    if config.workers == 1:
        return SINGLE
    shards = f"-of-{config.mqtt.shards}{SHARDS}" if config.mqtt is not None and config.sharded else ""
    return f"workers-{config.workers}{shards}"
