"""Topic templates: `qoe/v1/{service}/{region}/{cdn}` names the labels that a topic's levels carry."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

SERVICE = "service"
SHARD = "shard"
"""A level that clients choose by the session, so that all of it comes to one worker; no label."""
_NAMED = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)\}")


@dataclass(frozen=True)
class TopicTemplate:
    """A template; `service` says whose reports these are where no level is `{service}`."""

    template: str
    service: str | None = None

    @cached_property
    def _levels(self) -> tuple[tuple[str, str | None], ...]:
        """(literal text, None) or ("", name) a level."""
        levels = []
        for level in self.template.split("/"):
            named = _NAMED.fullmatch(level)
            levels.append(("", named[1]) if named else (level, None))
        return tuple(levels)

    @property
    def names(self) -> tuple[str, ...]:
        """The label names in the order of the levels, `service` and `shard` left out."""
        return tuple(name for _, name in self._levels if name and name not in {SERVICE, SHARD})

    @property
    def sharded(self) -> bool:
        """Whether a level is {shard}."""
        return any(name == SHARD for _, name in self._levels)

    @property
    def filter(self) -> str:
        """The MQTT topic filter that covers it."""
        return self.filter_of("+")

    def filter_of(self, shard: str) -> str:
        """The MQTT topic filter that covers the part with this shard."""
        return "/".join((shard if name == SHARD else "+") if name else text for text, name in self._levels)

    def match(self, topic: str) -> dict[str, str] | None:
        """The named levels of a topic, `service` among them; None if the topic does not fit."""
        levels = topic.split("/")
        if len(levels) != len(self._levels):
            return None
        found = {SERVICE: self.service} if self.service else {}
        for value, (text, name) in zip(levels, self._levels, strict=True):
            if name:
                found[name] = value
            elif value != text:
                return None
        return found
