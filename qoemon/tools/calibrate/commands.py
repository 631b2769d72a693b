"""The commands on subjective studies: the SOS parameter, and the constants of a mapping."""

# ruff: noqa: PLC0415 - what a command runs is not for --help
from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from qoemon.tools import study_options
from qoemon.tools.command import exit_on_errors
from qoemon.tools.options import AsJson
from qoemon.tools.study_options import Columns, Condition, Counts, Header, Missing, Rating, User, WideForm

ServiceName = Annotated[
    str | None,
    typer.Option(
        help="Service name in the YAML fragment.",
        show_default="that of the default service with the mapping, such as video for video-stall",
    ),
]
Csv = Annotated[str, typer.Argument(help="CSV file; - is standard input.")]


def theta(
    file: Csv,
    low: Annotated[float, typer.Option(help="Lowest rating of the scale, scale points.")] = 1.0,
    high: Annotated[float, typer.Option(help="Highest rating of the scale, scale points.")] = 5.0,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE.png|.html",
            help="Plot the SOS parabola over the conditions; needs the extra plot. Also .svg and .pdf.",
            show_default="no plot",
        ),
    ] = None,
    service: ServiceName = None,
    mapping: Annotated[str, typer.Option(help="Mapping of the service in the YAML fragment.")] = "video-stall",
    condition: Condition = "",
    rating: Rating = "",
    user: User = "",
    columns: Columns = None,
    header: Header = "",
    wide: WideForm = None,
    counts: Counts = "",
    missing: Missing = "",
    as_json: AsJson = False,
) -> None:
    """Estimate the SOS parameter of a study.

    The CSV file has the columns condition and rating, and user if it is known; or mos, sd and n of each condition.
    Options name other columns and other forms of the file.
    """
    from dataclasses import replace

    from qoemon.common.csvcolumns import cut
    from qoemon.common.csvfile import ContentError, UnreadableError, opened
    from qoemon.config.config import usual_service
    from qoemon.config.studies import study
    from qoemon.config.studies.ratings import Moments
    from qoemon.tools.calibrate import plot, sos
    from qoemon.tools.plotting import PlotError, require_plot

    how = study_options.reading(
        condition=condition,
        rating=rating,
        user=user,
        columns=columns,
        header=header,
        wide=wide,
        counts=counts,
        missing=missing,
    )
    with exit_on_errors(usage=(UnreadableError, PlotError), failed=(ContentError,)):
        if picture is not None:
            require_plot(picture)
        with opened(file) as rows:
            ratings = study.read_ratings(rows, low, high, how)
        if isinstance(ratings, Moments):
            raise study.StudyError("theta is estimated from single ratings, and the file has their means")
        study_options.report(ratings.notes)
        found = sos.estimate(ratings)
        found = replace(found, warnings=tuple(cut(found.warnings)))
        if picture is not None:
            plot.draw(found, picture)
    name = service or usual_service(mapping)
    _print(found.as_dict(), sos.table(found), name, sos.yaml_fragment(found, name, mapping), as_json=as_json)


def fit(
    file: Csv,
    mapping: Annotated[str, typer.Option(help="Mapping whose constants to fit.")],
    inputs: Annotated[
        str,
        typer.Option(
            help="Columns to use as inputs of a mapping without its own, a,b,c.", show_default="all with numbers"
        ),
    ] = "",
    only: Annotated[str, typer.Option(help="Constants to fit, a,b,c.", show_default="all")] = "",
    service: ServiceName = None,
    condition: Condition = "",
    rating: Rating = "",
    user: User = "",
    columns: Columns = None,
    header: Header = "",
    wide: WideForm = None,
    counts: Counts = "",
    missing: Missing = "",
    as_json: AsJson = False,
) -> None:
    """Fit the constants of a mapping to a study.

    The CSV file has a column rating or mos, and the QoS of each condition. Options name other columns and other
    forms of the file.
    """
    from dataclasses import replace

    from qoemon.common.csvcolumns import cut
    from qoemon.common.csvfile import ContentError, UnreadableError, opened
    from qoemon.common.text import did_you_mean
    from qoemon.config import plugins
    from qoemon.config.config import usual_service
    from qoemon.config.studies import study
    from qoemon.tools.calibrate import fit as fitting

    if mapping not in plugins.names():
        hint = did_you_mean(mapping, plugins.names())
        raise typer.BadParameter(f"{mapping!r}, expected one of {', '.join(plugins.names())}; {hint}")
    how = study_options.reading(
        condition=condition,
        rating=rating,
        user=user,
        columns=columns,
        header=header,
        wide=wide,
        counts=counts,
        missing=missing,
    )
    with exit_on_errors(usage=(UnreadableError,), failed=(ContentError,)):
        with opened(file) as rows:
            conditions = study.read_study(rows, plugins.find(mapping), _names(inputs), how)
        study_options.report(conditions.notes)
        found = fitting.fit(conditions, _names(only))
        found = replace(found, warnings=tuple(cut(found.warnings)))
    name = service or usual_service(mapping)
    _print(found.as_dict(), fitting.table(found), name, fitting.yaml_fragment(found, name), as_json=as_json)


def _print(figures: dict[str, Any], table: Any, service: str, fragment: str, *, as_json: bool) -> None:
    """Print what was found; service: the name in the fragment of the configuration."""
    import json

    from rich.console import Console

    from qoemon.config.config import missing_defaults

    if as_json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
        return
    Console(highlight=False).print(table)
    others = " and ".join(missing_defaults([service]))
    keep = f" (services replaces the defaults: add {others} if it is to be rated as well)" if others else ""
    sys.stdout.write(f"\nFor the configuration{keep}:\n\n{fragment}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
