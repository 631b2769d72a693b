"""Which pages may post, and what tells their browsers so (CORS, and access to private networks).

Errors have the same headers as success: without them a player sees nothing but a network error.
"""

from __future__ import annotations

from qoemon.net.http.answers import Fields

_PREFLIGHT = (
    ("Access-Control-Allow-Methods", "POST, OPTIONS"),
    (
        "Access-Control-Allow-Headers",
        "Content-Type, Authorization, CMCD-Request, CMCD-Object, CMCD-Status, CMCD-Session",
    ),
    ("Access-Control-Max-Age", "7200"),
)
"""7200 s is the longest that Chromium accepts."""

_PRIVATE = (("Access-Control-Allow-Private-Network", "true"),)

_VARY = (("Vary", "Origin"),)


class CrossOrigin:
    """The headers for some origins.

    origins  those whose pages may post, in lower case; * among them for all
    """

    def __init__(self, origins: frozenset[str]) -> None:
        self._all = "*" in origins
        self._fields: dict[bytes, Fields] = {
            origin.encode(): (("Access-Control-Allow-Origin", origin), *_VARY) for origin in origins
        }
        self._others: Fields = (("Access-Control-Allow-Origin", "*"),) if self._all else _VARY

    def fields(self, origin: bytes | None) -> Fields:
        """Headers of every answer to a page of this origin; None for clients that are not pages."""
        if self._all or origin is None:
            return self._others
        return self._fields.get(origin.lower(), self._others)

    def permits(self, origin: bytes | None) -> bool:
        """Whether a page of this origin may post. Other clients may."""
        return self._all or origin is None or origin.lower() in self._fields

    def preflight(self, origin: bytes | None, *, private: bool) -> Fields:
        """Headers of the answer to a preflight.

        private  whether the page asks for access to a private network
        """
        if not self.permits(origin):
            return self.fields(origin)
        return (*self.fields(origin), *_PREFLIGHT, *(_PRIVATE if private else ()))
