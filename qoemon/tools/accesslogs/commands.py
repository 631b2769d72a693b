"""The command `qoemon import-cmcd`."""

# ruff: noqa: PLC0415 - what a command runs is not for --help
from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qoemon.tools.command import exit_on_errors, info, load
from qoemon.tools.options import ConfigFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qoemon.tools.accesslogs.formats import LineReader
    from qoemon.tools.accesslogs.importer import Labels


class Format(StrEnum):
    """Formats of logs."""

    COMBINED = "combined"
    CLOUDFRONT = "cloudfront"
    JSON = "json"


def import_cmcd(
    log: Annotated[
        str,
        typer.Argument(
            metavar="ACCESS.LOG", help="Log of a CDN or web server, may be gzipped; - is standard input."
        ),
    ],
    kind: Annotated[
        Format,
        typer.Option(
            "--format",
            help="combined: of Apache and nginx; cloudfront: standard and real-time logs; json: an object a line.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The recording to write.",
            show_default="the name of the log, with .jsonl.gz",
        ),
    ] = None,
    config: ConfigFile = None,
    service: Annotated[
        str | None,
        typer.Option(help="Service of the sessions.", show_default="the only one that rates stalls"),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Label of all sessions, such as region=eu; repeatable.", show_default="none"
        ),
    ] = None,
    label_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FIELD",
            help="Label from a field of the log, such as cdn=x-edge-location; host is the host; repeatable.",
            show_default="none",
        ),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=FIELD",
            help="json: name of the field with the time, duration (s), query, uri, host, status, or cmcd; "
            "repeatable.",
            show_default="the usual names",
        ),
    ] = None,
    fields: Annotated[
        str,
        typer.Option(
            metavar="A,B,C",
            help="cloudfront: names of all fields in their order, for real-time logs.",
            show_default="those of the line #Fields",
        ),
    ] = "",
) -> None:
    """Make a recording of the requests with CMCD in an access log.

    The players' requests say how much media was in the buffer; what was played and where it stalled follows from
    them. Use the recording with replay and report. How accurate it is, is written to standard error.
    """
    from qoemon.common.csvfile import STDIN, UnreadableError
    from qoemon.config.plan import core_plan
    from qoemon.tools.accesslogs.importer import DestinationError, LogError, LogImport, destination, opened
    from qoemon.tools.accesslogs.summary import summary
    from qoemon.tools.recordings.recording import RecordingError

    with exit_on_errors(usage=(UnreadableError, DestinationError), failed=(LogError, RecordingError)):
        plan = core_plan(load(config))
        labels = _labels(label or (), label_from or (), plan.labels, plan.limits.label_length)
        read = _reader(kind, _pairs("--field", field or ()), [name for name in fields.split(",") if name])
        _, place = destination(plan, service)
        name = "standard input" if log == STDIN else log
        target = out or _target(log)
        with opened(log) as file:
            found = LogImport(read, place, plan.limits.sessions, labels).run(file, name, target)
        for line in summary(found, name, str(target)):
            info(line)


def _target(log: str) -> Path:
    """The recording's name for a log, in the current directory."""
    name = Path(log if log != "-" else "access").name
    for ending in (".gz", ".log", ".json", ".jsonl", ".tsv", ".txt"):
        name = name.removesuffix(ending)
    return Path(f"{name}.jsonl.gz")


def _reader(kind: Format, named: Mapping[str, str], fields: Sequence[str]) -> LineReader:
    """What reads the lines of a format; BadParameter for options of another one."""
    from qoemon.tools.accesslogs.formats import ALIASES, Cloudfront, JsonLines, combined

    if named and kind is not Format.JSON:
        raise typer.BadParameter(f"--field is for --format json, and the format is {kind}")
    if fields and kind is not Format.CLOUDFRONT:
        raise typer.BadParameter(f"--fields is for --format cloudfront, and the format is {kind}")
    for key in named:
        if key not in ALIASES:
            raise typer.BadParameter(f"--field {key}=: expected one of {', '.join(ALIASES)}")
    if kind is Format.COMBINED:
        return combined
    return Cloudfront(fields) if kind is Format.CLOUDFRONT else JsonLines(named)


def _labels(constant: Sequence[str], read: Sequence[str], known: Sequence[str], longest: int) -> Labels:
    """What makes the labels of a session; BadParameter for a label that the configuration does not have."""
    from qoemon.tools.accesslogs.formats import plain_name

    always, sources = _pairs("--label", constant), _pairs("--label-from", read)
    for name in (*always, *sources):
        if name not in known:
            has = ", ".join(known) or "none"
            raise typer.BadParameter(f"the label {name!r} is not one of the configuration's: {has}")
    if not sources:
        return lambda _: always
    named = {name: plain_name(source) for name, source in sources.items()}
    return lambda found: {
        **always,
        **{
            name: value[:longest]
            for name, source in named.items()
            if (value := found.get(source, "")) not in {"", "-"}
        },
    }


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{option} {text!r}, expected NAME=VALUE")
        pairs[name] = value
    return pairs
