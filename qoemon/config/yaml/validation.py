"""A document against its model, and all its mistakes at once.

Rules between keys can only be checked once each key is right by itself. So that one run still tells everything,
keys that are wrong make way for their defaults and the rest is checked again, leaving out what looks at a
replaced key: that would tell of mistakes that are not in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from qoemon.config.yaml.errors import ConfigError
from qoemon.config.yaml.messages import ABSENT, Fault, Messages, Schema, kind_of, lookup
from qoemon.config.yaml.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qoemon.config.yaml.document import Document
    from qoemon.config.yaml.errors import KeyPath

S = TypeVar("S", bound=Section)


def validated(document: Document, model: type[S]) -> S:
    """The document as that model; ConfigError with all the mistakes in it."""
    if not isinstance(document.data, dict):
        raise ConfigError([document.mistake((), kind_of(document.data), "a mapping, the sections by name")])
    problems, replaced = list(document.flaws), [_key_of(where) for where in document.unusable]
    data = _without(document.data, replaced)
    while isinstance(result := _attempt(data, model, Path(document.file).parent), list):
        words = Messages(document, model.model_json_schema())
        problems += [words.mistake(fault) for fault in result if not _touches(fault, replaced)]
        wrong = [place for fault in result for place in _places(fault, data)]
        replaced += wrong
        before, data = data, _without(data, wrong)
        if data == before:
            break
    if problems or isinstance(result, list):
        raise ConfigError(problems)
    return result


def _attempt(data: Schema, model: type[S], folder: Path) -> S | list[Fault]:
    try:
        return model.model_validate(data, context={"folder": folder})
    except ValidationError as error:
        faults = list(_faults(error))
        # pydantic counts the good items of a list; that too few are left says nothing new.
        return [fault for fault in faults if not any(_below(fault.where, other.where) for other in faults)]


def _faults(error: ValidationError) -> Iterator[Fault]:
    for detail in error.errors(include_url=False):
        kind, where, context = detail["type"], detail["loc"], detail.get("ctx", {})
        if kind == "missing" and isinstance(where[-1], int):
            yield Fault(kind, where[:-1])  # the list is too short
        elif kind == "unlike":
            yield Fault(kind, where, (), context["expected"], context["advice"])
        elif kind != "rules":
            yield Fault(kind, where)
        for rule in context.get("broken", ()):
            others = tuple((*where, *other) for other in rule.others)
            yield Fault(kind, (*where, *rule.where), others, rule.expected, rule.advice)


def _below(where: KeyPath, other: KeyPath) -> bool:
    return len(other) > len(where) and other[: len(where)] == where


def _key_of(where: KeyPath) -> KeyPath:
    """Up to the first list: positions would shift if an item were left out, so a list goes as a whole."""
    return next((where[:depth] for depth, part in enumerate(where) if isinstance(part, int)), where)


def _places(fault: Fault, data: Schema) -> list[KeyPath]:
    """The keys to replace: those a rule looks at, as far as they are given; else the one nearest to the fault."""
    if fault.kind == "rules":
        keys = map(_key_of, (fault.where, *fault.others))
        return [key for key in keys if lookup(data, key) is not ABSENT]
    where = fault.where
    while lookup(data, where) is ABSENT:
        where = where[:-1]
    return [_key_of(where)]


def _touches(fault: Fault, replaced: list[KeyPath]) -> bool:
    """Whether the fault has to do with a key that was replaced, or with something around or in one."""
    places = (fault.where, *fault.others)
    return any(ours[: len(key)] == key[: len(ours)] for ours in places for key in replaced)


def _without(data: Schema, places: list[KeyPath]) -> Schema:
    """A copy that lacks those keys."""
    kept = {name: value for name, value in data.items() if (name,) not in places}
    for name, value in kept.items():
        below = [place[1:] for place in places if len(place) > 1 and place[0] == name]
        if below and isinstance(value, dict):
            kept[name] = _without(value, below)
    return kept
