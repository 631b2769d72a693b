"""The commands `qoemon state show`, `export` and `import`."""

# ruff: noqa: PLC0415 - cli.py imports this for every command
from __future__ import annotations

import os.path
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qoemon.tools.command import USAGE, ending, exit_on_errors, fail, info, load
from qoemon.tools.options import AsJson, ConfigFile, Overrides

if TYPE_CHECKING:
    from qoemon.config.config import Config

_USAGE = "the command line or the configuration is wrong"

state = typer.Typer(
    help="Look into the state of a daemon, back it up, move it.",
    no_args_is_help=True,
    epilog=ending(
        ("qoemon state show -c qoemon.yaml",),
        {0: "done", 1: "the state or the file cannot be used", 2: _USAGE},
    ),
)


def show(config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Print what is in a state directory: versions, services, newest tick, journal, history.

    Nothing is changed, and a daemon may be running. What the newest checkpoint does not cover yet is the journal.
    """
    from qoemon.state.contents import contents
    from qoemon.state.directory import StateError
    from qoemon.tools.state.show import document, lines

    with exit_on_errors(failed=(StateError,)):
        found = contents(_directory(load(config, overrides)))
    for line in [document(found)] if as_json else lines(found):
        typer.echo(line)


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write, such as state.tar.gz.")],
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Back up the state, with the history, into one file.

    The daemon may be running: the file then has the state at the moment of the export.
    """
    from qoemon.common.signals import sigterm_as_interrupt
    from qoemon.state.backup import backup
    from qoemon.state.contents import contents
    from qoemon.state.directory import StateError

    with exit_on_errors(failed=(StateError,)), sigterm_as_interrupt():
        settings = load(config, overrides)
        directory = _directory(settings)
        if os.path.exists(file):  # noqa: PTH110 - Path.exists raises if a folder is not accessible
            fail(USAGE, f"{file} exists, expected a new file: exports are not replaced")
        process = contents(directory).process
        manifest = backup(directory, file)
    size = sum(each.bytes for each in manifest.files)
    typer.echo(f"{file}: {file.stat().st_size:,} bytes, {len(manifest.files)} files of {size:,} bytes together")
    if process is not None:
        typer.echo(
            f"qoemon is running (process {process}): what it acknowledges from now on is not in the file; to move "
            "it without losing a report, stop it first"
        )
    if settings.clustered:
        typer.echo(
            f"sessions are not in the file: they are in the checkpoint {settings.engine.checkpoint}; copy that "
            "while the driver is stopped"
        )


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File of `qoemon state export`.")],
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Fill an empty state directory from an export.

    A file that is damaged, or of a newer qoemon, and one of another number of workers, is refused; nothing is
    changed then.
    """
    from qoemon.common.signals import sigterm_as_interrupt
    from qoemon.engine.storage import layout_name
    from qoemon.state.backup import restore
    from qoemon.state.directory import StateError, UnsuitableStateError

    with exit_on_errors(usage=(UnsuitableStateError,), failed=(StateError,)), sigterm_as_interrupt():
        settings = load(config, overrides)
        directory = _directory(settings)
        manifest = restore(file, directory, layout_name(settings))
    typer.echo(f"{directory}: state of {_utc(manifest.created_s)}, by qoemon {manifest.qoemon}")
    typer.echo("Next: start `qoemon run` with this configuration")
    if settings.mqtt is not None and not settings.clustered:
        info(
            f"qoemon: the broker keeps messages under the client id {settings.mqtt.client_id}: the daemon that had "
            "this state must not run any more"
        )


for _name, _command, _examples, _failed in (
    ("show", show, ("qoemon state show -c qoemon.yaml", "qoemon state show --json"), "the state cannot be read"),
    (
        "export",
        export,
        ("qoemon state export state.tar.gz -c qoemon.yaml",),
        "the state cannot be read, or the file cannot be written",
    ),
    (
        "import",
        import_,
        ("qoemon state import state.tar.gz -c qoemon.yaml",),
        "the file is damaged, or the directory is not empty or in use",
    ),
):
    state.command(_name, epilog=ending(_examples, {0: "done", 1: _failed, 2: _USAGE}))(_command)


def _directory(config: Config) -> Path:
    """The state directory of a configuration; the command ends if there is none."""
    from qoemon.engine.storage import state_directory

    directory = state_directory(config)
    if directory is None:
        fail(
            USAGE,
            "this configuration stores no state: set state.dir (durability: process or power); if systemd sets it "
            "for the daemon, add --set state.dir=/var/lib/qoemon",
        )
    return directory


def _utc(time_s: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
