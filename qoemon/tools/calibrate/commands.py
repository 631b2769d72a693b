"""The commands on subjective studies: the SOS parameter, and the constants of a mapping."""

# ruff: noqa: PLC0415 - what a command runs is not for --help
from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from qoemon.tools.command import exit_on_errors
from qoemon.tools.options import AsJson

ServiceName = Annotated[str, typer.Option(help="Service name in the YAML fragment.")]
Csv = Annotated[str, typer.Argument(help="CSV file; - is standard input.")]


def theta(
    file: Csv,
    low: Annotated[float, typer.Option(help="Lowest rating of the scale.")] = 1.0,
    high: Annotated[float, typer.Option(help="Highest rating of the scale.")] = 5.0,
    picture: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Plot the SOS parabola over the conditions.")
    ] = None,
    service: ServiceName = "video",
    mapping: Annotated[str, typer.Option(help="Mapping of the service in the YAML fragment.")] = "video-stall",
    as_json: AsJson = False,
) -> None:
    """Estimate the SOS parameter of a study.

    The CSV file has the columns condition and rating.
    """
    from qoemon.common.csvfile import ContentError, UnreadableError, opened
    from qoemon.config.studies import study
    from qoemon.tools.calibrate import plot, sos
    from qoemon.tools.plotting import PlotError

    with exit_on_errors(usage=(UnreadableError, PlotError), failed=(ContentError,)):
        with opened(file) as rows:
            found = sos.estimate(study.read_ratings(rows, low, high))
        if picture is not None:
            plot.draw(found, picture)
    _print(found.as_dict(), sos.table(found), sos.yaml_fragment(found, service, mapping), as_json=as_json)


def fit(
    file: Csv,
    mapping: Annotated[str, typer.Option(help="Mapping whose constants to fit.")],
    inputs: Annotated[str, typer.Option(help="Columns to use as inputs of the mapping, a,b,c.")] = "",
    only: Annotated[str, typer.Option(help="Fit only these constants, a,b,c.")] = "",
    service: ServiceName = "fitted",
    as_json: AsJson = False,
) -> None:
    """Fit the constants of a mapping to a study.

    The CSV file has a column rating or mos, and the QoS of each condition.
    """
    from qoemon.common.csvfile import ContentError, UnreadableError, opened
    from qoemon.common.text import did_you_mean
    from qoemon.config import plugins
    from qoemon.config.studies import study
    from qoemon.tools.calibrate import fit as fitting

    if mapping not in plugins.names():
        hint = did_you_mean(mapping, plugins.names())
        raise typer.BadParameter(f"{mapping!r}, expected one of {', '.join(plugins.names())}; {hint}")
    with exit_on_errors(usage=(UnreadableError,), failed=(ContentError,)):
        with opened(file) as rows:
            conditions = study.read_study(rows, plugins.find(mapping), _names(inputs))
        found = fitting.fit(conditions, _names(only))
    _print(found.as_dict(), fitting.table(found), fitting.yaml_fragment(found, service), as_json=as_json)


def _print(figures: dict[str, Any], table: Any, fragment: str, *, as_json: bool) -> None:
    import json

    from rich.console import Console

    if as_json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
        return
    Console(highlight=False).print(table)
    sys.stdout.write(f"\nFor the configuration:\n\n{fragment}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
