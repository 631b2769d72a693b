"""The commands on recordings: record, replay, report."""

# ruff: noqa: PLC0415 - what a command runs is not for --help
from __future__ import annotations

import math
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qoemon.tools.command import FAILED, exit_on_errors, fail, info, load
from qoemon.tools.options import ConfigFile, FailIf, For

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qoemon.config.config import Config
    from qoemon.core.counting.session_log import OnSession
    from qoemon.inputs.http.options import CollectorOptions
    from qoemon.tools.recordings.record import Recorded
    from qoemon.tools.recordings.recording import Recording
    from qoemon.tools.recordings.replay import OnInterval, Progress

File = Annotated[Path, typer.Argument(metavar="FILE", help="The recording, gzipped lines of JSON.")]


def record(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The recording to write, such as monday.jsonl.gz.")],
    config: ConfigFile = None,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Also record what is posted here, to the paths of the configuration's collector, with its token "
            "and TLS; HOST: may be omitted.",
            show_default="MQTT only; with mqtt: null, the port of collector",
        ),
    ] = None,
    daemon: Annotated[
        bool,
        typer.Option(
            "--daemon",
            help="Record what the running daemon stores in state.dir, by MQTT and by its collector, instead of "
            "receiving anything.",
        ),
    ] = False,
    for_s: For = None,
) -> None:
    """Record messages and posted bodies in a file until Ctrl-C."""
    import asyncio

    from qoemon.common.csvfile import UnreadableError
    from qoemon.common.logs import log_to_stderr
    from qoemon.inputs.inbox import Inbox
    from qoemon.inputs.mqtt.options import broker_options
    from qoemon.tools.recordings.follow import follow
    from qoemon.tools.recordings.record import RecordError
    from qoemon.tools.recordings.record import record as run
    from qoemon.tools.recordings.recording import RecordingError

    log_to_stderr("WARNING")
    with exit_on_errors(usage=(UnreadableError,), failed=(RecordError, RecordingError)):
        settings, line = load(config), _ProgressLine()
        if daemon:
            line.end(asyncio.run(follow(_daemons(settings, listen), file, for_s=for_s, on_progress=line)), file)
            return
        collector = _collector(settings, listen)
        if settings.collector is not None and collector is None:
            info("qoemon: what is posted to the collector is not recorded: for that, add --daemon or --listen")
        broker = None if settings.mqtt is None else broker_options(settings.mqtt)
        inbox = Inbox(settings.limits.inbox_messages, settings.limits.inbox_bytes)
        done = asyncio.run(run(broker, collector, file, inbox, for_s=for_s, on_progress=line))
        line.end(done, file)


def replay(
    file: File,
    config: ConfigFile = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON per rating interval instead of a table.")
    ] = False,
    sessions: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.csv", help="Also write a CSV file with a row per session and run.", show_default="no file"
        ),
    ] = None,
    fail_if: FailIf = None,
) -> None:
    """Evaluate a recording as the daemon would, at full speed.

    --fail-if is about each service over the whole recording, all its groups together; a service without ratings is
    not evaluated, and a recording without any ratings fails.
    """
    from qoemon.common.csvfile import UnreadableError
    from qoemon.config.plan import core_plan
    from qoemon.tools.fail_if import FailIfError, conditions
    from qoemon.tools.recordings.progress import progress_bar, warn_if_cut
    from qoemon.tools.recordings.recording import Recording, RecordingError
    from qoemon.tools.recordings.sessions_csv import UnwritableError
    from qoemon.tools.recordings.whole import Whole
    from qoemon.tools.report.replay import replay as run
    from qoemon.tools.report.summary import print_summary

    with exit_on_errors(usage=(UnreadableError, FailIfError), failed=(RecordingError, UnwritableError)):
        wanted = conditions(fail_if or ())
        settings, recording = load(config), Recording(file)
        whole = Whole(core_plan(settings))
        with _sessions_csv(sessions, settings) as on_session, progress_bar(recording, "replaying") as progress:
            if as_json:
                _print_json(recording, settings, progress, whole.add, on_session)
            else:
                replayed = run(recording, settings, progress, whole.add, on_session)
        warn_if_cut(recording)
        if not as_json:
            print_summary(replayed, recording)
        if wanted and (failed := list(whole.failures(wanted))):
            fail(FAILED, *failed)


