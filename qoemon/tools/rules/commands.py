"""The command `qoemon rules`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from qoemon.tools.command import exit_on_errors, load
from qoemon.tools.options import ConfigFile


def rules(
    config: ConfigFile = None,
    tests: Annotated[bool, typer.Option("--tests", help="Write unit tests of the rules for promtool.")] = False,
    scrape: Annotated[bool, typer.Option("--scrape", help="Write an example of prometheus.yml.")] = False,
) -> None:
    """Write Prometheus rules that match the configuration."""
    from qoemon.tools.rules.alertrule import AnnotationError  # noqa: PLC0415 - not for --help
    from qoemon.tools.rules.scrape import prometheus_files  # noqa: PLC0415 - not for --help
    from qoemon.tools.rules.slo import ObjectiveError  # noqa: PLC0415 - not for --help

    with exit_on_errors(usage=(AnnotationError, ObjectiveError)):
        settings = load(config)
        files = prometheus_files(settings, "FILE" if config is None else str(config))
        if scrape:
            sys.stdout.write(files.scrape(f"{settings.http.host}:{settings.http.port}"))
        else:
            sys.stdout.write(files.tests() if tests else files.rules())
