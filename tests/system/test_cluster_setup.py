"""A driver that cannot run as it is configured says why in one line and ends with exit code 2; one that cannot run
now waits, says for what, and continues.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
import venv
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

import qoemon
from qoemon.config.config import Config
from qoemon.tools.ports import unused_port
from tests.support.cluster import (
    PARTITIONS,
    TICK_S,
    TOPIC,
    Driver,
    KafkaStream,
    figures,
    figures_of,
    running,
    settings,
    undisturbed,
)
from tests.support.kafka import running_kafka
from tests.support.parts import ROOT
from tests.support.patience import TEST_S, WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qoemon.tools.cluster.kafka import Kafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(2 * TEST_S)]


def refused(directory: Path, told: Mapping[str, Any], **environment: str) -> str:
    """The one line with which `qoemon run` ends, with exit code 2."""
    command = Driver(directory, told, "refused").command()
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=TEST_S, check=False
    )
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "\tat " not in ended.stderr, "the stack of a JVM"
    *before, last = ended.stderr.splitlines()
    assert last.startswith("qoemon: "), ended.stderr
    assert not any(line.startswith("qoemon: ") or " ERROR " in line for line in before), ended.stderr
    return last


@pytest.fixture(scope="module")
def reports(kafka: Kafka) -> Kafka:
    """A Kafka with the topic of the reports."""
    kafka.create_topic(TOPIC, PARTITIONS)
    return kafka


@pytest.fixture
def away(tmp_path: Path) -> Any:
    """Settings with a Kafka that is never reached."""

    class Away:
        brokers = (f"127.0.0.1:{unused_port()}",)

    return settings(tmp_path, Away())  # type: ignore[arg-type]


# What needs neither Kafka nor Spark.


def test_without_pyspark_it_says_what_to_install(tmp_path: Path, away: Any) -> None:
    (tmp_path / "path/pyspark").mkdir(parents=True)
    (tmp_path / "path/pyspark/__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'pyspark'\", name='pyspark')\n"
    )
    line = refused(tmp_path, away, PYTHONPATH=str(tmp_path / "path"))
    assert "needs the Python package pyspark" in line
    assert line.endswith("pip install 'qoemon[spark]'")


def test_without_java_it_says_what_to_install(tmp_path: Path, away: Any) -> None:
    line = refused(tmp_path, away, JAVA_HOME=str(tmp_path))
    assert f"JAVA_HOME is {tmp_path}, where there is no bin/java" in line
    assert "apt-get install default-jre-headless" in line


def test_a_java_that_is_too_old_is_named(tmp_path: Path, away: Any) -> None:
    java = tmp_path / "bin/java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.25\" 2024-10-15' >&2\n")
    java.chmod(0o755)
    assert f"{java} is Java 11, which is too old" in refused(tmp_path, away, JAVA_HOME=str(tmp_path))


def test_without_a_state_directory_it_says_that_it_needs_one(tmp_path: Path, away: Any) -> None:
    line = refused(tmp_path, {**away, "state": {}}, STATE_DIRECTORY="")
    assert "set state.dir" in line


# What needs Kafka only.


def test_a_topic_that_is_missing_is_named(tmp_path: Path, reports: Kafka) -> None:
    line = refused(tmp_path, settings(tmp_path, reports, kafka={"topic": "not-there"}))
    assert "topic not-there" in line


def test_a_topic_with_too_few_partitions_is_named(tmp_path: Path, reports: Kafka) -> None:
    line = refused(tmp_path, settings(tmp_path, reports, kafka={"partitions": 7}))
    assert f"topic {TOPIC}" in line
    assert str(PARTITIONS) in line
    assert "7" in line


def test_a_master_that_does_not_answer_is_waited_for(tmp_path: Path, reports: Kafka) -> None:
    port = unused_port()
    with Driver(tmp_path, settings(tmp_path, reports, engine={"master": f"spark://127.0.0.1:{port}"})) as driver:
        said = driver.unready(f"Spark's master does not answer (127.0.0.1:{port}: connection refused)")
        assert "is it started" in said
        assert driver.signal(signal.SIGTERM) == 0


# What needs Spark.


def test_a_checkpoint_that_cannot_be_written_is_named(tmp_path: Path, reports: Kafka) -> None:
    (tmp_path / "file").write_text("")
    line = refused(tmp_path, settings(tmp_path, reports, engine={"checkpoint": f"{tmp_path}/file/checkpoint"}))
    assert f"cannot use the checkpoint {tmp_path}/file/checkpoint: " in line
    assert "set engine.checkpoint to a place" in line


def test_a_wrong_option_of_spark_is_named(tmp_path: Path, reports: Kafka) -> None:
    options = {"spark.executor.memory": "lots"}
    line = refused(tmp_path, settings(tmp_path, reports, engine={"options": options}))
    assert "engine.options spark.executor.memory: " in line


@pytest.mark.parametrize("other", ["", "9.9.9"])
def test_executors_without_this_qoemon_are_named(tmp_path: Path, reports: Kafka, other: str) -> None:
    python = tmp_path / "venv"
    venv.create(python, symlinks=True)
    if other:
        [packages] = python.glob("lib/python*/site-packages")
        (packages / f"qoemon-{other}.dist-info").mkdir()
        (packages / f"qoemon-{other}.dist-info/METADATA").write_text(
            f"Metadata-Version: 2.1\nName: qoemon\nVersion: {other}\n"
        )
    line = refused(tmp_path, settings(tmp_path, reports), PYSPARK_PYTHON=str(python / "bin/python"))
    has = f"qoemon {other}" if other else "no qoemon"
    assert f"executors have {has}, this driver is qoemon {qoemon.__version__}" in line
    assert "spark.pyspark.python" in line


def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path, reports: Kafka) -> None:
    told = settings(tmp_path, reports)
    with Driver(tmp_path, told) as driver:
        driver.ready()
        # Without a batch there is nothing that another configuration could contradict.
        until(lambda: "batch 0 is stored" in driver.log.read_text(), driver.log.read_text)
        assert driver.signal(signal.SIGTERM) == 0
    fresh = {"state": {"dir": str(tmp_path / "fresh")}}
    assert "engine.shards is 5" in refused(tmp_path, settings(tmp_path, reports, engine={"shards": 5}))
    line = refused(tmp_path, {**settings(tmp_path, reports, engine={"shards": 5}), **fresh})
    assert f"the checkpoint {tmp_path}/checkpoint cannot be continued" in line
    assert "among 4 shards, and engine.shards is 5" in line
    sessions = {**told["sessions"], "tick": "5s"}
    line = refused(tmp_path, {**told, "sessions": sessions})
    assert "a tick every 2 s, and sessions.tick is 5 s" in line
    line = refused(tmp_path, {**told, "windows": ["10s", "2m"]})
    assert "stored with another configuration: timing differ: set it back, or set another engine.checkpoint" in line
    # All of that has changed nothing.
    with Driver(tmp_path, told) as driver:
        driver.ready()
        assert "reset" not in driver.log.read_text().split("serving on")[-1]


async def test_offsets_that_are_gone_are_named(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    with running_kafka(tmp_path / "kafka") as kafka:
        kafka.create_topic(TOPIC, PARTITIONS)
        told = settings(tmp_path, kafka)
        with Driver(tmp_path, told) as driver:
            await asyncio.to_thread(driver.ready)
            assert driver.signal(signal.SIGTERM) == 0
        stream = KafkaStream(Config.model_validate(told), kafka)
        for _ in range(20):
            await stream._publish(*stream._batch())
        await stream.close()
        admin = AdminClient({"bootstrap.servers": ",".join(kafka.brokers)})
        for gone in admin.delete_records([TopicPartition(TOPIC, 0, 2)]).values():
            gone.result()
        line = await asyncio.to_thread(refused, tmp_path, told)
    assert f"partition 0 of topic {TOPIC}" in line
    assert "retention" in line
    assert "set another engine.checkpoint" in line


async def test_without_kafka_it_waits_and_continues_exactly(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    with running_kafka(tmp_path / "kafka") as kafka:
        kafka.create_topic(TOPIC, PARTITIONS)
        kafka.kill(1)
        told = settings(tmp_path, kafka)
        config = Config.model_validate(told)
        with Driver(tmp_path, told) as driver:
            await asyncio.to_thread(driver.unready, f"cannot reach Kafka at {kafka.brokers[0]}: ")
            kafka.start(1)
            await asyncio.to_thread(driver.ready)
            stream = KafkaStream(config, kafka)
            streaming = asyncio.create_task(stream.run())
            await asyncio.to_thread(driver.passes, time.time() + 2 * TICK_S)
            kafka.kill(1)
            await asyncio.to_thread(
                driver.unready, f"Kafka at {kafka.brokers[0]} does not answer for topic {TOPIC}: "
            )
            await asyncio.to_thread(kafka.start, 1)
            await asyncio.to_thread(driver.ready)
            stream.stopped = True
            await streaming
            await stream.close()
            await asyncio.to_thread(driver.passes, time.time() + TICK_S)
            snapshot, metrics = await asyncio.to_thread(figures, driver)
            *_, last = undisturbed(config, kafka, driver.first_s, snapshot["time_s"])
            assert (snapshot, {key: metrics.get(key) for key in figures_of(last)[1]}) == figures_of(last)
            assert snapshot["events"]["reports"] == stream.reports
            assert "Traceback" not in driver.log.read_text()


def test_sigterm_ends_it_while_spark_starts(tmp_path: Path, reports: Kafka) -> None:
    with Driver(tmp_path, settings(tmp_path, reports)) as driver:
        driver.unready("starting Spark")
        until(driver.jvms)
        _ends(driver)


def test_sigterm_ends_it_while_batches_run(tmp_path: Path, reports: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(WAIT_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with Driver(tmp_path, settings(tmp_path, reports)) as driver:
            assert b"READY=1" in systemd.recv(4096)
            driver.ready()
            _ends(driver)
            assert b"STOPPING=1" in systemd.recv(4096)


def test_a_jvm_that_is_killed_ends_the_driver(tmp_path: Path, reports: Kafka) -> None:
    with Driver(tmp_path, settings(tmp_path, reports)) as driver:
        driver.ready()
        [jvm] = driver.jvms()
        os.kill(jvm, signal.SIGKILL)
        assert driver.ended() == 1
        assert "\nqoemon: the JVM of Spark's driver has ended" in driver.log.read_text()


def _ends(driver: Driver) -> None:
    """SIGTERM, which systemd sends to the JVM as well, ends it and all that it has started, quietly."""
    jvms, log = driver.jvms(), driver.log.read_text()
    for jvm in jvms:
        os.kill(jvm, signal.SIGTERM)
    assert driver.signal(signal.SIGTERM) == 0
    until(lambda: not any(map(running, jvms)))
    after = driver.log.read_text().removeprefix(log)
    assert "Traceback" not in after
    assert "ERROR" not in after
    assert "WARNING" not in after