def report(
    file: File,
    out: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR|FILE.html", help="Where to write the report and its charts."),
    ],
    config: ConfigFile = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            metavar="OTHER.yaml", help="Also evaluate with this configuration and compare.", show_default="none"
        ),
    ] = None,
    title: Annotated[
        str | None, typer.Option(help="Headline of the report.", show_default="the name of the recording")
    ] = None,
) -> None:
    """Write an HTML report of a recording, and its charts as PNG."""
    from rich.console import Console
    from rich.markup import escape

    from qoemon.common.csvfile import UnreadableError
    from qoemon.tools.plotting import PlotError, require_matplotlib
    from qoemon.tools.recordings.progress import progress_bar, warn_if_cut
    from qoemon.tools.recordings.recording import Recording, RecordingError
    from qoemon.tools.report.replay import replay as run
    from qoemon.tools.report.write import write

    with exit_on_errors(usage=(UnreadableError, PlotError), failed=(RecordingError,)):
        require_matplotlib("a report")
        settings, others = load(config), None if compare is None else load(compare)
        recording, other = Recording(file), None
        with progress_bar(recording, "replaying") as progress:
            replayed = run(recording, settings, progress)
        if others is not None:
            with progress_bar(recording, "comparing") as progress:
                other = run(recording, others, progress)
        warn_if_cut(recording)
        names = ("the defaults" if config is None else str(config), str(compare))
        with Console(stderr=True).status("drawing") as status:
            drawing = lambda chart: status.update(escape(f"drawing {chart}"))  # noqa: E731 - one line of two
            files = write(out, recording, replayed, other, names, title, drawing)
        info(f"wrote {files[0]} and {len(files) - 1} charts as PNG")


def _collector(config: Config, listen: str | None) -> CollectorOptions | None:
    """The options of the recorder's own listener; None if it has none. BadParameter if --listen cannot be used."""
    from dataclasses import replace

    from qoemon.inputs.http.options import collector_options

    if config.collector is None:
        if listen is not None:
            raise typer.BadParameter("--listen needs a section collector in the configuration, for its paths")
        return None
    options = collector_options(config.collector)
    if listen is None:
        return options if config.mqtt is None else None
    host, _, port = listen.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise typer.BadParameter(f"--listen {listen}, expected a port or HOST:PORT, such as 127.0.0.1:9879")
    return replace(options, host=host.strip("[]") or options.host, port=int(port))


def _daemons(config: Config, listen: str | None) -> Path:
    """The directory in which the daemon of a configuration keeps its state; BadParameter if there is none."""
    from qoemon.engine.storage import state_directory

    if listen is not None:
        raise typer.BadParameter("--listen and --daemon exclude each other: a daemon has a listener of its own")
    directory = state_directory(config)
    if directory is None:
        raise typer.BadParameter(
            "--daemon reads the state of the daemon, and this configuration has none: set state.dir (durability: "
            "process or power), or STATE_DIRECTORY as systemd does for the daemon, or record with --listen instead"
        )
    return directory


@contextmanager
def _sessions_csv(path: Path | None, config: Config) -> Iterator[OnSession | None]:
    """What writes each session to a new file at path; None without one."""
    if path is None:
        yield None
        return
    from qoemon.config.plan import core_plan
    from qoemon.tools.recordings.sessions_csv import SessionsCsv

    with SessionsCsv(path, core_plan(config).labels) as file:
        yield file.write
    info(f"wrote {file.rows:,} sessions to {path}")


def _print_json(
    recording: Recording,
    config: Config,
    progress: Progress,
    on_interval: OnInterval,
    on_session: OnSession | None,
) -> None:
    import json

    from qoemon.outputs.snapshot_json import snapshot_document
    from qoemon.tools.recordings.replay import ticks

    for (snapshot, watched), _ in ticks(
        recording, config, progress, on_interval=on_interval, on_session=on_session
    ):
        if snapshot.time_s % config.sessions.rating_interval_s == 0:
            sys.stdout.write(json.dumps(snapshot_document(snapshot, watched)) + "\n")


class _ProgressLine:
    """The progress, on one line of a terminal, or elsewhere as a line every 10 s."""

    def __init__(self) -> None:
        self._terminal, self._printed_s = sys.stderr.isatty(), -math.inf

    def __call__(self, done: Recorded) -> None:
        trouble = ", ".join(filter(None, (done.trouble, _gap(done))))
        text = f"{done.duration_s:6.0f} s  {_amount(done)}" + (f"  {trouble}" if trouble else "")
        if self._terminal:
            sys.stderr.write(f"\r{text}\x1b[K")
        elif done.duration_s - self._printed_s >= 10:
            self._printed_s = done.duration_s
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def end(self, done: Recorded, file: Path) -> None:
        """Print the totals."""
        if self._terminal:
            sys.stderr.write("\n")
        lost = f"; {done.lost:,} of QoS 0 lost, as the inbox was full (limits.inbox_*)" if done.lost else ""
        gap = f"; {_gap(done)}" if done.missed else ""
        info(f"recorded {_amount(done)} in {done.duration_s:.0f} s to {file}{lost}{gap}")


def _amount(done: Recorded) -> str:
    return f"{done.messages:,} messages, {done.written:,} bytes, {done.size:,} compressed"


def _gap(done: Recorded) -> str:
    """What is missing, for people; empty if nothing is."""
    if not done.missed:
        return ""
    return f"{done.missed:,} commits are missing (some 0.1 s each): the daemon removed them before they were read"
