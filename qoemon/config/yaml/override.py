"""Puts what flags of the command line set into a document: `mqtt.port=1884` is as if the file had that key.

The value is YAML, read as in the file. A number in the path is a position in a list that the file has. Sections
that the file lacks are added: so a service that is set replaces the default ones, as in the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qoemon.config.yaml.document import FLAG, read_value
from qoemon.config.yaml.errors import ConfigProblem, dotted
from qoemon.config.yaml.messages import ABSENT, lookup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qoemon.config.yaml.document import Document
    from qoemon.config.yaml.errors import KeyPath


def override(document: Document, setting: str, env: Mapping[str, str]) -> None:
    """Set one key, given as KEY=VALUE; what is wrong becomes one of the document's problems."""
    name, equals, text = setting.partition("=")
    keys = name.split(".")
    if not equals or not all(keys):
        _add_problem(document, "", "a setting without a key and =", "KEY=VALUE such as mqtt.port=1884")
        return
    if not isinstance(document.data, dict):
        return  # reported as the only problem of the file
    container: Any = document.data
    path: KeyPath = ()
    for depth, key in enumerate(keys, 1):
        if isinstance(container, list) and not (key.isdecimal() and int(key) < len(container)):
            expected = f"a position from 0 to {len(container) - 1}" if container else "a list with items"
            _add_problem(document, name, f'the position "{key}" in a list', expected)
            return
        part = int(key) if isinstance(container, list) else key
        path = (*path, part)
        if depth == len(keys):
            _place(document, container, path, read_value(text, path, env))
            return
        inner = lookup(container, (part,))
        if inner is ABSENT or inner is None:
            container[part] = inner = {}
            document.flagged.add(path)
        if not isinstance(inner, dict | list):
            _add_problem(document, name, f"a single value at {dotted(path)}", "a section there, or that key alone")
            return
        container = inner


def _place(document: Document, container: Any, path: KeyPath, value: Document) -> None:
    container[path[-1]] = value.data
    document.lines = {at: line for at, line in document.lines.items() if at[: len(path)] != path}
    document.flagged |= {path, *value.lines}
    document.problems += value.problems
    document.unusable += value.unusable


def _add_problem(document: Document, key: str, found: str, expected: str) -> None:
    document.problems.append(ConfigProblem(FLAG, None, key, found, expected))
