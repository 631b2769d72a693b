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

MOST = 2000
"""Characters of a line of the log: a sample of what was rejected fits, a message of a megabyte does not."""

A_KIND, SPAN_S = 10, 60.0
"""So many lines of a kind are written in so many seconds, then their number only."""

MOST_KINDS = 1000
"""Kinds that are told apart; what is more counts as one."""

BRIEF = "%(levelname)s %(name)s: %(message)s"

Form = Literal["text", "logfmt", "json"]

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
_PLAIN = re.compile(r'[^\s="]+')


class PrintableFormatter(logging.Formatter):
    """A record is one line, whatever is in it; only our own stack traces have more."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line."""
        return printable(super().formatMessage(record), MOST)

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's name
        """The trace, its line ends kept."""
        return "\n".join(printable(line, MOST) for line in super().formatException(ei).splitlines())


class FieldsFormatter(PrintableFormatter):
    """A record is one line of fields, its trace too: time (RFC 3339, UTC), level, logger, event.

    Where there is an exception also error and trace; `more` in a line that stands for so many others.

    write  what makes a line of the fields
    """

    def __init__(self, write: Callable[[dict[str, str | int]], str]) -> None:
        super().__init__()
        self._write = write

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, str | int] = {"time": when, "level": record.levelname.lower(), "logger": record.name}
        fields["event"] = printable(record.getMessage(), MOST)
        if more := getattr(record, "more", 0):
            fields["more"] = more
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            fields["error"] = printable(f"{type(error).__name__}: {error}", MOST)
            fields["trace"] = self.formatException(record.exc_info)
        return self._write(fields)


def _json(fields: dict[str, str | int]) -> str:
    return json.dumps(fields, ensure_ascii=False)


def _logfmt(fields: dict[str, str | int]) -> str:
    return " ".join(f"{name}={_quoted(str(value))}" for name, value in fields.items())


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


class JournalFormatter(logging.Formatter):
    """What another formatter makes, each line with its priority as journald reads it, `<4>`."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """The lines."""
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        return "\n".join(f"<{priority}>{line}" for line in self._inner.format(record).splitlines())


_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.NOTSET, 7),
)
"""syslog's, by the least level."""


class _Kind:
    """Records of one logger, level and text without its values, since the first of them."""

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.written = self.hidden = 0
        self.last: logging.LogRecord | None = None


class LimitedHandler(logging.StreamHandler[TextIO]):
    """Writes A_KIND records of a kind in span_s, and after that time one that tells how many more there were.

    A thread waits for that time, so that it is told even if nothing else is ever logged; the end of the process
    tells it too.
    """

    def __init__(self, stream: TextIO, span_s: float = SPAN_S) -> None:
        super().__init__(stream)
        self._span_s = span_s
        self._kinds: dict[tuple[str, int, str], _Kind] = {}
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, or count it."""
        now_s = time.monotonic()
        kind = self._kind(record, now_s)
        if kind.written < A_KIND:
            kind.written += 1
            super().emit(record)
            return
        kind.hidden += 1
        kind.last = record
        self._wait_until(kind.began_s + self._span_s)

    def close(self) -> None:
        """Tell what was not told yet."""
        self.acquire()
        try:
            self._tell_until(float("inf"))
            if self._timer is not None:
                self._timer.cancel()
        finally:
            self.release()
        super().close()

    def _kind(self, record: logging.LogRecord, now_s: float) -> _Kind:
        """The kind of a record, a new one if the former's time is over."""
        name = (record.name, record.levelno, str(record.msg))
        known = self._kinds.get(name)
        if known is None and len(self._kinds) >= MOST_KINDS:
            name = ("", 0, "")
            known = self._kinds.get(name)
        if known is None or known.began_s + self._span_s <= now_s:
            self._tell_until(now_s)
            known = self._kinds[name] = _Kind(now_s)
        return known

    def _tell_until(self, now_s: float) -> None:
        """Forget the kinds whose time is over by now_s, telling of those that had more than was written."""
        over = [name for name, kind in self._kinds.items() if kind.began_s + self._span_s <= now_s]
        for name in over:
            kind = self._kinds.pop(name)
            if kind.last is not None:
                super().emit(_summary(kind.last, kind.hidden))

    def _wait_until(self, due_s: float) -> None:
        if self._timer is None:
            self._timer = threading.Timer(max(due_s - time.monotonic(), 0.0), self._waited)
            self._timer.name, self._timer.daemon = "log", True
            self._timer.start()

    def _waited(self) -> None:
        self.acquire()
        try:
            self._timer = None
            self._tell_until(time.monotonic())
            waiting = [kind.began_s for kind in self._kinds.values() if kind.hidden]
            if waiting:
                self._wait_until(min(waiting) + self._span_s)
        finally:
            self.release()


def _summary(last: logging.LogRecord, more: int) -> logging.LogRecord:
    """A record that stands for so many, of which this was the last."""
    record = copy.copy(last)
    record.msg, record.args = "and %d more of these within a minute; the last: %s", (more, last.getMessage())
    record.created = time.time()
    record.exc_info = record.exc_text = record.stack_info = None
    record.__dict__["more"] = more
    return record


def log_to_stderr(level: str, form: Form = "text", *, dated: bool = False) -> None:
    """Log there, also what ends the process unforeseen.

    dated  whether lines of text have their time in front; never where journald takes them, which has it already
    """
    journal = _is_journal(sys.stderr)
    handler = LimitedHandler(sys.stderr)
    formatter = _formatter(form, dated=dated and not journal)
    handler.setFormatter(JournalFormatter(formatter) if journal else formatter)
    logging.basicConfig(level=level, handlers=[handler])
    sys.excepthook = _log_the_end


def _formatter(form: Form, *, dated: bool) -> logging.Formatter:
    if form == "text":
        return PrintableFormatter(f"%(asctime)s {BRIEF}" if dated else BRIEF)
    return FieldsFormatter(_json if form == "json" else _logfmt)


def _is_journal(stream: TextIO) -> bool:
    """Whether journald reads the stream: it says which file it opened for us."""
    try:
        opened = os.fstat(stream.fileno())
    except OSError:  # Not a file at all, such as in a test.
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{opened.st_dev}:{opened.st_ino}"


def _log_the_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("qoemon").critical("ended by what should not happen", exc_info=(kind, error, trace))
