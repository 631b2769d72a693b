"""The commands `qoemon feedback show`, `fit`, `export`, and `test`, which is verdict() here."""

# ruff: noqa: PLC0415 - what a command runs is not for --help
from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qoemon.tools.command import USAGE, exit_on_errors, fail, info, load
from qoemon.tools.options import URL_DEFAULT, AsJson, ConfigFile

if TYPE_CHECKING:
    from qoemon.tools.command import Errors
    from qoemon.tools.feedback.documents import Answers
    from qoemon.tools.feedback.source import Feedback, Source

EXIT_CODES = {"holds": 0, "off": 1, "too_few": 3}
"""Of `qoemon feedback test`, by the state of the model; all errors end with USAGE, so that 1 has one meaning."""


def day(text: str) -> date:
    """The date of text such as 2026-11-28; BadParameter if it is none."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"found {text!r}, expected a date such as 2026-11-28") from None


Service = Annotated[
    str | None, typer.Argument(metavar="SERVICE", help="Service.", show_default="the one with ratings")
]
Url = Annotated[str, typer.Option(help="URL of a running daemon.")]
Recording = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Replay this recording with the configuration, instead of --url.", show_default="none"
    ),
]
Since = Annotated[
    date | None, typer.Option(metavar="DATE", parser=day, help="First UTC day.", show_default="the oldest")
]
SinceOff = Annotated[
    date | None,
    typer.Option(
        metavar="DATE", parser=day, help="First UTC day.", show_default="since when the model is off, or the oldest"
    ),
]
Until = Annotated[
    date | None, typer.Option(metavar="DATE", parser=day, help="Last UTC day.", show_default="the newest")
]


def show(
    service: Service = None,
    url: Url = URL_DEFAULT,
    recording: Recording = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the ratings of users beside the predictions."""
    import json

    from rich.console import Console

    from qoemon.tools.feedback.summary import summary

    with exit_on_errors(usage=_usage(), failed=_failed()):
        found = _feedback(service, url, recording, config)
    if as_json:
        # Every character beyond ASCII is escaped, so this is safe on a terminal, too.
        sys.stdout.write(json.dumps({"service": found.service, **found.raw}, indent=2) + "\n")
    else:
        Console(highlight=False).print(summary(found.service, found.figures))


def fit(
    service: Service = None,
    url: Url = URL_DEFAULT,
    recording: Recording = None,
    config: ConfigFile = None,
    since: SinceOff = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Propose constants by the ratings of users.

    The proposal is printed only if it predicts the ratings of days that were left out of the fit better than the
    constants in force. It is never applied.
    """
    import json

    from rich.console import Console

    from qoemon.tools.feedback.proposal import propose, summary, yaml_fragment

    with exit_on_errors(usage=_usage(), failed=_failed()):
        found = _feedback(service, url, recording, config)
        proposal = propose(_answers(found, since or found.figures.model.since, until))
    if as_json:
        sys.stdout.write(json.dumps(proposal.as_dict(), indent=2) + "\n")
        return
    Console(highlight=False).print(summary(proposal))
    if proposal.found.proposed:
        sys.stdout.write(
            f"\nFor the configuration; keep the other keys of service {found.service}, and the other services:\n\n"
            f"{yaml_fragment(proposal)}"
        )


def export(
    service: Service = None,
    url: Url = URL_DEFAULT,
    recording: Recording = None,
    config: ConfigFile = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Print the ratings of users by day and condition as CSV.

    The last line on standard error has the commands that read it.
    """
    from qoemon.tools.feedback.export import commands, write

    with exit_on_errors(usage=_usage(), failed=_failed()):
        answers = _answers(_feedback(service, url, recording, config), since, until)
    rows = write(answers, sys.stdout)
    info(f"{rows:,} rows of service {answers.service}; to read them: {'; '.join(commands(answers))}")


def verdict(
    service: Service = None,
    url: Url = URL_DEFAULT,
    recording: Recording = None,
    config: ConfigFile = None,
) -> None:
    """Exit with 0 if the model holds, 1 if it is off.

    For cron and CI. One line says why.
    """
    from qoemon.common.text import printable

    with exit_on_errors(usage=(*_usage(), *_failed())):
        found = _feedback(service, url, recording, config)
    typer.echo(f"{found.service}: {printable(found.figures.text)}")
    raise typer.Exit(EXIT_CODES[found.figures.model.state])


def _usage() -> Errors:
    """Errors of the command line and of the configuration."""
    from qoemon.common.csvfile import UnreadableError
    from qoemon.tools.feedback.source import ServiceError
    from qoemon.tools.fetch import QueryError

    return UnreadableError, QueryError, ServiceError


def _failed() -> Errors:
    """Errors of the moment, and of the data."""
    from qoemon.common.csvfile import ContentError
    from qoemon.tools.feedback.source import NoRatingsError
    from qoemon.tools.fetch import AnswerError
    from qoemon.tools.recordings.recording import RecordingError

    return AnswerError, ContentError, NoRatingsError, RecordingError


def _feedback(service: str | None, url: str, recording: Path | None, config: Path | None) -> Feedback:
    from qoemon.tools.feedback.source import Feedback

    return Feedback(_source(url, recording, config), service)


def _source(url: str, recording: Path | None, config: Path | None) -> Source:
    from qoemon.tools.feedback.source import DaemonSource, RecordingSource
    from qoemon.tools.recordings.recording import Recording as File

    if recording is None:
        return DaemonSource(url)
    if url != URL_DEFAULT:
        fail(USAGE, "--url and --recording: expected one of them")
    return RecordingSource(File(recording), load(config))


def _answers(found: Feedback, since: date | None, until: date | None) -> Answers:
    """The answers of some days; the command ends if no rating is among them."""
    answers = found.answers()
    some = answers.between(since, until)
    if not some.rated:
        first, last = answers.days[0].day, answers.days[-1].day
        fail(USAGE, f"service {found.service} has no ratings on these days; its answers are from {first} to {last}")
    return some
