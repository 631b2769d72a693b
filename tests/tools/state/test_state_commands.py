"""What `qoemon state` prints, and with which exit code it ends; and what `qoemon run` does with a later state."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from qoemon import cli
from qoemon.core.plan.fingerprint import STATE_VERSION
from qoemon.state.directory import locked
from qoemon.state.layout import HISTORY, PARENT, enter_layout
from tests.state.test_backup import as_version
from tests.state.test_formats import unpacked
from tests.state.test_versions import as_newer, sums
from tests.support.parts import unused_port

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def run(directory: Path, *arguments: str) -> Result:
    settings = ["--set", f"state.dir={directory}", "--set", f"http.port={unused_port()}"]
    return CliRunner().invoke(cli.app, [*arguments, *settings], env={"COLUMNS": "200"})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return unpacked("v3-players", tmp_path / "state")


def test_show_says_what_is_there(directory: Path) -> None:
    (directory / "qoemon.db.corrupt-1700000000").write_bytes(b"x" * 1234)
    result = run(directory, "state", "show")
    assert result.exit_code == 0
    for line in (
        f"{directory}: one process, no daemon is running",
        "versions: database 1, state 3, history 1",
        "tick 10s, rating interval 1m, windows 1m, 5m, 15m",
        "labels: region, cdn",
        "journal: 2 commits, 133,831 bytes, newest message 2023-11-14 22:43:16 UTC",
        "not used: qoemon.db.corrupt-1700000000, 1,234 bytes",
    ):
        assert line in result.stdout.splitlines()


def test_show_says_nothing_of_what_a_file_system_needs(directory: Path) -> None:
    (directory / "lost+found").mkdir()
    assert "lost+found" not in run(directory, "state", "show").stdout


def test_show_counts_sessions_and_groups_as_the_daemon_did(directory: Path) -> None:
    shown: dict[str, Any] = json.loads(run(directory, "state", "show", "--json").stdout)
    assert shown["tick_s"] == 1_700_001_540
    assert shown["services"] == [
        {"service": "video", "sessions": 143, "groups": 7},
        {"service": "web", "sessions": 410, "groups": 1},
        {"service": "call", "sessions": 6, "groups": 2},
    ]
    history = shown["history"]
    assert (history["from_s"], history["to_s"]) == (1_700_000_040, 1_700_001_780)


def test_show_names_the_versions_of_a_state_that_it_cannot_read(directory: Path) -> None:
    """After a way back to an earlier qoemon that refuses the state."""
    as_version(directory, STATE_VERSION + 1)  # It describes itself in another way.
    result = run(directory, "state", "show")
    assert result.exit_code == 1
    versions = f"state version {STATE_VERSION + 1}, this one reads {STATE_VERSION}"
    assert f"a newer qoemon has written {directory} ({versions}): read it with that one" in result.stderr


def test_show_adds_up_workers(tmp_path: Path, directory: Path) -> None:
    workers = tmp_path / "workers"
    for name in ("0", "1", PARENT):
        (workers / "workers-2" / name).mkdir(parents=True)
        (workers / "workers-2" / name / "qoemon.db").write_bytes((directory / "qoemon.db").read_bytes())
    enter_layout(workers, "workers-2")
    shown = json.loads(run(workers, "state", "show", "--json").stdout)
    assert shown["layout"] == "2 workers"
    assert shown["journal"]["entries"] == 3 * 2


def test_show_names_the_process_that_runs_there(directory: Path) -> None:
    lock = locked(directory)
    assert "is running" in run(directory, "state", "show").stdout
    lock.close()


def test_an_export_is_imported_elsewhere(tmp_path: Path, directory: Path) -> None:
    file = tmp_path / "b.tar.gz"
    result = run(directory, "state", "export", str(file))
    assert (result.exit_code, result.stdout.startswith(f"{file}: ")) == (0, True)
    result = run(tmp_path / "new", "state", "import", str(file))
    assert result.exit_code == 0
    assert "the daemon that had this state must not run any more" in result.stderr
    shown = [json.loads(run(each, "state", "show", "--json").stdout) for each in (directory, tmp_path / "new")]
    for each in shown:
        del each["directory"], each["stores"], each["history"]["bytes"]  # They are compacted.
    assert shown[0] == shown[1]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["show"], 1, "has no state: is it the state.dir of the daemon?"),
        (["export", "{tmp}/new.tar.gz"], 1, "has no state: is it the state.dir of the daemon?"),
        (["export", "{tmp}/" + 300 * "x"], 1, "has no state"),
        (["import", "{tmp}/there"], 1, "is no export of qoemon"),
        (["import", "{tmp}/missing"], 1, "/missing: no such file or directory"),
        (["show", "--set", "state.durability=none"], 2, "this configuration stores no state: set state.dir"),
    ],
)
def test_errors_say_what_to_do(tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    (tmp_path / "there").write_bytes(b"something else")
    result = run(tmp_path / "empty", "state", *(each.format(tmp=tmp_path) for each in arguments))
    assert (result.exit_code, text in result.stderr) == (code, True), result.stderr


@pytest.mark.parametrize("command", ["export", "import"])
def test_sigterm_leaves_nothing_half_done(
    tmp_path: Path, directory: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd ends a unit with it, and nobody would delete what an export leaves beside its file."""
    file, new = tmp_path / "backup/b.tar.gz", tmp_path / "new"
    file.parent.mkdir()
    if command == "import":
        run(directory, "state", "export", str(file))
    left = sorted(file.parent.iterdir())
    fsync = os.fsync

    def ended(descriptor: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)  # While the file, or what is in it, is being written.
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", ended)
    result = run(new if command == "import" else directory, "state", command, str(file))
    assert result.exit_code == 130
    assert sorted(file.parent.iterdir()) == left
    assert {each.name for each in new.glob(".*")} | {each.name for each in new.glob("*")} <= {"lock"}
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_an_export_is_not_replaced(tmp_path: Path, directory: Path) -> None:
    file = tmp_path / "b.tar.gz"
    file.write_bytes(b"of yesterday")
    result = run(directory, "state", "export", str(file))
    assert (result.exit_code, "exports are not replaced" in result.stderr) == (2, True)
    assert file.read_bytes() == b"of yesterday"


def test_an_import_with_another_number_of_workers_is_an_error_of_the_configuration(
    tmp_path: Path, directory: Path
) -> None:
    run(directory, "state", "export", str(tmp_path / "b.tar.gz"))
    result = run(tmp_path / "new", "state", "import", str(tmp_path / "b.tar.gz"), "--set", "workers=2")
    assert (result.exit_code, "this configuration has 2 workers" in result.stderr) == (2, True)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("part", ["state", "history"])
def test_the_daemon_refuses_a_later_state_and_changes_nothing(directory: Path, part: str, workers: int) -> None:
    """Also where the division of sessions has changed, which would move the state aside."""
    as_newer(directory, part)
    before = sums(directory)
    result = run(directory, "run", "--set", f"workers={workers}")
    assert result.exit_code == 2
    found = STATE_VERSION + 1 if part == "state" else 2
    assert f"({part} version {found}, this one reads {found - 1}); nothing was changed" in result.stderr
    assert sums(directory) == before
    assert {each.name for each in directory.iterdir() if "-" not in each.name} == {"qoemon.db", HISTORY, "lock"}
