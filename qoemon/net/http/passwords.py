"""Checks passwords against bcrypt hashes, off the event loop and one at a time.

bcrypt takes a core for some 70 ms by design. So a password that was right is remembered, by a digest that is of no
use outside this process, and a scrape every few seconds costs nothing. A wrong one is never remembered: each guess
costs the whole time, one guess after the other, whoever they come from.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Mapping

import bcrypt

WAITING = 32
"""So many checks may wait for their turn; more are turned away, or guesses would hold up all others for minutes."""

REMEMBERED = 1000

_MOST_BYTES = 72
"""bcrypt looks at no more of a password; nor do the tools that made the hash."""


class BusyError(Exception):
    """Too many passwords wait for their check."""


class Passwords:
    """Which passwords are right; belongs to one event loop."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._right: set[bytes] = set()
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def accepts(self, users: Mapping[str, str], name: str, password: str) -> bool:
        """Whether this is the user's password. It takes the same time for a user who does not exist.

        users    bcrypt hashes by name
        raises   BusyError if too many checks wait
        """
        hashed = users.get(name) or _nobody(users)
        digest = self._digest(name, hashed, password)
        if digest in self._right:
            return True
        right = await self._check(password, hashed) and name in users
        if right:
            if len(self._right) >= REMEMBERED:
                self._right.clear()
            self._right.add(digest)
        return right

    async def _check(self, password: str, hashed: str) -> bool:
        if self._waiting >= WAITING:
            raise BusyError
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(_is_right, password, hashed)
        finally:
            self._waiting -= 1

    def _digest(self, *parts: str) -> bytes:
        told = b"".join(hashlib.sha256(part.encode(errors="surrogatepass")).digest() for part in parts)
        return hmac.digest(self._key, told, "sha256")


def _is_right(password: str, hashed: str) -> bool:
    try:
        return bcrypt.checkpw(password.encode()[:_MOST_BYTES], hashed.encode())
    except ValueError:  # Such as a NUL, where bcrypt does not take it.
        return False


def _nobody(users: Mapping[str, str]) -> str:
    """A hash that no password has, as costly as the costliest of the users'."""
    cost = max(hashed[4:6] for hashed in users.values())
    return f"$2b${cost}${'.' * 53}"
