"""A backup has the state of one moment, and a damaged or unsuitable one changes nothing."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sqlite3
import stat
import tarfile
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qoemon.config.sections.state import Durability
from qoemon.state import archive
from qoemon.state.backup import backup, keep_before_upgrade, restore
from qoemon.state.contents import contents
from qoemon.state.directory import StateError, UnsuitableStateError, holder, locked
from qoemon.state.durable_file import DurableFile
from qoemon.state.frames import StoredMessage
from qoemon.state.history_store import HistoryStore
from qoemon.state.layout import BROKER_SESSIONS, HISTORY, PARENT, SINGLE, enter_layout
from qoemon.state.read_only import snapshot
from qoemon.state.store import Store
from qoemon.state.versions import READABLE, STATE, found_versions
from tests.support.history import T0, Core, pages, written
from tests.support.patience import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 10_000_000
WORKERS = "workers-2-of-4-shards"


def message(number: int) -> StoredMessage:
    return StoredMessage(f"qoe/v1/video/eu/{number}", b"{}" * 50, 1_700_000_000.0 + number)


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[Store]:
    store = Store(directory, Durability.PROCESS, LIMIT)
    try:
        yield store
    finally:
        store.close()


def stored(directory: Path) -> tuple[int, list[int]]:
    """The number in the checkpoint, and those of the messages behind it."""
    with opened(directory) as store:
        numbers = [round(each.arrival_s - 1_700_000_000) for each in store.journal()]
        return int(store.state()["n"]), numbers


def filled(directory: Path, layout: str = SINGLE) -> Path:
    """A state directory with something in each file."""
    directory.mkdir()
    enter_layout(directory, layout)
    parts = [directory] if layout == SINGLE else [directory / layout / name for name in ("0", "1", PARENT)]
    for part in parts:
        part.mkdir(parents=True, exist_ok=True)
        with opened(part) as store:
            store.append([message(1)])
            store.checkpoint({"n": np.array(2)})
            store.append([message(2), message(3)])
        (part / BROKER_SESSIONS).write_text('[{"broker": "b", "client_id": "c"}]')
    history = HistoryStore(directory / HISTORY, 60, 86_400)
    for _, ticked in Core().ticks(pages(5, 20, seed=1), T0 + 600):
        history.write(written(ticked))
    history.close()
    return directory


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return filled(tmp_path / "state")


@pytest.mark.parametrize("layout", [SINGLE, WORKERS])
def test_a_restored_state_is_that_of_the_backup(tmp_path: Path, layout: str) -> None:
    state = filled(tmp_path / "state", layout)
    manifest = backup(state, tmp_path / "b.tar.gz")
    restore(tmp_path / "b.tar.gz", tmp_path / "new", layout)
    there = (each.relative_to(state) for each in state.rglob("*") if each.is_file())
    files = {each for each in there if not each.name.endswith(("lock", "-wal", "-shm"))}
    assert {each.name for each in manifest.files} == {str(file) for file in files}
    for file in files:
        if file.name == "qoemon.db":
            assert stored((tmp_path / "new" / file).parent) == (2, [2, 3])
        elif file.name == HISTORY:
            assert rows(tmp_path / "new" / file) == rows(state / file) != []
        else:
            assert (tmp_path / "new" / file).read_bytes() == (state / file).read_bytes()


def rows(history: Path) -> list[object]:
    with contextlib.closing(sqlite3.connect(history)) as database:
        return database.execute("SELECT * FROM interval ORDER BY service, end_s, closed_s").fetchall()


def test_a_backup_is_for_its_owner_alone(tmp_path: Path, state: Path) -> None:
    """It has session ids."""
    backup(state, tmp_path / "b.tar.gz")
    assert stat.S_IMODE((tmp_path / "b.tar.gz").stat().st_mode) == 0o600


@pytest.mark.parametrize("layout", [SINGLE, WORKERS])
def test_a_backup_while_a_daemon_stores_has_one_moment(tmp_path: Path, layout: str) -> None:
    """Messages behind the checkpoint are those that it does not cover, without a gap, in each store.

    The parent stores each number before its workers, so it may not be behind them.
    """
    state, ended = filled(tmp_path / "state", layout), threading.Event()
    names = [""] if layout == SINGLE else [f"{layout}/{name}" for name in (PARENT, "0", "1")]
    committed = [0]

    def store_on() -> None:
        with contextlib.ExitStack() as ends:
            stores = [ends.enter_context(opened(state / name)) for name in names]
            for number in range(4, 10**9):
                for store in stores:
                    store.append([message(number)])
                    if number % 7 == 0:
                        store.checkpoint({"n": np.array(number + 1)})
                committed[0] = number
                if ended.is_set():
                    return

    thread = threading.Thread(target=store_on)
    thread.start()
    try:
        for attempt in range(4):
            goal = committed[0] + 20
            until(lambda goal=goal: committed[0] > goal)
            before, new = committed[0], tmp_path / f"new{attempt}"
            backup(state, tmp_path / f"{attempt}.tar.gz")
            restore(tmp_path / f"{attempt}.tar.gz", new, layout)
            newest = []
            for name in names:
                covered, numbers = stored(new / name)
                assert numbers == list(range(covered, covered + len(numbers)))
                newest.append(covered + len(numbers) - 1)
            assert min(newest) >= before
            assert newest[0] >= max(newest)
    finally:
        ended.set()
        thread.join()


def test_a_snapshot_does_not_see_what_is_stored_after_it(state: Path) -> None:
    """So those of all parts are of one moment, however long each takes to copy."""
    with opened(state) as store, snapshot(state / "qoemon.db") as database:
        store.append([message(4)])
        store.checkpoint({"n": np.array(5)})
        copy = sqlite3.connect(":memory:")
        database.backup(copy)
        assert copy.execute("SELECT count(*) FROM journal").fetchone() == (1,)
        copy.close()
    assert stored(state) == (5, [])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_damaged_backup_is_refused_and_nothing_is_changed(tmp_path: Path, state: Path, share: float) -> None:
    backup(state, tmp_path / "b.tar.gz")
    content = bytearray((tmp_path / "b.tar.gz").read_bytes())
    content[int(share * len(content))] ^= 0xFF
    (tmp_path / "b.tar.gz").write_bytes(content)
    with pytest.raises(StateError, match=r"damaged|incomplete"):
        restore(tmp_path / "b.tar.gz", tmp_path / "new", SINGLE)
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["lock"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_backup_that_was_cut_off_is_refused(tmp_path: Path, state: Path, share: float) -> None:
    backup(state, tmp_path / "b.tar.gz")
    content = (tmp_path / "b.tar.gz").read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(content[: int(share * len(content))])
    with pytest.raises(StateError, match=r"damaged|incomplete"):
        restore(tmp_path / "b.tar.gz", tmp_path / "new", SINGLE)


def packed(file: Path, manifest: archive.Manifest, files: dict[str, bytes]) -> Path:
    """An archive that was not made by backup()."""
    with tarfile.open(file, "w:gz") as tar:
        head = archive.msgspec.json.encode(manifest)
        for name, content in {archive.MANIFEST: head, **files}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return file


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "lock"])
def test_no_name_leads_out_of_the_directory(tmp_path: Path, name: str) -> None:
    member = archive.Member(name, 1, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881")
    manifest = archive.Manifest(versions={}, layout=SINGLE, created_s=0, qoemon="1", files=(member,))
    file = packed(tmp_path / "b.tar.gz", manifest, {name: b"x"})
    with pytest.raises(StateError, match="no part of its manifest"):
        restore(file, tmp_path / "new", SINGLE)
    assert not (tmp_path / "outside").exists()


def test_a_member_larger_than_described_is_refused_before_it_is_written(tmp_path: Path) -> None:
    """It may be larger than the disk, which others need."""
    member = archive.Member("qoemon.db", 10, "0" * 64)
    manifest = archive.Manifest(versions={}, layout=SINGLE, created_s=0, qoemon="1", files=(member,))
    file = packed(tmp_path / "b.tar.gz", manifest, {"qoemon.db": b"0" * 2_000_000})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(StateError, match=r"damaged: qoemon\.db has 2,000,000 bytes, expected 10"):
            restore(file, tmp_path / "new", SINGLE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_backup_for_which_there_is_no_room_is_refused(tmp_path: Path) -> None:
    member = archive.Member("qoemon.db", 2**60, "0" * 64)
    manifest = archive.Manifest(versions={}, layout=SINGLE, created_s=0, qoemon="1", files=(member,))
    file = packed(tmp_path / "b.tar.gz", manifest, {})
    with pytest.raises(StateError, match=r"needs 1,152,921,504,606,846,976 bytes, and the disk has .* free"):
        restore(file, tmp_path / "new", SINGLE)


def test_a_backup_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"cannot read .*nothing\.tar\.gz: no such file"):
        restore(tmp_path / "nothing.tar.gz", tmp_path / "new", SINGLE)


def test_what_a_killed_import_has_left_is_no_obstacle(tmp_path: Path, state: Path) -> None:
    backup(state, tmp_path / "b.tar.gz")
    (tmp_path / "new/.import-killed/part").mkdir(parents=True)
    restore(tmp_path / "b.tar.gz", tmp_path / "new", SINGLE)
    assert not (tmp_path / "new/.import-killed").exists()
    assert stored(tmp_path / "new") == (2, [2, 3])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root imports for another user: run it as root")
@pytest.mark.parametrize("layout", [SINGLE, WORKERS])
def test_what_root_imports_or_refuses_belongs_to_the_owner_of_the_directory(
    tmp_path: Path, state: Path, layout: str
) -> None:
    """Also the lock of an import that is refused: the daemon of that owner could not start otherwise."""
    backup(state, tmp_path / "b.tar.gz")
    new = tmp_path / "new"
    new.mkdir()
    os.chown(new, 65534, 65534)
    with contextlib.nullcontext() if layout == SINGLE else pytest.raises(UnsuitableStateError):
        restore(tmp_path / "b.tar.gz", new, layout)
    assert {each.stat().st_uid for each in new.rglob("*")} == {65534}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root imports for another user: run it as root")
def test_stores_of_workers_that_root_imports_belong_to_the_owner_of_the_directory(tmp_path: Path) -> None:
    backup(filled(tmp_path / "state", WORKERS), tmp_path / "b.tar.gz")
    new = tmp_path / "new"
    new.mkdir()
    os.chown(new, 65534, 65534)
    restore(tmp_path / "b.tar.gz", new, WORKERS)
    owners = {str(each.relative_to(new)): each.lstat().st_uid for each in new.rglob("*")}
    assert f"{WORKERS}/{PARENT}/qoemon.db" in owners
    assert set(owners.values()) == {65534}


def test_a_link_in_place_of_a_file_is_not_exported(tmp_path: Path, state: Path) -> None:
    """Root exports what the user of the daemon has written, and not what that user cannot read."""
    (tmp_path / "elsewhere").write_text("of root")
    (state / BROKER_SESSIONS).unlink()
    (state / BROKER_SESSIONS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match=f"cannot export {state}/{BROKER_SESSIONS}: "):
        backup(state, tmp_path / "b.tar.gz")
    assert not (tmp_path / "b.tar.gz").exists()


def test_a_lock_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    """Root imports into a directory in which the user of the daemon may make links to any file."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("of root")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "lock").symlink_to(elsewhere)
    with pytest.raises(StateError, match="lock is a symbolic link"):
        locked(tmp_path / "state")
    assert elsewhere.read_text() == "of root"


