"""Checks passwords against bcrypt hashes, off the event loop and one at a time.

bcrypt takes some 70 ms of a core by design. So a correct password is remembered, as a digest that is of no use
outside this process, and a scrape every few seconds costs nothing. A wrong one is never remembered: each guess
takes the whole time, one after the other for all clients.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Mapping

import bcrypt

WAITING = 32
"""Checks that may be pending. More are refused, or guesses would delay all others for minutes."""

REMEMBERED = 1000
"""Correct passwords."""

_MOST_BYTES = 72
"""bcrypt uses no more of a password; nor do the tools that make the hashes."""


class BusyError(Exception):
    """Too many password checks are pending."""


class Passwords:
    """Checks and remembers passwords, in one event loop."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._correct: set[bytes] = set()
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def accepts(self, users: Mapping[str, str], name: str, password: str) -> bool:
        """Whether this is the user's password. Takes the same time for an unknown user.

        users    bcrypt hashes by name
        raises   BusyError if too many checks are pending
        """
        hashed = users.get(name) or _unmatchable(users)
        digest = self._digest(name, hashed, password)
        if digest in self._correct:
            return True
        correct = await self._check(password, hashed) and name in users
        if correct:
            if len(self._correct) >= REMEMBERED:
                self._correct.clear()
            self._correct.add(digest)
        return correct

    async def _check(self, password: str, hashed: str) -> bool:
        if self._waiting >= WAITING:
            raise BusyError
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(_matches, password, hashed)
        finally:
            self._waiting -= 1

    def _digest(self, *parts: str) -> bytes:
        digests = b"".join(hashlib.sha256(part.encode(errors="surrogatepass")).digest() for part in parts)
        return hmac.digest(self._key, digests, "sha256")


def _matches(password: str, hashed: str) -> bool:
    try:
        return bcrypt.checkpw(password.encode()[:_MOST_BYTES], hashed.encode())
    except ValueError:  # Such as a NUL, which some versions of bcrypt reject.
        return False


def _unmatchable(users: Mapping[str, str]) -> str:
    """A hash that no password matches, with the highest cost among the users' hashes."""
    cost = max(hashed[4:6] for hashed in users.values())
    return f"$2b${cost}${'.' * 53}"
