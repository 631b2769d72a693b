"""Faults of a configuration in words.

What was expected is told by the JSON Schema at the place, so messages, editors and the reference agree, and no
kind of error needs a text of its own. What was found is told from the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qoemon.common.text import did_you_mean, shortened
from qoemon.config.yaml.document import Document, FromEnv, plain

if TYPE_CHECKING:
    from qoemon.config.yaml.errors import ConfigProblem, KeyPath

Schema = dict[str, Any]

ABSENT = object()

_KINDS = {str: "text", FromEnv: "text", list: "a list", dict: "a mapping", type(None): "nothing"}


@dataclass(frozen=True)
class Fault:
    """What is wrong at a place. `kind` is pydantic's; a rule brings its words and the `others` it looks at."""

    kind: str
    where: KeyPath
    others: tuple[KeyPath, ...] = ()
    expected: str = ""
    advice: str = ""


def lookup(data: Any, where: KeyPath) -> object:
    """The value there, or ABSENT."""
    for part in where:
        try:
            data = data[part] if type(data) in (dict, list) else ABSENT
        except (LookupError, TypeError):
            return ABSENT
    return data


def kind_of(value: object) -> str:
    """The kind of a value, where it should not be shown."""
    return _KINDS.get(type(value), "a value")


class Messages:
    """Tells the faults of one document."""

    def __init__(self, document: Document, schema: Schema) -> None:
        self._document = document
        self._schema = schema

    def mistake(self, fault: Fault) -> ConfigProblem:
        """The fault with its line, what was found and what was expected."""
        if fault.kind == "extra_forbidden":
            return self._unknown(fault.where)
        if fault.where[-1:] == ("[key]",):
            name, pattern = fault.where[-2], "a name of a-z, 0-9, _ and -, at most 63 characters"
            return self._document.mistake(fault.where[:-1], _scalar(name), pattern)
        where = fault.where
        while where and _is_scalar(lookup(self._document.data, where[:-1])):
            where = where[:-1]  # text that stands for a mapping has no keys to point to
        part, value = self._part(where), lookup(self._document.data, where)
        found = _default(part) if value is ABSENT else _shown(value, part)
        advice = fault.advice or _hint(value, {} if fault.expected else part)
        mistake = self._document.mistake(where, found, fault.expected or _described(part), advice)
        # A rule about a key that was left out is broken by another key that was given.
        given = (place for place in (where, *fault.others) if place in self._document.lines)
        return replace(mistake, line=self._document.line(next(given, where)))

    def _unknown(self, where: KeyPath) -> ConfigProblem:
        known = [name for choice in _choices(self._part(where[:-1])) for name in choice.get("properties", ())]
        expected, advice = f"one of {', '.join(known)}", did_you_mean(str(where[-1]), known)
        return self._document.mistake(where, "an unknown key", expected, advice)

    def _part(self, where: KeyPath) -> Schema:
        """The schema of what stands there, {} if unknown."""
        part = self._resolved(self._schema)
        for step in where:
            part = next(filter(None, (self._step(choice, step) for choice in _choices(part))), {})
        return part

    def _step(self, part: Schema, step: str | int) -> Schema:
        if isinstance(step, int):
            return self._resolved(part.get("items") or next(iter(part.get("prefixItems", ())), {}))
        named = part.get("properties", {}).get(step)
        free = (*part.get("patternProperties", {}).values(), part.get("additionalProperties"))
        return self._resolved(named or next(filter(None, free), None) or {})

    def _resolved(self, part: Schema) -> Schema:
        """With what a $ref refers to put in, at the top and in anyOf."""
        if name := part.get("$ref"):
            part = {**self._schema["$defs"][name.removeprefix("#/$defs/")], **part}
        if "anyOf" in part:
            part = {**part, "anyOf": [self._resolved(choice) for choice in part["anyOf"]]}
        return part


def _choices(part: Schema) -> list[Schema]:
    choices: list[Schema] = part.get("anyOf", [part])
    return choices


def _described(part: Schema) -> str:
    """What the schema asks for, as words after "expected"."""
    if comment := part.get("$comment"):
        return str(comment)
    if "anyOf" in part:
        return " or ".join(_described(choice) for choice in part["anyOf"] if choice.get("type") != "null")
    if "enum" in part:
        *words, last = map(_scalar, part["enum"])
        return f"{', '.join(words)} or {last}"
    return _described_kind(part)


def _described_kind(part: Schema) -> str:
    least = part.get("minItems") or part.get("minProperties") or 0
    some = " of at least one" * (least > 0)
    kinds = {
        "integer": "a whole number" + _bounds(part),
        "number": "a number" + _bounds(part),
        "array": f"a list of {least}" if least and least == part.get("maxItems") else "a list" + some,
        "object": "a mapping" + some,
    }
    return kinds.get(part.get("type", ""), "text that is not empty" if part.get("minLength") else "text")


def _bounds(part: Schema) -> str:
    if "minimum" in part and "maximum" in part:
        return f" from {part['minimum']} to {part['maximum']}"
    words = {"exclusiveMinimum": "above", "exclusiveMaximum": "below"}
    return "".join(f" {word} {part[name]} and" for name, word in words.items() if name in part)[:-4]


def _default(part: Schema) -> str:
    default = part.get("default")
    return "nothing" if default is None else f"the default {_scalar(default)}"


def _kinds(part: Schema) -> set[str]:
    """The JSON types that the schema takes."""
    kinds = [choice.get("type", ()) for choice in _choices(part)]
    return {name for kind in kinds for name in ([kind] if isinstance(kind, str) else kind)}


def _shown(value: object, part: Schema) -> str:
    """The value, unless it is or may be a secret: at an unknown place, or a word where a mapping belongs."""
    secret = any(choice.get("format") == "password" for choice in _choices(part))
    maybe_secret = any(choice.get("writeOnly") for choice in _choices(part)) and not isinstance(value, FromEnv)
    if secret or maybe_secret:
        return "a value that is not shown"
    kinds = _kinds(part)
    if value == {}:
        return "an empty mapping"
    if isinstance(value, list):
        return _scalar(value) if "array" in kinds and all(map(_is_scalar, value)) else kind_of(value)
    return _scalar(value) if _is_scalar(value) and kinds - {"array", "object", "null"} else kind_of(value)


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | bool | int | float)


def _scalar(value: object) -> str:
    """As in the file: variables stay variables."""
    if isinstance(value, list):
        return shortened(f"[{', '.join(map(_scalar, value))}]")
    return shortened(json.dumps(value.written if isinstance(value, FromEnv) else value, ensure_ascii=False))


def _hint(value: object, part: Schema) -> str:
    """What probably went wrong, where the kind of the value tells it."""
    if isinstance(value, FromEnv):
        return "what the variables hold is not shown"
    if value is None:
        return "leave the key out for its default" if "default" in part else ""
    known = [str(word) for word in part.get("enum", ())]
    if isinstance(value, str):
        unquoted = _kinds(part) & {"integer", "number"} and not isinstance(plain(value), str)
        return "take the quotes away" if unquoted else did_you_mean(value, known)
    as_text = str(value) in known or (not known and "string" in _kinds(part) and "$comment" not in part)
    return "put it in quotes" if as_text and _is_scalar(value) else ""
