"""What one daemon of a pair tells the other over HTTP."""

from __future__ import annotations

import msgspec

from qoemon.outputs.notify.outbox import Told
from qoemon.outputs.pair.lease import Count

PATH = "/api/v1/pair"

WAIT_S = 2.5
"""How long an answer may wait for something new."""

UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What decoding raises for bytes that anybody may have sent: msgspec leaves invalid UTF-8 and depth to Python."""


class Standing(msgspec.Struct, frozen=True):
    """The state of a daemon. Another version of qoemon may have sent it: fields are added, with a default only.

    leading    whether it sends notifications
    online     whether it is connected to the broker, and its records on the topic of the lease come back
    ready      as /readyz
    term       of the lease, if it was the last to hold it as far as it knows, else 0
    version    changes with all of this but the times, and after each restart
    client_id  of its connection for the reports
    lease_s    length of the lease that it claims
    topic      of the lease
    clock_s    time of its clock now, seconds since the epoch
    settled_s  up to when it has delivered all changes of alerts, by its clock
    stamp      of what it knows about deliveries: the higher one of the two is newer
    delivered  as Notifier.delivered(); None if the other one knows as much already
    release    of qoemon
    sections   digests of the sections of the configuration that both have in common, by name
    """

    name: str
    leading: bool
    online: bool
    ready: bool
    term: Count
    version: str
    client_id: str
    lease_s: float
    topic: str
    clock_s: float
    settled_s: float
    stamp: Count
    delivered: dict[str, list[Told]] | None
    release: str = ""
    sections: dict[str, str] = {}
