"""The page configuration.md, from the JSON Schema of the configuration and the rules that its sections state."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from qoemon.config import config
from qoemon.config.yaml.document import plain_scalar
from qoemon.config.yaml.section import Section

Schema = Mapping[str, Any]

_LONGEST_DEFAULT = 50
"""Characters; a longer one would make the table hard to read."""

_HEAD = """\
# Configuration

Written by `make docs` from the schema that `qoemon check --schema` prints. `config/qoemon.yaml` has the same keys
with their defaults, ready to be copied; leave out what you do not change. `qoemon check -c FILE` tells all the
mistakes of a file at once, each with its line.

- A *duration* has a unit: `500ms`, `10s`, `5m`, `1h30m`, `1d`. A *size* is such as `64MiB` or `256KiB`, or a
  whole number of bytes.
- `${NAME}` in a value stands for that environment variable, `$${NAME}` is a literal `${NAME}`.
- File names that are relative start at the folder of the configuration.
- A *secret* is never shown, neither in the log nor in a message about a mistake.
- An unknown key is a mistake, so a misspelt one is not silently ignored.
"""


def configuration_page() -> str:
    """The whole page."""
    whole = config.schema()
    definitions = whole["$defs"]
    parts = list(_sections("", whole, definitions))
    return _HEAD + "".join(_chapter(path, part, definitions) for path, part in parts)


def anchor(path: str) -> str:
    """Where the section of that path stands on the page: as the site and repository views make it of a heading."""
    return "".join(letter for letter in path.lower() if letter.isalnum() or letter in "_-")


def _sections(path: str, section: Schema, definitions: Schema) -> Iterator[tuple[str, Schema]]:
    """Every section that a file can have, with its path, depth first."""
    yield path, section
    for name, part in section["properties"].items():
        if found := _section_of(part, definitions):
            suffix, inner = found
            yield from _sections(f"{path}.{name}{suffix}".lstrip("."), inner, definitions)


def _section_of(part: Schema, definitions: Schema) -> tuple[str, Schema] | None:
    """The section that is the value of a key, or one of its values, and what the path says of the latter."""
    wrapped = [("[]", part.get("items")), *((".NAME", each) for each in part.get("patternProperties", {}).values())]
    for suffix, inside in (("", part), *wrapped):
        for choice in _choices(inside or {}):
            inner = definitions.get(_named(choice), {})
            if "properties" in inner:
                return suffix, inner
    return None


def _chapter(path: str, section: Schema, definitions: Schema) -> str:
    heading = f"\n## {path}\n\n{section['description']}\n" if path else "\n## The file\n"
    rows = [_row(path, name, part, section, definitions) for name, part in section["properties"].items()]
    table = "\n".join(["| key | value | default | what it is |", "|---|---|---|---|", *rows])
    return f"{heading}\n{table}\n{_rules(section['title'])}"


def _rules(title: str) -> str:
    """What a section says of the rules between its keys."""
    classes: dict[str, type[Section]] = {each.__name__: each for each in _subclasses(Section)}
    rules = classes[title].rules
    return "" if rules is Section.rules else f"\nRules: {rules.__doc__}\n"


def _subclasses(of: type[Section]) -> Iterator[type[Section]]:
    for each in of.__subclasses__():
        yield each
        yield from _subclasses(each)


def _row(path: str, name: str, part: Schema, section: Schema, definitions: Schema) -> str:
    found = _section_of(part, definitions)
    full = f"{path}.{name}{found[0] if found else ''}".lstrip(".")
    value = _value(part, definitions) if not found else f"[{_holder(part, definitions)}](#{anchor(full)})"
    about = part.get("description") or _resolved(part, definitions)["description"]
    cells = (f"`{name}`", value, _default(name, part, section, nested=found is not None), about)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _holder(part: Schema, definitions: Schema) -> str:
    """How the sections below a key are held."""
    inner = _resolved(part, definitions)
    if inner.get("type") == "array":
        return "list" if "anyOf" not in part.get("items", {}) else "list, or texts"
    return "mapping by name" if "patternProperties" in inner else "mapping" + _or_null(part)


def _or_null(part: Schema) -> str:
    return " or null" * any(choice.get("type") == "null" for choice in _choices(part))


def _default(name: str, part: Schema, section: Schema, *, nested: bool) -> str:
    if name in section.get("required", ()):
        return "must be given"
    default = part.get("default")
    if len(written := json.dumps(default, ensure_ascii=False)) > _LONGEST_DEFAULT:
        return "as in `config/qoemon.yaml`"
    return "" if nested and default == {} else f"`{written}`"


def _value(part: Schema, definitions: Schema) -> str:
    """What a key takes, in words."""
    choices = [_resolved(choice, definitions) for choice in _choices(_resolved(part, definitions))]
    words = [_kind(choice, definitions) for choice in choices if not _is_variable(choice)]
    return " or ".join(dict.fromkeys(filter(None, words)))


def _kind(part: Schema, definitions: Schema) -> str:
    if comment := part.get("$comment"):
        kinds = {
            "a duration": "duration",
            "a size": "size",
            "the name of a file": "file",
            "a directory": "directory",
        }
        return kinds[comment.split(" such")[0]]
    if "anyOf" in part:
        return _value(part, definitions)
    if "enum" in part:
        return ", ".join(f"`{_written(each)}`" for each in part["enum"])
    if part.get("format") == "password":
        return "secret"
    return _kind_by_type(part, definitions)


def _kind_by_type(part: Schema, definitions: Schema) -> str:
    inner: Schema = (
        part.get("items") or part.get("additionalProperties") or next(iter(part.get("prefixItems", ())), {})
    )
    of = f" of {_plural(_value(inner, definitions))}" if inner else ""
    kinds = {
        "string": "text",
        "null": "null",
        "boolean": "true, false",
        "integer": "whole number" + _bounds(part),
        "number": "number" + _bounds(part),
        "array": ("pair" if part.get("maxItems") == 2 else "list") + of,
        "object": "mapping" + of,
    }
    return kinds[part["type"]]


def _plural(words: str) -> str:
    return re.sub(r"^(pair|list|(?:whole )?number|duration)\b", r"\1s", words)


def _written(word: object) -> str:
    """As it is to stand in the file: text that would be read as a number needs quotes."""
    return json.dumps(word) if isinstance(word, str) and not isinstance(plain_scalar(word), str) else str(word)


def _bounds(part: Schema) -> str:
    words = {"minimum": "from", "exclusiveMinimum": "above", "exclusiveMaximum": "below", "maximum": "to"}
    told = [f"{word} {part[name]:,}" for name, word in words.items() if name in part]
    return "".join(f" {each}" for each in told).replace(" below", " and below")


def _choices(part: Schema) -> list[Schema]:
    choices: list[Schema] = part.get("anyOf", [part])
    return choices


def _is_variable(part: Schema) -> bool:
    """Whether it is the text with ${NAME} that the schema takes beside every value that is not text."""
    return part.get("pattern") == r"\$\{"


def _resolved(part: Schema, definitions: Schema) -> Schema:
    """With what a $ref refers to put in; what stands beside the $ref goes before it."""
    return {**definitions.get(_named(part), {}), **part}


def _named(part: Schema) -> str:
    return str(part.get("$ref", "")).removeprefix("#/$defs/")
