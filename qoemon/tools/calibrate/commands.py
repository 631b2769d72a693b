"""The commands on subjective studies: the SOS parameter, and the constants of a mapping."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from qoemon.common.csvfile import opened
from qoemon.common.text import did_you_mean
from qoemon.config import plugins
from qoemon.config.studies import study
from qoemon.tools.calibrate import fit, plot, sos

AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
ServiceName = Annotated[str, typer.Option(help="The service that the YAML fragment is for.")]
Csv = Annotated[str, typer.Argument(help="CSV file; - is standard input.")]


def theta_command(
    file: Csv,
    low: Annotated[float, typer.Option(help="Low end of the rating scale.")] = 1.0,
    high: Annotated[float, typer.Option(help="High end of the rating scale.")] = 5.0,
    picture: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw the SOS parabola over the conditions.")
    ] = None,
    service: ServiceName = "video",
    mapping: Annotated[str, typer.Option(help="The service's mapping, for the YAML fragment.")] = "video-stall",
    as_json: AsJson = False,
) -> None:
    """How far users differ: the SOS parameter of a study with the columns condition and rating."""
    with opened(file) as rows:
        found = sos.estimate(study.read_ratings(rows, low, high))
    if picture is not None:
        plot.draw(found, picture)
    _told(found.as_dict(), sos.table(found), sos.yaml_fragment(found, service, mapping), as_json=as_json)


def fit_command(
    file: Csv,
    mapping: Annotated[str, typer.Option(help="Which mapping's constants to fit.")],
    inputs: Annotated[str, typer.Option(help="Columns that the mapping is to look at, a,b,c.")] = "",
    only: Annotated[str, typer.Option(help="Fit these constants and keep the others, a,b,c.")] = "",
    service: ServiceName = "fitted",
    as_json: AsJson = False,
) -> None:
    """Fit a mapping to a study: a column rating or mos, and the QoS of each condition."""
    if mapping not in plugins.names():
        hint = did_you_mean(mapping, plugins.names())
        raise typer.BadParameter(f"{mapping!r}, expected one of {', '.join(plugins.names())}; {hint}")
    with opened(file) as rows:
        conditions = study.read_study(rows, plugins.find(mapping), _names(inputs))
    found = fit.fit(conditions, _names(only))
    _told(found.as_dict(), fit.table(found), fit.yaml_fragment(found, service), as_json=as_json)


def _told(plain: dict[str, Any], table: Any, fragment: str, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(plain, indent=2) + "\n")
        return
    Console(highlight=False).print(table)
    sys.stdout.write(f"\nFor the configuration:\n\n{fragment}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
