"""HTTP routes of the past: ratings of any time range, and past alerts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from aiohttp import web

from qoemon.core.snapshot.past import PastError, PastRatings
from qoemon.outputs.latest import Latest
from qoemon.outputs.page.query import QueryError
from qoemon.outputs.past.document import alerts_document, ratings_csv, ratings_document
from qoemon.outputs.past.parameters import Parameters, alerts_query, format_of, ratings_query
from qoemon.outputs.past.source import PastSource
from qoemon.outputs.published import PublishedTick

MOST_QUESTIONS = 8
"""Questions that are answered at a time: each takes up to seconds, one after the other."""

NOT_STORED = {"Cache-Control": "no-store"}


class PastRoutes:
    """The handlers."""

    def __init__(self, latest: Latest, source: PastSource) -> None:
        self._latest, self._source, self._asked = latest, source, 0

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.add_routes([web.get("/api/v1/history", self.ratings), web.get("/api/v1/alerts/history", self.alerts)])

    async def ratings(self, request: web.Request) -> web.Response:
        """Ratings of a time range, as JSON or CSV; 400 with the reason for an invalid question."""
        newest, parameters = self._newest_or_503(), _parameters(request)
        with self._answering():
            query, kind = ratings_query(parameters, newest.snapshot), format_of(parameters)
            past, confidence = await self._source.ratings(query), newest.snapshot.confidence
            if kind == "csv":
                text = await asyncio.to_thread(ratings_csv, past, confidence)
                headers = NOT_STORED | {"Content-Disposition": f'attachment; filename="{_file_name(past)}"'}
                return web.Response(text=text, content_type="text/csv", headers=headers)
            body = await asyncio.to_thread(lambda: msgspec.json.encode(ratings_document(past, confidence)))
        return web.Response(body=body, content_type="application/json", headers=NOT_STORED)

    async def alerts(self, request: web.Request) -> web.Response:
        """Alerts that fired in a time range; 400 with the reason for an invalid question."""
        newest = self._newest_or_503()
        with self._answering():
            past = await self._source.alerts(*alerts_query(_parameters(request), newest.snapshot))
        body = msgspec.json.encode(alerts_document(past))
        return web.Response(body=body, content_type="application/json", headers=NOT_STORED)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn errors into answers: 400 for those of the question, 503 for those of the history."""
        if self._asked >= MOST_QUESTIONS:
            text = f"{MOST_QUESTIONS} questions about the past are being answered, which is the limit: try again\n"
            raise web.HTTPServiceUnavailable(text=text, headers={"Retry-After": "2"})
        self._asked += 1
        try:
            yield
        except (QueryError, PastError) as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        except OSError as error:
            raise web.HTTPServiceUnavailable(text=f"the history cannot be read: {error}\n") from None
        finally:
            self._asked -= 1

    def _newest_or_503(self) -> PublishedTick:
        if self._latest.value is None:
            raise web.HTTPServiceUnavailable(text="no tick has passed yet: try again in a few seconds\n")
        return self._latest.value


def _parameters(request: web.Request) -> Parameters:
    return {name: request.query.getall(name) for name in request.query}


def _file_name(past: PastRatings) -> str:
    return f"qoemon-{past.query.service}-{past.from_s}-{past.to_s}.csv"
