"""The command `qoemon analyze`."""

# ruff: noqa: PLC0415 - what a command runs is not for --help
from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qoemon.tools import study_options
from qoemon.tools.command import FAILED, USAGE, exit_on_errors, fail, load
from qoemon.tools.options import AsJson, ConfigFile, FailIf
from qoemon.tools.study_options import Columns, Group, Header, Missing, StallLength

if TYPE_CHECKING:
    from qoemon.core.plan.plan import Plan, Service


def analyze(
    file: Annotated[str, typer.Argument(help="CSV file, one row per rated experience; - is standard input.")],
    service: Annotated[str, typer.Option(help="Service of the configuration whose mapping to use.")],
    config: ConfigFile = None,
    theta: Annotated[
        float | None,
        typer.Option(help="SOS parameter, between 0 and 1.", show_default="the service's"),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Evaluate each row exactly, without QoS bins.")] = False,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png|.html",
            help="Also plot the CDFs of MOS, opinions and ratings, and GoB and PoW over theta; "
            "needs the extra plot. Also .svg and .pdf.",
            show_default="no plot",
        ),
    ] = None,
    fail_if: FailIf = None,
    columns: Columns = None,
    group: Group = "",
    header: Header = "",
    missing: Missing = "",
    stall_length: StallLength = None,
) -> None:
    """Estimate ratings from recorded QoS in a CSV file.

    Beside the QoS, the file may have the columns group; n, the number of users of a row, or its weight; and failed,
    for what counts as the worst rating.
    """
    import json
    from dataclasses import replace

    from rich.console import Console

    from qoemon.common.csvfile import ContentError, UnreadableError, opened
    from qoemon.config.plan import core_plan
    from qoemon.config.studies.conditions import read_conditions
    from qoemon.tools.analyze import analyze as csv
    from qoemon.tools.fail_if import FailIfError, conditions, failures
    from qoemon.tools.plotting import PlotError, require_plot

    with exit_on_errors(usage=(UnreadableError, csv.ThetaError, PlotError, FailIfError), failed=(ContentError,)):
        wanted = conditions(fail_if or ())
        if plot is not None:
            require_plot(plot)
        plan = core_plan(load(config))
        rated = _service(plan, service)
        if theta is not None:
            rated = replace(rated, theta=theta)
        csv.check_theta(rated)
        how = study_options.reading(
            columns=columns, group=group, header=header, missing=missing, stall_length=stall_length
        )
        with opened(file) as rows:
            experiences = read_conditions(rows, rated, how)
        if as_json:
            study_options.report(experiences.notes)
        analysis = csv.analyze(experiences, rated, plan.quantiles, exact=exact, confidence=plan.confidence)
        if plot is not None:
            from qoemon.tools.analyze.plot import draw

            draw(csv.binned(experiences, rated), rated, plot)
    if as_json:
        sys.stdout.write(json.dumps(analysis.as_dict(), indent=2) + "\n")
    else:
        Console(highlight=False).print(csv.table(analysis))
    figures = {"mos": analysis.mos, "gob": analysis.gob, "pow": analysis.pow}
    if failed := list(failures(wanted, service, figures)):
        fail(FAILED, *failed)


def _service(plan: Plan, name: str) -> Service:
    by_name = {service.name: service for service in plan.services}
    if name not in by_name:
        fail(USAGE, f"no service {name!r} in the configuration; it has {', '.join(by_name)}")
    return by_name[name]
