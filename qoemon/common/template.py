"""Templates: texts with names in braces that are replaced by values."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping

ABSENT = "n/a"
"""Stands for a value that is not available, such as one of a group that no longer exists."""

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def placeholders(template: str) -> frozenset[str]:
    """The names in a template such as "{value:.1%} of {users} users in {region}".

    raises   ValueError, with what was expected, if it has anything else in braces, such as an attribute of a value:
             values come from the wire
    """
    return frozenset(name for _, name, _ in _parts(template) if name)


def render(template: str, values: Mapping[str, object]) -> str:
    """The template with its names replaced by values; None becomes ABSENT. Braces in a value stay as they are.

    raises   ValueError or TypeError if `template_fault` finds a fault
    """
    return "".join(text + _written(values, name, form) for text, name, form in _parts(template))


def template_fault(template: str, examples: Mapping[str, object]) -> str | None:
    """What was expected of an invalid template, given an example value of every name; None if it is valid."""
    try:
        unknown = sorted(placeholders(template) - examples.keys())
    except ValueError as error:
        return str(error)
    if unknown:
        return f"only the names {', '.join(examples)} in braces, unlike {', '.join(unknown)}"
    try:
        render(template, examples)
    except (ValueError, TypeError) as error:
        return f"a format that fits its value ({error})"
    return None


def _parts(template: str) -> list[tuple[str, str, str]]:
    """The parts in order: (text, the name that follows it or "", its format)."""
    expected = "{name} or {name:format} wherever there are braces, {{ and }} for braces themselves"
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{expected} ({error})") from None
    for _, name, form, conversion in parts:
        if name is not None and (not _NAME.fullmatch(name) or conversion or "{" in (form or "")):
            raise ValueError(expected)
    return [(text, name or "", form or "") for text, name, form, _ in parts]


def _written(values: Mapping[str, object], name: str, form: str) -> str:
    if not name:
        return ""
    value = values.get(name)
    return ABSENT if value is None else format(value, form)
