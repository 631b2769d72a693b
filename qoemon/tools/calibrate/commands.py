"""The commands on subjective studies: the SOS parameter, and the constants of a mapping."""

# ruff: noqa: PLC0415 - what a command runs is not for --help
from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qoemon.tools import study_options
from qoemon.tools.command import FAILED, USAGE, exit_on_errors, fail, load
from qoemon.tools.options import AsJson, ConfigFile
from qoemon.tools.study_options import reads_study

if TYPE_CHECKING:
    from qoemon.common.csvfile import ContentError

ServiceName = Annotated[
    str | None,
    typer.Option(
        help="Service name in the YAML fragment.",
        show_default="that of the default service with the mapping, such as video for video-stall",
    ),
]
Csv = Annotated[str, typer.Argument(help="CSV file; - is standard input.")]


@reads_study
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
    how: Any = None,
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
    from qoemon.tools.calibrate import plot, sos
    from qoemon.tools.plotting import PlotError, require_plot

    with exit_on_errors(usage=(UnreadableError, PlotError), failed=(ContentError,)):
        if picture is not None:
            require_plot(picture)
        with opened(file) as rows:
            ratings = study.read_ratings(rows, low, high, how)
        study_options.report(ratings.notes)
        found = sos.estimate(ratings)
        found = replace(found, warnings=tuple(cut(found.warnings)))
        if picture is not None:
            plot.draw(found, picture)
    name = service or usual_service(mapping)
    _print(found.as_dict(), sos.table(found), name, sos.yaml_fragment(found, name, mapping), as_json=as_json)


@reads_study
def fit(
    file: Csv,
    mapping: Annotated[str, typer.Option(help="Mapping whose constants to fit.")],
    inputs: Annotated[
        str,
        typer.Option(
            help="Columns to use as inputs of a mapping without its own, a,b,c.", show_default="all with numbers"
        ),
    ] = "",
    quality: Annotated[
        str,
        typer.Option(
            metavar="MAPPING",
            help="Mapping of what was shown, for media-stall; --inputs names its columns.",
            show_default="none",
        ),
    ] = "",
    only: Annotated[str, typer.Option(help="Constants to fit, a,b,c.", show_default="all")] = "",
    low: Annotated[float, typer.Option(help="Lowest rating of the scale, scale points.")] = 1.0,
    high: Annotated[float, typer.Option(help="Highest rating of the scale, scale points.")] = 5.0,
    service: ServiceName = None,
    how: Any = None,
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
    from qoemon.core.qoe.mapping import MEDIA_STALL
    from qoemon.tools.calibrate import fit as fitting
    from qoemon.tools.calibrate import fit_text

    if mapping not in plugins.names():
        hint = did_you_mean(mapping, plugins.names())
        raise typer.BadParameter(f"{mapping!r}, expected one of {', '.join(plugins.names())}; {hint}")
    shape, named = plugins.find(mapping), _names(inputs)
    with exit_on_errors(usage=(UnreadableError,), failed=(ContentError,)):
        if mapping == MEDIA_STALL.name:
            shape, named = fitting.media_stall(quality, named), ()
        elif quality:
            raise typer.BadParameter(
                f"{mapping} has no mapping of quality; media-stall has", param_hint="--quality"
            )
        with opened(file) as rows:
            conditions = study.read_study(rows, fitting.on_scale(shape, low, high), named, how)
        study_options.report(conditions.notes)
        found = fitting.fit(conditions, _names(only))
        found = replace(found, warnings=tuple(cut(found.warnings)))
    name = service or usual_service(mapping)
    _print(found.as_dict(), fit_text.table(found), name, fit_text.yaml_fragment(found, name), as_json=as_json)


@reads_study
def validate(
    file: Csv,
    service: Annotated[str, typer.Option(help="Service of the configuration that the study is about.")],
    config: ConfigFile = None,
    how: Any = None,
    as_json: AsJson = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE.png|.html",
            help="Plot predicted against observed MOS, GoB and PoW; needs the extra plot. Also .svg and .pdf.",
            show_default="no plot",
        ),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            metavar="CONDITION",
            help="Exit with 1 if this holds of a mean absolute error, such as 'gob > .1': mos (scale points), gob "
            "or pow (shares, 0 to 1), one of < <= > >=, a number; repeatable, one that holds is enough.",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Compare a configuration with the ratings of a study.

    The CSV file has a column rating or mos, and the QoS of each condition, as for fit.
    """
    import json

    from rich.console import Console

    from qoemon.common.csvfile import ContentError, UnreadableError, opened
    from qoemon.config.plan import core_plan
    from qoemon.config.studies import study
    from qoemon.tools.calibrate import validate as validation
    from qoemon.tools.calibrate import validate_plot
    from qoemon.tools.fail_if import FailIfError, conditions, failures
    from qoemon.tools.plotting import PlotError, require_plot

    with exit_on_errors(usage=(UnreadableError, PlotError, FailIfError), failed=(ContentError,)):
        wanted = conditions(fail_if or ())
        if picture is not None:
            require_plot(picture)
        services = {each.name: each for each in core_plan(load(config)).services}
        if service not in services:
            fail(USAGE, f"no service {service!r} in the configuration; it has {', '.join(services)}")
        try:
            with opened(file) as rows:
                conditions_rated = study.read_study(rows, services[service].mapping, (), how)
        except ContentError as error:
            raise _for_service(error, service) from None
        study_options.report(conditions_rated.notes)
        found = validation.validate(conditions_rated, services[service])
        if unknown := [each.metric for each in wanted if each.metric not in found.errors]:
            raise FailIfError(f"--fail-if: found {unknown[0]}, expected mos: the study has means, and no ratings")
        if picture is not None:
            validate_plot.draw(found, picture)
    if as_json:
        sys.stdout.write(json.dumps(found.as_dict(), indent=2) + "\n")
    else:
        Console(highlight=False).print(validation.table(found))
    if failed := list(failures(wanted, f"mean error of {service}", found.errors)):
        fail(FAILED, *failed)


def _for_service(error: ContentError, service: str) -> ContentError:
    """The error with what it proposes for another scale as keys of the service, which has the scale here."""
    others = {name: value for name, value in error.options.items() if name not in {"low", "high"}}
    if others == error.options:
        return error
    ends = ", ".join(f"{name}: {error.options[name]}" for name in ("low", "high") if name in error.options)
    between = "\n  " if "\n" in error.fault else "; "
    told = f"{error.fault}{between}if the ratings are right, set the scale of service {service}: {{{ends}}}"
    return type(error)(told, others)


def _print(figures: dict[str, Any], table: Any, service: str, fragment: str, *, as_json: bool) -> None:
    """Print what was found; service: the name in the fragment of the configuration."""
    import json

    from rich.console import Console

    from qoemon.config.config import missing_defaults

    if as_json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
        return
    Console(highlight=False).print(table)
    others = missing_defaults([service])
    rated = "it is" if len(others) == 1 else "they are"
    keep = f" (services replaces the defaults: add {' and '.join(others)} if {rated} to be rated as well)"
    keep = keep if others else ""
    sys.stdout.write(f"\nFor the configuration{keep}:\n\n{fragment}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
