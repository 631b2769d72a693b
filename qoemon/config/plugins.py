"""Mappings by name: the built-in ones, and those that installed packages provide by Python entry points.

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
    """An entry point that provides no mapping; the message names it and the reason."""


def names() -> list[str]:
    """The names of all mappings, the built-in ones first. Reads the metadata of every installed package."""
    return [*MAPPINGS, *sorted(_installed().keys() - MAPPINGS.keys())]


def find(name: str) -> QosMapping:
    """The mapping of this name; KeyError if there is none, PluginError if its package does not provide it."""
    if name in MAPPINGS:
        return MAPPINGS[name]
    point = _installed()[name]
    try:
        found = point.load()
    except Exception as error:
        raise PluginError(f"the entry point {point.value} fails: {error}") from error
    if not isinstance(found, QosMapping):
        raise PluginError(f"the entry point {point.value} is a {type(found).__name__}, expected a QosMapping")
    return found


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