def test_a_file_of_something_else_is_no_backup(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as tar:
        tar.add(__file__, "README")
    with pytest.raises(StateError, match="expected a file made by `qoemon state export`"):
        restore(tmp_path / "b.tar.gz", tmp_path / "new", SINGLE)


def test_a_directory_with_a_state_is_not_overwritten(tmp_path: Path, state: Path) -> None:
    backup(state, tmp_path / "b.tar.gz")
    with pytest.raises(StateError, match=rf"is not empty, .*mkdir {state}\.old; mv {state}/\* {state}\.old/"):
        restore(tmp_path / "b.tar.gz", state, SINGLE)
    assert stored(state) == (2, [2, 3])


def test_a_volume_of_its_own_is_empty(tmp_path: Path, state: Path) -> None:
    """The file system's own folder is in its root, and may not be read by the daemon."""
    (tmp_path / "volume/lost+found").mkdir(parents=True, mode=0o000)
    backup(state, tmp_path / "b.tar.gz")
    restore(tmp_path / "b.tar.gz", tmp_path / "volume", SINGLE)
    assert stored(tmp_path / "volume") == stored(state)


def test_a_directory_in_use_is_refused(tmp_path: Path, state: Path) -> None:
    backup(state, tmp_path / "b.tar.gz")
    with (
        contextlib.closing(locked(tmp_path / "new")),
        pytest.raises(StateError, match=rf"another qoemon \(process {os.getpid()}\)"),
    ):
        restore(tmp_path / "b.tar.gz", tmp_path / "new", SINGLE)


def test_a_backup_of_another_layout_is_refused_with_what_to_do(tmp_path: Path, state: Path) -> None:
    backup(state, tmp_path / "b.tar.gz")
    with pytest.raises(UnsuitableStateError, match=r"state of one process, .* has 2 workers with mqtt\.shards 4"):
        restore(tmp_path / "b.tar.gz", tmp_path / "new", WORKERS)


@pytest.mark.parametrize("part", READABLE)
def test_a_backup_of_a_newer_version_is_refused(tmp_path: Path, part: str) -> None:
    versions = {**READABLE, part: READABLE[part] + 1}
    manifest = archive.Manifest(versions=versions, layout=SINGLE, created_s=0, qoemon="9.9", files=())
    file = packed(tmp_path / "b.tar.gz", manifest, {})
    with pytest.raises(UnsuitableStateError, match=rf"newer qoemon, 9\.9 \({part} version"):
        restore(file, tmp_path / "new", SINGLE)


def test_a_directory_without_state_has_no_backup(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"has no state: is it the state\.dir"):
        backup(tmp_path, tmp_path / "b.tar.gz")


def test_a_damaged_store_gives_no_backup(tmp_path: Path, state: Path) -> None:
    content = bytearray((state / "qoemon.db").read_bytes())
    content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
    (state / "qoemon.db").write_bytes(content)
    with pytest.raises(StateError, match=r"is damaged|cannot read"):
        backup(state, tmp_path / "b.tar.gz")
    assert list(tmp_path.iterdir()) == [state]


def as_version(state: Path, version: int) -> None:
    """Give the checkpoint another version."""
    with opened(state) as store:
        described = np.frombuffer(json.dumps({"version": version, "plan": {}, "groups": {}}).encode(), np.uint8)
        store.checkpoint({"n": np.array(2), "evaluation/meta": described})


def test_the_state_of_an_earlier_version_is_kept_once_before_the_upgrade(tmp_path: Path, state: Path) -> None:
    as_version(state, READABLE[STATE] - 1)
    (state / "upgraded-from-version-1.tar.gz").write_bytes(b"of an earlier upgrade")
    keep_before_upgrade(state)
    kept = [each.name for each in state.glob("*.tar.gz")]
    assert kept == [f"upgraded-from-version-{READABLE[STATE] - 1}.tar.gz"]
    as_version(state, READABLE[STATE])
    keep_before_upgrade(state)
    restore(state / kept[0], tmp_path / "new", SINGLE)
    assert found_versions(tmp_path / "new")[STATE] == READABLE[STATE] - 1
    assert not (tmp_path / "new" / HISTORY).exists()


def test_what_a_killed_upgrade_has_left_does_not_add_up(state: Path) -> None:
    """A supervisor that kills a daemon during the copy starts it again, and kills it again."""
    as_version(state, 1)
    copying = ".export-upgraded-from-version-1.tar.gz-abc"
    (state / copying / "copies").mkdir(parents=True)
    (state / ".export-state.tar.gz-abc").mkdir()  # Of an operator, who may be writing it.
    keep_before_upgrade(state)
    assert [each.name for each in state.glob(".*")] == [".export-state.tar.gz-abc"]


@pytest.mark.parametrize("version", [READABLE[STATE], None])
def test_a_state_of_this_version_is_not_copied(state: Path, version: int | None) -> None:
    if version is not None:
        as_version(state, version)
    keep_before_upgrade(state)
    assert list(state.glob("*.tar.gz")) == []


def test_a_copy_without_room_is_logged_and_holds_nothing_up(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    as_version(state, 1)
    with opened(state) as store:
        store.append([message(number) for number in range(2000)])
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        keep_before_upgrade(state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "no copy of it is kept" in caplog.text
    assert not [each.name for each in state.iterdir() if "tar.gz" in each.name or each.name.startswith(".")]


def test_the_holder_of_a_directory_is_found_and_not_disturbed(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    assert holder(directory) is None
    with contextlib.closing(locked(directory)):
        assert holder(directory) == os.getpid()
    assert holder(directory) is None
    locked(directory).close()


def test_contents_can_be_read_while_a_daemon_replaces_its_files(state: Path) -> None:
    """A file that was there a moment ago may be gone, or have another name."""
    ended = threading.Event()
    sessions = DurableFile(state / BROKER_SESSIONS)

    def replace() -> None:
        while not ended.is_set():
            sessions.write(b"[]")

    replacing = threading.Thread(target=replace)
    replacing.start()
    try:
        for _ in range(200):
            assert contents(state).layout == "one process"
    finally:
        ended.set()
        replacing.join()
