"""Section `pair`: a second daemon that stands by."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field

from qoemon.common import duration
from qoemon.config.sections import names as naming
from qoemon.config.sections.notify import Account
from qoemon.config.sections.types import Seconds
from qoemon.config.sections.url import BaseUrl
from qoemon.config.yaml.section import Section, Violation, expecting, key
from qoemon.core.plan.topic import POOLED

SHORTEST_LEASE_S = 10.0
"""A delivery takes up to 5 s, and must have ended before the lease has."""


def _topic(value: str) -> str:
    if fault := naming.topic_fault(value):
        raise expecting(fault)
    if "{" in value or POOLED in value.split("/"):
        raise expecting("a topic without names in braces and without wildcards, as both daemons publish to it")
    return value


class Peer(Account):
    """The other daemon of the pair."""

    url: BaseUrl = key("URL of its HTTP server, as this daemon reaches it.")


class Pair(Section):
    """Two daemons with the same reports, of which one sends notifications and the other stands by."""

    name: Annotated[str, Field(pattern="^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$")] = key(
        "Name of this daemon; the other one has another."
    )
    peer: Peer = key("The other daemon: {url: ...}, and if its HTTP server requires it, a login and a ca_file.")
    topic: Annotated[str, AfterValidator(_topic)] = key(
        "Topic of the lease on the broker, a retained message; the same in both.", "qoe/v1/pair"
    )
    lease_s: Seconds = key(
        "Time after its last sign of life within which no other daemon sends notifications; at least 10s, and the "
        "same in both.",
        "10s",
    )

    def rules(self) -> Iterator[Violation]:
        """`lease` is at least 10s."""
        if self.lease_s < SHORTEST_LEASE_S:
            expected = f"at least {duration.text(SHORTEST_LEASE_S)}: a delivery must end within half of it"
            yield Violation(("lease",), expected)
