"""The commands `qoemon config`, `dashboards`, `systemd-unit` and `player.js`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from qoemon.tools.command import USAGE, exit_on_errors, fail, info


def print_config(
    minimal: Annotated[bool, typer.Option("--minimal", help="Print the shortest one for a broker.")] = False,
) -> None:
    """Print a sample configuration: every key, with its default.

    With --minimal, only what must be set to read reports from a broker.
    """
    _print("config/minimal.yaml" if minimal else "config/qoemon.yaml")


def dashboards(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder to write to, created if necessary.", show_default="none")
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(
            "--print",
            metavar="BOARD",
            help="Print one board instead: overview, group-detail, slo, players or daemon.",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Write the Grafana boards and their provisioning.

    The folder gets `dashboards` with the boards, to import or to provision, and `provisioning`, to copy into
    Grafana's own folder. The boards suit the labels, windows and services of the sample configuration.
    """
    from qoemon.tools.shipped.files import ShippedError, boards  # noqa: PLC0415 - not for --help

    if (folder is None) == (board is None):
        raise typer.BadParameter("give a folder to write to, or --print BOARD")
    with exit_on_errors(failed=(ShippedError,)):
        known = boards()
        if board is not None and board not in known:
            fail(USAGE, f"no board {board!r}; there are {', '.join(known)}")
        if board is not None:
            sys.stdout.write(known[board].read_text(encoding="utf-8"))
        elif folder is not None:
            _write_boards(folder, list(known.values()))


def systemd_unit(
    template: Annotated[
        bool,
        typer.Option("--template", help="Print a unit qoemon@.service, for several daemons on a machine."),
    ] = False,
    user: Annotated[
        str | None,
        typer.Option(help="Existing user to run as.", show_default="one that systemd makes for the daemon"),
    ] = None,
) -> None:
    """Print the systemd unit for this installation.

    It runs the command `qoemon` that is beside this interpreter, with /etc/qoemon/qoemon.yaml. Of a template,
    qoemon@shop.service reads /etc/qoemon/shop.yaml, and keeps its state in /var/lib/qoemon-shop.
    """
    from qoemon.tools.shipped.files import ShippedError, shipped  # noqa: PLC0415 - not for --help
    from qoemon.tools.shipped.unit import HiddenError, installed_program, unit  # noqa: PLC0415 - not for --help

    with exit_on_errors(failed=(HiddenError, ShippedError)):
        text = shipped("config/systemd/qoemon.service").read_text(encoding="utf-8")
        sys.stdout.write(unit(text, installed_program(), template=template, user=user))


def player_js() -> None:
    """Print a script that reports what a player in a browser does.

    For players that do not speak CMCD: copy it into your page.
    """
    _print("docs/examples/player.js")


def _print(path: str) -> None:
    """Print a file that comes with qoemon; end the command if it is missing."""
    from qoemon.tools.shipped.files import ShippedError, shipped  # noqa: PLC0415 - not for --help

    with exit_on_errors(failed=(ShippedError,)):
        sys.stdout.write(shipped(path).read_text(encoding="utf-8"))


def _write_boards(folder: Path, files: list[Path]) -> None:
    import shutil  # noqa: PLC0415 - not for --help

    from qoemon.tools.shipped.files import shipped  # noqa: PLC0415 - not for --help

    with exit_on_errors(failed=(OSError,)):
        (folder / "dashboards").mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(file, folder / "dashboards" / file.name)
        shutil.copytree(shipped("config/grafana/provisioning"), folder / "provisioning", dirs_exist_ok=True)
    info(f"{len(files)} boards in {folder / 'dashboards'}, provisioning in {folder / 'provisioning'}")
