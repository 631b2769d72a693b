"""Validates a document against its section and reports every error of the file in one run.

The algorithm: validate, repair what was found (repair.py), validate again, until nothing is found. One pass is not
enough, since the rules between keys can only be checked once each key is valid by itself. What may only follow from
an earlier finding is not reported, since the error would not be in the file.

For example, with

    sessions:
      tick: 7s
      timeout: soon

pass 1 reports timeout (not a duration) and removes it; pass 2 reports tick (no divisor of rating_interval) and
removes it; pass 3 finds nothing, and ConfigError is raised with both.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from qoemon.config.yaml.errors import ConfigError
from qoemon.config.yaml.messages import Finding, Messages, Schema, kind_of
from qoemon.config.yaml.repair import Repair
from qoemon.config.yaml.section import RULE_VIOLATIONS, UNEXPECTED_VALUE, Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qoemon.config.yaml.document import Document
    from qoemon.config.yaml.errors import ConfigProblem, KeyPath

S = TypeVar("S", bound=Section)


def validated(document: Document, model: type[S]) -> S:
    """The document as an instance of the model; ConfigError with every error in it."""
    if not isinstance(document.data, dict):
        raise ConfigError([document.problem((), kind_of(document.data), "a mapping, the sections by name")])
    result = _validate_once(document.data, model, Path(document.file).parent)
    if isinstance(result, list) or document.problems:
        raise ConfigError([*document.problems, *_problems(document, model)])
    return result


def _problems(document: Document, model: type[S]) -> Iterator[ConfigProblem]:
    """Every error of the values in the document."""
    messages = Messages(document, model.model_json_schema())
    repair = Repair(document.data, messages.schema_at)
    for path in document.unusable:
        repair.leave_out(path)
    while isinstance(result := _validate_once(repair.data(), model, Path(document.file).parent), list):
        findings = [_original(finding, repair) for finding in result]
        yield from [messages.problem(finding) for finding in findings if not repair.may_follow(finding)]
        # The rules of the whole file are checked once all sections are valid, and then all at once.
        if all(finding.section == () for finding in findings) or not repair.apply(findings):
            return


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
            yield Finding(kind, path, context["expected"], context["advice"])
        elif kind != RULE_VIOLATIONS:
            yield Finding(kind, path)
        for violation in context.get("violations", ()):
            yield Finding(
                kind,
                (*path, *violation.path),
                violation.expected,
                violation.advice,
                section=path,
                depends_on=tuple((*path, *other) for other in violation.depends_on),
                names_of=tuple((*path, *other) for other in violation.names_of),
            )


def _original(finding: Finding, repair: Repair) -> Finding:
    """The finding with the paths that its keys have in the document."""
    return replace(
        finding,
        path=repair.original(finding.path),
        depends_on=tuple(map(repair.original, finding.depends_on)),
        names_of=tuple(map(repair.original, finding.names_of)),
    )


def _is_inside(path: KeyPath, container: KeyPath) -> bool:
    """Whether the path is below the container: ("mqtt", "port") is inside ("mqtt",)."""
    return len(path) > len(container) and path[: len(container)] == container
