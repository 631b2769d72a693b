"""Of a configuration, those services are simulated whose reports the simulator can write."""

from __future__ import annotations

from typing import Any

import pytest

from qoemon.config.config import Config
from qoemon.tools.simulate.scope import Scope, ScopeError
from qoemon.tools.simulate.simulate import SCENARIOS, Population

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


MEDIA = {"mapping": "media-stall", "quality": "linear", "inputs": ["audio", "video"], "theta": 0.2}


def test_viewers_report_the_measures_of_their_service_with_plausible_qualities() -> None:
    found = scope(services={"film": MEDIA, "video": VIDEO}, alerts=[])
    assert (list(found.viewers), list(found.shown)) == (["film", "video"], ["film"])
    users = Population(
        [{"region": "eu", "cdn": "a"}],
        sessions=200,
        scenario=SCENARIOS["demo"].lasting(120),
        seed=1,
        start_s=0,
        services=(found.viewers, found.readers),
        shown=found.shown,
    )
    reports = [item for second in range(1, 121) for item in users.step(second)]
    told = [item.report.get("measures") for item in reports if item.service == "film"]
    qualities = {(each["audio"] + each["video"]) / 2 for each in told}
    assert min(qualities) >= 2.4
    assert max(qualities) <= 4.7
    assert len(qualities) >= 3
    assert not any("measures" in item.report for item in reports if item.service == "video")


def test_players_report_no_measures_so_that_a_service_that_needs_them_is_left_out() -> None:
    found = scope(services={"film": MEDIA, "video": VIDEO}, collector={}, alerts=[])
    assert list(found.viewers) == ["video"]
    assert found.left_out == ["film is not simulated: media-stall needs audio, video, which players do not report"]
