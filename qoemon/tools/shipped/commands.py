"""The commands `qoemon config`, `helm-chart`, `systemd-unit` and `player.js`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from qoemon.tools.command import exit_on_errors, info


def print_config(
    minimal: Annotated[bool, typer.Option("--minimal", help="Print the shortest one for a broker.")] = False,
) -> None:
    """Print a sample configuration: every key, with its default.

    With --minimal, only what must be set to read reports from a broker.
    """
    _print("config/minimal.yaml" if minimal else "config/qoemon.yaml")


def helm_chart(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write to, created if necessary.")],
) -> None:
    """Write the Helm chart for Kubernetes.

    The folder is then the chart, for `helm install qoemon FOLDER --values values.yaml`.
    """
    import shutil  # noqa: PLC0415 - not for --help

    from qoemon.tools.shipped.files import ShippedError, shipped  # noqa: PLC0415 - not for --help

    with exit_on_errors(failed=(OSError, ShippedError)):
        shutil.copytree(
            shipped("config/helm/qoemon"), folder, ignore=shutil.ignore_patterns("files"), dirs_exist_ok=True
        )
        # Links in a checkout, to what the wheel has once.
        (folder / "files/dashboards").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shipped("config/prometheus/rules.yml"), folder / "files/rules.yml")
        for board in shipped("dashboards").glob("*.json"):
            shutil.copyfile(board, folder / "files/dashboards" / board.name)
    info(f"chart in {folder}")


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
