"""Of a configuration, those services are simulated whose reports the simulator can write."""

from __future__ import annotations

from typing import Any

import pytest

from qoemon.config.config import Config
from qoemon.tools.simulate.scope import Scope, ScopeError

VIDEO = {"mapping": "video-stall", "theta": 0.3}
WEB = {"mapping": "web-iqx", "theta": 0.25}
VOICE = {"mapping": "voice-g107", "theta": 0.2}


def scope(**settings: Any) -> Scope:
    config = Config.model_validate(settings)
    return Scope.of(config, config.collector)


def test_the_defaults_are_video_and_web_with_their_topic() -> None:
    found, topic = scope(), "qoe/v1/{service}/{region}/{cdn}"
    assert (list(found.viewers), list(found.readers)) == (["video"], ["web"])
    assert found.topics == {"video": topic, "web": topic}
    assert (found.report_labels, found.constants, found.left_out) == ((), {}, [])


def test_services_topics_and_labels_are_those_of_the_configuration() -> None:
    topics = [{"template": "movies/{region}/{isp}", "service": "movies"}, "all/{service}/{cdn}"]
    found = scope(
        services={"movies": VIDEO, "shop": WEB, "voice": VOICE}, labels=["player"], mqtt={"topics": topics}
    )
    assert (list(found.viewers), list(found.readers)) == (["movies"], ["shop"])
    assert found.topics == {"movies": "movies/{region}/{isp}", "shop": "all/{service}/{cdn}"}
    assert found.report_labels == ("player",)
    assert found.constants == {"isp": "isp-01", "player": "player-01"}
    assert found.left_out == [
        "voice is not simulated: voice-g107 needs delay_ms, loss, and only stalls or response times are simulated"
    ]


def test_a_configuration_without_anything_to_simulate_is_refused_with_all_reasons() -> None:
    services = {"voice": VOICE, "movies": VIDEO | {"counters": "delta"}, "web": WEB}
    topics = [{"template": f"{name}/{{region}}", "service": name} for name in ("voice", "movies")]
    with pytest.raises(ScopeError) as refused:
        scope(services=services, mqtt={"topics": topics}, alerts=[])
    assert str(refused.value).splitlines() == [
        "voice is not simulated: voice-g107 needs delay_ms, loss, and only stalls or response times are simulated",
        "movies is not simulated: it has counters: delta, and only totals are simulated",
        "web is not simulated: mqtt.topics has none for it",
    ]


def test_what_is_posted_goes_to_the_paths_of_the_collector_with_labels_in_keys() -> None:
    paths = [{"template": "/old/{service}", "off": True}, {"template": "/cmcd/{region}/{isp}", "service": "movies"}]
    labels = {"com.example-device": "device", "st": "stream_type"}
    found = scope(services={"movies": VIDEO, "shop": WEB}, collector={"paths": paths, "labels": labels})
    assert found.topics == {"movies": "/cmcd/{region}/{isp}"}
    assert (found.keys, found.constants) == ({"com.example-device": "device-01"}, {"isp": "isp-01"})
    assert found.left_out == ["shop is not simulated: collector.paths has none for it"]
