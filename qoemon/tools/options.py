"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qoemon.common import duration

URL_DEFAULT = "http://127.0.0.1:9877"


def seconds(text: str) -> float:
    """The seconds of a duration such as 60s; BadParameter if it is none."""
    try:
        return duration.seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def share(text: str) -> float:
    """The share of text such as 5% or 0.05, above 0 and at most 1; BadParameter if it is none."""
    number, percent = text.removesuffix("%").strip(), text.endswith("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise typer.BadParameter(f"found {text!r}, expected a share such as 5% or 0.05")
    return value


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="QOEMON_CONFIG",
        help="Configuration file.",
        show_default="the built-in defaults",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set a key as if the file had it, such as mqtt.port=1884: path in dots, value in YAML; repeatable.",
        show_default="none",
    ),
]
For = Annotated[
    float | None,
    typer.Option(
        "--for",
        metavar="DURATION",
        parser=seconds,
        help="Stop after this time, e.g. 60s.",
        show_default="at Ctrl-C",
    ),
]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        metavar="CONDITION",
        help="Exit with 1 if this holds, such as 'pow > .2': mos (scale points), gob or pow (shares, 0 to 1), "
        "one of < <= > >=, a number; repeatable, one that holds is enough.",
        show_default="none",
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
