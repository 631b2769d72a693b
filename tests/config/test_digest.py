"""Digests of sections tell two configurations apart, and show nothing of them."""

from __future__ import annotations

from qoemon.config.config import Config
from qoemon.config.digest import SECTIONS, digests


def test_only_the_section_that_differs_has_another_digest() -> None:
    one = Config.model_validate({})
    other = Config.model_validate({"sessions": {"timeout": "90s"}, "http": {"port": 1}})
    differing = [name for name, digest in digests(one).items() if digest != digests(other)[name]]
    assert differing == ["sessions"]


def test_each_section_exists() -> None:
    assert set(SECTIONS) <= set(Config.model_fields)
