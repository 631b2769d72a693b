"""Topic templates: `qoe/v1/{service}/{region}/{cdn}` names the labels in the levels of a topic.

A level `+` has any value and is no label: `qoe/v1/{service}/+/{cdn}` pools the regions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

SERVICE = "service"
SHARD = "shard"
"""A level that clients derive from the session, so that one worker receives the whole session; not a label."""
POOLED = "+"
"""A level with any value, which is ignored."""
_NAMED = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)\}")


@dataclass(frozen=True)
class TopicTemplate:
    """A template; `service` is the service of its reports where no level is `{service}`."""

    template: str
    service: str | None = None

    @cached_property
    def _levels(self) -> tuple[tuple[str, str | None], ...]:
        """For each level, (literal text, None) or ("", name)."""
        levels = []
        for level in self.template.split("/"):
            named = _NAMED.fullmatch(level)
            levels.append(("", named[1]) if named else (level, None))
        return tuple(levels)

    @property
    def names(self) -> tuple[str, ...]:
        """Label names in the order of the levels, without `service` and `shard`."""
        return tuple(name for _, name in self._levels if name and name not in {SERVICE, SHARD})

    @property
    def sharded(self) -> bool:
        """Whether a level is {shard}."""
        return any(name == SHARD for _, name in self._levels)

    @property
    def filter(self) -> str:
        """The MQTT topic filter that matches it."""
        return self.filter_of("+")

    def filter_of(self, shard: str) -> str:
        """The MQTT topic filter that matches the topics of this shard."""
        return "/".join((shard if name == SHARD else "+") if name else text for text, name in self._levels)

    def match(self, topic: str) -> dict[str, str] | None:
        """The named levels of a topic, `service` included; None if the topic does not match."""
        levels = topic.split("/")
        if len(levels) != len(self._levels):
            return None
        found = {SERVICE: self.service} if self.service else {}
        for value, (text, name) in zip(levels, self._levels, strict=True):
            if name:
                found[name] = value
            elif text not in {value, POOLED}:
                return None
        return found
