"""What qoemon remembers of its sessions at brokers: the topic filters in them, and when it was last connected.

A broker keeps the subscriptions of a session, and does not report them. A filter that the configuration no longer
has would stay subscribed, and a message that two filters match would arrive twice. A broker that has lost a session
is noticed only by comparison with what is remembered.

A filter is remembered before the SUBSCRIBE is sent, and until the UNSUBACK has arrived. A crash in between leaves a
filter too many, and to unsubscribe from it again does no harm.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain
from typing import Protocol

import msgspec

from qoemon.common.backoff import Repeats

LOG = logging.getLogger("qoemon.inputs.mqtt")

SAVE_S = 60.0
"""The time of the last connection is stored this often; everything else at once."""

MOST_SESSIONS = 16
"""Sessions that are remembered: one for each broker and client id, the newest."""


@dataclass(frozen=True)
class BrokerSession:
    """A session at a broker, as far as it is known.

    broker       its address
    filters      topic filters that may be subscribed in it
    expiry_s     how long the broker keeps it after a disconnect; None if unknown (MQTT 3.1.1)
    connected_s  when it was last connected, seconds since the epoch; None before its first subscription
    """

    broker: str
    client_id: str
    filters: tuple[str, ...] = ()
    expiry_s: int | None = None
    connected_s: float | None = None


class Fate(StrEnum):
    """What has become of a session, by the CONNACK of the next connection."""

    KEPT = "kept"
    NEW = "new"
    """There was none."""
    UNKNOWN = "unknown"
    """The broker has one whose filters are not known here."""
    LOST = "lost"
    EXPIRED = "expired"
    """It is gone as agreed: qoemon was down for longer than the broker keeps it."""


def fate(before: BrokerSession, now_s: float, *, kept: bool, running: bool) -> Fate:
    """What has become of a session.

    before   what was known of it
    now_s    seconds since the epoch
    kept     whether the CONNACK tells that a session is present
    running  whether this process was connected before: then an outage of any length is a loss
    """
    if kept:
        return Fate.KEPT if before.filters else Fate.UNKNOWN
    if before.connected_s is None:
        return Fate.NEW
    if not running and before.expiry_s is not None and now_s - before.connected_s > before.expiry_s:
        return Fate.EXPIRED
    return Fate.LOST


class Document(Protocol):
    """Where the sessions are stored; its text is the place."""

    def read(self) -> bytes | None:
        """The content; None if there is none; OSError if it cannot be read."""

    def write(self, content: bytes) -> None:
        """Replace the content durably; OSError if that fails. Called from several threads."""


class SessionMemory:
    """The known sessions of one consumer.

    document  where they are stored; None if they are known to this process only
    """

    def __init__(self, document: Document | None = None) -> None:
        self._document = document
        self._sessions = self._stored()
        self._changed, self._saved_s = False, 0.0
        self._saving = threading.Lock()
        self._repeats = Repeats()

    @property
    def survives(self) -> bool:
        """Whether a restart finds them again."""
        return self._document is not None

    @property
    def due(self) -> bool:
        """Whether they should be saved now."""
        return self.survives and (self._changed or time.monotonic() - self._saved_s >= SAVE_S)

    def session(self, broker: str, client_id: str) -> BrokerSession:
        """What is known of a session, which may be nothing."""
        same = (each for each in self._sessions if (each.broker, each.client_id) == (broker, client_id))
        return next(same, BrokerSession(broker, client_id))

    def filters(self, client_id: str) -> tuple[str, ...]:
        """The filters of all known sessions of a client id, wherever they are."""
        ours = (each.filters for each in self._sessions if each.client_id == client_id)
        return tuple(dict.fromkeys(chain.from_iterable(ours)))

    def update(self, session: BrokerSession) -> None:
        """Replace what is known of a session."""
        before = self.session(session.broker, session.client_id)
        others = tuple(each for each in self._sessions if each != before)
        # Assigned as a whole, since a thread may be saving.
        self._sessions = (*others, session)[-MOST_SESSIONS:]
        first = (before.connected_s is None) != (session.connected_s is None)
        if first or replace(before, connected_s=session.connected_s) != session:
            self._changed = True

    def save(self) -> None:
        """Store them; waits for the disk. If that fails, it is logged, and they are due again."""
        if self._document is None:
            return
        with self._saving:  # Whoever is last stores the newest.
            self._changed, self._saved_s = False, time.monotonic()
            try:
                self._document.write(msgspec.json.encode(self._sessions))
            except OSError as error:
                self._changed = True
                problem = f"cannot write {self._document}: {error.strerror or error}"
                if self._repeats.is_news(problem, time.monotonic()):
                    LOG.warning(
                        "%s; after a restart, topic filters that were subscribed to are not known: check free disk "
                        "space and permissions",
                        problem,
                    )

    def _stored(self) -> tuple[BrokerSession, ...]:
        if self._document is None:
            return ()
        try:
            content = self._document.read()
            return () if content is None else msgspec.json.decode(content, type=tuple[BrokerSession, ...])
        except (OSError, ValueError) as error:  # ValueError: damaged, as JSON or as text.
            LOG.warning(
                "cannot read %s: %s; it is replaced, and the topic filters of before are not known",
                self._document,
                error,
            )
            return ()
