"""The store on a real disk, and a daemon that is killed, runs out of disk space, and is restarted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sqlite3
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.publish import single

from qoemon.config.sections.state import Durability
from qoemon.inputs.inbox import Message
from qoemon.state.directory import StateError
from qoemon.state.follower import Follower
from qoemon.state.frames import StoredMessage
from qoemon.state.store import VERSION, CorruptError, Store
from qoemon.state.writer import JournalWriter
from tests.support.parts import Daemon as Process
from tests.support.parts import Nats
from tests.support.patience import WAIT_S
from tests.support.patience import async_until as until
from tests.support.patience import until as eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT = 10_000_000
SENT = 40


def message(number: int, payload: bytes = b"{}") -> Message:
    return Message(f"qoe/v1/video/eu/{number}", payload, 1_700_000_000.0 + number, 1, number, 1)


def kept(*numbers: int) -> list[StoredMessage]:
    return [StoredMessage(*message(number)[:3]) for number in numbers]


@contextlib.contextmanager
def opened(directory: Path, durability: Durability = Durability.PROCESS, limit: int = LIMIT) -> Iterator[Store]:
    store = Store(directory, durability, limit)
    try:
        yield store
    finally:
        store.close()


STATE = {"a/b": np.arange(5), "text": np.frombuffer("größer".encode(), np.uint8), "none": np.zeros((0, 3))}


@pytest.mark.parametrize("durability", [Durability.PROCESS, Durability.POWER])
def test_what_was_committed_is_there_again_in_its_order(tmp_path: Path, durability: Durability) -> None:
    with opened(tmp_path, durability) as store:
        store.append([message(1), message(2)])
        store.append([message(3)])
    with opened(tmp_path, durability) as store:
        assert store.state() == {}
        assert list(store.journal()) == kept(1, 2, 3)
        assert store.journal_bytes > 0


def test_a_checkpoint_covers_what_came_before_it(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.append([message(1)])
        store.checkpoint(STATE)
        store.append([message(2)])
        store.checkpoint(STATE | {"a/b": np.arange(7)})
        assert store.journal_bytes == 0
        store.append([message(3)])
    with opened(tmp_path) as store:
        state = store.state()
        assert state.keys() == STATE.keys()
        assert np.array_equal(state["a/b"], np.arange(7))
        assert bytes(state["text"]) == bytes(STATE["text"])
        assert state["none"].shape == (0, 3)
        assert list(store.journal()) == kept(3)


def test_a_second_daemon_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(StateError, match=r"another qoemon \(process \d+\) keeps its state in"):
        Store(tmp_path, Durability.PROCESS, LIMIT)
    with opened(tmp_path):  # The refusal has left nothing behind.
        pass


def test_a_directory_that_cannot_be_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"cannot keep state in .*file/deeper: not a directory; let the user"):
        Store(tmp_path / "file" / "deeper", Durability.PROCESS, LIMIT)


def change(directory: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(directory / "qoemon.db")) as database:
        database.execute(statement)
        database.commit()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (f"PRAGMA user_version = {VERSION + 1}", f"has version {VERSION + 1}, this qoemon reads version {VERSION}"),
        ("PRAGMA application_id = 7", "is a database of another program: set another state.dir"),
    ],
)
def test_a_store_of_another_version_or_program_is_refused_and_left_alone(
    tmp_path: Path, statement: str, words: str
) -> None:
    with opened(tmp_path) as store:
        store.append([message(1)])
    change(tmp_path, statement)
    for _ in range(2):
        with pytest.raises(StateError, match=words):
            Store(tmp_path, Durability.PROCESS, LIMIT)
    assert not list(tmp_path.glob("*corrupt*"))


@pytest.mark.parametrize("damage", ["no database", "middle", "cut"])
def test_a_corrupt_store_is_put_aside_told_and_begun_anew(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as store:
        for number in range(200):
            store.append([message(number, b"x" * 2000)])
    file = tmp_path / "qoemon.db"
    content = file.read_bytes()
    if damage == "no database":
        file.write_bytes(b"rubbish" * 1000)
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        file.write_bytes(content[: middle - 50_000] + bytes(100_000) + content[middle + 50_000 :])
    with opened(tmp_path) as store:
        assert list(store.journal()) == []
        store.append([message(1)])
        assert list(store.journal()) == kept(1)
    assert "the state cannot be read" in caplog.text
    assert [one for one in tmp_path.glob("qoemon.db.corrupt-*") if one.stat().st_size > 0]


@pytest.mark.parametrize("table", ["journal", "checkpoint"])
def test_rows_that_are_no_rows_of_ours_are_corrupt(tmp_path: Path, table: str) -> None:
    with opened(tmp_path) as store:
        store.append([message(1)])
        store.checkpoint(STATE)
        store.append([message(2)])
    column = {"journal": "messages", "checkpoint": "array"}[table]
    change(tmp_path, f"UPDATE {table} SET {column} = x'0102'")  # noqa: S608 - of our own words
    with opened(tmp_path) as store:
        with pytest.raises(CorruptError, match=f"the {table} cannot be read"):
            list(store.journal()) if table == "journal" else store.state()
        store.quarantine("a test")
        assert list(store.journal()) == []


def test_a_journal_beyond_twice_its_limit_is_refused_until_a_checkpoint(tmp_path: Path) -> None:
    with opened(tmp_path, limit=1000) as store:
        store.append([message(1, b"x" * 1500)])
        store.append([message(2, b"x" * 1500)])
        with pytest.raises(OSError, match="no checkpoint could be written"):
            store.append([message(3, b"x")])
        store.checkpoint(STATE)
        store.append([message(3, b"x")])


async def test_a_journal_beyond_its_limit_is_emptied_while_messages_wait(tmp_path: Path) -> None:
    """The checkpoint that empties it covers them, so they are stored before, whatever the limit is."""
    with opened(tmp_path, limit=1000) as store:
        store.append([message(1, b"x" * 9000)])
        async with asyncio.timeout(WAIT_S):
            keeper = JournalWriter(store)
            keeper.put([message(2)])
            keeper.checkpoint(STATE)
            task = asyncio.create_task(keeper.run())
            await keeper.flush()
            keeper.put([message(3)])
            await keeper.flush()
        task.cancel()
        assert (keeper.stats.failures, keeper.stats.checkpoints) == (0, 1)
        assert [each.payload for each in store.journal()] == [message(3).payload]


@pytest.mark.parametrize("read", [lambda store: store.state(), lambda store: list(store.journal())])
def test_a_disk_that_cannot_be_read_now_costs_no_state(tmp_path: Path, read: Callable[[Store], object]) -> None:
    class Failing:
        def execute(self, *_: object) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
            raise error

    with opened(tmp_path) as store:
        store.append([message(1)])
        database, vars(store)["_database"] = vars(store)["_database"], Failing()
        with pytest.raises(StateError, match="disk I/O error; is the disk in order"):
            read(store)
        vars(store)["_database"] = database
        assert len(list(store.journal())) == 1


def test_what_waited_for_long_is_stored_at_once_however_much_it_is(tmp_path: Path) -> None:
    """As one frame: a limit on it would never be met again, and nothing would be acknowledged until a restart."""
    with opened(tmp_path, limit=1000) as store:
        store.append([message(number, b"x" * 1500) for number in range(10)])
        store.checkpoint(STATE)
        assert store.journal_bytes == 0


@contextlib.asynccontextmanager
async def keeping(store: Store) -> Any:
    safe: list[Message] = []
    keeper = JournalWriter(store, safe.extend)
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper, safe
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        keeper.close()


async def test_messages_are_safe_in_their_order_and_a_checkpoint_covers_those_before_it(tmp_path: Path) -> None:
    async with keeping(Store(tmp_path, Durability.PROCESS, LIMIT)) as (keeper, safe):
        keeper.put([message(1), message(2)])
        keeper.checkpoint(STATE)
        keeper.put([message(3)])
        await keeper.flush()
        assert [one.mid for one in safe] == [1, 2, 3]
        assert not keeper.checkpoint_pending
    with opened(tmp_path) as store:
        assert list(store.journal()) == kept(3)
        assert store.state().keys() == STATE.keys()


def test_what_a_checkpoint_covers_can_be_followed_until_the_next_one(tmp_path: Path) -> None:
    """By ids that go on: also after a restart, and after checkpoints of an empty journal."""
    with opened(tmp_path) as store, contextlib.closing(Follower(tmp_path)) as early:
        store.append([message(1)])
        store.append([message(2)])
        with contextlib.closing(Follower(tmp_path)) as late:
            store.checkpoint(STATE)
            store.append([message(3)])
            assert list(early.read()) == [kept(1, 2, 3)]
            assert list(late.read()) == [kept(3)]
        store.checkpoint(STATE)
        store.checkpoint(STATE)
    with contextlib.closing(Follower(tmp_path)) as follower, opened(tmp_path) as store:
        assert list(store.journal()) == []
        store.append([message(4)])
        assert list(follower.read()) == [kept(4)]
        assert follower.missed == 0


def test_what_was_gone_before_it_was_read_is_counted(tmp_path: Path) -> None:
    with opened(tmp_path) as store, contextlib.closing(Follower(tmp_path)) as follower:
        for number in range(4):
            store.append([message(number)])
        store.checkpoint(STATE)
        store.append([message(4)])
        store.checkpoint(STATE)
        assert list(follower.read()) == [kept(4)]
        assert (follower.missed, follower.problem) == (4, None)


def test_a_store_that_takes_the_place_of_a_corrupt_one_is_followed(tmp_path: Path) -> None:
    with opened(tmp_path) as store, contextlib.closing(Follower(tmp_path)) as follower:
        store.append([message(1)])
        store.quarantine("for this test")
        store.append([message(2)])
        assert list(follower.read()) == [kept(1), kept(2)]
        assert (follower.missed, follower.problem) == (0, None)


def test_a_state_of_an_earlier_version_cannot_be_followed(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "qoemon.db")) as database:
        database.execute("DROP TABLE covered")
    with pytest.raises(StateError, match=r"no such table: covered; .* this version of qoemon"):
        Follower(tmp_path)


async def test_a_full_disk_stops_acknowledgements_and_is_got_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A real limit on the size of files, lifted later."""
    caplog.set_level("INFO")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with keeping(Store(tmp_path, Durability.PROCESS, LIMIT)) as (keeper, safe):
        keeper.put([message(1)])
        await keeper.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            keeper.put([message(2, b"x" * 300_000)])
            await until(lambda: keeper.stats.failures >= 2)
            assert [one.mid for one in safe] == [1]
            assert keeper.stats.problem is not None
            assert f"cannot store in {tmp_path}" in keeper.stats.problem
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await keeper.flush()
        assert [one.mid for one in safe] == [1, 2]
        assert keeper.stats.problem is None
    assert caplog.text.count("nothing is acknowledged until this is fixed") == 1
    assert caplog.text.count("the state is stored again") == 1


