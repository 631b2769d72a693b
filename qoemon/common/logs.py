"""The log on standard error: its formats, and how many similar records it writes."""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, TextIO

from qoemon.common.text import printable

LINE_LENGTH = 2000
"""Length at which a line is cut: a sample of a rejected report fits, a message of a megabyte does not."""

KIND_LINES, SPAN_S = 10, 60.0
"""Lines that are written of one kind in this time; further ones are only counted."""

MAX_KINDS = 1000
"""Kinds that are distinguished; the records of all others are one kind."""

BRIEF = "%(levelname)s %(name)s: %(message)s"

LogFormat = Literal["text", "logfmt", "json"]

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
_PLAIN = re.compile(r'[^\s="]+')


class PrintableFormatter(logging.Formatter):
    """Formats a record as one printable line, whatever it contains; a stack trace adds its own lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The record as one line."""
        return printable(super().formatMessage(record), LINE_LENGTH)

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's name
        """The trace with its lines."""
        return "\n".join(printable(line, LINE_LENGTH) for line in super().formatException(ei).splitlines())


class FieldsFormatter(PrintableFormatter):
    """Formats a record as one line of fields: time (RFC 3339, UTC), level, logger, event.

    An exception adds error and trace, the summary of a kind the number of its records, `more`.

    write  makes a line of the fields
    """

    def __init__(self, write: Callable[[dict[str, str | int]], str]) -> None:
        super().__init__()
        self._write = write

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, str | int] = {"time": when, "level": record.levelname.lower(), "logger": record.name}
        fields["event"] = printable(record.getMessage(), LINE_LENGTH)
        if more := getattr(record, "more", 0):
            fields["more"] = more
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            fields["error"] = printable(f"{type(error).__name__}: {error}", LINE_LENGTH)
            fields["trace"] = self.formatException(record.exc_info)
        return self._write(fields)


def _json(fields: dict[str, str | int]) -> str:
    return json.dumps(fields, ensure_ascii=False)


def _logfmt(fields: dict[str, str | int]) -> str:
    return " ".join(f"{name}={_quoted(str(value))}" for name, value in fields.items())


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


class JournalFormatter(logging.Formatter):
    """Puts the priority that journald reads, such as `<4>`, before each line of another formatter."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """The record as lines."""
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        return "\n".join(f"<{priority}>{line}" for line in self._inner.format(record).splitlines())


_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.NOTSET, 7),
)
"""Priorities of syslog by minimum level, the highest first."""


class _Kind:
    """Records with the same logger, level and message before values are filled in, since the first of them."""

    def __init__(self, first_s: float) -> None:
        self.first_s = first_s
        self.written = self.hidden = 0
        self.last: logging.LogRecord | None = None


class LimitedHandler(logging.StreamHandler[TextIO]):
    """Writes the first KIND_LINES records of a kind in span_s, and after that time one summary of the others.

    The thread of a timer writes the summary, so that it appears even if nothing else is ever logged. Closing the
    handler, as at the end of the process, writes all summaries that are left.
    """

    def __init__(self, stream: TextIO, span_s: float = SPAN_S) -> None:
        super().__init__(stream)
        self._span_s = span_s
        self._kinds: dict[tuple[str, int, str], _Kind] = {}
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or count it."""
        now_s = time.monotonic()
        kind = self._kind(record, now_s)
        if kind.written < KIND_LINES:
            kind.written += 1
            super().emit(record)
            return
        kind.hidden += 1
        kind.last = record
        self._start_timer(kind.first_s + self._span_s)

    def close(self) -> None:
        """Write the summaries of all kinds."""
        self.acquire()
        try:
            self._summarise_until(float("inf"))
            if self._timer is not None:
                self._timer.cancel()
        finally:
            self.release()
        super().close()

    def _kind(self, record: logging.LogRecord, now_s: float) -> _Kind:
        """The kind of a record; a new one if the time of the last is over."""
        name = (record.name, record.levelno, str(record.msg))
        if name not in self._kinds and len(self._kinds) >= MAX_KINDS:
            name = ("", 0, "")
        kind = self._kinds.get(name)
        if kind is None or kind.first_s + self._span_s <= now_s:
            self._summarise_until(now_s)
            kind = self._kinds[name] = _Kind(now_s)
        return kind

    def _summarise_until(self, now_s: float) -> None:
        """Remove the kinds whose time is over by now_s, and write a summary of each that has hidden records."""
        ended = [name for name, kind in self._kinds.items() if kind.first_s + self._span_s <= now_s]
        for name in ended:
            kind = self._kinds.pop(name)
            if kind.last is not None:
                super().emit(_summary(kind.last, kind.hidden))

    def _start_timer(self, due_s: float) -> None:
        """Call _on_timer at due_s, unless an earlier call is pending."""
        if self._timer is None:
            self._timer = threading.Timer(max(due_s - time.monotonic(), 0.0), self._on_timer)
            self._timer.name, self._timer.daemon = "log", True
            self._timer.start()

    def _on_timer(self) -> None:
        self.acquire()
        try:
            self._timer = None
            self._summarise_until(time.monotonic())
            hidden_since_s = [kind.first_s for kind in self._kinds.values() if kind.hidden]
            if hidden_since_s:
                self._start_timer(min(hidden_since_s) + self._span_s)
        finally:
            self.release()


def _summary(last: logging.LogRecord, more: int) -> logging.LogRecord:
    """A record that stands for this many hidden ones, of which `last` was the last."""
    record = copy.copy(last)
    record.msg, record.args = "and %d more of these within a minute; the last: %s", (more, last.getMessage())
    record.created = time.time()
    record.exc_info = record.exc_text = record.stack_info = None
    record.__dict__["more"] = more
    return record


def log_to_stderr(level: str, form: LogFormat = "text", *, dated: bool = False) -> None:
    """Log to standard error, unhandled exceptions included.

    dated  whether lines of text begin with the time; never for journald, which adds it
    """
    journal = _is_journal(sys.stderr)
    handler = LimitedHandler(sys.stderr)
    formatter = _formatter(form, dated=dated and not journal)
    handler.setFormatter(JournalFormatter(formatter) if journal else formatter)
    logging.basicConfig(level=level, handlers=[handler])
    sys.excepthook = _log_unhandled


def _formatter(form: LogFormat, *, dated: bool) -> logging.Formatter:
    if form == "text":
        return PrintableFormatter(f"%(asctime)s {BRIEF}" if dated else BRIEF)
    return FieldsFormatter(_json if form == "json" else _logfmt)


def _is_journal(stream: TextIO) -> bool:
    """Whether journald reads the stream: JOURNAL_STREAM has the device and inode of the file it reads."""
    try:
        opened = os.fstat(stream.fileno())
    except OSError:  # Not a file, as in a test.
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{opened.st_dev}:{opened.st_ino}"


def _log_unhandled(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("qoemon").critical("unhandled exception", exc_info=(kind, error, trace))
