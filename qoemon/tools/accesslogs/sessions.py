"""The sessions of a log: requests in, cumulative reports out, in the order of time, in bounded memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from qoemon.tools.accesslogs.buffer import Account
from qoemon.tools.accesslogs.request import MediaRequest, Skip, SkippedError

REORDER_S = 600.0
"""Requests are put in order over this time: logs have them in the order of the answers, or of edge servers."""
REORDERED = 100_000
"""Requests that wait for that at most."""
KEPT_S = 3600.0
"""A session without requests for this long is forgotten; a later request begins it from zero."""
AUDIO_ONLY = 4
"""Requests for audio without any for video, after which a session is one of audio."""


class Report(NamedTuple):
    """Counters of a session at the time of a request; seq counts its reports from 0."""

    time_s: float
    session: str
    labels: Mapping[str, str]
    seq: int
    stall_count: int
    stall_s: float
    play_s: float


@dataclass
class Totals:
    """Sums over all sessions; unsure, without_starvation: sessions, see Account."""

    sessions: int = 0
    media: int = 0
    stalls: int = 0
    stall_s: float = 0.0
    play_s: float = 0.0
    buffered_s: float = 0.0
    jumps: int = 0
    unsure_sessions: int = 0
    unsure: int = 0
    unsure_s: float = 0.0
    without_starvation: int = 0
    evicted: int = 0
    first_s: float = float("inf")
    last_s: float = 0.0
    resolution_s: float = float("inf")
    ended: bool = False


@dataclass
class _Session:
    heard_s: float
    video: Account | None = None
    audio: Account | None = None
    audio_only: bool = False
    heard_audio: int = 0
    reports: int = 0

    @property
    def account(self) -> Account | None:
        """The one that counts: video, or audio where there is no video."""
        return self.audio if self.audio_only else self.video

    def add(self, request: MediaRequest) -> bool:
        """Account for a request; whether it is one of those that count."""
        if request.audio:
            self.heard_audio += 1
            self.audio_only |= self.video is None and self.heard_audio > AUDIO_ONLY
        account = self.audio if request.audio else self.video
        if account is not None:
            account.add(request)
        elif request.audio:
            self.audio = Account(request)
        else:
            self.video = Account(request)
        return request.audio == self.audio_only


@dataclass
class Sessions:
    """Puts requests in order and accounts for them.

    limit   sessions at a time; beyond it the one that has been silent for longest is forgotten
    """

    limit: int
    totals: Totals = field(default_factory=Totals)
    _waiting: list[tuple[float, int, MediaRequest, Mapping[str, str]]] = field(default_factory=list)
    _sessions: dict[str, _Session] = field(default_factory=dict)
    """In the order in which they were heard last."""
    _number: int = 0
    _newest_s: float = 0.0
    _done_s: float = 0.0

    def add(self, request: MediaRequest, labels: Mapping[str, str]) -> Iterator[Report]:
        """The reports that follow now; SkippedError if the request is too late to be put in order."""
        if request.time_s < self._done_s:
            raise SkippedError(Skip.LATE)
        self._number += 1
        self._newest_s = max(self._newest_s, request.time_s)
        heapq.heappush(self._waiting, (request.time_s, self._number, request, labels))
        return self._until(self._newest_s - REORDER_S, REORDERED)

    def end(self) -> Iterator[Report]:
        """The reports of all requests that still wait; afterwards the totals are complete."""
        yield from self._until(float("inf"), 0)
        while self._sessions:
            self._forget(next(iter(self._sessions)))

    def _until(self, time_s: float, most: int) -> Iterator[Report]:
        while self._waiting and (len(self._waiting) > most or self._waiting[0][0] <= time_s):
            _, _, request, labels = heapq.heappop(self._waiting)
            self._done_s = request.time_s
            report = self._report(request, labels)
            if report is not None:
                yield report

    def _report(self, request: MediaRequest, labels: Mapping[str, str]) -> Report | None:
        session = self._sessions.pop(request.session, None)
        if session is None:
            session = _Session(request.time_s)
            self.totals.sessions += 1
        self._sessions[request.session] = session
        session.heard_s = request.time_s
        counts = session.add(request)
        self._make_room(request.time_s)
        self._note(request)
        account = session.account
        if not counts or account is None or not account.settled:
            return None
        session.reports += 1
        return Report(
            time_s=request.time_s,
            session=request.session,
            labels=labels,
            seq=session.reports - 1,
            stall_count=account.stalls,
            stall_s=round(account.stall_s, 3),
            play_s=round(account.play_s, 3),
        )

    def _note(self, request: MediaRequest) -> None:
        totals = self.totals
        totals.media += 1
        totals.first_s = min(totals.first_s, request.time_s)
        totals.last_s = max(totals.last_s, request.time_s)
        totals.resolution_s = min(totals.resolution_s, request.resolution_s)
        totals.ended |= request.ended

    def _make_room(self, now_s: float) -> None:
        while True:
            oldest, session = next(iter(self._sessions.items()))
            if len(self._sessions) > self.limit:
                self.totals.evicted += 1
            elif now_s - session.heard_s <= KEPT_S:
                return
            self._forget(oldest)

    def _forget(self, name: str) -> None:
        """Add a session to the totals, and forget it."""
        account = self._sessions.pop(name).account
        totals = self.totals
        if account is None:
            return
        totals.stalls += account.stalls
        totals.stall_s += account.stall_s
        totals.play_s += account.play_s
        totals.buffered_s += account.buffered_s
        totals.jumps += account.jumps
        totals.unsure_sessions += account.unsure > 0 and not account.starves
        totals.unsure += account.unsure if not account.starves else 0
        totals.unsure_s += account.unsure_s if not account.starves else 0.0
        totals.without_starvation += not account.starves
