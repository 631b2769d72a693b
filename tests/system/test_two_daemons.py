"""Two daemons at one broker, as docs/two-daemons.md describes them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from tests.support.parts import ROOT, Prometheus
from tests.support.patience import WAIT_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.parts import Daemon, Mosquitto

PAGE = (ROOT / "docs/two-daemons.md").read_text()
VIEWERS = {"eu": 3, "us": 2}


@pytest.mark.mosquitto
@pytest.mark.prometheus
async def test_both_read_all_reports_and_the_queries_of_the_page_count_each_viewer_once(
    tmp_path: Path, mosquitto: Mosquitto, start_daemon: Callable[..., Daemon]
) -> None:
    def daemon(name: str) -> Daemon:
        settings: dict[str, Any] = {
            "mqtt": {"host": "127.0.0.1", "port": mosquitto.port, "client_id": f"qoemon-{name}"},
            "sessions": {"tick": "1s", "rating_interval": "60s"},
            "windows": ["1m", "5m"],
            "state": {"dir": str(tmp_path / f"state-{name}")},
        }
        return start_daemon(settings, name).ready()

    pair = [daemon("a"), daemon("b")]
    async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=WAIT_S) as client:
        for region, viewers in VIEWERS.items():
            for viewer in range(viewers):
                report = {"session": f"{region}{viewer}", "seq": 0, "stall_count": 0, "stall_s": 0, "play_s": 10}
                await client.publish(f"qoe/v1/video/{region}/a", json.dumps(report), 1)

    def active(of: Daemon) -> float:
        return sum(value for (name, _), value in of.samples().items() if name == "qoemon_active_sessions")

    everyone = sum(VIEWERS.values())
    await until(lambda: [active(each) for each in pair] == [everyone] * 2, lambda: [active(each) for each in pair])
    (block,) = re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)
    targets = [{"targets": [f"127.0.0.1:{each.port}" for each in pair]}]
    with Prometheus(tmp_path, {"qoemon": pair[0].port}, access={"static_configs": targets}) as prometheus:
        await until(lambda: len(prometheus.query("qoemon_pow_ratio{window='1m'}")) == 2 * len(VIEWERS))
        doubled = prometheus.query("sum by (service) (qoemon_active_sessions)")
        assert [float(series["value"][1]) for series in doubled] == [2 * everyone]
        for query in block.splitlines():
            await until(lambda query=query: prometheus.query(query), lambda query=query: query)
            results = [series["metric"] for series in prometheus.query(query)]
            assert not any("instance" in labels for labels in results), query
        sessions = next(query for query in block.splitlines() if "qoemon_active_sessions" in query)
        assert [float(series["value"][1]) for series in prometheus.query(sessions)] == [everyone]
