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
from typing import Annotated, NamedTuple

import msgspec

RENEWALS = 4
"""Renewals in the length of a lease: two may be lost, and it is still held for long enough to send."""

SETTLE_S = 1.0
"""Pause after a connection before the first record: the retained one comes first, and may name another holder."""


Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Of records and terms. Larger than any daemon reaches; beyond 64 bits JSON could be read, but not written."""


class RecordId(NamedTuple):
    """Identifies a record: the process that published it, and its number there."""

    run: str
    number: Count


VERSION = 1
"""Of the rules by which records are applied. A later version has to stand by while one of this version leads."""

NOTHING = RecordId("", 0)
"""In place of the newest record where there is none."""


class Record(msgspec.Struct, frozen=True):
    """A record on the topic.

    holder  name of the daemon; None: it gives the lease back
    run     identifies its process
    number  of the record, from 1, in its process
    term    raised by each claim
    after   of a claim: the newest record before it; None for a renewal
    version of the rules that its daemon applies
    """

    holder: str | None
    run: str
    number: Count
    term: Count
    after: RecordId | None = None
    version: int = VERSION

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
        """The newest valid record since we are connected."""
        self._certain = False
        """Whether it is: a retained one may be that of a lost claim."""
        self._last: Record | None = None
        """The newest valid record, also from before we were connected."""
        self._term = 0
        """The highest term so far."""
        self._connected_s = self._sent_s = self._until_s = -math.inf
        self._valid_s = self._heard_s = -math.inf
        """When the newest valid record came, and when any record of another process did."""
        self._renewed_s = -math.inf
        """When the other daemon last published that it has the lease."""
        self._number = 0
        self._sent: dict[int, float] = {}
        """When we sent those records that have not come back, by number."""
        self._contradict = False
        self._confirmed: RecordId | None = None
        """Our record by which we held the lease, if no other valid one has come since."""
        self._resumed = False
        """Whether it is still the retained one since we are connected."""

    @property
    def holder(self) -> str | None:
        """Name of the daemon that the newest record names; None if it names none, or there is no record."""
        return None if self._last is None else self._last.holder

    @property
    def term(self) -> int:
        """Term of the newest record, if it is ours, else 0."""
        return self._last.term if self._last is not None and self._is_ours(self._last) else 0

    def remaining_s(self, now_s: float) -> float:
        """How long this daemon still holds the lease; 0 if it does not."""
        return max(self._until_s - now_s, 0.0)

    @property
    def unreturned(self) -> bool:
        """Whether a record that we published has not come back."""
        return bool(self._sent)

    def held_elsewhere(self, now_s: float) -> bool:
        """Whether the other daemon has published within the length of a lease that it holds it."""
        return now_s < self._renewed_s + self.length_s

    def stalled(self, now_s: float) -> bool:
        """Whether a record has not come back for half a lease: the connection is broken."""
        return any(now_s - sent_s > self.length_s / 2 for sent_s in self._sent.values())

    def connected(self, now_s: float) -> None:
        """A new connection to the broker is subscribed; the retained record comes now, if there is one.

        What was known before no longer counts, as records may have been missed, and the broker may have lost the
        retained one. A lease that is still held stays so until it ends.
        """
        self._connected_s = self._heard_s = now_s
        self._newest, self._certain, self._contradict, self._sent = None, False, False, {}
        self._resumed = False

    def observe(self, record: Record, now_s: float, *, retained: bool = False) -> None:
        """Apply a record from the topic. retained: it was published before we subscribed."""
        sent_s = self._sent.pop(record.number, None) if record.run == self._run else None
        self._term = max(self._term, record.term)
        newest, stale = self._newest, False
        if record.run != self._run:
            self._heard_s = now_s
            if not retained:
                self._renewed_s = -math.inf if record.holder is None else now_s
            # Not for our own record: if we were stopped, our lost claim can come this late.
            stale = now_s >= self._valid_s + self.length_s
        if newest is not None and (retained or not (stale or self._valid(record, newest))):
            # Another daemon may have missed what we know: our next record tells it.
            self._contradict |= self._is_ours(newest) and record.run != self._run
            return
        follows = newest is None or record.after in {None, newest.id}
        self._newest = self._last = record
        self._valid_s = now_s
        self._certain = not retained and (self._certain or follows)
        self._resumed = retained and record.id == self._confirmed
        if not self._is_ours(record):
            self._until_s = -math.inf
        elif sent_s is not None:
            self._until_s = sent_s + self.length_s
        held = self._certain and self._is_ours(record)
        self._confirmed = record.id if held or self._resumed else None

    def observe_unknown(self, now_s: float) -> None:
        """A record of a later version came: its daemon has the lease, unless we hold it."""
        self._heard_s = now_s
        if self._newest is None or not self._is_ours(self._newest):
            self._newest, self._certain = None, False

    def due(self, now_s: float, *, willing: bool) -> Record | None:
        """The record to publish now, if any. willing: whether this daemon would take the lease if it is free."""
        if now_s < self._connected_s + min(SETTLE_S, self.length_s / RENEWALS):
            return None
        newest = self._newest
        if newest is not None and self._certain and self._is_ours(newest):
            if now_s < self._sent_s + self.length_s / RENEWALS and not self._contradict:
                return None
            self._contradict = False
            return self._record(self._name, newest.term, None, now_s)
        if self._sent or not willing or not self._free(now_s):
            return None
        return self._record(self._name, self._term + 1, NOTHING if newest is None else newest.id, now_s)

    def release(self, now_s: float) -> Record | None:
        """The record that gives the lease back, to be published; None if it is not ours."""
        if self._newest is None or not self._is_ours(self._newest) or now_s >= self._until_s:
            return None
        self._until_s = -math.inf
        return self._record(None, self._newest.term, None, now_s)

    def _is_ours(self, record: Record) -> bool:
        return record.run == self._run and record.holder is not None

    def _free(self, now_s: float) -> bool:
        """Whether we may claim: we held it when the connection ended, it was given back, or nobody had it for long.

        A retained record proves little, also if it has our name or gives the lease back: it may have come after the
        claim of another daemon, and overwritten it. Only if it is the one by which we held the lease, nothing came.
        """
        if now_s < self._until_s or now_s >= self._heard_s + self.length_s or self._resumed:
            return True
        return self._newest is not None and self._newest.holder is None and self._certain

    def _valid(self, record: Record, newest: Record) -> bool:
        """Whether the record is the newest now. The same on each daemon that knows the same newest one."""
        if not self._certain:  # Any record of the other daemon may be the first that we know.
            return record.run != self._run or record.after in {None, newest.id}
        if record.after is None:  # A renewal: its holder has seen its own claim come first.
            same_run = record.run == newest.run and record.number > newest.number
            return record.term > newest.term or (record.term == newest.term and same_run)
        # Of a later term: we have missed records.
        return record.after == newest.id or (record.term > newest.term + 1 and record.after != NOTHING)

    def _record(self, holder: str | None, term: int, after: RecordId | None, now_s: float) -> Record:
        self._number += 1
        self._sent[self._number] = self._sent_s = now_s
        return Record(holder, self._run, self._number, term, after)
