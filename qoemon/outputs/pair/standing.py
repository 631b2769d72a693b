"""What one daemon of a pair tells the other over HTTP."""

from __future__ import annotations

import msgspec

from qoemon.outputs.notify.notice import Notice

PATH = "/api/v1/pair"

WAIT_S = 2.5
"""How long an answer may wait for something new."""


class Standing(msgspec.Struct, frozen=True):
    """The state of a daemon.

    leading    whether it sends notifications
    online     whether it is connected to the broker, and its records on the topic of the lease come back
    ready      as /readyz
    term       of the lease, if it was the last to hold it as far as it knows, else 0
    version    changes with all of this but settled_s, and after each restart
    client_id  of its connection for the reports
    lease_s    length of the lease that it claims
    topic      of the lease
    settled_s  up to when it has delivered all changes of alerts, seconds since the epoch
    delivered  as Notifier.delivered(); None if the other one has this version already
    """

    name: str
    leading: bool
    online: bool
    ready: bool
    term: int
    version: str
    client_id: str
    lease_s: float
    topic: str
    settled_s: float
    delivered: dict[str, list[Notice]] | None
