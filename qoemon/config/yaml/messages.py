"""Words the findings of the validation as errors with line, key, what was found and what was expected.

What was expected comes from the JSON Schema of the key, so that error messages, editors and the reference
(docs/configuration.md) agree and no type of error needs a text of its own. What was found comes from the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qoemon.common.text import did_you_mean, printable
from qoemon.config.yaml.document import Document, FromEnv, plain_scalar
from qoemon.config.yaml.errors import SHOWN_LENGTH
from qoemon.config.yaml.section import RENAMED

if TYPE_CHECKING:
    from qoemon.config.yaml.errors import ConfigProblem, KeyPath

Schema = dict[str, Any]

ABSENT = object()
"""Result of `lookup` where the data has no value."""

INVALID_KEY = "[key]"
"""What pydantic appends to the path of an invalid key: ("services", "Live TV", "[key]")."""

_SERVICE_NAME = "a name of a-z, 0-9, _ and -, at most 63 characters"

_KINDS = {str: "text", FromEnv: "text", list: "a list", dict: "a mapping", type(None): "nothing"}


@dataclass(frozen=True)
class Finding:
    """One thing that the validation found wrong.

    kind        pydantic's type of the error
    path        the key it is about
    expected    what was expected; "" where the schema has it
    section     the section whose rule is violated; None if it is no rule violation
    depends_on, names_of  as of Violation, but from the top of the file
    """

    kind: str
    path: KeyPath
    expected: str = ""
    advice: str = ""
    section: KeyPath | None = None
    depends_on: tuple[KeyPath, ...] = ()
    names_of: tuple[KeyPath, ...] = ()


def lookup(data: Any, path: KeyPath) -> object:
    """The value at the path, or ABSENT."""
    for part in path:
        try:
            data = data[part] if type(data) in (dict, list) else ABSENT
        except (LookupError, TypeError):
            return ABSENT
    return data


def kind_of(value: object) -> str:
    """The kind of a value in words, such as "a list": for values that must not be shown."""
    return _KINDS.get(type(value), "a value")


class Messages:
    """Words the findings of one document, whose model has this JSON Schema."""

    def __init__(self, document: Document, schema: Schema) -> None:
        self._document = document
        self._schema = schema

    def problem(self, finding: Finding) -> ConfigProblem:
        """The finding with its line, what was found and what was expected."""
        if finding.kind == "extra_forbidden":
            return self._unknown_key(finding.path)
        if finding.path[-1:] == (INVALID_KEY,):
            path = finding.path[:-1]
            return self._document.problem(path, _as_written(path[-1]), _SERVICE_NAME)
        path = self._existing(finding.path)
        schema, value = self.schema_at(path), lookup(self._document.data, path)
        found = _default(schema) if value is ABSENT else _found(value, schema)
        advice = finding.advice or _advice(value, {} if finding.expected else schema)
        problem = self._document.problem(path, found, finding.expected or _expected(schema), advice)
        # Where the key has its default, the line is that of the first key that the rule reads and the file has.
        given = (key for key in (path, *finding.depends_on) if self._document.gives(key))
        file, line = self._document.place(next(given, path))
        return replace(problem, file=file, line=line)

    def _existing(self, path: KeyPath) -> KeyPath:
        """The path without keys inside a text: a topic may be text instead of {template: text}."""
        while path and _is_scalar(lookup(self._document.data, path[:-1])):
            path = path[:-1]
        return path

    def _unknown_key(self, path: KeyPath) -> ConfigProblem:
        schema = self.schema_at(path[:-1])
        known = [name for choice in choices(schema) for name in choice.get("properties", ())]
        now = next(
            (choice[RENAMED][path[-1]] for choice in choices(schema) if path[-1] in choice.get(RENAMED, {})), None
        )
        if now is not None:
            return self._document.problem(path, "the former name of a key", f"its present name, {now}")
        expected, advice = f"one of {', '.join(known)}", did_you_mean(str(path[-1]), known)
        return self._document.problem(path, "an unknown key", expected, advice)

    def schema_at(self, path: KeyPath) -> Schema:
        """The schema of the value at the path; {} if unknown."""
        schema = self._resolved(self._schema)
        for step in path:
            schema = next(filter(None, (self._child(choice, step) for choice in choices(schema))), {})
        return schema

    def _child(self, schema: Schema, step: str | int) -> Schema:
        """The schema of an item or of a key of it; {} if it has none."""
        if isinstance(step, int):
            return self._resolved(schema.get("items") or next(iter(schema.get("prefixItems", ())), {}))
        named = schema.get("properties", {}).get(step)
        unnamed = (*schema.get("patternProperties", {}).values(), schema.get("additionalProperties"))
        return self._resolved(named or next(filter(None, unnamed), None) or {})

    def _resolved(self, schema: Schema) -> Schema:
        """The schema with its $ref replaced by the definition, at the top and in each choice of anyOf."""
        if name := schema.get("$ref"):
            schema = {**self._schema["$defs"][name.removeprefix("#/$defs/")], **schema}
        if "anyOf" in schema:
            schema = {**schema, "anyOf": [self._resolved(choice) for choice in schema["anyOf"]]}
        return schema


def choices(schema: Schema) -> list[Schema]:
    """The schemas of which a value has to fit one."""
    several: list[Schema] = schema.get("anyOf", [schema])
    return several


def _expected(schema: Schema) -> str:
    """What the schema accepts, as words after "expected"."""
    if comment := schema.get("$comment"):
        return str(comment)
    if "anyOf" in schema:
        return " or ".join(_expected(choice) for choice in schema["anyOf"] if choice.get("type") != "null")
    if "enum" in schema:
        *words, last = map(_as_written, schema["enum"])
        return f"{', '.join(words)} or {last}"
    return _expected_type(schema)


def _expected_type(schema: Schema) -> str:
    least = schema.get("minItems") or schema.get("minProperties") or 0
    some = " of at least one" * (least > 0)
    types = {
        "integer": "a whole number" + _bounds(schema),
        "number": "a number" + _bounds(schema),
        "array": f"a list of {least}" if least and least == schema.get("maxItems") else "a list" + some,
        "object": "a mapping" + some,
    }
    return types.get(schema.get("type", ""), "text that is not empty" if schema.get("minLength") else "text")


def _bounds(schema: Schema) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']} to {schema['maximum']}"
    words = {"exclusiveMinimum": "above", "exclusiveMaximum": "below"}
    return "".join(f" {word} {schema[name]} and" for name, word in words.items() if name in schema)[:-4]


def _default(schema: Schema) -> str:
    default = schema.get("default")
    return "nothing" if default is None else f"the default {_as_written(default)}"


def types_of(schema: Schema) -> set[str]:
    """The JSON types that the schema accepts."""
    types = [choice.get("type", ()) for choice in choices(schema)]
    return {name for each in types for name in ([each] if isinstance(each, str) else each)}


def _found(value: object, schema: Schema) -> str:
    """The value as words after "found".

    Only its kind where it is, or may be, a secret: a password, the value of an unknown key, or text where the
    schema accepts only a mapping or a list (the indent may be wrong).
    """
    secret = any(choice.get("format") == "password" for choice in choices(schema))
    maybe_secret = any(choice.get("writeOnly") for choice in choices(schema)) and not isinstance(value, FromEnv)
    if secret or maybe_secret:
        return "a value that is not shown"
    types = types_of(schema)
    if value == {}:
        return "an empty mapping"
    if isinstance(value, list):
        return _as_written(value) if "array" in types and all(map(_is_scalar, value)) else kind_of(value)
    return _as_written(value) if _is_scalar(value) and types - {"array", "object", "null"} else kind_of(value)


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | bool | int | float)


def _as_written(value: object) -> str:
    """The value as in the file: environment variables are not replaced."""
    if isinstance(value, list):
        return printable(f"[{', '.join(map(_as_written, value))}]", SHOWN_LENGTH)
    text = json.dumps(value.written if isinstance(value, FromEnv) else value, ensure_ascii=False)
    return printable(text, SHOWN_LENGTH)


def _advice(value: object, schema: Schema) -> str:
    """The probable fix, as far as the kind of the value shows it; "" if unknown."""
    if isinstance(value, FromEnv):
        return "what the variables hold is not shown"
    if value is None:
        return "leave the key out for its default" if "default" in schema else ""
    known = [str(word) for word in schema.get("enum", ())]
    if isinstance(value, str):
        unquoted = types_of(schema) & {"integer", "number"} and not isinstance(plain_scalar(value), str)
        return "take the quotes away" if unquoted else did_you_mean(value, known)
    as_text = str(value) in known or (not known and "string" in types_of(schema) and "$comment" not in schema)
    return "put it in quotes" if as_text and _is_scalar(value) else ""
