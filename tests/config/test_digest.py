"""Digests of sections tell two configurations apart, and show nothing of them."""

from __future__ import annotations

from typing import Any

import pytest

from qoemon.config.config import Config
from qoemon.config.digest import SECTIONS, digests


def test_only_the_section_that_differs_has_another_digest() -> None:
    one = Config.model_validate({})
    other = Config.model_validate({"sessions": {"timeout": "90s"}, "http": {"port": 1}})
    differing = [name for name, digest in digests(one).items() if digest != digests(other)[name]]
    assert differing == ["sessions"]


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"mqtt": {"topics": [{"template": "a/{service}/{region}/{cdn}"}]}}, "mqtt.topics"),
        ({"notify": {"webhooks": [{"url": "https://other.example.org/t0ken"}]}}, "notify"),
        ({"notify": {"expire": "5m"}}, "notify"),
    ],
)
def test_what_is_read_and_who_is_notified_is_compared(changed: dict[str, Any], name: str) -> None:
    one, other = digests(Config.model_validate({})), digests(Config.model_validate(changed))
    assert [each for each in one if one[each] != other[each]] == [name]


def test_what_only_one_daemon_has_is_not_compared() -> None:
    """Each has a client id of its own, and the path of a receiver may be a token, which is renewed in one first."""
    configs = [
        {
            "mqtt": {"client_id": f"qoemon-{name}"},
            "notify": {"webhooks": [{"url": f"https://hook.example.org/{name}"}, {"url": "https://b.example.org"}]},
        }
        for name in "ab"
    ]
    configs[1]["notify"]["webhooks"].reverse()
    one, other = (digests(Config.model_validate(each)) for each in configs)
    assert one == other


def test_each_section_exists() -> None:
    assert set(SECTIONS) <= set(Config.model_fields)
