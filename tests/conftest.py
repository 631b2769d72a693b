"""Fixtures that all tests share: brokers, each started for the test that asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.parts import Mosquitto, Nats
from tests.parts import unused_port as find_unused_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A mosquitto that anyone may use."""
    with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Nats]:
    """A nats-server with its MQTT listener, which anyone may use."""
    with Nats(tmp_path) as broker:
        yield broker


@pytest.fixture
def unused_port() -> int:
    """A loopback port where nothing listens."""
    return find_unused_port()
