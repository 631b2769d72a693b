"""Links of the live page: URLs of other tools, with names in braces that are replaced by values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from qoemon.common.template import template_fault
from qoemon.config.yaml.section import expecting

NAMES = ("service", "alert", "severity", "selector", "matchers")
"""Names that a link can have in braces, beside those of the labels."""

EXAMPLE = "https://grafana.example.org/d/qoemon-group-detail?var-service={service}"


def _template(value: str) -> str:
    # Values come from the wire: the first of them must be behind the host.
    fixed = value.partition("{")[0]
    try:
        parts = urlsplit(fixed)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    else:
        good = good and bool(parts.path or parts.query or parts.fragment or fixed == value)
    if not good or not value.isprintable() or " " in value:
        raise expecting(f"an http or https URL with names in braces behind its host, such as {EXAMPLE}")
    if parts.username is not None:
        raise expecting("a URL without user")
    return value


LinkTemplate = Annotated[str, AfterValidator(_template)]


def link_fault(template: str, labels: Sequence[str]) -> str | None:
    """What was expected of a link, given the names of the labels; None if it is valid."""
    return template_fault(template, dict.fromkeys((*labels, *NAMES), "text"))
