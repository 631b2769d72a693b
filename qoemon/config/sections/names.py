"""Valid names of services, labels and topics."""

from __future__ import annotations

import re

from qoemon.core.plan.topic import POOLED

SERVICE_PATTERN = "^[a-z0-9][a-z0-9_-]{0,62}$"

RESERVED = frozenset(
    "service shard window bound theta rating quantile le reason factor direction job instance by where".split()  # noqa: SIM905
)
"""Labels that the metrics of qoemon or Prometheus itself set."""

_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_MOST_TOPIC_BYTES = 65535


def label_fault(name: str) -> str | None:
    """What was expected of an invalid label name; None if it is valid."""
    if not _LABEL.fullmatch(name):
        return "a label name of letters, digits and _, not beginning with a digit or __"
    if name in RESERVED:
        return f"a label name other than {name}, which qoemon or Prometheus uses itself"
    return None


def topic_fault(template: str) -> str | None:
    """What was expected of an invalid topic template; None if it is valid."""
    if template.startswith("$share/"):
        return (
            "no shared subscription: it spreads the reports of one session over several subscribers, "
            "and a session must stay whole (NATS grants it, but delivers nothing)"
        )
    if template.startswith("$"):
        return "a topic that does not begin with $: those belong to the broker"
    if "\0" in template or len(template.encode(errors="surrogatepass")) > _MOST_TOPIC_BYTES:
        return f"a topic of at most {_MOST_TOPIC_BYTES} bytes, without NUL"
    levels = template.removeprefix("/").split("/")  # A leading slash makes an empty first level, which is common.
    return next(filter(None, map(_level_fault, levels)), None) or _names_fault(levels)


def path_fault(template: str) -> str | None:
    """What was expected of an invalid template of a path; None if it is valid."""
    if not template.startswith("/"):
        return "a path that begins with /"
    if not re.fullmatch(r"[!-~]*", template) or "?" in template or "%" in template:
        return "a path of ASCII without spaces, %, ? and #"
    levels = template[1:].split("/")
    if "{shard}" in levels:
        return "a path without {shard}: the daemon itself distributes what it collects"
    return next(filter(None, map(_level_fault, levels)), None) or _names_fault(levels)


def overlap(one: str, other: str) -> bool:
    """Whether some topic matches both templates."""
    ours, theirs = one.split("/"), other.split("/")
    return len(ours) == len(theirs) and all(
        "{" in a + b or POOLED in {a, b} or a == b for a, b in zip(ours, theirs, strict=True)
    )


def _level_fault(level: str) -> str | None:
    if not level:
        return "a topic without empty levels: no / at the end, no //"
    if level == POOLED:
        return None
    if "+" in level or "#" in level:
        return "no wildcards but + as a whole level, whose value is ignored; # has no counterpart"
    if not re.fullmatch(r"[^{}]+|\{[^{}]*\}", level):
        return "levels that are either literal or one {name}"
    return None if level[0] != "{" or level in {"{service}", "{shard}"} else label_fault(level[1:-1])


def _names_fault(levels: list[str]) -> str | None:
    named = [level for level in levels if level[0] == "{"]
    return None if len(named) == len(set(named)) else "each {name} at most once"
