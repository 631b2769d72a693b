"""Fixtures that all tests share: brokers, each started for the test that asks for it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.parts import Alertmanager, Daemon, Mosquitto, Nats
from tests.support.parts import unused_port as find_unused_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any


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


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts `qoemon run` with some settings, and a name if it is not the only one; ends them all with the test."""
    with ExitStack() as daemons:

        def start(settings: dict[str, Any], name: str = "qoemon") -> Daemon:
            return daemons.enter_context(Daemon(tmp_path, settings, name))

        yield start


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Alertmanager]:
    """An Alertmanager that notifies nobody."""
    with Alertmanager(tmp_path) as part:
        yield part
