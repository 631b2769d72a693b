"""URLs of the configuration: web addresses without anything in them that would be told to the wrong people."""

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
        raise expecting("the URL that its pages are under, without a query")
    return value.rstrip("/")


# A URL may hold a token or a password, rightly or not: it is not shown.
_SCHEMA = {"type": "string", "writeOnly": True}

Url = Annotated[str, AfterValidator(_url), WithJsonSchema(_SCHEMA)]
BaseUrl = Annotated[str, AfterValidator(_base_url), WithJsonSchema(_SCHEMA)]
"""What a path can be added to; without a slash at its end."""
