"""A state that a newer qoemon has written is refused before anything is changed."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from qoemon.state.directory import StateError, UnsuitableStateError
from qoemon.state.layout import HISTORY, LAYOUT, PARENT, SINGLE, enter_layout, layout_of
from qoemon.state.versions import READABLE, STATE, found_versions, require_readable
from tests.state.test_formats import unpacked

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return unpacked("v3-effective-users", tmp_path / "state")


def sums(directory: Path) -> dict[str, str]:
    """The content of all databases."""
    return {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in ("qoemon.db", HISTORY)}


def as_newer(state: Path, part: str) -> None:
    """Raise the version of a part, as a later qoemon would."""
    with contextlib.closing(sqlite3.connect(state / (HISTORY if part == "history" else "qoemon.db"))) as database:
        if part == STATE:
            with database:
                ((array,),) = database.execute("SELECT array FROM checkpoint WHERE name = 'evaluation/meta'")
                before, after = (f'{{"version": {READABLE[STATE] + more},'.encode() for more in (0, 1))
                assert before in array
                database.execute(
                    "UPDATE checkpoint SET array = ? WHERE name = 'evaluation/meta'",
                    (array.replace(before, after),),
                )
        else:
            database.execute(f"PRAGMA user_version = {READABLE[part] + 1}")


def test_what_this_version_writes_can_be_read(state: Path) -> None:
    require_readable(state)
    assert found_versions(state) == READABLE


@pytest.mark.parametrize("part", READABLE)
def test_a_newer_version_is_refused_and_left_alone(state: Path, part: str) -> None:
    as_newer(state, part)
    before = sums(state)
    with pytest.raises(
        UnsuitableStateError,
        match=rf"newer qoemon has written {state} \({part} version {READABLE[part] + 1}, this one reads",
    ):
        require_readable(state)
    assert sums(state) == before


def test_one_newer_worker_is_enough(tmp_path: Path, state: Path) -> None:
    workers = tmp_path / "workers"
    for name in ("0", "1", PARENT):
        (workers / "workers-2" / name).mkdir(parents=True)
    enter_layout(workers, "workers-2")
    for name in ("0", PARENT):
        (workers / "workers-2" / name / "qoemon.db").write_bytes((state / "qoemon.db").read_bytes())
    require_readable(workers)
    as_newer(state, STATE)
    (workers / "workers-2" / "1" / "qoemon.db").write_bytes((state / "qoemon.db").read_bytes())
    with pytest.raises(UnsuitableStateError, match="state version"):
        require_readable(workers)


def test_the_copy_of_before_the_upgrade_is_named(state: Path) -> None:
    as_newer(state, STATE)
    (state / "upgraded-from-version-2.tar.gz").touch()
    with pytest.raises(StateError, match=r"import the copy of before, .*/upgraded-from-version-2\.tar\.gz"):
        require_readable(state)


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
def test_a_damaged_store_is_left_to_whoever_opens_it(tmp_path: Path, content: bytes) -> None:
    """A daemon renames it, and begins from scratch."""
    enter_layout(tmp_path, SINGLE)
    (tmp_path / "qoemon.db").write_bytes(content)
    require_readable(tmp_path)


def test_a_layout_that_was_being_recorded_when_the_machine_stopped_resets_nothing(state: Path) -> None:
    """Earlier versions wrote the file anew at each start, so it may be empty."""
    (state / LAYOUT).write_text("")
    before = sums(state)
    assert enter_layout(state, SINGLE) is None
    assert layout_of(state) == SINGLE
    assert sums(state) == before
