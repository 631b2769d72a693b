"""The command `qoemon dashboards`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qoemon.tools.command import USAGE, exit_on_errors, fail, info, load
from qoemon.tools.options import ConfigFile, Overrides

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "qoemon-"
"""Of the file name of a board."""


class SdkError(Exception):
    """Boards cannot be made, as Grafana's SDK is not installed."""


def dashboards(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="Folder to write to, created if necessary.", show_default="none"),
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
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Write the Grafana boards and their provisioning.

    The folder gets `dashboards` with the boards, to import or to provision, and `provisioning`, to copy into
    Grafana's own folder. With --config, the boards are made for the labels, windows, scales and objectives of that
    configuration; this needs the extra `dashboards`. Otherwise they are those of the sample configuration.
    """
    from qoemon.tools.shipped.files import ShippedError  # noqa: PLC0415 - not for --help

    if (folder is None) == (board is None):
        raise typer.BadParameter("give a folder to write to, or --print BOARD")
    with exit_on_errors(failed=(OSError, SdkError, ShippedError)):
        texts = _shipped() if config is None and not overrides else _made(config, overrides)
        if folder is not None:
            _write(folder, texts)
            return
        known = {name.removeprefix(PREFIX).removesuffix(".json"): text for name, text in texts.items()}
        if board not in known:
            why = "no service has an objective (slo)" if board == "slo" else f"no board {board!r}"
            fail(USAGE, f"{why}; there are {', '.join(sorted(known))}")
        sys.stdout.write(known[board])


def _shipped() -> Mapping[str, str]:
    """The boards of the sample configuration, by file name."""
    from qoemon.tools.shipped.files import shipped  # noqa: PLC0415 - not for --help

    files = shipped("dashboards").glob(f"{PREFIX}*.json")
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(files)}


def _made(config: Path | None, overrides: list[str] | None) -> Mapping[str, str]:
    """The boards for a configuration, by file name."""
    settings = load(config, overrides)
    try:
        from qoemon.tools.dashboards.boards import boards  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("grafana_foundation_sdk"):
            raise
        from qoemon.common.extras import how_to_add  # noqa: PLC0415 - not for --help

        raise SdkError(f"boards for a configuration need Grafana's SDK: {how_to_add('dashboards')}") from None
    return boards(settings)


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    import shutil  # noqa: PLC0415 - not for --help

    from qoemon.tools.shipped.files import shipped  # noqa: PLC0415 - not for --help

    boards, provisioning = folder / "dashboards", folder / "provisioning"
    boards.mkdir(parents=True, exist_ok=True)
    for name in _shipped().keys() - texts.keys():
        (boards / name).unlink(missing_ok=True)  # of an earlier configuration
    for name, text in texts.items():
        (boards / name).write_text(text, encoding="utf-8")
    shutil.copytree(shipped("config/grafana/provisioning"), provisioning, dirs_exist_ok=True)
    info(f"{len(texts)} boards in {boards}, provisioning in {provisioning}")
    if f"{PREFIX}slo.json" not in texts:
        info("no board slo: no service has an objective (slo)")
