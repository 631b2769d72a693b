"""Backups: all state of a directory in one file, also of a running daemon, and a directory from such a file.

A backup has the state at one moment: snapshots of all databases are opened one after the other, which takes
milliseconds, and then copied. Their order is that in which a daemon stores: workers, their parent, the history. A
part that is a moment older than the next one is what a crash would leave, and a start handles it likewise.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

import qoemon
from qoemon.state import archive
from qoemon.state.archive import Manifest
from qoemon.state.directory import LOCK, LOST_AND_FOUND, StateError, UnsuitableStateError, locked
from qoemon.state.history_sql import one
from qoemon.state.layout import (
    BROKER_SESSIONS,
    CLUSTER,
    HISTORY,
    LAYOUT,
    all_stores,
    described,
    layout_of,
)
from qoemon.state.read_only import DATABASE, snapshot
from qoemon.state.versions import READABLE, STATE, UPGRADED_FROM, found_versions, newer

LOG = logging.getLogger("qoemon.state")

COPYING = ".export-"
"""Prefix of a folder beside the file of a backup, while it is made."""

UNPACKING = ".import-"
"""Prefix of a folder in the state directory, with what is not imported as a whole yet."""


def backup(directory: Path, file: Path, *, history: bool = True) -> Manifest:
    """Write all state of a directory to a file, which is replaced as a whole; a daemon may be running there.

    history  whether to include the history
    raises   StateError if there is no state, it cannot be read, or the file cannot be written
    """
    layout = layout_of(directory)
    if layout is None or not all_stores(directory):
        raise StateError(f"{directory} has no state: is it the state.dir of the daemon?")
    try:
        with tempfile.TemporaryDirectory(prefix=f"{COPYING}{file.name}-", dir=file.parent) as folder:
            copies = Path(folder) / "copies"
            copies.mkdir()
            _copy(directory, copies, layout, history=history)
            manifest = Manifest(
                versions=found_versions(copies),
                layout=layout,
                created_s=int(time.time()),
                qoemon=qoemon.__version__,
                files=tuple(archive.member(copies, each) for each in _files(copies)),
            )
            new = Path(folder) / "new"
            archive.write(new, copies, manifest)
            new.replace(file)
            _sync(file.parent)
    except OSError as error:
        read = str(error.filename or "")
        where = read if read.startswith(f"{directory}/") else f"{directory} to {file}"
        raise StateError(f"cannot export {where}: {error.strerror or error}") from None
    return manifest


def restore(file: Path, directory: Path, layout: str) -> Manifest:
    """Fill an empty state directory from a file of backup().

    layout  of the daemon that will use it
    raises  UnsuitableStateError if this daemon cannot use the backup; StateError if the file is damaged, or the
            directory is not empty or in use. The directory stays empty then.
    """
    with contextlib.closing(locked(directory)) as lock:
        try:
            _give(directory, Path(lock.name))  # At once: if the import is refused, the daemon has to open it.
            _require_empty(directory)
            with tempfile.TemporaryDirectory(prefix=UNPACKING, dir=directory) as folder:
                with archive.Reader(file) as reader:
                    manifest = reader.manifest
                    _require_suitable(file, manifest, layout)
                    _require_room(file, manifest, directory)
                    reader.unpack(Path(folder))
                _move(Path(folder), directory)
        except OSError as error:
            raise StateError(f"cannot import {file} into {directory}: {error.strerror or error}") from None
    return manifest


def keep_before_upgrade(directory: Path) -> None:
    """Keep a copy of a state of an earlier version, which the next checkpoint would replace, for a way back.

    Without the history, whose version is its own. If there is no room for the copy, that is logged: the daemon is
    worth more than the way back.
    """
    version = found_versions(directory).get(STATE, READABLE[STATE])
    if version >= READABLE[STATE]:
        return
    copy = directory / UPGRADED_FROM.format(version)
    for old in directory.glob(f"{COPYING}{copy.name}-*"):  # Of a start that was killed meanwhile.
        shutil.rmtree(old, ignore_errors=True)
    try:
        backup(directory, copy, history=False)
    except StateError as error:
        LOG.error("the state has version %d and is converted, and no copy of it is kept: %s", version, error)
        return
    for old in directory.glob(UPGRADED_FROM.format("*")):
        if old != copy:
            old.unlink()
    LOG.warning(
        "the state has version %d and is converted to version %d; a copy of it is kept as %s: delete it when you "
        "will not go back to the qoemon of before",
        version,
        READABLE[STATE],
        copy,
    )


def _copy(directory: Path, copies: Path, layout: str, *, history: bool) -> None:
    """Copy all files of the state, as of one moment."""
    stores = [each / DATABASE for each in all_stores(directory)]
    past = [directory / HISTORY] if history and (directory / HISTORY).exists() else []
    with contextlib.ExitStack() as ends:
        snapshots = [(each, ends.enter_context(snapshot(each))) for each in (*stores, *past)]
        for source, database in snapshots:
            copy = copies / source.relative_to(directory)
            copy.parent.mkdir(parents=True, exist_ok=True)
            _copy_database(source, database, copy, compact=source in stores)
    (copies / LAYOUT).write_text(f"{layout}\n", encoding="ascii")
    small = {directory / BROKER_SESSIONS, *(each.with_name(BROKER_SESSIONS) for each in stores)}
    if layout == CLUSTER:
        small |= {each for each in (directory / CLUSTER).iterdir() if not each.name.startswith(DATABASE)}
    for source in small:
        if source.is_file():
            (copies / source.relative_to(directory)).write_bytes(_content(source))


def _content(file: Path) -> bytes:
    """The content of a file that is not a link: root must not read others on behalf of the directory's owner."""
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), "rb") as source:
        return source.read()