def test_a_daemon_with_a_full_disk_says_so_and_takes_what_waited_once_there_is_room(tmp_path: Path) -> None:
    """By a limit on the size of the running daemon's files, lifted later."""
    with starved(tmp_path) as (daemon, limits):
        assert "messages wait at the broker" in daemon.get("/readyz").body
        eventually(lambda: daemon.samples()["qoemon_state_writable", ()] == 0, daemon.log.read_text)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, limits)
        daemon.ready()
        eventually(lambda: daemon.samples()["qoemon_reports_total", ()] == SENT, daemon.log.read_text)
        eventually(lambda: daemon.samples()["qoemon_inbox_messages", ()] == 0, daemon.log.read_text)
        assert daemon.samples()["qoemon_state_writable", ()] == 1
        assert "the state is stored again" in daemon.log.read_text()


def test_what_a_full_disk_kept_from_being_acknowledged_comes_to_the_next_daemon(tmp_path: Path) -> None:
    with starved(tmp_path) as (daemon, _):
        daemon.kill()
        daemon.start()
        daemon.ready()
        eventually(lambda: daemon.samples().get(("qoemon_reports_total", ()), 0) == SENT, daemon.log.read_text)


@contextlib.contextmanager
def starved(tmp_path: Path) -> Iterator[tuple[Process, tuple[int, int]]]:
    """A daemon that cannot store any more, with messages in flight; and its former limits."""
    with Nats(tmp_path) as broker:
        settings = {
            "mqtt": {"host": "127.0.0.1", "version": "3.1.1", "port": broker.port},
            "sessions": {"tick": "1s", "rating_interval": "300s", "timeout": "300s"},
            "windows": ["300s"],
            "state": {"dir": str(tmp_path / "state")},
        }
        with Process(tmp_path, settings) as daemon:
            daemon.ready()
            limits = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (120_000, limits[1]))
            for number in range(SENT):
                publish(broker.port, number)
            eventually(lambda: daemon.get("/readyz").status == 503, daemon.log.read_text)
            yield daemon, limits


def publish(port: int, number: int) -> None:
    """A message of 10 kB, most of which the daemon ignores."""
    report = {"session": f"s{number}", "seq": 1, "play_s": 30, "more": "x" * 10_000}
    single(
        "qoe/v1/video/eu/a",
        json.dumps(report),
        qos=1,
        hostname="127.0.0.1",
        port=port,
        protocol=MQTTProtocolVersion.MQTTv311,
    )
