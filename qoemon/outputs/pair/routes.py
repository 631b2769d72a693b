"""The route through which the other daemon of a pair asks for the standing of this one."""

from __future__ import annotations

import msgspec
from aiohttp import web

from qoemon.outputs.pair.pair import Pair
from qoemon.outputs.pair.standing import PATH

DIGITS = 16
"""Of the largest stamp."""


def add_pair(app: web.Application, pair: Pair) -> None:
    """Add the route."""

    async def standing(request: web.Request) -> web.Response:
        text = request.query.get("known", "")
        known = int(text) if text.isdecimal() and len(text) <= DIGITS else None
        body = msgspec.json.encode(await pair.standing(request.query.get("after", ""), known))
        return web.Response(body=body, content_type="application/json")

    app.add_routes([web.get(PATH, standing)])
