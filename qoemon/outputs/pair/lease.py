"""The lease: which of two daemons sends, decided by the order of the records on one topic of the broker.

The broker delivers the records of a topic to all subscribers in one order, to their publishers too. Each daemon
applies the same rule to each record, so both agree on the newest valid one. A claim is valid only if it names the
record that was the newest before it (compare and set): of two claims at the same time, or a claim and a renewal,
the first one wins. Whoever has lost sees that when its own record comes back.

No clock is compared with another. A holder counts from when it sent a record that came back; the other counts from
when it last received one, which is later. So the lease has ended for its holder before another one can claim it,
also if the holder was stopped, or cut off from the broker.

Pure: times are arguments, seconds of a clock that cannot be set and includes suspended time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

RENEWALS = 4
"""Renewals in the length of a lease: two may be lost, and it is still held for long enough to send."""

SETTLE_S = 1.0
"""Pause after a connection before the first record: the retained one comes first, and may name another holder."""


class RecordId(NamedTuple):
    """Identifies a record: the process that published it, and its number there."""

    run: str
    number: int


NOTHING = RecordId("", 0)
"""In place of the newest record where there is none."""


class Record(msgspec.Struct, frozen=True):
    """A record on the topic.

    holder  name of the daemon; None: it gives the lease back
    run     identifies its process
    number  of the record, from 1, in its process
    term    raised by each claim
    after   of a claim: the newest record before it; None for a renewal
    """

    holder: str | None
    run: str
    number: int
    term: int
    after: RecordId | None = None

    @property
    def id(self) -> RecordId:
        """Its identity."""
        return RecordId(self.run, self.number)


class Lease:
    """What one daemon knows of the lease.

    name      of this daemon
    run       identifies this process
    length_s  how long a record is valid
    """

    def __init__(self, name: str, run: str, length_s: float) -> None:
        self._name, self._run, self.length_s = name, run, length_s
        self._newest: Record | None = None
        self._certain = False
        """Whether the newest record came since we are connected. A retained one may be that of a lost claim."""
        self._connected_s = self._heard_s = -math.inf
        self._number = 0
        self._sent: dict[int, float] = {}
        """When we sent those records that have not come back, by number."""
        self._sent_s = -math.inf
        self._until_s = -math.inf
        self._contradict = False

    @property
    def holder(self) -> str | None:
        """Name of the daemon that the newest record names; None if it names none, or there is no record."""
        return None if self._newest is None else self._newest.holder

    @property
    def term(self) -> int:
        """Term of the newest record, if it is ours, else 0."""
        return self._newest.term if self._newest is not None and self._ours else 0

    @property
    def _ours(self) -> bool:
        return self._newest is not None and self._newest.run == self._run and self._newest.holder is not None

    def remaining_s(self, now_s: float) -> float:
        """How long this daemon still holds the lease; 0 if it does not."""
        return max(self._until_s - now_s, 0.0) if self._ours else 0.0

    def stalled(self, now_s: float) -> bool:
        """Whether a record has not come back for half a lease: the connection is broken."""
        return any(now_s - sent_s > self.length_s / 2 for sent_s in self._sent.values())

    def connected(self, now_s: float) -> None:
        """A new connection to the broker is subscribed; the retained record comes now, if there is one."""
        self._connected_s = self._heard_s = now_s
        self._certain, self._sent = False, {}

    def observe(self, record: Record, now_s: float, *, retained: bool = False) -> None:
        """Apply a record from the topic. retained: it was published before we subscribed."""
        sent_s = self._sent.pop(record.number, None) if record.run == self._run else None
        if not (self._newest is None or (retained and not self._certain) or self._valid(record, self._newest)):
            # Another daemon may have missed what we know: our next record tells it.
            self._contradict |= self._ours and record.run != self._run
            return
        self._newest, self._heard_s = record, now_s
        self._certain |= not retained
        if sent_s is not None:
            self._until_s = sent_s + self.length_s

    def due(self, now_s: float, *, willing: bool) -> Record | None:
        """The record to publish now, if any. willing: whether this daemon would take the lease if it is free."""
        if now_s < self._connected_s + min(SETTLE_S, self.length_s / RENEWALS):
            return None
        newest = self._newest
        if newest is not None and self._ours:
            if now_s < self._sent_s + self.length_s / RENEWALS and not self._contradict:
                return None
            self._contradict = False
            return self._record(self._name, newest.term, None, now_s)
        if self._sent or not willing or not self._free(now_s):
            return None
        if newest is None:
            return self._record(self._name, 1, NOTHING, now_s)
        return self._record(self._name, newest.term + 1, newest.id, now_s)

    def release(self, now_s: float) -> Record | None:
        """The record that gives the lease back, to be published; None if it is not ours."""
        if self._newest is None or not self._ours:
            return None
        self._until_s = -math.inf
        return self._record(None, self._newest.term, None, now_s)

    def _free(self, now_s: float) -> bool:
        newest = self._newest
        if newest is not None and newest.holder is None:
            return True
        ours_before = newest is not None and newest.holder == self._name and not self._certain
        return ours_before or now_s >= self._heard_s + self.length_s

    def _valid(self, record: Record, newest: Record) -> bool:
        """Whether the record is the newest now. The same on each daemon that knows the same newest one."""
        same_run = record.run == newest.run and record.number > newest.number
        if record.after is None:  # A renewal: its holder has seen its own claim come first.
            doubtful = not self._certain and newest.after is not None
            return record.term > newest.term or (record.term == newest.term and same_run) or doubtful
        if not self._certain and (newest.after is not None or record.term > newest.term):
            return True
        # Of a later term: we have missed records.
        return record.term > newest.term + 1 or (record.term == newest.term + 1 and record.after == newest.id)

    def _record(self, holder: str | None, term: int, after: RecordId | None, now_s: float) -> Record:
        self._number += 1
        self._sent[self._number] = self._sent_s = now_s
        return Record(holder, self._run, self._number, term, after)
