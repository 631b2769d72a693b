"""The commands on recordings: record, replay, report."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from qoemon.common import duration
from qoemon.common.logs import log_to_stderr
from qoemon.common.text import SHORT, printable
from qoemon.config import config as configuration
from qoemon.config.config import Config
from qoemon.inputs.inbox import Inbox
from qoemon.inputs.mqtt.options import broker_options
from qoemon.outputs.snapshot_json import snapshot_document
from qoemon.tools.plotting import require_matplotlib
from qoemon.tools.recordings.record import Recorded, record
from qoemon.tools.recordings.recording import Recording
from qoemon.tools.recordings.replay import Progress as Done
from qoemon.tools.recordings.replay import ticks
from qoemon.tools.report import figure
from qoemon.tools.report.figure import fitted
from qoemon.tools.report.period import Period, ServicePeriod
from qoemon.tools.report.replay import replay
from qoemon.tools.report.tables import at, share, span_text
from qoemon.tools.report.write import write
from qoemon.tools.table import groups_table, legend

WORST_MOMENTS = 5
NAME_CELLS = 20
"""Of a label value in the table: with four of them it fits most terminals."""

File = Annotated[Path, typer.Argument(metavar="FILE", help="The recording, gzip lines of JSON.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Configuration; the defaults without one.")
]


def _seconds(text: str) -> float:
    try:
        return duration.seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def record_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The recording to write, such as monday.jsonl.gz.")],
    config: ConfigFile = None,
    for_s: Annotated[
        float | None,
        typer.Option("--for", metavar="DURATION", parser=_seconds, help="End after this long, e.g. 1h."),
    ] = None,
) -> None:
    """Keep what the broker sends in a file, beside the daemon; Ctrl-C ends it."""
    log_to_stderr("WARNING")
    settings = _load(config)
    inbox = Inbox(settings.limits.inbox_messages, settings.limits.inbox_bytes)
    line = _Line()
    done = asyncio.run(record(broker_options(settings), file, inbox, for_s=for_s, on_progress=line))
    line.end(done, file)


def replay_command(
    file: File,
    config: ConfigFile = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON a rating interval instead.")
    ] = False,
) -> None:
    """Judge a recording as the daemon would have, at full speed."""
    settings, recording = _load(config), Recording(file)
    if as_json:
        with _bar(recording, "replaying") as progress:
            for snapshot, watched in ticks(recording, settings, progress):
                if snapshot.time_s % settings.sessions.rating_interval_s == 0:
                    sys.stdout.write(json.dumps(snapshot_document(snapshot, watched)) + "\n")
        _say_if_cut(recording)
        return
    with _bar(recording, "replaying") as progress:
        period = replay(recording, settings, progress).period
    _say_if_cut(recording)
    _print(period, recording)


def report_command(
    file: File,
    out: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR|FILE.html", help="Where to write; charts lie beside it.")
    ],
    config: ConfigFile = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="OTHER.yaml", help="Say what this configuration would have said too.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Headline; that of the recording's name without one.")] = None,
) -> None:
    """Make one HTML file of a recording, and PNGs of its charts."""
    require_matplotlib("a report")
    settings, others = _load(config), None if compare is None else _load(compare)
    recording = Recording(file)
    with _bar(recording, "replaying") as progress:
        replayed = replay(recording, settings, progress)
    other = None
    if others is not None:
        with _bar(recording, "comparing") as progress:
            other = replay(recording, others, progress)
    _say_if_cut(recording)
    names = ("the defaults" if config is None else str(config), str(compare))
    with Console(stderr=True).status("drawing") as status:
        files = write(
            out, recording, replayed, other, names, title, lambda chart: status.update(escape(f"drawing {chart}"))
        )
    _say(f"wrote {files[0]} and {len(files) - 1} charts as PNG")


COMMANDS: dict[str, Callable[..., None]] = {
    "record": record_command,
    "replay": replay_command,
    "report": report_command,
}


def _load(path: Path | None) -> Config:
    return Config() if path is None else configuration.load(path)


@contextmanager
def _bar(recording: Recording, what: str) -> Iterator[Done]:
    """A progress bar on a terminal; nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=recording.size)
        yield lambda done_bytes: bar.update(task, completed=done_bytes)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _say_if_cut(recording: Recording) -> None:
    if recording.cut is not None:
        _say(
            f"qoemon: {recording.path}:{recording.cut}: the file breaks off here, as when its recorder was killed; "
            f"the {recording.read:,} messages before are used"
        )


