"""Metrics and URLs of the daemon; its behaviour is in the end-to-end tests."""

from __future__ import annotations

import socket

import pytest

from qoemon.config.config import Config
from qoemon.daemon.daemon import public_url

NAME = socket.gethostname()
ALL = "0.0.0.0"  # noqa: S104 - nothing is bound


@pytest.mark.parametrize(
    ("http", "public"),
    [
        ({}, "http://127.0.0.1:9877"),
        ({"host": "::1"}, "http://[::1]:9877"),
        ({"host": "qoemon.example.org"}, "http://qoemon.example.org:9877"),
        ({"host": ALL}, f"http://{NAME}:9877"),
        ({"host": "::"}, f"http://{NAME}:9877"),
        ({"host": "0:0:0:0:0:0:0:0"}, f"http://{NAME}:9877"),
        ({"host": ALL, "url": "https://qoe.example.org/monitoring/"}, "https://qoe.example.org/monitoring"),
        ({"url": "http://qoe.example.org"}, "http://qoe.example.org"),
    ],
)
def test_notices_link_to_where_others_reach_the_daemon(http: dict[str, str], public: str) -> None:
    assert public_url(Config.model_validate({"http": http}).http, "http", 9877) == public
