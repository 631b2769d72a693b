"""Topics as clients publish them, through a broker into the daemon."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from tests.support.patience import WAIT_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.parts import Daemon, Mosquitto


@pytest.mark.mosquitto
@pytest.mark.parametrize("workers", [1, 2])
async def test_topics_with_a_leading_slash_are_read_with_their_labels(
    mosquitto: Mosquitto, start_daemon: Callable[..., Daemon], workers: int
) -> None:
    shard = "/{shard}" if workers > 1 else ""
    settings: dict[str, Any] = {
        "mqtt": {
            "host": "127.0.0.1",
            "port": mosquitto.port,
            "topics": [f"/qoe/v1/{{service}}/{{region}}/{{cdn}}{shard}"],
        },
        "sessions": {"tick": "1s"},
        "workers": workers,
    }
    daemon = start_daemon(settings).ready()
    report = json.dumps({"session": "s", "seq": 0, "stall_count": 0, "stall_s": 0, "play_s": 5})
    tail = "/3" if workers > 1 else ""
    async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=WAIT_S) as client:
        await client.publish(f"qoe/v1/video/us/a{tail}", report, 1)  # Another topic, to which nobody subscribed.
        await client.publish(f"/qoe/v1/video/eu/b{tail}", report, 1)

    def labels() -> list[dict[str, str]]:
        return [group["labels"] for service in daemon.snapshot().get("services", []) for group in service["groups"]]

    await until(labels, daemon.log.read_text)
    assert labels() == [{"region": "eu", "cdn": "b"}]
