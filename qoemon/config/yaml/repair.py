"""Replaces what is wrong in a document by something valid, so that the rest of it can be checked too.

Rules between keys run only where each key is valid by itself: without a repair, one wrong key would hide what is
wrong elsewhere in its section, and in every section that refers to it.

- A key that has a default is removed.
- A required key gets a stand-in, also one that only a rule requires, and so does a section in a list or in a
  mapping by name: its place in the list, its name and its other keys stay.
- An item of any other list is removed.
- Where that does not help, the section around it is repaired.

What was repaired is doubtful: a finding about it is not reported, since it may only follow from the first one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qoemon.config.yaml.messages import ABSENT, INVALID_KEY, choices, lookup, types_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qoemon.config.yaml.errors import KeyPath
    from qoemon.config.yaml.messages import Finding, Schema

STAND_IN = "stand_in"
"""Text for a required key whose value is not valid: a valid name of a service, a label or an alert."""


class Repair:
    """A document's data, repaired step by step.

    schema_at  the schema of the value at a path; {} if unknown
    """

    def __init__(self, data: Any, schema_at: Callable[[KeyPath], Schema]) -> None:
        self._data, self._schema_at = _copied(data), schema_at
        self._filled: set[KeyPath] = set()
        self._doubtful: set[KeyPath] = set()

    def data(self) -> Any:
        """The data to validate next: what was removed from a list is left out."""
        return _without_gaps(self._data)

    def original(self, path: KeyPath) -> KeyPath:
        """The path in the document of a path in data(): lists may be shorter there."""
        found: KeyPath = ()
        for part in path:
            items = lookup(self._data, found)
            if type(items) is list and isinstance(part, int):
                present = [place for place, item in enumerate(items) if item is not ABSENT]
                found = (*found, present[part] if part < len(present) else part)
            else:
                found = (*found, part)
        return found

    def may_follow(self, finding: Finding) -> bool:
        """Whether the finding may follow from what was repaired before."""
        read = (finding.path, *finding.depends_on)
        return any(
            any(path[: len(doubtful)] == doubtful[: len(path)] for path in read)
            or any(path[: len(doubtful)] == doubtful for path in finding.names_of)
            for doubtful in self._doubtful
        )

    def leave_out(self, path: KeyPath) -> None:
        """Repair a value that could not be read."""
        if lookup(self._data, path) is ABSENT:
            self._doubtful.add(path)
        else:
            self._replace(path)

    def apply(self, findings: Sequence[Finding]) -> bool:
        """Repair what causes the findings; whether that changed anything."""
        unknown = [finding.path for finding in findings if finding.kind == "extra_forbidden"]
        for path in unknown:
            self._remove(path)
        causes = dict.fromkeys(self._cause(finding) for finding in findings if finding.path not in unknown)
        replaced: list[KeyPath] = []
        for path in sorted(causes, key=len):
            if not any(path[: len(done)] == done for done in replaced):
                replaced.append(self._replace(path))
        return bool(unknown) or any(replaced)

    def _cause(self, finding: Finding) -> KeyPath:
        """The key of the finding; if it is absent or a stand-in, the first other one that the rule reads."""
        path = finding.path[:-1] if finding.path[-1:] == (INVALID_KEY,) else finding.path
        self._doubtful.add(path)
        present = lookup(self._data, path) is not ABSENT
        if finding.section is None or (present and path not in self._filled):
            return path
        others = (other for other in finding.depends_on if other not in self._filled)
        return next((other for other in others if lookup(self._data, other) is not ABSENT), path)

    def _replace(self, path: KeyPath) -> KeyPath:
        """Repair the value at the path, or what it is in; the path that was repaired, () if none could be."""
        while path:
            container: Any = lookup(self._data, path[:-1])
            present = lookup(self._data, path) is not ABSENT
            stand_in = ABSENT if path in self._filled else self._stand_in(path, demanded=not present)
            if stand_in is not ABSENT and (present or type(container) is dict):
                container[path[-1]] = stand_in
                self._filled.add(path)
            elif present:
                self._remove(path)
            else:
                path = path[:-1]
                continue
            self._doubtful.add(path)
            return path
        return ()

    def _remove(self, path: KeyPath) -> None:
        container: Any = lookup(self._data, path[:-1])
        if type(container) is dict:
            container.pop(path[-1], None)
        elif container is not ABSENT:
            container[path[-1]] = ABSENT  # later items of a list keep their positions

    def _stand_in(self, path: KeyPath, *, demanded: bool) -> object:
        """A valid value, or a section to fill; ABSENT where the key can be left out, or none is known.

        demanded  whether a rule requires the key, which is absent
        """
        schema, around = self._schema_at(path), self._schema_at(path[:-1])
        if "default" in schema and not demanded:
            return ABSENT
        if "object" in types_of(schema):
            return {}
        required = demanded or any(path[-1] in choice.get("required", ()) for choice in choices(around))
        return _example(choices(schema)[0]) if required else ABSENT


def _example(schema: Schema) -> object:
    """A value that fits the schema; ABSENT if it is of a kind that no required key has."""
    if examples := schema.get("examples", schema.get("enum")):
        return examples[0]
    if types_of(schema) & {"integer", "number"}:
        least, most = schema.get("exclusiveMinimum", schema.get("minimum")), schema.get("exclusiveMaximum")
        return least if least is not None and most is None else ((least or 0) + (most or 0)) / 2
    return STAND_IN if "string" in types_of(schema) else ABSENT


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(inner) for name, inner in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _without_gaps(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_gaps(inner) for name, inner in value.items()}
    return [_without_gaps(item) for item in value if item is not ABSENT] if isinstance(value, list) else value
