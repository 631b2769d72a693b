"""What is in a state directory, read without changing anything; a daemon may be running there."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qoemon.core.counting.groups import NO_VALUE
from qoemon.state.directory import LOCK, LOST_AND_FOUND, StateError, holder
from qoemon.state.history_sql import one
from qoemon.state.layout import BROKER_SESSIONS, HISTORY, LAYOUT, all_stores, described, layout_of
from qoemon.state.read_only import DATABASE, SHARD_META, Journal, array, journal, meta, reading
from qoemon.state.versions import found_versions, newer

POSITION = "cluster/position"
"""Array with how far the driver of a cluster has evaluated."""

_OURS = {
    LAYOUT,
    DATABASE,
    HISTORY,
    BROKER_SESSIONS,
    LOCK,
    LOST_AND_FOUND,
    *(f"{DATABASE}{suffix}" for suffix in ("-wal", "-shm")),
}
_OURS |= {f"{HISTORY}{suffix}" for suffix in ("-wal", "-shm")}


@dataclass(frozen=True)
class ServiceContents:
    """One service; sessions is None where a cluster has them."""

    service: str
    sessions: int | None
    groups: int


@dataclass(frozen=True)
class HistoryContents:
    """The history; times in seconds since the epoch, None while it is empty."""

    bytes: int
    from_s: int | None
    to_s: int | None
    intervals: int
    alerts: int


@dataclass(frozen=True)
class Contents:
    """What a state directory has.

    process    id of the daemon that runs there; None if there is none
    layout     how sessions are divided among processes, in words
    versions   of what is stored, by part
    labels     names of the group labels
    timing     lengths of tick, rating interval and windows, seconds; None before the first checkpoint
    tick_s     newest tick in the checkpoint, seconds since the epoch
    stores     bytes of all stores, their journals included
    journal    messages beyond the checkpoint
    broker_sessions  broker and client id of each session at a broker
    others     files that no daemon of this layout uses, with their bytes
    """

    directory: str
    process: int | None
    layout: str
    versions: Mapping[str, int]
    labels: tuple[str, ...]
    timing: tuple[int, int, tuple[int, ...]] | None
    tick_s: int | None
    services: tuple[ServiceContents, ...]
    stores: int
    journal: Journal
    history: HistoryContents | None
    broker_sessions: tuple[tuple[str, str], ...]
    others: Mapping[str, int]


def contents(directory: Path) -> Contents:
    """What is in a state directory; StateError if there is no state, or it cannot be read."""
    process, layout, stores = holder(directory), layout_of(directory), all_stores(directory)
    if layout is None or not stores:
        raise StateError(f"{directory} has no state: is it the state.dir of the daemon?")
    versions = found_versions(directory)
    try:
        return _contents(directory, process, layout, stores, versions)
    except (LookupError, TypeError, ValueError):
        if what := newer(versions):
            raise StateError(f"a newer qoemon has written {directory} ({what}): read it with that one") from None
        raise


def _contents(
    directory: Path, process: int | None, layout: str, stores: Sequence[Path], versions: Mapping[str, int]
) -> Contents:
    parts = [_Part.read(each / DATABASE) for each in stores]
    plan = next((part.meta["plan"] for part in parts if part.meta), None)
    timing = None if plan is None else plan["timing"]
    journals = [part.journal for part in parts]
    return Contents(
        directory=str(directory),
        process=process,
        layout=described(layout),
        versions=versions,
        labels=() if plan is None else tuple(plan["labels"]),
        timing=None if timing is None else (timing[0], timing[1], tuple(timing[2])),
        tick_s=max((part.tick_s for part in parts if part.tick_s is not None), default=None),
        services=tuple(_services(parts)),
        stores=sum(_size(each / DATABASE) for each in stores),
        journal=Journal(
            sum(each.entries for each in journals),
            sum(each.bytes for each in journals),
            max((each.newest_s for each in journals if each.newest_s is not None), default=None),
        ),
        history=_history(directory / HISTORY),
        broker_sessions=tuple(_broker_sessions({directory, *stores})),
        others=_others(directory, layout),
    )


@dataclass(frozen=True)
class _Part:
    """One store; sessions by service, and its newest tick in seconds since the epoch."""

    meta: Mapping[str, Any]
    sessions: Mapping[str, int]
    tick_s: int | None
    journal: Journal

    @classmethod
    def read(cls, file: Path) -> _Part:
        with reading(file) as database:
            return cls(meta(database), dict(_sessions(database)), _tick_s(database), journal(database))


def _tick_s(database: sqlite3.Connection) -> int | None:
    """The newest tick of a shard, or of the driver of a cluster, seconds since the epoch."""
    for name in (SHARD_META, POSITION):
        if (found := array(database, name)) is not None:
            document = json.loads(found.tobytes())
            if name == POSITION:
                return None if document["tick_s"] is None else int(document["tick_s"])
            return None if document["tick"] is None else document["tick"] * int(document["plan"]["timing"][0])
    return None


def _sessions(database: sqlite3.Connection) -> Iterable[tuple[str, int]]:
    """Each service of a shard, and the number of its sessions."""
    names = database.execute(
        "SELECT name FROM checkpoint WHERE name LIKE 'monitor/%/sessions/id_length'"
    ).fetchall()
    for (name,) in names:
        lengths = array(database, name)
        yield (
            name.removeprefix("monitor/").removesuffix("/sessions/id_length"),
            0 if lengths is None else len(lengths),
        )


def _services(parts: Iterable[_Part]) -> Iterable[ServiceContents]:
    """The services of all parts; the groups of shards overlap, so those of the last part count: of the parent."""
    sessions: Counter[str] = Counter()
    groups: dict[str, int] = {}
    counted = False
    for part in parts:
        counted = counted or bool(part.sessions)
        sessions.update(part.sessions)
        groups |= {name: sum(map(_used, some)) for name, some in part.meta.get("groups", {}).items()}
    for name, number in groups.items():
        yield ServiceContents(name, sessions[name] if counted else None, number)


def _used(labels: Sequence[str]) -> bool:
    """Whether a group has label values, rather than a number that is free."""
    return not labels or set(labels) != {NO_VALUE}


def _history(file: Path) -> HistoryContents | None:
    if not file.exists():
        return None
    with reading(file) as database:
        spans = [
            one(database, f"SELECT {which}(end_s) FROM {table}")  # noqa: S608 - constants
            for which in ("min", "max")
            for table in ("block", "interval")
        ]
        return HistoryContents(
            _size(file),
            min((each for each in spans[:2] if each is not None), default=None),
            max((each for each in spans[2:] if each is not None), default=None),
            sum(one(database, f"SELECT count(*) FROM {table}") for table in ("block", "interval")),  # noqa: S608
            one(database, "SELECT count(*) FROM alert"),
        )


def _broker_sessions(directories: Iterable[Path]) -> Iterable[tuple[str, str]]:
    for file in sorted(each / BROKER_SESSIONS for each in directories):
        try:
            yield from ((each["broker"], each["client_id"]) for each in json.loads(file.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # Missing, or damaged: then the daemon replaces it.


def _others(directory: Path, layout: str) -> dict[str, int]:
    """What earlier layouts, damage and upgrades have left, with its bytes."""
    left = (each for each in sorted(directory.iterdir()) if each.name not in {*_OURS, layout})
    return {each.name: _tree_size(each) for each in left}


def _tree_size(path: Path) -> int:
    return sum(map(_bytes, [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]))


def _size(file: Path) -> int:
    """Size of a database, its log included."""
    return sum(_bytes(file.with_name(f"{file.name}{suffix}")) for suffix in ("", "-wal"))


def _bytes(file: Path) -> int:
    """Size of a file; 0 if there is none, as a running daemon may have removed it meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_size
    return 0
