"""Makes a recording of an access log: reads its lines, accounts for the sessions, writes reports about them."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import IO, NamedTuple, cast

import msgspec

from qoemon.common.csvfile import STDIN, UnreadableError
from qoemon.core.plan.plan import Counters, Plan
from qoemon.core.plan.topic import POOLED, SERVICE, SHARD, TopicTemplate
from qoemon.core.qoe.mapping import Qos
from qoemon.core.wire.message import Kind
from qoemon.tools.accesslogs.formats import LineReader
from qoemon.tools.accesslogs.request import Skip, SkippedError, media_request
from qoemon.tools.accesslogs.sessions import Report, Sessions, Totals
from qoemon.tools.recordings.recording import Header, Recorded, Writer

LONGEST_LINE = 256 * 1024
"""Bytes. Longer lines are not used."""
AT_ONCE = 1000
"""Reports that are written together."""
_GZIP = b"\x1f\x8b"

_ENCODE = msgspec.json.Encoder().encode

Labels = Callable[[Mapping[str, str]], Mapping[str, str]]
"""Makes the labels of a session of the fields of a request."""


class DestinationError(ValueError):
    """The reports have no place in the configuration; the message says why."""


class LogError(Exception):
    """The log cannot be used; the message says why."""


class Destination(NamedTuple):
    """Where the reports seem to come from: a topic of the broker, or a path of the collector."""

    topic: str
    kind: Kind


@dataclass
class Found:
    """What a log had.

    lines    all of them
    cmcd     requests with CMCD; versions: by `v`
    reports  that were written
    skipped  lines that are not used, by reason; first: the number of the first one
    cut      whether the file is truncated
    """

    lines: int = 0
    cmcd: int = 0
    reports: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    skipped: Counter[Skip] = field(default_factory=Counter)
    first: dict[Skip, int] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    cut: bool = False


def skips(found: Found) -> Iterator[str]:
    """A sentence for each reason for which lines are not used, the most frequent first."""
    for reason, number in found.skipped.most_common():
        yield f"not used: {number:,} {reason}; the first is line {found.first[reason]:,}"


def destination(plan: Plan, service: str | None) -> tuple[str, Destination]:
    """The service that is reported, and where its reports go; DestinationError if the plan has no place for it.

    service  None for the only one that rates stalls
    """
    stalling = [each for each in plan.services if each.mapping.qos is Qos.STALLS]
    names = ", ".join(each.name for each in stalling) or "none"
    fitting = [each for each in stalling if service in {None, each.name}]
    if len(fitting) != 1:
        found = "no --service" if service is None else f"--service {service}"
        raise DestinationError(f"found {found}, expected a service of the configuration that rates stalls: {names}")
    name = fitting[0].name
    if fitting[0].counters is not Counters.CUMULATIVE:
        raise DestinationError(f"the service {name} has counters: delta, expected cumulative")
    for templates, kind in ((plan.topics, Kind.MQTT), (plan.paths, Kind.HTTP)):
        for template in templates:
            if template.service in {None, name}:
                return name, Destination(_filled(template, name), kind)
    raise DestinationError(f"neither mqtt.topics nor collector.paths has a template for the service {name}")


def _filled(template: TopicTemplate, service: str) -> str:
    """A topic or path of the service without labels, which are in the reports instead: they may be any text."""
    levels = {f"{{{SERVICE}}}": service, f"{{{SHARD}}}": "0", POOLED: ""}
    return "/".join(
        levels.get(level, "" if level.startswith("{") else level) for level in template.template.split("/")
    )


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """The log, or standard input for "-", unpacked if it is gzip; UnreadableError if it cannot be opened."""
    try:
        raw = sys.stdin.buffer if path == STDIN else Path(path).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        packed = cast("BufferedReader", raw).peek(2)[:2] == _GZIP
        yield cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if packed else raw
    except IsADirectoryError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.strerror}") from None
    finally:
        if path != STDIN:
            raw.close()


class LogImport:
    """Reads a log and writes a recording; may be used once.

    limit   sessions at a time
    labels  of a session, from the fields of each of its requests
    """

    def __init__(self, read: LineReader, place: Destination, limit: int, labels: Labels) -> None:
        self._read, self._place, self._labels = read, place, labels
        self._sessions = Sessions(limit)
        self.found = Found(totals=self._sessions.totals)

    def run(self, log: IO[bytes], name: str, out: Path) -> Found:
        """Write the recording of a log to a new file; LogError, and no file, if there is nothing to record.

        raises  UnreadableError if the file exists or cannot be created, RecordingError if it cannot be written
        """
        reports = self._reports(log, name)
        first = next(reports, None)
        if first is None:
            raise LogError("\n".join([self._nothing(name), *skips(self.found)]))
        with Writer(out, Header(started_s=first.time_s, source=f"{name} (import-cmcd)")) as writer:
            try:
                self._write(writer, first, reports)
                writer.silence(self.found.totals.last_s)
            except BaseException:
                out.unlink()  # A part of the log must not pass for all of it.
                raise
        return self.found

    def _nothing(self, name: str) -> str:
        found = self.found
        return (
            f"{name}: nothing was written: found {found.lines:,} lines, {found.cmcd:,} requests with CMCD in them, "
            "and none for media that says how long the buffer is"
        )

    def _write(self, writer: Writer, first: Report, reports: Iterator[Report]) -> None:
        batch = [self._recorded(first)]
        for report in reports:
            batch.append(self._recorded(report))
            if len(batch) >= AT_ONCE:
                writer.write(batch)
                batch.clear()
        writer.write(batch)

    def _recorded(self, report: Report) -> Recorded:
        self.found.reports += 1
        document = {
            "session": report.session,
            "seq": report.seq,
            "stall_count": report.stall_count,
            "stall_s": report.stall_s,
            "play_s": report.play_s,
            **({"labels": report.labels} if report.labels else {}),
        }
        return Recorded(self._place.topic, _ENCODE(document), report.time_s, self._place.kind)

    def _reports(self, log: IO[bytes], name: str) -> Iterator[Report]:
        found = self.found
        for line in self._lines(log, name):
            found.lines += 1
            try:
                yield from self._reports_of(line)
            except SkippedError as skipped:
                found.skipped[skipped.reason] += 1
                found.first.setdefault(skipped.reason, found.lines)
        yield from self._sessions.end()

    def _reports_of(self, line: bytes) -> Iterable[Report]:
        if len(line) > LONGEST_LINE:
            raise SkippedError(Skip.RUBBISH)
        request = self._read(line)
        if request is None:
            return ()
        if request.cmcd:
            self.found.cmcd += 1
            self.found.versions[request.cmcd.get("v", "1")[:8]] += 1
        return self._sessions.add(media_request(request), self._labels(request.fields))

    def _lines(self, log: IO[bytes], name: str) -> Iterator[bytes]:
        """The lines; a longer one than LONGEST_LINE is cut."""
        while True:
            try:
                line = log.readline(LONGEST_LINE + 1)
                rest = line
                while len(rest) > LONGEST_LINE and not rest.endswith(b"\n"):
                    rest = log.readline(LONGEST_LINE + 1)
            except EOFError:
                self.found.cut = True
                return
            except (OSError, zlib.error) as error:
                raise LogError(f"{name}:{self.found.lines + 1}: cannot be read: {error}") from None
            if not line:
                return
            yield line