class _Line:
    """How a recording goes, on one line of a terminal, or now and then on a line of its own elsewhere."""

    def __init__(self) -> None:
        self._terminal, self._told_s = sys.stderr.isatty(), -math.inf

    def __call__(self, done: Recorded) -> None:
        text = f"{done.duration_s:6.0f} s  {_amount(done)}" + (f"  {done.trouble}" if done.trouble else "")
        if self._terminal:
            sys.stderr.write(f"\r{text}\x1b[K")
        elif done.duration_s - self._told_s >= 10:
            self._told_s = done.duration_s
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def end(self, done: Recorded, file: Path) -> None:
        """The last line."""
        if self._terminal:
            sys.stderr.write("\n")
        lost = f"; {done.lost:,} of QoS 0 were lost, as the inbox was full (limits.inbox_*)" if done.lost else ""
        _say(f"recorded {_amount(done)} in {done.duration_s:.0f} s to {file}{lost}")


def _amount(done: Recorded) -> str:
    return f"{done.messages:,} messages, {done.written:,} bytes, {done.size:,} compressed"


def _print(period: Period, recording: Recording) -> None:
    out = Console(highlight=False, markup=False)
    if not period.intervals:
        found = f"{recording.path}: found {recording.read:,} messages"
        out.print(f"{found}, but no rating interval closed: nothing was judged", soft_wrap=True)
        return
    title = f"what users would have said, {span_text(period)}"
    out.print(groups_table(_as_view(period), _WHOLE, title), markup=False)
    ratings = next(iter(period.services.values())).service.scale.ratings
    out.print(legend([str(rating) for rating in ratings.tolist()]))
    moments = sorted((moment for each in period.services.values() for moment in _moments(each)), reverse=True)
    if moments:
        out.print("\nThe worst moments, by the lower bound of poor ratings:")
    for _, text in moments[:WORST_MOMENTS]:
        out.print(f"  {text}", soft_wrap=True)
    fired = len(period.alerts.fired) + period.alerts.left_out
    out.print(f"\nAlerts that would have fired: {fired:,}")


_WHOLE = "whole"


def _as_view(period: Period) -> dict[str, Any]:
    """A view as groups_table() takes it, whose only window is the whole period."""
    return {
        "labels": list(period.plan.labels),
        "services": [
            {"service": each.service.name, "groups": list(_groups(each, period.plan.labels))}
            for each in period.services.values()
        ],
    }


def _groups(service: ServicePeriod, labels: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    told, totals = service.distribution(), service.totals
    if told is None or totals is None:
        return
    for group in service.worst_first():
        named = zip(
            labels, (fitted(printable(label, SHORT), NAME_CELLS) for label in service.groups[group]), strict=True
        )
        ratings = zip(service.service.scale.ratings.tolist(), told.ratings[group].tolist(), strict=True)
        yield {
            "labels": dict(named),
            "active_sessions": int(totals.most_active[group]),
            "open_stalls": int(totals.most_stalled[group]),
            "windows": {
                _WHOLE: {
                    "mos": float(told.mos[group]),
                    "gob": float(told.gob[group]),
                    "pow": float(told.pow[group]),
                    "ratings": {str(rating): value for rating, value in ratings},
                }
            },
        }


def _moments(service: ServicePeriod) -> Iterator[tuple[float, str]]:
    totals = service.totals
    if totals is None:
        return
    for group in service.worst_first():
        where = f"{service.service.name} {figure.name_of(service.groups[group])}"
        least, poor = float(totals.worst[group]), share(totals.worst_pow[group])
        users = f"{totals.worst_users[group]:,} users"
        when = at(totals.worst_at_s[group])
        yield least, f"{when} UTC  {where}: {poor} poor or worse (at least {share(least)}), {users}"
