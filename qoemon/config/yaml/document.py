"""Reads a YAML file into plain data, with the line of every value and every error of the syntax.

Stricter than YAML where YAML surprises. Unquoted words are read as in YAML 1.2: `on`, `no` and `10:30` are text,
not a boolean and not a number of seconds. Keys are text, each at most once. Tags and aliases are errors, so a value
is what the file shows. `${NAME}` in a value is replaced by that environment variable; `$${NAME}` is a literal
`${NAME}`, and any other `$` is itself, so that most passwords need no escaping.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import pairwise
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
FLAG = "--set"
"""The flag of the command line that sets a key, in the place of a file name."""

_VARIABLE = re.compile(r"\$?\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_SECTION = re.compile(r"^([A-Za-z_][A-Za-z0-9_-]*)[ ]*:(?=\s|$)", re.MULTILINE)


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
    flagged   the paths of the values that flags of the command line gave (overrides.py)
    """

    file: str
    data: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[ConfigProblem] = field(default_factory=list)
    unusable: list[KeyPath] = field(default_factory=list)
    flagged: set[KeyPath] = field(default_factory=set)

    def gives(self, path: KeyPath) -> bool:
        """Whether the file, or a flag, has a value at the path."""
        return path in self.lines or path in self.flagged

    def place(self, path: KeyPath) -> tuple[str, int | None]:
        """File and line of a value, or of the nearest enclosing one that is given; of a flag FLAG and None."""
        while path and not self.gives(path):
            path = path[:-1]
        return (FLAG, None) if path in self.flagged else (self.file, self.lines.get(path, 1))

    def problem(self, path: KeyPath, found: str, expected: str, advice: str = "") -> ConfigProblem:
        """An error at that path, with its place."""
        return ConfigProblem(*self.place(path), dotted(path), found, expected, advice)

    def repeated(self, path: KeyPath, line: int) -> None:
        """Report a key that is in the file for the second time."""
        _, first = self.place(path)
        expected = f"it only in line {first}"
        self.problems.append(ConfigProblem(self.file, line, dotted(path), "the key a second time", expected))

    def merge(self, part: Document) -> None:
        """Add the sections of another part of the file."""
        sections = part.data if isinstance(part.data, dict) else {}
        for name in [name for name in sections if name in self.data]:
            self.repeated((name,), part.lines.pop((name,), 1))
        self.data = sections | self.data
        self.lines = part.lines | self.lines
        self.problems += part.problems
        self.unusable += part.unusable


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
        if document := _section_by_section(str(path), text, env):
            return document
        raise ConfigError([*reader.result.problems, _syntax_problem(str(path), error, text)]) from None


def read_value(text: str, path: KeyPath, env: Mapping[str, str]) -> Document:
    """A document whose data is the value of one flag, to be placed at the path; null if the text is empty."""
    reader = _Reader(Document(FLAG), text, env)
    try:
        document = reader.value(path)
    except yaml.YAMLError as error:
        document = reader.result
        document.problems.append(replace(_syntax_problem(FLAG, error, text), key=dotted(path)))
        document.unusable.append(path)
    document.problems = [replace(problem, line=None) for problem in document.problems]
    return document


def _section_by_section(file: str, text: str, env: Mapping[str, str]) -> Document | None:
    """The document of a file with errors of the syntax, of which each section is parsed by itself.

    An error of the syntax leaves the rest of a YAML file unread. Here it is unread only up to the next line that
    begins with a key, so the errors of all other sections are found as well. None if each section is valid by
    itself: then the error is between them.
    """
    starts = [0, *(match.start() for match in _SECTION.finditer(text) if match.start() > 0), len(text)]
    whole, failed = Document(file, {}), False
    for start, end in pairwise(starts):
        padded = "\n" * text.count("\n", 0, start) + text[start:end]
        part = Document(file)
        try:
            part = _Reader(part, padded, env).document()
        except yaml.YAMLError as error:
            failed = True
            part.problems.append(_syntax_problem(file, error, padded))
            if begin := _SECTION.match(text, start):
                part.data, part.unusable = {begin[1]: None}, [(begin[1],)]
                part.lines = {(begin[1],): text.count("\n", 0, start) + 1}
        whole.merge(part)
    return whole if failed else None


def _syntax_problem(file: str, error: yaml.YAMLError, text: str) -> ConfigProblem:
    line, words = _syntax(error, text)
    advice = "look for a missing colon, quote or bracket, or a wrong indent, here or just above"
    return ConfigProblem(file, line, "", f"invalid YAML: {words}", "", advice)


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
        words = (error.problem or "an error").removeprefix("found ")
        if error.context and error.context_mark:
            words += f" {error.context} that begins in line {error.context_mark.line + 1}"
        return error.problem_mark.line + 1, re.sub(r"'[^'<]{2,}'", "'…'", words)
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

    def value(self, path: KeyPath) -> Document:
        """The only value of the text, which is at that path."""
        starts = (event for event in self._events if isinstance(event, yaml.DocumentStartEvent))
        if next(starts, None):
            self.result.data = self._value(next(self._events), path)
        if next(starts, None):
            self._add_unusable(path, "a second document", "one value")
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
                self._value(next(self._events), (*path, f"line {line}"))
            elif event.value in values:
                self.result.repeated((*path, event.value), line)
                self._add_new(values[event.value], (*path, event.value), (*path, f"line {line}"))
            else:
                self.result.lines[*path, event.value] = line
                values[event.value] = self._value(next(self._events), (*path, event.value))
        return values

    def _add_new(self, values: object, path: KeyPath, elsewhere: KeyPath) -> None:
        """Read the value of a repeated key; what is new in a repeated section is added to the first one."""
        repeated = self._value(next(self._events), elsewhere)
        if not isinstance(values, dict) or not isinstance(repeated, dict):
            return
        result, size = self.result, len(elsewhere)
        for name in [name for name in repeated if name not in values]:
            values[name] = repeated[name]
            inside = [at for at in result.lines if at[: size + 1] == (*elsewhere, name)]
            result.lines |= {(*path, *at[size:]): result.lines[at] for at in inside}
            result.unusable += [(*path, *at[size:]) for at in inside if at in result.unusable]

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
