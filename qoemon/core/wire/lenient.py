"""A second, lenient reading of a report that the schema refuses.

Clients in many languages send whole numbers as floats, null for what they do not know, labels that are not
configured, and numbers as label values. None of that is ambiguous, so none of it costs a report.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from qoemon.core.wire.report import Report, said

_INTEGERS = ("seq", "stall_count", "run")


def lenient_report(document: object, labels: Collection[str]) -> Report:
    """The report in a decoded document; msgspec.ValidationError names the field that cannot be read.

    labels  names of the labels that a payload may give
    """
    if isinstance(document, dict):
        document = {name: value for name, value in document.items() if value is not None or name == "session"}
        for name in _INTEGERS:
            value = document.get(name)
            if isinstance(value, float) and value.is_integer():
                document[name] = int(value)
        if isinstance(document.get("labels"), dict):
            document["labels"] = _texts(document["labels"], labels)
    return msgspec.convert(document, Report, dec_hook=said)


def label_text(value: bool | float | str) -> str:
    """The text of a label value: numbers and booleans as JSON has them."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _texts(given: dict[Any, Any], labels: Collection[str]) -> dict[Any, Any]:
    """The configured labels, numbers and booleans as the text that JSON has for them."""
    wanted = {name: value for name, value in given.items() if name in labels and value is not None}
    return {
        name: label_text(value) if isinstance(value, bool | int | float) else value
        for name, value in wanted.items()
    }
