"""Types for URLs, without user, password or fragment."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, WithJsonSchema

from qoemon.config.yaml.section import expecting


def _url(value: str) -> str:
    expected = "a URL such as https://monitoring.example.org:9093"
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not value.isprintable() or " " in value:
        raise expecting(expected)
    if parts.username is not None or parts.fragment:
        raise expecting("a URL without user or #fragment")
    return value


def _base_url(value: str) -> str:
    if urlsplit(_url(value)).query:
        raise expecting("a URL without a query")
    return value.rstrip("/")


# writeOnly: errors do not show the URL, since it may have a token or a password.
_SCHEMA = {"type": "string", "writeOnly": True}

Url = Annotated[str, AfterValidator(_url), WithJsonSchema(_SCHEMA)]
BaseUrl = Annotated[str, AfterValidator(_base_url), WithJsonSchema(_SCHEMA)]
"""A URL to which a path can be appended: without a final slash."""
