"""Reads a YAML file into plain data, with the line of every value and every error of the syntax.

Stricter than YAML where YAML surprises. Unquoted words are read as in YAML 1.2: `on`, `no` and `10:30` are text,
not a boolean and not a number of seconds. Keys are text, each at most once. Tags and aliases are errors, so a value
is what the file shows. `${NAME}` in a value is replaced by that environment variable; `$${NAME}` is a literal
`${NAME}`, and any other `$` is itself, so that most passwords need no escaping.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import yaml

from qoemon.config.yaml.errors import ConfigError, ConfigProblem, KeyPath, dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MOST_BYTES = 1024 * 1024
"""A larger file is not a configuration, but the wrong file."""
DEEPEST = 20
"""Levels of nested mappings and lists."""

_VARIABLE = re.compile(r"\$?\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


class FromEnv(str):
    """Text with environment variables replaced. Messages show it as `written`: a variable may hold a secret."""

    __slots__ = ("written",)
    written: str

    def __new__(cls, text: str, written: str) -> Self:
        made = super().__new__(cls, text)
        made.written = written
        return made


@dataclass
class Document:
    """A file's data, {} if it is empty.

    lines     the line of every value
    problems  the errors of the syntax
    unusable  the paths whose value could not be read: there the data has a placeholder
    """

    file: str
    data: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[ConfigProblem] = field(default_factory=list)
    unusable: list[KeyPath] = field(default_factory=list)

    def line(self, path: KeyPath) -> int:
        """The line of a value, or of the nearest enclosing one that the file has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: KeyPath, found: str, expected: str, advice: str = "") -> ConfigProblem:
        """An error at that path, with its line."""
        return ConfigProblem(self.file, self.line(path), dotted(path), found, expected, advice)


def read_text(path: Path) -> str:
    """The content of a UTF-8 file of at most MOST_BYTES; ValueError with the reason if it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError((error.strerror or str(error)).lower()) from None
    if len(content) > MOST_BYTES:
        raise ValueError("more than 1 MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"a byte that is not UTF-8 in line {line}") from None


def read(path: Path, env: Mapping[str, str]) -> Document:
    """The file as a document; ConfigError if it cannot be read or parsed at all."""
    try:
        text = read_text(path)
    except ValueError as error:
        raise ConfigError([ConfigProblem(str(path), None, "", str(error), "a YAML file in UTF-8")]) from None
    reader = _Reader(Document(str(path)), text, env)
    try:
        return reader.document()
    except yaml.YAMLError as error:
        line, found = _syntax(error, text)
        advice = "look for a colon, a quote or an indent amiss, here or just above"
        problem = ConfigProblem(str(path), line, "", f"what is not YAML ({found})", "YAML", advice)
        raise ConfigError([*reader.result.problems, problem]) from None


def plain_scalar(text: str) -> object:
    """The value of text without quotes: null, a boolean, a number, or the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


class _TooDeep(yaml.YAMLError):
    """More than DEEPEST levels; args: the line."""


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _syntax(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """Line and description of a syntax error. Longer quotations are left out: they may be part of a secret."""
    if isinstance(error, yaml.reader.ReaderError):
        return text.count("\n", 0, error.position) + 1, f"the character U+{error.character:04X}"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        problem = (error.problem or "an error").removeprefix("found ")
        return error.problem_mark.line + 1, re.sub(r"'[^'<]{2,}'", "'…'", problem)
    return (error.args[0], f"more than {DEEPEST} levels") if isinstance(error, _TooDeep) else (1, "an error")


class _Reader:
    """Builds the data from PyYAML's events, which have the line and the quotes of every value."""

    def __init__(self, document: Document, text: str, env: Mapping[str, str]) -> None:
        self.result = document
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._env = env

    def document(self) -> Document:
        """The first document of the file; a second one is an error."""
        starts = (event for event in self._events if isinstance(event, yaml.DocumentStartEvent))
        if next(starts, None):
            self.result.data = self._value(next(self._events), ())
        if second := next(starts, None):
            self._add_problem((), _line(second), "a second document", "only one")
        self.result.data = {} if self.result.data is None else self.result.data
        return self.result

    def _add_problem(self, path: KeyPath, line: int, found: str, expected: str) -> None:
        self.result.problems.append(ConfigProblem(self.result.file, line, dotted(path), found, expected))

    def _add_unusable(self, path: KeyPath, found: str, expected: str, advice: str = "") -> None:
        """Report an error that leaves no usable value."""
        self.result.problems.append(self.result.problem(path, found, expected, advice))
        self.result.unusable.append(path)

    def _value(self, event: yaml.Event, path: KeyPath) -> object:
        self.result.lines.setdefault(path, _line(event))
        if getattr(event, "tag", None) is not None:
            self._add_unusable(path, "a YAML tag", "a value without a tag", "put text that begins with ! in quotes")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if isinstance(event, yaml.AliasEvent):
            self._add_unusable(path, "a YAML alias", "the value itself", "put text that begins with * in quotes")
            return None
        if len(path) >= DEEPEST:
            raise _TooDeep(_line(event))
        return self._list(path) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(path)

    def _list(self, path: KeyPath) -> list[object]:
        items: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return items

    def _mapping(self, path: KeyPath) -> dict[str, object]:
        values: dict[str, object] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = _line(event)
            if not isinstance(event, yaml.ScalarEvent):
                self._add_problem(path, line, "a key that is not text", "text")
                self._value(event, (*path, f"line {line}"))
            elif event.value in values:
                first = self.result.line((*path, event.value))
                self._add_problem((*path, event.value), line, "the key a second time", f"it only in line {first}")
            else:
                self.result.lines[*path, event.value] = line
                values[event.value] = self._value(next(self._events), (*path, event.value))
                continue
            self._value(next(self._events), (*path, f"line {line}"))
        return values

    def _scalar(self, event: yaml.ScalarEvent, path: KeyPath) -> object:
        written: str = event.value
        text = _VARIABLE.sub(lambda match: self._variable(match, path), written)
        if _NO_TEXT.search(text):
            self._add_unusable(path, "NUL or half a character", "text")
            return None
        if "${" in written:
            return FromEnv(text, written)
        return plain_scalar(text) if event.style is None else text

    def _variable(self, match: re.Match[str], path: KeyPath) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        name, closed = match.groups()
        if not closed or not _NAME.fullmatch(name):
            self._add_unusable(path, '"${" without a name', "${NAME}", "write $${ for a literal ${")
        elif name not in self._env:
            self._add_unusable(path, f"${{{name}}}, a variable that is not set", "a variable of the environment")
        return self._env.get(name, "")
