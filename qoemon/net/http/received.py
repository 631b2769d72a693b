"""The body of a response that a client of this program receives, up to a bound."""

from __future__ import annotations

import aiohttp


async def received(response: aiohttp.ClientResponse, most_bytes: int, too_long: Exception) -> bytes:
    """The body; raises too_long as soon as there are more bytes than that."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > most_bytes:
            raise too_long
    return bytes(body)
