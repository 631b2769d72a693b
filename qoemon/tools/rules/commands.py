"""The command `qoemon rules`."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from qoemon.tools.command import exit_on_errors, load
from qoemon.tools.options import ConfigFile


def rules(
    config: ConfigFile = None,
    tests: Annotated[bool, typer.Option("--tests", help="Write unit tests of the rules for promtool.")] = False,
    scrape: Annotated[bool, typer.Option("--scrape", help="Write an example of prometheus.yml.")] = False,
    alerting: Annotated[
        Literal["qoemon", "prometheus"] | None,
        typer.Option(
            help="Who sends the alerts of the configuration.",
            show_default="qoemon if notify has a receiver, otherwise prometheus",
        ),
    ] = None,
) -> None:
    """Write Prometheus rules that match the configuration."""
    from qoemon.tools.rules.alertrule import AnnotationError  # noqa: PLC0415 - not for --help
    from qoemon.tools.rules.delivery import Sender  # noqa: PLC0415 - not for --help
    from qoemon.tools.rules.scrape import prometheus_files, targets  # noqa: PLC0415 - not for --help
    from qoemon.tools.rules.slo import ObjectiveError  # noqa: PLC0415 - not for --help

    with exit_on_errors(usage=(AnnotationError, ObjectiveError)):
        settings = load(config)
        sender = None if alerting is None else Sender(alerting)
        files = prometheus_files(settings, None if config is None else str(config), sender)
        if scrape:
            sys.stdout.write(files.scrape(*targets(settings)))
        else:
            sys.stdout.write(files.tests() if tests else files.rules())
