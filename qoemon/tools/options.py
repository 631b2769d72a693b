"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qoemon.common import duration


def seconds(text: str) -> float:
    """The seconds of a duration such as 60s; BadParameter if it is none."""
    try:
        return duration.seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Configuration file. Built-in defaults if omitted."),
]
For = Annotated[
    float | None, typer.Option("--for", metavar="DURATION", parser=seconds, help="Stop after this time, e.g. 60s.")
]
Seed = Annotated[int, typer.Option(help="Random seed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
