"""The history survives kills and restarts, and counts every page load once: the whole daemon, on a real broker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.publish import single

from tests.support.parts import Daemon, Mosquitto
from tests.support.patience import TEST_S, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(2 * TEST_S)]


def settings(broker: Mosquitto, directory: Path | None, **more: Any) -> dict[str, Any]:
    return {
        "mqtt": {"host": "127.0.0.1", "port": broker.port, "client_id": "kept"},
        "sessions": {"tick": "1s", "rating_interval": "5s", "timeout": "5s", "min_active": "1s"},
        "windows": ["5s"],
        "state": {"dir": str(directory), "checkpoint": "60s"} if directory else {},
        **more,
    }


def load(broker: Mosquitto, region: str, name: str, number: int) -> None:
    """Report so many page loads, each of another user."""
    pages = [
        {"session": f"{region} {name} {page}", "seq": 1, "response_s": 0.5 + page / 100} for page in range(number)
    ]
    topic = f"qoe/v1/web/{region}/a"
    single(topic, json.dumps(pages), qos=1, hostname="127.0.0.1", port=broker.port)


def history(daemon: Daemon, query: str = "by=region") -> Any:
    answer = daemon.get(f"/api/v1/history?service=web&from=0&step=1m&{query}")
    return json.loads(answer.body) if answer.status == 200 else {"series": []}


def totals(daemon: Daemon) -> dict[str, tuple[int, int]]:
    """Observations and users by region."""
    return {
        series["labels"]["region"]: (series["total"]["observations"], series["total"]["users"])
        for series in history(daemon)["series"]
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_daemon_continues_its_history_and_counts_nothing_twice(tmp_path: Path, workers: int) -> None:
    with Mosquitto(tmp_path) as broker:
        daemon = Daemon(tmp_path, settings(broker, tmp_path / "state", workers=workers))
        with daemon:
            daemon.ready()
            load(broker, "eu", "first", 40)
            load(broker, "us", "first", 10)
            until(lambda: totals(daemon) == {"eu": (40, 40), "us": (10, 10)}, lambda: str(totals(daemon)))
            daemon.kill()
            daemon.start()
            daemon.ready()
            load(broker, "eu", "second", 30)
            until(lambda: totals(daemon) == {"eu": (70, 70), "us": (10, 10)}, lambda: str(totals(daemon)))
            written = daemon.value("qoemon_history_intervals_total")
            until(lambda: daemon.value("qoemon_history_intervals_total") > written + 2, daemon.log.read_text)
            assert totals(daemon) == {"eu": (70, 70), "us": (10, 10)}
            assert history(daemon)["kept_s"] == 30 * 86_400
            assert daemon.value("qoemon_history_bytes") > 0
            assert daemon.value("qoemon_history_intervals_total") > 0
            assert daemon.value("qoemon_history_failures_total") == 0
            daemon.restart()
            daemon.ready()
            assert totals(daemon) == {"eu": (70, 70), "us": (10, 10)}
        assert (tmp_path / "state" / "history.sqlite3").exists()


def test_another_number_of_workers_keeps_the_history(tmp_path: Path) -> None:
    """Sessions are divided differently, so their state is reset; what has been is not."""
    with Mosquitto(tmp_path) as broker:
        with Daemon(tmp_path, settings(broker, tmp_path / "state")) as daemon:
            daemon.ready()
            load(broker, "eu", "first", 40)
            until(lambda: totals(daemon) == {"eu": (40, 40)}, daemon.log.read_text)
        with Daemon(tmp_path, settings(broker, tmp_path / "state", workers=2)) as daemon:
            daemon.ready()
            load(broker, "eu", "second", 20)
            until(lambda: totals(daemon) == {"eu": (60, 60)}, lambda: f"{totals(daemon)} {daemon.log.read_text()}")


def test_without_a_state_directory_the_last_hour_is_answered_from_memory(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Daemon(tmp_path, settings(broker, None)) as daemon:
        daemon.ready()
        load(broker, "eu", "first", 40)
        until(lambda: totals(daemon) == {"eu": (40, 40)}, daemon.log.read_text)
        assert history(daemon)["kept_s"] == 3600
        csv = daemon.get("/api/v1/history?service=web&by=region&format=csv")
        assert csv.content_type.startswith("text/csv")
        assert csv.body.startswith("time,time_s,region,observations,users,mos,mos_lower,mos_upper,sos,gob,")
        wrong = daemon.get("/api/v1/history?service=tv")
        assert (wrong.status, wrong.body) == (400, "service is 'tv', expected one of video, web\n")
