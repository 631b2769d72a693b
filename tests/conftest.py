"""Fixtures that all tests share: brokers, each started for the test that asks for it; and limits of all tests."""

from __future__ import annotations

import logging
import os
import signal
from collections import defaultdict
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support.parts import Alertmanager, Daemon, Mosquitto, Nats
from tests.support.parts import unused_port as find_unused_port
from tests.support.patience import TEST_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from qoemon.tools.cluster.kafka import Kafka

# The same examples in each run, so that a change is judged by what it changes; `make explore` looks for new ones.
settings.register_profile("qoemon", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("explore", settings.get_profile("qoemon"), derandomize=False, max_examples=1000)
settings.load_profile("qoemon")

# A shell that runs the tests in the background has them ignore Ctrl-C, and so all programs that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# In debug mode the event loop logs each callback that takes 100 ms: a finding about the machine, not the code.
logging.getLogger("asyncio").addFilter(lambda record: record.msg != "Executing %s took %.3f seconds")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker more than cores: tests of whole processes wait for half of their time."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Limit each test, unless it has its own limit or the command line gives one; long files come first.

    The workers take files in this order. A file that may take long and comes last would run alone. So those whose
    single tests may take longest come first, and among these those with most tests.
    """
    limits_s: defaultdict[Path, list[float]] = defaultdict(list)
    for item in items:
        marker = item.get_closest_marker("timeout")
        if marker is None and config.getoption("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_S))
        limits_s[item.path].append(TEST_S if marker is None else marker.args[0])
    items.sort(key=lambda item: (-max(limits_s[item.path]), -sum(limits_s[item.path])))


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


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A Kafka of one node, without topics."""
    from tests.support.kafka import running_kafka  # noqa: PLC0415 - librdkafka, for few tests

    with running_kafka(tmp_path_factory.mktemp("kafka")) as node:
        yield node
