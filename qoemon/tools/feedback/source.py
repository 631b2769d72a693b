"""Where feedback is read from: a running daemon, or a recording that is replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import aiohttp
import msgspec

from qoemon.core.evaluation import Tick
from qoemon.outputs.feedback_answers import answers_json
from qoemon.outputs.snapshot_json import rolled_up, snapshot_json
from qoemon.tools.feedback.documents import Answers, Figures, Snapshot, decoded
from qoemon.tools.fetch import ANSWER_S, AnswerError, address_of, get
from qoemon.tools.recordings.progress import progress_bar, warn_if_cut
from qoemon.tools.recordings.recording import RecordingError
from qoemon.tools.recordings.replay import ticks

if TYPE_CHECKING:
    from yarl import URL

    from qoemon.config.config import Config
    from qoemon.tools.recordings.recording import Recording

SNAPSHOT, ANSWERS = "/api/v1/snapshot", "/api/v1/feedback"


class ServiceError(Exception):
    """The service cannot be chosen; the message says which there are."""


class NoRatingsError(Exception):
    """There are no ratings yet; the message says what to do."""


class Source(Protocol):
    """Has what the users of all services said."""

    @property
    def name(self) -> str:
        """The daemon or the file, for a message."""

    def snapshot(self) -> bytes:
        """A snapshot of whole services, as JSON."""

    def answers(self, service: str) -> bytes:
        """The answers of the users of a service, as JSON."""


class DaemonSource:
    """A running daemon.

    raises  QueryError if the URL is none; in all calls, AnswerError if the daemon does not answer as expected
    """

    def __init__(self, url: str) -> None:
        self._snapshot = address_of(url, SNAPSHOT).update_query(by="")
        self._answers = address_of(url, ANSWERS)
        self.name = str(self._answers.with_user(None).origin())

    def snapshot(self) -> bytes:
        """See Source."""
        return self._fetch(self._snapshot)

    def answers(self, service: str) -> bytes:
        """See Source."""
        return self._fetch(self._answers.update_query(service=service))

    def _fetch(self, address: URL) -> bytes:
        async def fetched() -> bytes:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as client:
                return (await get(client, address)).body

        try:
            return asyncio.run(fetched())
        except AnswerError as error:
            shown = address.with_user(None)
            raise AnswerError(f"no feedback from {shown}: {error}; expected a running qoemon there") from None


class RecordingSource:
    """A recording, which is replayed at once; RecordingError if it has no tick, or cannot be read."""

    def __init__(self, recording: Recording, config: Config) -> None:
        self.name, newest = str(recording.path), None
        with progress_bar(recording, "replaying") as progress:
            for replayed in ticks(recording, config, progress):
                newest = replayed.tick
        warn_if_cut(recording)
        if newest is None:
            raise RecordingError(f"{recording.path}: has no messages, expected a recording of some ticks")
        self._newest: Tick = newest

    def snapshot(self) -> bytes:
        """See Source."""
        return b"".join(snapshot_json(*rolled_up(*self._newest, ())))

    def answers(self, service: str) -> bytes:
        """See Source."""
        return b"".join(answers_json(self._newest.snapshot, service))


class Feedback:
    """The feedback of one service.

    service  its name
    figures  of the last days
    raw      the same as JSON
    """

    def __init__(self, source: Source, service: str | None) -> None:
        """The service may be left out if only one has ratings.

        raises  ServiceError if there is no such service, or which is meant is not clear
        """
        self._source = source
        body = source.snapshot()
        found = {each.service: each.feedback for each in decoded(body, Snapshot).services if each.feedback}
        self.service = _chosen(service, found, source.name)
        self.figures = found[self.service]
        self.raw = next(
            each["feedback"] for each in msgspec.json.decode(body)["services"] if each["service"] == self.service
        )

    def answers(self) -> Answers:
        """All answers that are kept; NoRatingsError if there is no rating among them."""
        answers = decoded(self._source.answers(self.service), Answers)
        if not answers.rated:
            raise NoRatingsError(
                f"service {self.service} has no ratings yet in {self._source.name}: send `rating` in "
                "reports of its sessions; it is counted within a minute"
            )
        return answers


def _chosen(wanted: str | None, found: Mapping[str, Figures], name: str) -> str:
    """The wanted service, or the only one with ratings, or the only one."""
    if wanted is not None:
        if wanted not in found:
            raise ServiceError(f"no service {wanted!r} in {name}; it has {', '.join(found) or 'none'}")
        return wanted
    rated = [service for service, figures in found.items() if figures.rated_sessions]
    some = rated or [*found]
    if len(some) == 1:
        return some[0]
    which = "have ratings" if rated else "are there, none with ratings"
    raise ServiceError(f"which service? {', '.join(some) or 'none'} {which} in {name}: name one, as SERVICE")
