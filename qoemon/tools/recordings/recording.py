r"""File format of recorded messages: gzip, one JSON object per line, so that any tool can read it.

    {"qoemon":"recording","version":1,"started_s":1700000000.0,"source":"localhost:1883"}
    {"t":1700000000.25,"topic":"qoe/v1/video/eu/a","payload":"{\"session\":\"s1\"}"}
    {"t":1700000000.31,"topic":"qoe/v1/video/eu/a","b64":"gad..."}
    {"t":1700000000.37,"path":"/cmcd/v1/video/eu/a","type":"application/cmcd","payload":"e=ps,sid=\"s2\",sta=p"}
    {"t":1700000010.0}

The first line is the header. The others are in the order of arrival; t is the arrival, seconds since the epoch. A
message of the broker has a topic, a body of a collector a path and a content type. A payload that is not UTF-8
text, such as MessagePack, is in b64. A line with neither topic nor path records that nothing arrived until then, to
distinguish a silent feed from a recording that ended.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import msgspec
from msgspec import UNSET, UnsetType

from qoemon.common.csvfile import UnreadableError
from qoemon.core.wire.message import CONTENT_TYPES, Arrived, Kind, kind_of

VERSION = 1

LONGEST_PAYLOAD = 16 * 2**20
"""Bytes. Longer payloads are truncated to this size, which still exceeds any sensible limits.message_bytes."""

LONGEST_LINE = 8 * LONGEST_PAYLOAD
"""Bytes. JSON escapes a control character with six; longer lines are not read."""

LATEST_S = 1e11
"""Seconds since the epoch, year 5138: larger numbers are milliseconds."""


class RecordingError(Exception):
    """A recording cannot be read or written; the message names file, line, what was found and what was expected."""


class Recorded(NamedTuple):
    """A message as it arrived."""

    topic: str
    payload: bytes
    arrival_s: float
    kind: Kind = Kind.MQTT


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a recording."""

    qoemon: str = "recording"
    version: int = VERSION
    started_s: float
    source: str = ""
    """Where the messages came from: brokers, collectors, a log."""


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    t: Annotated[float, msgspec.Meta(ge=0, le=LATEST_S)]
    topic: str | UnsetType = UNSET
    path: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    payload: str | UnsetType = UNSET
    b64: bytes | UnsetType = UNSET


_ENCODE = msgspec.json.Encoder().encode
_HEADER, _LINE = msgspec.json.Decoder(Header), msgspec.json.Decoder(_Line)


class Writer:
    """Writes a new recording; a context manager that closes it. It never overwrites a file.

    raises   UnreadableError if the file exists or cannot be created; RecordingError if it cannot be written
    """

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        self.written = 0
        """Bytes written so far, before compression."""
        try:
            self._raw = path.open("xb")
        except FileExistsError:
            raise UnreadableError(f"{path}: exists, expected a new file: recordings are not replaced") from None
        except OSError as error:
            raise UnreadableError(f"{path}: cannot be created: {error.strerror or error}") from None
        self._file = gzip.GzipFile(filename="", mode="wb", fileobj=self._raw)
        self._put(_ENCODE(header) + b"\n")
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, messages: Iterable[Arrived]) -> None:
        """Append messages, in the order of arrival."""
        self._put(b"".join(_ENCODE(_line(message)) + b"\n" for message in messages))

    def silence(self, until_s: float) -> None:
        """Record that nothing more arrived until then, seconds since the epoch."""
        self._put(_ENCODE(_Line(until_s)) + b"\n")

    def flush(self) -> None:
        """Flush everything to the operating system: a crash then loses only what is written later."""
        self._attempt(self._file.flush)

    @property
    def size(self) -> int:
        """Size of the file so far, bytes."""
        return self._path.stat().st_size

    def close(self) -> None:
        """Write the end of the gzip file and close it."""
        try:
            self._attempt(self._file.close)
        finally:
            self._attempt(self._raw.close)

    def _put(self, text: bytes) -> None:
        self.written += len(text)
        self._attempt(self._file.write, text)

    def _attempt(self, action: Any, *arguments: Any) -> None:
        try:
            action(*arguments)
        except OSError as error:
            raise RecordingError(f"{self._path}: cannot be written: {error.strerror or error}") from error


