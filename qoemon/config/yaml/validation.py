"""Validates a document against its section and reports every error of the file in one run.

The algorithm: validate, drop the offending keys, validate again, until no new rule violation appears. One pass is
not enough, since the rules between keys can only be checked once each key is valid by itself. A dropped key has its
default in the next pass; a rule that reads such a key is not reported, since the error would not be in the file.

For example, with

    sessions:
      tick: 7s
      timeout: soon

pass 1 reports timeout (not a duration) and drops it; pass 2 reports tick (no divisor of rating_interval) and drops
it; pass 3 finds nothing, and ConfigError is raised with both.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from qoemon.config.yaml.errors import ConfigError
from qoemon.config.yaml.messages import ABSENT, Finding, Messages, Schema, kind_of, lookup
from qoemon.config.yaml.section import RULE_VIOLATIONS, UNEXPECTED_VALUE, Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qoemon.config.yaml.document import Document
    from qoemon.config.yaml.errors import KeyPath

S = TypeVar("S", bound=Section)


def validated(document: Document, model: type[S]) -> S:
    """The document as an instance of the model; ConfigError with every error in it."""
    if not isinstance(document.data, dict):
        raise ConfigError([document.problem((), kind_of(document.data), "a mapping, the sections by name")])
    problems = list(document.problems)
    dropped = [_droppable(path) for path in document.unusable]
    data = _without(document.data, dropped)
    while isinstance(result := _validate_once(data, model, Path(document.file).parent), list):
        messages = Messages(document, model.model_json_schema())
        problems += [messages.problem(finding) for finding in result if not _involves(finding, dropped)]
        offending = [path for finding in result for path in _keys_to_drop(finding, data)]
        dropped += offending
        before, data = data, _without(data, offending)
        if data == before:  # The findings are about keys that are missing: there is nothing left to drop.
            break
    if problems or isinstance(result, list):
        raise ConfigError(problems)
    return result


def _validate_once(data: Schema, model: type[S], folder: Path) -> S | list[Finding]:
    """The model, or what pydantic finds wrong. Relative file names start at the folder."""
    try:
        return model.model_validate(data, context={"folder": folder})
    except ValidationError as error:
        findings = list(_findings(error))
        # pydantic counts only the valid items of a list: "too short" follows from an invalid item.
        return [one for one in findings if not any(_is_inside(other.path, one.path) for other in findings)]


def _findings(error: ValidationError) -> Iterator[Finding]:
    """The findings of one pass; a section's rule violations become one finding each."""
    for detail in error.errors(include_url=False):
        kind, path, context = detail["type"], detail["loc"], detail.get("ctx", {})
        if kind == "missing" and isinstance(path[-1], int):
            yield Finding(kind, path[:-1])  # a missing item: the list is too short
        elif kind == UNEXPECTED_VALUE:
            yield Finding(kind, path, (), context["expected"], context["advice"])
        elif kind != RULE_VIOLATIONS:
            yield Finding(kind, path)
        for violation in context.get("violations", ()):
            depends_on = tuple((*path, *other) for other in violation.depends_on)
            yield Finding(kind, (*path, *violation.path), depends_on, violation.expected, violation.advice)


def _is_inside(path: KeyPath, container: KeyPath) -> bool:
    """Whether the path is below the container: ("mqtt", "port") is inside ("mqtt",)."""
    return len(path) > len(container) and path[: len(container)] == container


def _droppable(path: KeyPath) -> KeyPath:
    """The path up to its first list: ("mqtt", "topics") for ("mqtt", "topics", 2, "service").

    A list is dropped as a whole: without one item, the positions of all later ones would change.
    """
    return next((path[:depth] for depth, part in enumerate(path) if isinstance(part, int)), path)


def _keys_to_drop(finding: Finding, data: Schema) -> list[KeyPath]:
    """The keys that cause the finding.

    Of a rule violation: every key that the rule reads and that is in the data. Of any other finding: its key, or
    the nearest enclosing one that is in the data, as of a required key that is missing.
    """
    if finding.kind == RULE_VIOLATIONS:
        keys = map(_droppable, (finding.path, *finding.depends_on))
        return [key for key in keys if lookup(data, key) is not ABSENT]
    path = finding.path
    while lookup(data, path) is ABSENT:
        path = path[:-1]
    return [_droppable(path)]


def _involves(finding: Finding, dropped: list[KeyPath]) -> bool:
    """Whether the finding is about a dropped key, a key inside one, or a section that had one.

    With ("sessions", "tick") dropped: True for ("sessions", "tick") and ("sessions",), False for ("mqtt", "port").
    """
    paths = (finding.path, *finding.depends_on)
    return any(path[: len(key)] == key[: len(path)] for path in paths for key in dropped)


def _without(data: Schema, paths: list[KeyPath]) -> Schema:
    """A copy of the data without the keys at these paths."""
    kept = {name: value for name, value in data.items() if (name,) not in paths}
    for name, value in kept.items():
        inside = [path[1:] for path in paths if len(path) > 1 and path[0] == name]
        if inside and isinstance(value, dict):
            kept[name] = _without(value, inside)
    return kept
