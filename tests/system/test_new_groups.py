"""New groups in a real Prometheus: increase() has their first ratings, too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from tests.support.parts import Prometheus
from tests.support.patience import WAIT_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.parts import Daemon, Mosquitto

INTERVAL_S = 5
SETTINGS = {
    "sessions": {"tick": "1s", "rating_interval": f"{INTERVAL_S}s", "timeout": "5s", "min_active": "1s"},
    "windows": [f"{INTERVAL_S}s", "15s"],
    "alerts": [],
}
PAGES = 10
COUNTERS = ("qoemon_expected_ratings_total", "qoemon_response_seconds_count")


def pages(group: str) -> bytes:
    """Page loads of as many users."""
    reports: list[dict[str, Any]] = [
        {"session": f"{group}-{number}", "seq": 0, "response_s": 0.1 + number / 10} for number in range(PAGES)
    ]
    return json.dumps(reports).encode()


@pytest.mark.mosquitto
@pytest.mark.prometheus
async def test_the_increase_of_a_new_group_is_the_number_of_its_ratings(
    tmp_path: Path, mosquitto: Mosquitto, start_daemon: Callable[..., Daemon]
) -> None:
    """At whatever time of the rating interval it begins: a group begins in each tick of more than an interval."""
    daemon = start_daemon({"mqtt": {"host": "127.0.0.1", "port": mosquitto.port}, **SETTINGS}).ready()
    groups = [f"g{number}" for number in range(INTERVAL_S + 2)]
    with Prometheus(tmp_path, {"qoemon": daemon.port}) as prometheus:
        await until(lambda: prometheus.query("qoemon_snapshot_timestamp_seconds"))
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=WAIT_S) as client:
            for group in groups:
                tick_s = daemon.value("qoemon_snapshot_timestamp_seconds")
                await until(lambda tick_s=tick_s: daemon.value("qoemon_snapshot_timestamp_seconds") > tick_s)
                await client.publish(f"qoe/v1/web/{group}/a", pages(group), 1)

        def by_region(promql: str) -> dict[str, float]:
            found = prometheus.query(f"sum by (region) ({promql})")
            return {series["metric"]["region"]: float(series["value"][1]) for series in found}

        whole = dict.fromkeys(groups, pytest.approx(PAGES))
        for counter in COUNTERS:
            await until(
                lambda counter=counter: by_region(counter) == whole, lambda counter=counter: by_region(counter)
            )
            # increase() extrapolates by at most half a scrape interval.
            increase = by_region(f"increase({counter}[2m])")
            assert increase == pytest.approx(dict.fromkeys(groups, PAGES), rel=0.1), counter
    told = daemon.snapshot()["services"][-1]
    assert {group["labels"]["region"]: sum(group["expected_ratings"].values()) for group in told["groups"]} == whole


@pytest.mark.mosquitto
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_group_that_was_silent_frees_its_place_and_its_counters_leave(
    workers: int, mosquitto: Mosquitto, start_daemon: Callable[..., Daemon]
) -> None:
    """With room for one group, a second one is pooled, and a third one is not."""
    settings = SETTINGS | {
        "mqtt": {"host": "127.0.0.1", "port": mosquitto.port},
        "workers": workers,
        "limits": {"groups": 1, "group_idle": "5s"},
    }
    daemon = start_daemon(settings).ready()

    def counted() -> dict[str, float]:
        found = [(dict(labels), name, value) for (name, labels), value in daemon.samples().items()]
        return {of["region"]: value for of, name, value in found if name == "qoemon_response_seconds_count"}

    async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=WAIT_S) as client:
        await client.publish("qoe/v1/web/first/a", pages("first"), 1)
        await until(lambda: "first" in counted(), counted)
        await client.publish("qoe/v1/web/second/a", pages("second"), 1)
        await until(lambda: counted() == {"first": PAGES, "other": PAGES}, counted)
        await until(lambda: not counted(), counted)
        await client.publish("qoe/v1/web/third/a", pages("third"), 1)
        await until(lambda: counted() == {"third": PAGES}, counted)
