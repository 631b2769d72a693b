"""Mappings by name: those of qoemon, and a user's own, found by Python entry points.

A package that declares, in its pyproject.toml,

    [project.entry-points."qoemon.mappings"]
    my-game = "my_package:MY_GAME"

adds the QosMapping `MY_GAME` under the name `my-game`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from qoemon.core.qoe.mapping import MAPPINGS, QosMapping

GROUP = "qoemon.mappings"


class PluginError(Exception):
    """An entry point that gives no mapping; says which and why."""


def names() -> list[str]:
    """All that can be named: qoemon's own first."""
    return [*MAPPINGS, *sorted(_own().keys() - MAPPINGS.keys())]


def find(name: str) -> QosMapping:
    """The mapping of this name; KeyError if there is none, PluginError if its package does not provide it."""
    if name in MAPPINGS:
        return MAPPINGS[name]
    point = _own()[name]
    try:
        found = point.load()
    except Exception as error:
        raise PluginError(f"the entry point {point.value} fails: {error}") from error
    if not isinstance(found, QosMapping):
        raise PluginError(f"the entry point {point.value} is a {type(found).__name__}, expected a QosMapping")
    return found


def _own() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