def _line(message: Arrived) -> _Line:
    payload = message.payload[:LONGEST_PAYLOAD]
    held: dict[str, Any]
    try:
        held = {"payload": payload.decode()}
    except UnicodeDecodeError:
        held = {"b64": payload}
    if message.kind is Kind.MQTT:
        return _Line(message.arrival_s, topic=message.topic, **held)
    return _Line(message.arrival_s, path=message.topic, type=_content_type(message.kind, "b64" in held), **held)


def _content_type(kind: Kind, binary: bool) -> str:
    """A content type of that kind; a message does not carry the one that its client sent."""
    if kind is Kind.CMCD:
        return "application/cmcd"
    return "application/msgpack" if binary else "application/json"


class Recording:
    """Reads a recording, any number of times, with one line in memory at a time.

    raises   UnreadableError if the file cannot be read, RecordingError if it is no recording
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut: int | None = None
        """The line in which the file is truncated, once that line has been reached; None if it is complete."""
        self.end_s = 0.0
        """The latest time read so far, seconds since the epoch."""
        self.done_bytes = 0
        """Bytes of the file read so far."""
        self.read = 0
        """Messages read so far."""
        self.size = self._size()
        self.header = self._header()

    def messages(self) -> Iterator[Recorded]:
        """All messages, up to where the file is truncated; RecordingError at a line that is invalid."""
        self.read = 0
        for number, text in self._lines():
            if number == 1:
                continue
            line = self._decoded(number, text)
            self.end_s = max(self.end_s, line.t)
            if isinstance(line.topic, str) or isinstance(line.path, str):
                self.read += 1
                yield self._message(number, line)

    def _size(self) -> int:
        try:
            with self.path.open("rb") as file:
                return file.seek(0, 2)
        except OSError as error:
            raise UnreadableError(f"{self.path}: cannot be read: {error.strerror or error}") from None

    def _header(self) -> Header:
        _, text = next(self._lines(), (1, b""))
        expected = 'expected {"qoemon":"recording",...} as qoemon record writes it'
        try:
            header = _HEADER.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._error(1, f"found {_shown(text)}", expected) from None
        if header.qoemon != "recording":
            raise self._error(1, f"found a file of kind {header.qoemon[:40]!r}", expected)
        if header.version != VERSION:
            raise self._error(1, f"found version {header.version}", f"this qoemon reads version {VERSION}")
        return header

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        with self.path.open("rb") as raw, gzip.GzipFile(fileobj=raw) as file:
            number = 0
            while True:
                number += 1
                try:
                    text = file.readline(LONGEST_LINE + 1)
                except EOFError:
                    self.cut = number
                    return
                except (OSError, zlib.error) as error:
                    raise self._error(number, f"found damage ({error})", "expected an intact gzip file") from None
                if not text:
                    return
                if len(text) > LONGEST_LINE:
                    raise self._error(number, "found a longer line", f"at most {LONGEST_LINE:,} bytes are read")
                self.done_bytes = raw.tell()
                yield number, text

    def _decoded(self, number: int, text: bytes) -> _Line:
        try:
            return _LINE.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            expected = "expected t (seconds), topic or path and type, and payload or b64"
            raise self._error(number, f"found {_shown(text)} ({error})", expected) from None

    def _message(self, number: int, line: _Line) -> Recorded:
        payload = self._payload(number, line)
        if line.path is UNSET:
            return Recorded(str(line.topic), payload, line.t)
        if line.topic is not UNSET:
            raise self._error(number, "found both of topic and path", "expected one of them beside a payload")
        kind = None if line.type is UNSET else kind_of(line.type)
        if kind is None:
            found = "no type" if line.type is UNSET else f"type {line.type[:40]!r}"
            raise self._error(number, f"found {found}", f"expected one of {', '.join(CONTENT_TYPES)} beside a path")
        return Recorded(str(line.path), payload, line.t, kind)

    def _payload(self, number: int, line: _Line) -> bytes:
        if isinstance(line.payload, str) and line.b64 is UNSET:
            return line.payload.encode()
        if isinstance(line.b64, bytes) and line.payload is UNSET:
            return line.b64
        found = "neither" if line.payload is UNSET else "both"
        raise self._error(
            number, f"found {found} of payload and b64", "expected one of them beside a topic or path"
        )

    def _error(self, line: int, found: str, expected: str) -> RecordingError:
        return RecordingError(f"{self.path}:{line}: {found}, {expected}")


def _shown(text: bytes) -> str:
    return repr(text[:60].decode(errors="replace")) if text else "nothing"
