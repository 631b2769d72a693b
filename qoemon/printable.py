"""Text of others on its way to a terminal or into a log: one line, no orders to the terminal, of bounded length."""

from __future__ import annotations

import logging
import sys
from types import TracebackType

from qoemon.core.visible import escaped

MOST = 2000
"""Characters of a line of the log: a sample of what was rejected fits, a message of a megabyte does not."""

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def printable(text: str, most: int | None = None) -> str:
    r"""The text as one line that a terminal can't take for an order.

    Control characters, marks of direction and lone surrogates are shown as their codes, `\x1b`; a backslash stays
    as it is, since this is for people to read.

    most  characters of the text that are shown; None is all
    """
    cut = text if most is None or len(text) <= most else text[: most - 1] + "…"
    return cut if cut.isprintable() else "".join(map(escaped, cut))


class PrintableFormatter(logging.Formatter):
    """A record is one line, whatever is in it; only our own stack traces have more."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line."""
        return printable(super().formatMessage(record), MOST)

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's name
        """The trace, its line ends kept."""
        return "\n".join(printable(line, MOST) for line in super().formatException(ei).splitlines())


def log_to_stderr(level: str, form: str) -> None:
    """Log there, a line a record. form: as logging.Formatter takes it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter(form))
    logging.basicConfig(level=level, handlers=[handler])
