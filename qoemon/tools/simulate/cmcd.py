"""Converts what simulated viewers live through to records of CMCD version 2, as hls.js sends them.

A player reports each change of its state at once (`e=ps`) and a heartbeat (`e=t`) each interval. In an outage it
reports nothing, and when it is over what has changed. A session that ends reports that the media ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qoemon.tools.simulate.load import Message, ReportMessages

if TYPE_CHECKING:
    from qoemon.tools.simulate.simulate import Population, Reported

CONTENT_TYPE = "application/cmcd"

STARTUP_MEAN_S = 1.2
STARTUP_SIGMA = 0.5
"""Mean of the time from the start to the first picture, and standard deviation of its log."""

_BEAT_EARLY_S = 0.25
"""A report that comes so much too early is a heartbeat nevertheless: the steps of the population are coarse."""


@dataclass
class _Player:
    """A player that has reported."""

    beat_s: float
    """Time of its last heartbeat, seconds since the epoch."""
    sn: int = 0
    state: str = "p"


class PlayerMessages:
    """Converts viewers' reports to CMCD, and those of readers to the wire format.

    population      with at_changes
    viewers         names of the services of viewers
    readers         makes the messages of readers; its paths and its batch are also those of viewers
    keys            values of custom keys that each record has, by key
    heartbeat_s     interval between two heartbeats of a player
    """

    def __init__(
        self,
        population: Population,
        viewers: Sequence[str],
        readers: ReportMessages,
        keys: Mapping[str, str],
        heartbeat_s: float,
        seed: int,
    ) -> None:
        self._population, self._viewers, self._readers = population, frozenset(viewers), readers
        self._keys = "".join(f'{key}="{value}",' for key, value in sorted(keys.items()))
        self._heartbeat_s = heartbeat_s
        self._rng = np.random.default_rng([seed, 1])  # Not the population's: it is the same over any transport.
        self._players: dict[str, _Player] = {}

    def of_step(self, reports: list[Reported]) -> tuple[int, Iterator[Message]]:
        """See Messages; a record counts as a report."""
        by_path: defaultdict[str, list[str]] = defaultdict(list)
        pages = []
        for reported in reports:
            if reported.service in self._viewers:
                path = self._readers.topics[reported.service].format(service=reported.service, **reported.labels)
                by_path[path] += self._records(reported)
            else:
                pages.append(reported)
        for session in self._population.gone:
            self._players.pop(session, None)
            self._population.take_changes(session)
        of_pages, messages = self._readers.of_step(pages)
        return of_pages + sum(map(len, by_path.values())), self._messages(by_path, messages)

    def _messages(self, by_path: Mapping[str, list[str]], of_pages: Iterator[Message]) -> Iterator[Message]:
        batch = self._readers.batch
        for path, records in by_path.items():
            for start in range(0, len(records), batch):
                part = records[start : start + batch]
                yield Message(path, ("\n".join(part) + "\n").encode(), len(part), CONTENT_TYPE)
        yield from of_pages

    def _records(self, reported: Reported) -> Iterator[str]:
        """What the player sends now: its changes since it last reported, and a heartbeat if it is due."""
        report = reported.report
        session, now_s = report["session"], report["ts"]
        player = self._players.get(session)
        if player is None:
            begun_s = now_s - report["play_s"] - report["stall_s"]
            player = self._players[session] = _Player(beat_s=now_s)
            startup_s = STARTUP_MEAN_S * self._rng.lognormal(-(STARTUP_SIGMA**2) / 2, STARTUP_SIGMA)
            yield self._record(session, player, "ps", begun_s - startup_s, "s")
            yield self._record(session, player, "pr", begun_s - startup_s, "s", ",pr=1")
            yield self._record(session, player, "ps", begun_s, "p")
        for change in self._population.take_changes(session):
            yield self._record(session, player, "ps", change.time_s, "r" if change.waiting else "p")
        if report.get("end"):
            yield self._record(session, player, "ps", now_s, "e")
        elif now_s - player.beat_s >= self._heartbeat_s - _BEAT_EARLY_S:
            player.beat_s = now_s
            yield self._record(session, player, "t", now_s, player.state)

    def _record(self, session: str, player: _Player, event: str, time_s: float, state: str, rate: str = "") -> str:
        buffer_ms = 0 if state in "sr" else 12_000
        player.state, sn, player.sn = state, player.sn, player.sn + 1
        return (
            f'bl=({buffer_ms}),br=(2400),cid="simulated",{self._keys}e={event}{rate},sf=h,sid="{session}",sn={sn},'
            f"st=v,sta={state},ts={round(1000 * time_s)},v=2"
        )
