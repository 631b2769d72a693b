"""A YAML file as plain data, with the line of every value and all its mistakes.

Stricter than YAML where YAML surprises. Plain words mean what they mean in YAML 1.2: `on`, `no` and `10:30`
are text, not a truth value and not a number of seconds. Keys are text and stand once. Tags and aliases are
refused, so a value is what stands there. `${NAME}` in a value stands for that environment variable; `$${NAME}`
is a literal `${NAME}`, and any other `$` is itself, so that most passwords can stand as they are.
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
"""More is not a configuration, but the wrong file."""
DEEPEST = 20

_VARIABLE = re.compile(r"\$?\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


class FromEnv(str):
    """Text with environment variables in it. Messages show it as written: a value may be a secret."""

    __slots__ = ("written",)
    written: str

    def __new__(cls, text: str, written: str) -> Self:
        made = super().__new__(cls, text)
        made.written = written
        return made


@dataclass
class Document:
    """`flaws` are the mistakes of the file itself; at the places in `unusable` the data means nothing."""

    file: str
    data: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    flaws: list[ConfigProblem] = field(default_factory=list)
    unusable: list[KeyPath] = field(default_factory=list)

    def line(self, where: KeyPath) -> int:
        """The line of a value, or of the nearest thing around it that is there."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    def mistake(self, where: KeyPath, found: str, expected: str, advice: str = "") -> ConfigProblem:
        """A mistake at that place."""
        return ConfigProblem(self.file, self.line(where), dotted(where), found, expected, advice)


def read_text(path: Path) -> str:
    """A text file of reasonable size; ValueError says in words why it cannot be had."""
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
    """The file's data, {} if it is empty. ConfigError if it cannot be read or parsed at all."""
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
        mistake = ConfigProblem(str(path), line, "", f"what is not YAML ({found})", "YAML", advice)
        raise ConfigError([*reader.read.flaws, mistake]) from None


def plain(text: str) -> object:
    """What a word without quotes means: null, a truth value, a number, or itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


class _TooDeep(yaml.YAMLError):
    """args: the line."""


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _syntax(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """Line and words. Longer quotations are left out, they may be part of a secret."""
    if isinstance(error, yaml.reader.ReaderError):
        return text.count("\n", 0, error.position) + 1, f"the character U+{error.character:04X}"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        problem = (error.problem or "an error").removeprefix("found ")
        return error.problem_mark.line + 1, re.sub(r"'[^'<]{2,}'", "'…'", problem)
    return (error.args[0], f"more than {DEEPEST} levels") if isinstance(error, _TooDeep) else (1, "an error")


class _Reader:
    """Builds the data from PyYAML's events, which still tell quoted from plain and know their lines."""

    def __init__(self, document: Document, text: str, env: Mapping[str, str]) -> None:
        self.read = document
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._env = env

    def document(self) -> Document:
        """All of it; only the first of several documents counts, the others are a mistake."""
        starts = (event for event in self._events if isinstance(event, yaml.DocumentStartEvent))
        if next(starts, None):
            self.read.data = self._value(next(self._events), ())
        if second := next(starts, None):
            self._flaw((), _line(second), "a second document", "only one")
        self.read.data = {} if self.read.data is None else self.read.data
        return self.read

    def _flaw(self, where: KeyPath, line: int, found: str, expected: str) -> None:
        self.read.flaws.append(ConfigProblem(self.read.file, line, dotted(where), found, expected))

    def _spoilt(self, where: KeyPath, found: str, expected: str, advice: str = "") -> None:
        """A flaw that leaves no value."""
        self.read.flaws.append(self.read.mistake(where, found, expected, advice))
        self.read.unusable.append(where)

    def _value(self, event: yaml.Event, where: KeyPath) -> object:
        self.read.lines.setdefault(where, _line(event))
        if getattr(event, "tag", None) is not None:
            self._spoilt(where, "a YAML tag", "a value without a tag", "put text that begins with ! in quotes")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, where)
        if isinstance(event, yaml.AliasEvent):
            self._spoilt(where, "a YAML alias", "the value itself", "put text that begins with * in quotes")
            return None
        if len(where) >= DEEPEST:
            raise _TooDeep(_line(event))
        return self._list(where) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(where)

    def _list(self, where: KeyPath) -> list[object]:
        items: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*where, len(items))))
        return items

    def _mapping(self, where: KeyPath) -> dict[str, object]:
        values: dict[str, object] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = _line(event)
            if not isinstance(event, yaml.ScalarEvent):
                self._flaw(where, line, "a key that is not text", "text")
                self._value(event, (*where, f"line {line}"))
            elif event.value in values:
                first = self.read.line((*where, event.value))
                self._flaw((*where, event.value), line, "the key a second time", f"it only in line {first}")
            else:
                self.read.lines[*where, event.value] = line
                values[event.value] = self._value(next(self._events), (*where, event.value))
                continue
            self._value(next(self._events), (*where, f"line {line}"))
        return values

    def _scalar(self, event: yaml.ScalarEvent, where: KeyPath) -> object:
        written: str = event.value
        text = _VARIABLE.sub(lambda match: self._variable(match, where), written)
        if _NO_TEXT.search(text):
            self._spoilt(where, "NUL or half a character", "text")
            return None
        if "${" in written:
            return FromEnv(text, written)
        return plain(text) if event.style is None else text

    def _variable(self, match: re.Match[str], where: KeyPath) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        name, closed = match.groups()
        if not closed or not _NAME.fullmatch(name):
            self._spoilt(where, '"${" without a name', "${NAME}", "write $${ for a literal ${")
        elif name not in self._env:
            self._spoilt(where, f"${{{name}}}, a variable that is not set", "a variable of the environment")
        return self._env.get(name, "")
