"""Options that say how the file of a study, or of recorded QoS, names its columns."""

# ruff: noqa: PLC0415 - numpy is not for --help
from __future__ import annotations

import inspect
from functools import update_wrapper
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from qoemon.tools.command import info
from qoemon.tools.options import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qoemon.config.studies.reading import Reading, Wide

Condition = Annotated[
    str,
    typer.Option(
        metavar="COLUMN,...",
        help="Columns that name what was rated; several are joined.",
        show_default="condition",
    ),
]
Rating = Annotated[
    str,
    typer.Option(
        metavar="COLUMN",
        help="Column with the ratings; with --wide those of a matrix, in which * is any text.",
        show_default="rating",
    ),
]
User = Annotated[
    str,
    typer.Option(
        metavar="COLUMN,...",
        help="Columns that name who rated.",
        show_default="user, if there is one",
    ),
]
Group = Annotated[
    str,
    typer.Option(
        metavar="COLUMN,...",
        help="Columns by whose values to give figures as well.",
        show_default="group, if there is one",
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=COLUMN,...",
        help="Other columns by qoemon's names: NAME=COLUMN, NAME=COLUMN/NUMBER, NAME=COLUMN*NUMBER, or NAME=NUMBER "
        "for all rows, such as response_s=elapsed/1000,n=24; repeatable.",
        show_default="the same names",
    ),
]
Header = Annotated[
    str,
    typer.Option(
        metavar="NAME,...",
        help="Names of the columns of a file without a header.",
        show_default="the first row",
    ),
]
WideForm = Annotated[
    Literal["conditions", "users"] | None,
    typer.Option(
        "--wide",
        help="The file is a matrix of ratings: a row for each condition with a column for each user, or a row for "
        "each user with a column for each condition.",
        show_default="a row for each rating",
    ),
]
Counts = Annotated[
    str,
    typer.Option(
        metavar="COLUMN,...",
        help="Columns with the number of times that each rating was given, from the lowest rating to the highest.",
        show_default="a row for each rating",
    ),
]
Words = Annotated[
    str,
    typer.Option(
        metavar="WORD,...",
        help="The ratings in words, from the lowest to the highest, if the file has words.",
        show_default="ratings are numbers",
    ),
]
Missing = Annotated[
    str,
    typer.Option(
        metavar="CELL,...",
        help="Cells that say that there is no value, such as -1, beside NA, NaN, null, none, - and empty ones.",
        show_default="none",
    ),
]
StallLength = Annotated[
    float | None,
    typer.Option(
        metavar="DURATION",
        parser=seconds,
        help="Mean length of a stall, for a file that counts stalls without their seconds.",
        show_default="none",
    ),
]


def reading(
    *,
    condition: str = "",
    rating: str = "",
    user: str = "",
    group: str = "",
    columns: Sequence[str] | None = None,
    header: str = "",
    wide: Wide | None = None,
    counts: str = "",
    words: str = "",
    missing: str = "",
    stall_length: float | None = None,
) -> Reading:
    """How the file is to be read by these options; BadParameter if one of them cannot be understood."""
    from qoemon.common.csvfile import names_in
    from qoemon.config.studies.reading import RATING, Reading

    expressions = {RATING: rating} if rating else {}
    for each in chain.from_iterable(map(names_in, columns or ())):
        name, sign, expression = (part.strip() for part in each.partition("="))
        if not (name and sign and expression):
            raise typer.BadParameter(f"{each!r}, expected NAME=COLUMN", param_hint="--columns")
        expressions[name] = expression
    return Reading(
        condition=names_in(condition),
        user=names_in(user),
        group=names_in(group),
        columns=expressions,
        header=names_in(header),
        wide=wide,
        counts=names_in(counts),
        words=names_in(words),
        missing=names_in(missing),
        stall_s=stall_length or 0.0,
    )


_FORM: dict[str, tuple[Any, Any]] = {
    "condition": (Condition, ""),
    "rating": (Rating, ""),
    "user": (User, ""),
    "columns": (Columns, None),
    "header": (Header, ""),
    "wide": (WideForm, None),
    "counts": (Counts, ""),
    "words": (Words, ""),
    "missing": (Missing, ""),
}
"""The options of a file with ratings, with their defaults."""


def reads_study(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of a file with ratings in place of its parameter `how`, the Reading."""
    signature = inspect.signature(command, eval_str=True)
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option)
        for name, (option, default) in _FORM.items()
    ]
    own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in signature.parameters.values()]
    at = [each.name for each in own].index("how")

    def with_options(**given: Any) -> None:
        form = {name: given.pop(name) for name in _FORM}
        command(**given, how=reading(**form))

    update_wrapper(with_options, command)
    parameters = [*own[:at], *options, *own[at + 1 :]]
    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options


def report(notes: Sequence[str]) -> None:
    """Write what was left out or assumed to standard error."""
    from qoemon.common.csvcolumns import cut

    for note in cut(notes):
        info(f"qoemon: {note}")