def _copy_database(source: Path, database: sqlite3.Connection, copy: Path, *, compact: bool) -> None:
    """Copy a database and check the copy; compact: without what only those who follow a journal read."""
    try:
        with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as target:
            database.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # One file; a daemon that opens it sets WAL again.
            if compact:
                target.execute("DROP TABLE IF EXISTS covered")
                target.execute("VACUUM")
            verdict = str(one(target, "PRAGMA quick_check(1)"))
    except sqlite3.OperationalError as error:
        raise StateError(f"cannot copy {source} to {copy.parent}: {error}; is the disk full?") from None
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        raise StateError(f"{source} is damaged: {verdict}; the daemon renames it at its next start")


def _require_empty(directory: Path) -> None:
    """StateError if the directory, which is locked, has anything but what a killed import has left."""
    for old in directory.glob(f"{UNPACKING}*"):  # With the lock, there is no other import.
        shutil.rmtree(old, ignore_errors=True)
    if there := sorted(each.name for each in directory.iterdir() if each.name not in {LOCK, LOST_AND_FOUND}):
        raise StateError(
            f"{directory} is not empty, it has {', '.join(there[:5])}: import into an empty directory; first "
            f"move away what is there (mkdir {directory}.old; mv {directory}/* {directory}.old/)"
        )


def _require_suitable(file: Path, manifest: Manifest, layout: str) -> None:
    too_new = newer(manifest.versions)
    if manifest.archive > archive.VERSION:
        too_new = f"export version {manifest.archive}, this one reads {archive.VERSION}"
    if too_new:
        raise UnsuitableStateError(
            f"{file} was made by a newer qoemon, {manifest.qoemon} ({too_new}): import it with that one"
        )
    if manifest.layout != layout:
        raise UnsuitableStateError(
            f"{file} is the state of {described(manifest.layout)}, and this configuration has {described(layout)}: "
            "import it with the configuration of before, and change that at a later start, which resets sessions "
            "and windows and keeps the history"
        )


def _require_room(file: Path, manifest: Manifest, directory: Path) -> None:
    needed, free = sum(each.bytes for each in manifest.files), shutil.disk_usage(directory).free
    if needed > free:
        raise StateError(
            f"cannot import {file} into {directory}: it needs {needed:,} bytes, and the disk has {free:,} free; "
            "make room there, or set another state.dir"
        )


def _files(folder: Path) -> list[Path]:
    """The files of a folder, relative to it: those of stores last, as with them the state is there."""
    found = [each.relative_to(folder) for each in folder.rglob("*") if each.is_file()]
    return sorted(found, key=lambda each: (each.name == DATABASE or len(each.parts) > 1, str(each)))


def _move(unpacked: Path, directory: Path) -> None:
    """Move the files into the directory, those of stores last, and give all to the owner of the directory."""
    _give_all(directory, unpacked)
    for name in dict.fromkeys(each.parts[0] for each in _files(unpacked)):
        (unpacked / name).replace(directory / name)
    _sync(directory)


def _give(directory: Path, path: Path) -> None:
    """Give it to the owner of the directory: root imports for the user that the daemon runs as."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _give_all(directory: Path, folder: Path) -> None:
    """Give all in a folder to the owner of the directory, who could put links in its place and into it."""
    if os.geteuid() == 0:
        owner, top = directory.stat(), os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            for _, folders, files, within in os.fwalk(".", dir_fd=top):
                for name in (*folders, *files):
                    os.chown(name, owner.st_uid, owner.st_gid, dir_fd=within, follow_symlinks=False)
        finally:
            os.close(top)


def _sync(directory: Path) -> None:
    """Wait until the disk has the names in a directory."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
